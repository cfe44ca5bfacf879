"""SVG and PDF: drawn at the size that is asked for, nothing fetched, nothing run."""

from __future__ import annotations

import base64
import gzip
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler.errors import PictureError
from tiler.output.overlay import overlay_notes, overlay_stage
from tiler.pictures import open_picture, pdf, read_picture
from tiler.pictures import svg as drawings
from tiler.request.asked import Asked
from tiler.request.config import RenderConfig

NAMES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
MAP = (
    f'<svg {NAMES} viewBox="0 0 80 60" width="80" height="60"><rect width="80" height="60" fill="#88aaff"/>'
    '<path d="M10,10 H30 V50 H10 Z" fill="#208030"/><rect x="40.25" y="20" width="20" height="20" fill="black"/></svg>'
)


def svg(folder: Path, text: str, name: str = "map.svg") -> Path:
    (folder / name).write_bytes(text.encode())
    return folder / name


def inside(text: str, more: str = "") -> str:
    return f'<svg {NAMES} width="20" height="10" {more}>{text}</svg>'


def drawn(path: Path, height: int, width: int, **how: Any) -> np.ndarray:
    return np.concatenate(list(open_picture(path).bands(height, width, 64, **how)), 1)


def test_a_drawing_has_its_own_size_and_is_sharp_at_any(tmp_path: Path) -> None:
    path = svg(tmp_path, MAP)
    picture = open_picture(path)
    assert (picture.height, picture.width, picture.channels, picture.has_alpha) == (60, 80, 3, False)
    large = drawn(path, 1200, 1600) * 255
    assert large[:, 600, 804].tolist() == pytest.approx([136, 170, 255])  # the square begins at 805
    assert large[:, 600, 806].tolist() == [0, 0, 0]
    assert large[:, 600, 400].tolist() == pytest.approx([32, 128, 48])
    means = [found.mean((1, 2), dtype=np.float64) for found in (drawn(path, 30, 40), large / 255)]
    assert np.abs(means[0] - means[1]).max() < 1e-4


def test_a_part_is_as_it_is_in_the_whole(tmp_path: Path) -> None:
    path = svg(tmp_path, MAP)
    whole = drawn(path, 600, 800)
    np.testing.assert_array_equal(drawn(path, 600, 800, within=(90, 300, 180, 500)), whole[:, 90:180, 300:500])
    part = np.concatenate(list(open_picture(path).cropped((10, 20, 40, 60)).bands(300, 400, 64)), 1)
    np.testing.assert_array_equal(part, whole[:, 100:400, 200:600])


def test_another_shape_is_met_to_the_pixel(tmp_path: Path) -> None:
    found = drawn(svg(tmp_path, MAP), 601, 790)
    assert found.shape == (3, 601, 790)
    assert np.isfinite(found).all()


def test_what_is_not_covered_is_transparent(tmp_path: Path) -> None:
    path = svg(tmp_path, inside('<rect width="10" height="10" fill="red" fill-opacity="0.5"/>'))
    assert open_picture(path).has_alpha
    found = drawn(path, 100, 200, channels="rgba")
    assert found[:, 50, 50].tolist() == pytest.approx([1, 0, 0, 0.5], abs=0.01)
    assert found[3, 50, 150] == 0


def test_what_is_inside_it_is_drawn(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 2), (10, 200, 30)).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    text = (
        "<style>.a{fill:url(#g)}</style>"
        '<defs><linearGradient id="g"><stop stop-color="#0ac81e"/></linearGradient></defs>'
        f'<image width="10" height="10" preserveAspectRatio="none" xlink:href="data:image/png;base64,{data}"/>'
        '<a href="http://elsewhere/"><rect class="a" x="10" width="10" height="10"/></a>'
    )
    for name, content in (("map.svg", inside(text).encode()), ("map.svgz", gzip.compress(inside(text).encode()))):
        (tmp_path / name).write_bytes(content)
        found = drawn(tmp_path / name, 100, 200) * 255
        for x in (50, 150):
            assert found[:, 50, x].tolist() == pytest.approx([10, 200, 30], abs=1)


def test_a_world_file_says_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "map.sgw").write_text("10\n0\n0\n-10\n500005\n4599995\n")
    georef = open_picture(svg(tmp_path, MAP)).georef
    assert georef is not None
    assert georef.transform == (10, 0, 500_000, 0, -10, 4_600_000)


