"""--content-gsd and --style-gsd: a metre is as long in the style's picture as on the poster, at every level."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image
from test_resolve import picture, resolved, tiny_weights  # noqa: F401 (a fixture)

from tiler.errors import ConfigError
from tiler.pictures import Georef, open_picture
from tiler.request import ground, resolve
from tiler.request.config import RenderConfig

CONTENT = (500, 1000)


def test_both_show_as_many_metres_a_pixel_at_every_level():
    """The content is 1000 px of 60 m wide; styles of 2000 px of 10 m and of 100 px of 90 m."""
    styles = [(1000, 2000), (100, 60)]
    config, job = resolved(CONTENT, styles, long_edge=1024, content_gsd=60, style_gsd=(10, 90))
    for level, sizes in zip(job.cut.levels, job.styles.sizes, strict=True):
        metres = 60 * 1000 / level.width
        for (height, width), own, gsd in zip(sizes, styles, (10, 90), strict=True):
            wanted = max(own) * gsd / metres
            assert max(height, width) == pytest.approx(min(wanted, max(own)), abs=0.51)
    assert job.styles.sizes[-1] == ((171, 341), (100, 60))
    assert (config.content_gsd, config.style_gsd) == ("60.0", (10.0, 90.0))


def test_one_style_scale_serves_all_styles_and_the_crop_counts():
    whole = resolved(CONTENT, [(100, 100)] * 2, content_gsd=60, style_gsd=60)[1]
    assert whole.styles.sizes[-1] == ((100, 100), (100, 100))
    assert whole.styles.sizes[0] == ((13, 13), (13, 13))


def test_without_ground_scales_nothing_changes():
    config, job = resolved(CONTENT, style_scale=0.5)
    assert (config.content_gsd, config.style_gsd) == (None, None)
    assert ground.notes(config, job, picture(*CONTENT), [picture(300, 200)]) == []


def notes(style, **values):
    config, job = resolved(CONTENT, [style], long_edge=1000, **values)
    return resolve.notes(config, job, picture(*CONTENT), [picture(*style)])


def test_a_true_size_that_cannot_be_reached_is_said_in_one_line():
    assert notes((300, 200), content_gsd=100, style_gsd=100) == []
    assert notes((300, 200), content_gsd=100, style_gsd=30) == []
    [note] = notes((300, 200), content_gsd=100, style_gsd=250)
    assert "its pixels show 250 m, the poster's 100 m" in note
    assert "2.5 times too small (true size: up to 400 px)" in note
    assert "\n" not in note
    [note] = notes((300, 200), content_gsd=100, style_gsd=10)
    assert "only 20 x 30 px beside the poster's 1000" in note


def placed(path, transform, crs):
    """A picture of 40 x 60 px with a georeference."""
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "height": 40, "width": 60, "count": 3, "dtype": "uint8", "photometric": "RGB"}
    with rasterio.open(path, "w", crs=crs, transform=rasterio.Affine(*transform), **profile) as file:
        file.write(np.zeros((3, 40, 60), np.uint8))
    return open_picture(path)


@pytest.mark.parametrize(
    ("crs", "transform", "metres"),
    [
        ("EPSG:32633", (30.0, 0, 500_000, 0, -30, 4_600_000), 30),
        ("EPSG:32633", (24.0, 18.0, 500_000, 18.0, -24, 4_600_000), 30),
        ("EPSG:2263", (100.0, 0, 980_000, 0, -100, 200_000), 30.48),  # US survey feet
        ("EPSG:3857", (100.0, 0, 0, 0, -100, 8_399_738), 50),  # Mercator at 60 degrees stretches to the double
        ("EPSG:4326", (0.01, 0, 10, 0, -0.01, 60.2), 1111.95 * 0.5**0.5),  # at 60 degrees
        ("EPSG:4326", (6.0, 0, -180, 0, -4.5, 90), 111_195 * 27**0.5),  # the whole globe
        ("+proj=laea +lat_0=52 +lon_0=10 +ellps=GRS80 +units=km", (2.0, 0, 0, 0, -2.0, 0), 2000),
    ],
)
def test_georeferences_are_measured_on_the_globe(tmp_path, crs, transform, metres):
    content = placed(tmp_path / "a.tif", transform, crs)
    config = RenderConfig("a", ("b",), "c.png", content_gsd="auto", style_gsd=7)
    assert float(ground.settle_ground(config, content, [content]).content_gsd) == pytest.approx(metres, rel=4e-3)


def test_what_is_not_said_is_read(tmp_path):
    content = placed(tmp_path / "a.tif", (30.0, 0, 500_000, 0, -30, 4_600_000), "EPSG:32633")
    style = placed(tmp_path / "b.tif", (10.0, 0, 500_000, 0, -10, 4_600_000), "EPSG:32633")
    base = RenderConfig("a", ("b",), "c.png")
    for values in (dict(content_gsd="auto"), dict(style_gsd=10), dict(content_gsd=30)):
        config = ground.settle_ground(replace(base, **values), content, [style])
        assert (float(config.content_gsd), *config.style_gsd) == pytest.approx((30, 10), rel=4e-3)
    assert ground.style_scales(config, content, [style]) == pytest.approx([1 / 3], rel=4e-3)


@pytest.mark.parametrize(("name", "named"), [("none.png", "has no georeference"), ("world.png", "no coordinate ref"),
                                             ("local.tif", "its place on the globe is unclear")])  # fmt: skip
def test_a_place_that_is_not_known_is_refused_in_one_line(tmp_path, name, named):
    Image.new("RGB", (60, 40)).save(tmp_path / "none.png")
    Image.new("RGB", (60, 40)).save(tmp_path / "world.png")
    (tmp_path / "world.pgw").write_text(Georef((30.0, 0.0, 5.0, 0.0, -30.0, 7.0)).world_file())
    tags = Georef((30.0, 0.0, 5.0, 0.0, -30.0, 7.0), keys=(1, 1, 0, 1, 1025, 0, 1, 1)).tags()
    tifffile.imwrite(tmp_path / "local.tif", np.zeros((40, 60, 3), np.uint8), photometric="rgb", extratags=tags)
    content = open_picture(tmp_path / name)
    with pytest.raises(ConfigError) as error:
        ground.settle_ground(RenderConfig("a", ("b",), "c.png", style_gsd=5), content, [content])
    assert str(error.value).startswith(f"content_gsd = auto: {tmp_path / name}: ")
    assert named in str(error.value)
    assert str(error.value).endswith("; allowed: metres per pixel")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("style", "gsd", "said"),
    [
        ((64, 40), 100, False), ((63, 40), 100, True),  # too small to learn from, on the longer side
        ((40, 64), 100, False), ((40, 63), 100, True),
        ((300, 200), 101, False), ((300, 200), 102, True),  # one per cent too small is nothing
    ],
)  # fmt: skip
def test_what_is_said_of_a_style_and_from_where_on(style, gsd, said):
    assert bool(notes(style, content_gsd=100, style_gsd=gsd)) == said


@pytest.mark.parametrize("content", [(500, 1000), (1000, 500)])
def test_a_style_is_as_many_pixels_as_its_ground_takes(content):
    """500 m of ground on a poster that shows 20 m a pixel, whichever side is the longer."""
    config, job = resolved(content, [(50, 30), (30, 50)], long_edge=500, content_gsd=10, style_gsd=10)
    assert job.styles.sizes[-1] == ((25, 15), (15, 25))
    pictures = [picture(50, 30), picture(30, 50)]
    assert ground.style_scales(config, picture(*content), pictures) == pytest.approx([0.05, 0.05])
    assert ground.style_scales(
        replace(config, content_gsd=None, style_gsd=None, style_scale=(2.0,)), picture(*content), pictures
    ) == [
        2,
        2,
    ]
