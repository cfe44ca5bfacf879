"""Sizes as people say them, and the part of the content that has the poster's shape."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiler.errors import ConfigError
from tiler.geometry import level_sizes
from tiler.request.sizes import (
    content_crop,
    parse_at,
    parse_gsd,
    parse_print,
    parse_scale,
    parse_size,
    parse_stretch,
    poster_size,
    same_shape,
    unrounded,
)

SIDES = st.integers(1, 20_000)
SHAPES = st.tuples(SIDES, SIDES)


@pytest.mark.parametrize(
    ("text", "found"),
    [("1600x1200", (1200, 1600)), (" 1 X 2 ", (2, 1)), ("1048576×1", (1, 1048576)), ("30*20", (20, 30))],
)
def test_size(text, found):
    assert parse_size(text) == found


@pytest.mark.parametrize("text", ["", "1600", "0x5", "5x0", "x5", "-1x5", "1.5x2", "1048577x1", "9" * 50 + "x1", "axb"])
def test_not_a_size(text):
    with pytest.raises(ValueError, match="WIDTHxHEIGHT in pixels"):
        parse_size(text)


@pytest.mark.parametrize(("text", "found"), [("4x", 4), ("4", 4), ("1.5 X", 1.5), ("0.25×", 0.25)])
def test_scale(text, found):
    assert parse_scale(text) == found


@pytest.mark.parametrize("text", ["", "x", "0", "0x", "-2x", "nan", "inf", "1e9", "2xx", "4%"])
def test_not_a_scale(text):
    with pytest.raises(ValueError, match="such as 4x"):
        parse_scale(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("90x60cm", (900, 600, False)),
        ("900 x 600 mm", (900, 600, False)),
        ("36x24in", (914.4, 609.6, False)),
        ('36x24"', (914.4, 609.6, False)),
        ("90cmx24in", (900, 609.6, False)),
        ("29.7x21cm", (297, 210, False)),
        ("90CM", (900, None, False)),
        ("1000000mm", (1e6, None, False)),
        ("0.1cm x 0.2", (1, 2, False)),
        ("2 x 3.5inch", (50.8, 88.9, False)),
        ("A0", (841, 1189, True)),
        ("a1", (594, 841, True)),
        ("A4", (210, 297, True)),
        ("A10", (26, 37, True)),
        ("B2", (500, 707, True)),
        ("B5", (176, 250, True)),
        ("C4", (229, 324, True)),
    ],
)
def test_print(text, found):
    wide, high, turns = parse_print(text)
    assert (wide, high, turns) == (pytest.approx(found[0]), found[1] and pytest.approx(found[1]), found[2])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "90x60",
        "90",
        "A11",
        "D4",
        "A",
        "0x5cm",
        "5x0cm",
        "-5cm",
        "1e3cm",
        "nancm",
        "5x5x5cm",
        "1000001mm",
        "1cmx1000001mm",
    ],
)
def test_not_a_print(text):
    with pytest.raises(ValueError, match="WIDTHxHEIGHT with a unit"):
        parse_print(text)


@given(st.text())
def test_any_text_is_understood_or_refused(text):
    for parse in (parse_size, parse_scale, parse_print):
        with contextlib.suppress(ValueError):
            assert parse(text) is not None


@pytest.mark.parametrize(
    ("content", "options", "found"),
    [
        ((600, 800), {}, (768, 1024)),
        ((600, 800), dict(long_edge=80), (60, 80)),
        ((600, 800), dict(size="50x70"), (70, 50)),
        ((600, 800), dict(scale="4x"), (2400, 3200)),
        ((5400, 10800), dict(print="90x60cm"), (7087, 10630)),
        ((5400, 10800), dict(print="90x60cm", dpi=150), (3543, 5315)),
        ((600, 800), dict(print="10in", dpi=100), (750, 1000)),
        # A sheet lies as the content lies; a size in numbers stays as it was said.
        ((600, 800), dict(print="A4"), (2480, 3508)),
        ((800, 600), dict(print="A4"), (3508, 2480)),
        ((500, 500), dict(print="A4"), (3508, 2480)),
        ((800, 600), dict(print="30x20cm", dpi=254), (2000, 3000)),
    ],
)
def test_poster_size(content, options, found):
    assert poster_size(content, **options) == found


def test_a_poster_up_to_the_longest_side():
    assert poster_size((512, 1024), scale="1024x") == (2**19, 2**20)
    assert poster_size((1024, 512), print="1in", dpi=2**20) == (2**20, 2**19)
    for options, said in (
        ({"scale": "1024.001x"}, r"scale = 1024\.001x makes 1048577 x 524289 px; allowed: up to 1048576 a side"),
        ({"print": "1in", "dpi": 2**20 + 1}, "print = 1in makes 1048577 x 524288 px"),
    ):
        with pytest.raises(ConfigError, match=f"^{said}"):
            poster_size((512, 1024), **options)


def test_a_thin_picture_keeps_a_pixel():
    assert poster_size((1, 5000), long_edge=100) == (1, 100)
    assert poster_size((5000, 1), scale="0.01") == (50, 1)
    assert poster_size((5000, 1), print="0.001cm", dpi=1) == (1, 1)
    assert poster_size((3, 4), print="0.001x9cm", dpi=10) == (35, 1)
    assert poster_size((3, 4), print="9x0.001cm", dpi=10) == (1, 35)


def test_a_poster_beyond_all_formats_is_refused():
    for options in (dict(scale="2000x"), dict(print="900x900m".replace("m", "in"), dpi=100_000)):
        with pytest.raises(ConfigError, match=r"makes \d+ x \d+ px; allowed: up to 1048576 a side"):
            poster_size((600, 800), **options)


@given(SHAPES, st.one_of(st.builds(dict, long_edge=SIDES), st.builds(dict, scale=st.sampled_from(["0.3x", "1", "4"]))))
def test_keeping_the_shape_keeps_all_of_the_content(content, options):
    assert content_crop(content, poster_size(content, **options)) == (0, 0, *content)


@given(SHAPES, SHAPES)
def test_the_crop_is_the_largest_middle_part_of_the_posters_shape(content, poster):
    (height, width), (tall, wide) = content, poster
    y0, x0, y1, x1 = content_crop(content, poster)
    rows, cols = y1 - y0, x1 - x0
    assert 0 <= y0 < y1 <= height
    assert 0 <= x0 < x1 <= width
    assert rows == height or cols == width
    assert abs(y0 - (height - y1)) <= 1
    assert abs(x0 - (width - x1)) <= 1
    if (rows, cols) == content:
        # Agrees to a pixel of the poster, or to a pixel of the content.
        off = abs(tall - height * wide / width), abs(wide - width * tall / height)
        near = min(off) <= 1 or min(off[0] * height / tall, off[1] * width / wide) <= 1
        assert near or min(content) == 1, "less than a pixel cannot be cut off"
    else:
        assert min(abs(rows - cols * tall / wide), abs(cols - rows * wide / tall)) <= 0.5 or min(rows, cols) == 1


@pytest.mark.parametrize(
    ("content", "poster", "found"),
    [
        ((100, 200), (50, 50), (0, 50, 100, 150)),
        ((200, 100), (50, 50), (50, 0, 150, 100)),
        ((101, 300), (10, 10), (0, 99, 101, 200)),
        ((300, 101), (10, 10), (99, 0, 200, 101)),
        ((90, 120), (400, 300), (0, 26, 90, 94)),
        ((1000, 10), (1, 1000), (499, 0, 500, 10)),
        ((75, 100), (76, 100), (0, 0, 75, 100)),  # less than a pixel of the poster
        ((75, 100), (77, 100), (0, 1, 75, 98)),
        ((100, 75), (100, 77), (1, 0, 98, 75)),
    ],
)
def test_crops(content, poster, found):
    assert content_crop(content, poster) == found


@pytest.mark.parametrize(
    ("size", "other", "same"),
    [
        ((30, 40), (300, 400), True),
        ((300, 400), (30, 40), True),
        ((30, 40), (40, 30), False),
        ((302, 400), (300, 400), True),  # 1 % of the longer side
        ((304, 400), (300, 400), True),
        ((305, 400), (300, 400), False),
        ((296, 400), (300, 400), True),
        ((295, 400), (300, 400), False),
        ((400, 305), (400, 300), False),
        ((3, 4), (3, 5), True),  # one pixel
        ((3, 4), (3, 6), False),
    ],
)
def test_shapes_are_compared_whatever_their_pixels(size, other, same):
    assert same_shape(size, other) is same


@pytest.mark.parametrize(
    ("text", "metres"), [("30", 30.0), ("0.001", 0.001), ("1000000", 1e6), ("1e6", 1e6), ("AUTO", None)]
)
def test_gsd(text, metres):
    assert parse_gsd(text) == metres


@pytest.mark.parametrize("text", ["0.0009", "1000001", "-5", "nan", "5m", ""])
def test_not_a_gsd(text):
    with pytest.raises(ValueError, match=r"metres per pixel, 0\.001 to 1000000, or auto"):
        parse_gsd(text)


def test_stretch_is_two_percentiles():
    assert parse_stretch("2,98") == (2, 98)
    assert parse_stretch(" 0.5 , 100 ") == (0.5, 100)
    for text in ("", "2", "98,2", "2,2", "2,101", "-1,98", "a,b", "2,98,99", "nan,98"):
        with pytest.raises(ValueError, match="lower first"):
            parse_stretch(text)


@given(SHAPES, st.integers(7, 11), st.integers(0, 5))
def test_the_levels_of_a_preview_are_the_coarsest_of_its_poster(shape, edge, larger):
    """Whatever the content's shape, as long as one is so many halvings of the other."""
    found = []
    for exponent in (edge, edge + larger):
        poster = poster_size(shape, 2**exponent)
        found.append(level_sizes(*unrounded(poster, shape), 64))
        assert found[-1][-1] == poster
    assert found[1][: len(found[0])] == found[0]


def test_a_poster_of_another_shape_has_the_levels_of_its_own():
    assert unrounded((100, 100), (30, 40)) == (100, 100)
    assert unrounded((683, 1024), (4000, 6000)) == pytest.approx((682.667, 1024), abs=1e-3)
    assert unrounded((1, 256), (1, 10000)) == (1, 256)


@pytest.mark.parametrize(("text", "meant"), [("0.4,0.6", (0.4, 0.6)), (" 1 , 0 ", (1, 0)), ("0.125,1.0", (0.125, 1))])
def test_a_spot_is_said_in_shares_across_and_down(text, meant):
    assert parse_at(text) == meant


@pytest.mark.parametrize("text", ["", "0.5", "0.5,0.5,0.5", "0.5,1.1", "-0.1,0.5", "nan,0", ".5,.5", "0.5;0.5"])
def test_what_is_no_spot_is_refused(text):
    with pytest.raises(ValueError, match=r"two shares of the poster's width and height, 0 to 1 each"):
        parse_at(text)