def test_what_a_reader_would_miss_is_said(tmp_path: Path) -> None:
    text = "<text>a</text><foreignObject/><style>@font-face{src:url(data:font/woff2;base64,AA)}</style>"
    notes = open_picture(svg(tmp_path, inside(text))).notes
    assert [note.partition(": ")[2] for note in notes] == [
        "its text is drawn in fonts of this machine",
        "its own fonts are not used: text is drawn in fonts of this machine",
        "HTML inside it is not drawn",
    ]


def png(side: int) -> str:
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return f'<image href="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"/>'


REFUSED = {
    "a script": inside("<script>1</script>"),
    r"a script \(onload\)": inside("", 'onload="draw()"'),
    "a reference to 'http://x/y.png'": inside('<image xlink:href="http://x/y.png"/>'),
    "a reference to 'file:///etc/passwd'": inside('<image href="file:///etc/passwd"/>'),
    "a reference to 'other.svg#a'": inside('<use href="other.svg#a"/>'),
    "a reference to 'data:image/svg": inside('<image href="data:image/svg+xml;base64,AAAA"/>'),
    "a damaged picture": inside('<image href="data:image/png;base64,AAAA"/>'),
    "pictures of more than 134 million pixels": inside(png(8000) + png(9000)),
    r"a reference \(@import\)": inside("<style>@import 'x.css';</style>"),
    "a reference to 'x.png'": inside("<style>rect { fill: url( 'x.png' ) }</style>"),
    "a reference to 'http://x/#a'": inside('<rect style="fill:url(http://x/#a)"/>'),
    r"a reference \(xml-stylesheet\)": '<?xml-stylesheet href="a.css"?>' + inside(""),
    "an entity of its own, 'a'": f'<!DOCTYPE svg [<!ENTITY a "b">]>{inside("")}',
    "256 inside each other": inside("<g>" * 300 + "</g>" * 300),
    r"damaged SVG \(mismatched tag": inside("<rect>"),
    "out of range": f'<svg {NAMES} width="1e9" height="1e9"/>',
    "bad dimensions": f'<svg {NAMES} width="0" height="0"/>',
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_not_in_the_file_or_too_much_is_refused_in_one_line(words: str, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=words) as error:
        open_picture(svg(tmp_path, REFUSED[words]))
    assert str(error.value).startswith(f"{tmp_path}/map.svg: ")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_parts_that_hold_each_other_many_times_have_an_end(tmp_path: Path) -> None:
    """librsvg's own, which takes some seconds."""
    many = "".join(f'<g id="a{n + 1}">{f"""<use href="#a{n}"/>""" * 10}</g>' for n in range(9))
    path = svg(tmp_path, inside(f'<defs><g id="a0"><rect/></g>{many}</defs><use href="#a9"/>'))
    with pytest.raises(PictureError, match="SVG rendering failed"):
        open_picture(path)


def test_a_packed_drawing_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiler.pictures.svg._MOST_BYTES", 10_000)
    (tmp_path / "map.svgz").write_bytes(gzip.compress(inside(" " * 10**6).encode()))
    with pytest.raises(PictureError, match="an SVG of more than"):
        open_picture(tmp_path / "map.svgz")


@pytest.mark.parametrize("name", ["map.svg", "map.svgz"])
def test_a_drawing_of_the_most_bytes_is_read_and_one_byte_more_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiler.pictures.svg._MOST_BYTES", len(MAP) + 1)
    for more in (1, 2):
        data = f"{MAP}{more * ' '}".encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name == "map.svgz" else data)
        if more == 1:
            assert open_picture(tmp_path / name).height == 60
    with pytest.raises(PictureError, match="an SVG of more than"):
        open_picture(tmp_path / name)


@pytest.mark.parametrize("text", [MAP, "%PDF-1.7\n"])
def test_what_draws_is_asked_by_name_only(text: str, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="not a picture of a known kind"):
        open_picture(svg(tmp_path, text, "map.png"))


def test_other_xml_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="not a picture of a known kind"):
        open_picture(svg(tmp_path, '<?xml version="1.0"?><html><svgs/></html>'))


def test_a_drawing_is_content_as_any_picture(tmp_path: Path) -> None:
    svg(tmp_path, MAP)
    Image.new("RGB", (9, 9)).save(tmp_path / "style.png")
    config = RenderConfig(
        str(tmp_path / "map.svg"), (str(tmp_path / "style.png"),), str(tmp_path / "p.png"), size="500x100"
    )
    asked = Asked.of(config)
    assert asked.sources.kept_bytes == 9 * 9 * 3  # the style's
    layout = asked.sources.layout
    assert (layout.height, layout.width) == (16, 80)
    assert next(layout.bands(100, 500, 100))[:, 50, 100].tolist() == pytest.approx([32 / 255, 128 / 255, 48 / 255])


def test_a_drawing_on_top_is_as_sharp_as_the_poster(tmp_path: Path) -> None:
    picture = open_picture(svg(tmp_path, MAP))
    assert overlay_notes(picture, 600, 800) == []
    stage = overlay_stage(picture, 600, 800, 300)
    found = [stage(np.zeros((3, 300, 800), np.float32), y) for y in (0, 300)]
    assert found[1][:, 0, 200].tolist() == pytest.approx([32 / 255, 128 / 255, 48 / 255])
    assert found[1][0, 0, 401] == pytest.approx(136 / 255)
    assert found[1][0, 0, 402] == pytest.approx(68 / 255)  # the square begins in its middle
    assert found[1][0, 0, 403] == 0


@pytest.mark.parametrize(
    ("width", "height", "edge"),
    [
        (1000, 10, 256),
        (10, 1000, 256),
        (1000, 666, 256),
        (500, 707, 256),
        (256, 100, 256),
        (60, 90, 90),
        (1, 7, 7),
        (7, 1, 7),
        (2, 5, 5),
        (5, 2, 5),
        (595.27, 841.89, 256),
    ],
)
def test_whether_it_covers_all_is_seen_of_a_small_one(
    width: float, height: float, edge: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 256 px at most, and never enlarged; and where it is no whole number of pixels large, as A4 is."""
    seen, image = [], drawings.Drawing.image
    monkeypatch.setattr(drawings.Drawing, "image", lambda self, scale: seen.append(scale) or image(self, scale))
    for wide, high, opaque in ((width, height, True), (width * 0.8, height, False), (width, height * 0.8, False)):
        rect = f'<rect width="{wide}" height="{high}"/>'
        data = f'<svg {NAMES} width="{width}" height="{height}">{rect}</svg>'.encode()
        assert drawings.Drawing(data, ()).is_opaque == opaque
    assert seen == [1.0, edge / round(max(width, height))] * 3


def test_what_is_faint_within_is_no_cover() -> None:
    text = '<rect width="20" height="10" fill-opacity="0.9"/><rect width="9" height="10"/>'
    assert not drawings.Drawing(inside(text).encode(), ()).is_opaque


def test_a_drawing_s_parts_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """256 inside each other; so many elements, and pixels of pictures, that each are looked at beforehand."""
    assert drawings.read_svg(svg(tmp_path, inside("<g>" * 255 + "</g>" * 255))).notes == ()
    for name, number, text, said in (
        ("_MOST_ELEMENTS", 4, "<g/><g/><g/>", "more than 3 elements, or 256 inside each other"),
        ("_DEEPEST", 256, "<g>" * 255 + "</g>" * 255, "more than 2000000 elements, or 255 inside each other"),
        ("_MOST_PIXELS", 9 + 16, png(3) + png(4), "pictures of more than 0 million pixels"),
    ):
        for spare in (0, -1):
            monkeypatch.setattr(drawings, name, number + spare)
            path = svg(tmp_path, inside(text), f"{name}{spare}.svg")
            if not spare:
                assert drawings.read_svg(path).notes == ()
                continue
            with pytest.raises(PictureError, match=rf"svg: an SVG that holds {said}"):
                drawings.read_svg(path)
        monkeypatch.undo()


@pytest.mark.parametrize(
    "text",
    [
        '<rect on="1"/>', '<rect on-x="1"/>', '<rect once2="1"/>', '<use href="#a"/>', '<use href=" #a "/>',
        '<use href=""/>', '<a href="x.html"/>',
        '<metadata href="x.xml"/>', '<rect fill="URL(#a)"/>', '<rect fill="url( \'#a\' )"/>',
        '<rect fill="url()"/>', '<rect fill="url(DATA:x)"/>', "<style>a{b:url(#a)}</style>",
        "<title>url(x.png)</title>",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_script_or_a_reference_is_none(text: str, tmp_path: Path) -> None:
    assert drawings.read_svg(svg(tmp_path, inside(text))).notes == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<rect fill="URL(x.png)"/>', "a reference to 'x.png'; all must be inside it"),
        ("<style>a{}</style><style>b{c:url(x.png)}</style>", "a reference to 'x.png'; all must be inside it"),
        ("<style>@IMPORT 'x.css'</style>", "a reference (@import); all must be inside it"),
        (f'<use href="{"x" * 99}"/>', f"a reference to {'x' * 60!r}; pictures must be inside it"),
        ('<use href=" x.svg"/>', "a reference to 'x.svg'; pictures must be inside it"),
    ],
)  # fmt: skip
def test_a_reference_is_named_as_far_as_it_is_told_by(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(PictureError) as refused:
        drawings.read_svg(svg(tmp_path, inside(text)))
    assert str(refused.value).startswith(f"{tmp_path}/map.svg: an SVG that holds {said}")


# PDF ---------------------------------------------------------------------------------------------------------------


def page(folder: Path, content: str, catalog: str = "", pages: int = 1) -> Path:
    """Of 80 x 60 points."""
    kids = " ".join(f"{5 + n} 0 R" for n in range(pages))
    objects = [
        f"<</Type/Catalog/Pages 2 0 R{catalog}>>",
        f"<</Type/Pages/Kids[{kids}]/Count {pages}>>",
        f"<</Length {len(content)}>>stream\n{content}\nendstream",
        "<</S/JavaScript/JS(app.alert\\(1\\))>>",
        *["<</Type/Page/Parent 2 0 R/MediaBox[0 0 80 60]/Contents 3 0 R>>"] * pages,
    ]
    text = "%PDF-1.7\n" + "".join(f"{n} 0 obj{body}endobj\n" for n, body in enumerate(objects, 1))
    (folder / "map.pdf").write_text(f"{text}trailer<</Root 1 0 R/Size {len(objects) + 1}>>\n%%EOF\n")
    return folder / "map.pdf"


SQUARE = "0.125 0.5 0.1875 rg 20 10 20 20 re f"  # from the lower left corner


def test_a_page_is_drawn_at_the_size_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "_ROWS_PIXELS", 100 * 800)
    path = page(tmp_path, SQUARE, pages=2)
    picture = open_picture(path)
    assert (picture.height, picture.width, picture.has_alpha) == (80, 107, False)
    assert picture.notes == (f"{path}: the first of its 2 pages",)
    found = drawn(path, 600, 800) * 255
    assert found.shape == (3, 600, 800)
    inner = found[:, 301:499, 201:399]
    assert np.abs(inner - np.array([32, 128, 48])[:, None, None]).max() <= 1
    found[:, 299:501, 199:401] = 255
    assert found.min() == 255
    np.testing.assert_allclose(
        drawn(path, 600, 800, within=(290, 190, 400, 300)) * 255, drawn(path, 600, 800)[:, 290:400, 190:300] * 255
    )


@pytest.mark.parametrize(("height", "width", "rows"), [(1500, 4096, 1024), (300, 4096, 300), (2, 2**23, 1)])
def test_a_page_is_drawn_in_bands_that_fit_into_memory(tmp_path: Path, height: int, width: int, rows: int) -> None:
    assert next(pdf.rows_of(page(tmp_path, SQUARE), height, width)).shape == (3, rows, width)


def test_a_page_that_scripts_or_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    path = page(tmp_path, SQUARE, "/Names<</JavaScript<</Names[(a) 4 0 R]>>>>")
    with pytest.raises(PictureError, match=r"map\.pdf: a PDF that holds a script"):
        open_picture(path)
    for data in (b"%PDF-1.7\n", b"%PDF-1.7\n" + bytes(1000)):
        path.write_bytes(data)
        with pytest.raises(PictureError, match=r"map\.pdf: damaged PDF") as error:
            open_picture(path)
        assert "\n" not in str(error.value)


def test_without_its_reader_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = page(tmp_path, SQUARE)
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(PictureError, match=r"pip install 'tiler-render\[pdf\]'"):
        read_picture(path)


def test_a_drawing_knows_the_size_that_it_is_drawn_at(tmp_path: Path) -> None:
    picture = open_picture(svg(tmp_path, MAP)).drawn(120, 160, (0, 0, 60, 80))
    assert (picture.height, picture.width, picture.file_size) == (120, 160, (120, 160))
    part = picture.drawn(90, 120, (40, 20, 100, 100))
    assert (part.height, part.width, part.origin, part.file_size) == (90, 120, (60, 30), (180, 240))
