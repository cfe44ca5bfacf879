"""Pictures given as pixels: the same as the file of them, kept as one of their own, and gone on from."""

from __future__ import annotations

import importlib
import math
import os
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray
from PIL import Image, ImageCms
from serial_pool import Here, render_module

import tiler
from tiler.errors import ConfigError, PictureError, StoreError
from tiler.pictures import read_picture
from tiler.pictures.pixels import is_pixels
from tiler.request.asked import Asked
from tiler.request.given import Given
from tiler.request.resume import stored_config
from tiler.series.preview import preview

planning = importlib.import_module("tiler.planning.measured")
RGB = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
RGBA = np.dstack([RGB, np.full((30, 40), 200, np.uint8)])


@pytest.fixture
def config(tmp_path: Path, small_weights: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """config(**options): of one level and a step, of an array and a PIL image, to poster.png."""
    monkeypatch.setattr(render_module(), "Pool", Here)
    small = dict(long_edge=32, levels=1, steps=1, weights=small_weights, precision="fp32", device="cpu", threads=1)

    def made(**options: Any) -> tiler.RenderConfig:
        given = dict(content=RGB, styles=Image.fromarray(RGB[::-1]), output=str(tmp_path / "poster.png"))
        return tiler.RenderConfig(**{**small, **given, **options})

    return made


def landed(value: Any, tmp_path: Path, **options: Any) -> Any:
    """The picture that a value becomes."""
    return Asked.of(
        tiler.RenderConfig(value, (value,), str(tmp_path / "p.png"), stretch=options.get("stretch"))
    ).sources.layout


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = RGB[..., 0]
FORMS = {
    "8 bits": (RGB, RGB / 255),
    "16 bits": (RGB.astype(np.uint16) * 257, RGB / 255),
    "floats": ((RGB / 255).astype(np.float32), RGB / 255),
    "doubles": (RGB / 255, RGB / 255),
    "grey": (GREY, np.repeat(GREY[..., None], 3, 2) / 255),
    "one channel": (GREY[..., None], np.repeat(GREY[..., None], 3, 2) / 255),
    "a view": (RGB[:, ::-1], RGB[:, ::-1] / 255),
    "PIL": (Image.fromarray(RGB), RGB / 255),
    "PIL, 16 bits": (Image.fromarray(GREY.astype(np.uint16) * 257), np.repeat(GREY[..., None], 3, 2) / 255),
    "PIL, palette": (Image.fromarray(RGB // 100 * 100).convert("P"), None),
    "bands first, labelled": (xarray.DataArray(RGB.transpose(2, 0, 1), dims=("band", "y", "x")), RGB / 255),
    "bands last, labelled": (xarray.DataArray(RGB, dims=("lat", "lon", "channel")), RGB / 255),
    "chunked": (xarray.DataArray(RGB, dims=("y", "x", "c")).chunk({"y": 7}).data, RGB / 255),
}


@pytest.mark.parametrize("form", FORMS)
def test_pixels_are_read_as_they_were_given(form: str, tmp_path: Path) -> None:
    value, meant = FORMS[form]
    picture = landed(value, tmp_path)
    assert picture.path.parent == tmp_path / "p.pictures"
    assert not picture.has_alpha
    meant = np.asarray(value.convert("RGB")) / 255 if meant is None else meant
    assert np.abs(read_picture(picture.path).transpose(1, 2, 0) - meant).max() < 1e-6


@pytest.mark.parametrize("value", [RGBA, Image.fromarray(RGBA), Image.fromarray(RGBA[..., 2:]).convert("RGBA")])
def test_alpha_is_straight_opacity(value: Any, tmp_path: Path) -> None:
    picture = landed(value, tmp_path)
    assert picture.has_alpha
    found = read_picture(picture.path, channels="rgba").transpose(1, 2, 0)
    assert np.abs(found - np.asarray(value) / 255).max() < 1e-6


def test_a_profile_is_obeyed(tmp_path: Path) -> None:
    wide = Image.fromarray(RGB)
    file = tmp_path / "tagged.png"
    wide.save(file, icc_profile=_swapped(PROFILE))
    picture = landed(Image.open(file), tmp_path)
    assert np.abs(read_picture(picture.path) - read_picture(file)).max() < 1e-6
    assert np.abs(read_picture(picture.path) * 255 - RGB.transpose(2, 0, 1)).max() > 20


def _swapped(profile: bytes) -> bytes:
    """A profile whose red is sRGB's green, and the other way round."""
    return profile.replace(b"rXYZ", b"?XYZ").replace(b"gXYZ", b"rXYZ").replace(b"?XYZ", b"gXYZ")


def test_an_image_is_upright(tmp_path: Path) -> None:
    image = Image.fromarray(RGB)
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    picture = landed(Image.open(tmp_path / "turned.png"), tmp_path)
    assert (picture.height, picture.width) == (40, 30)


def raster(dtype: Any = np.uint8, north_up: bool = True) -> xarray.DataArray:
    y = 8_000_000 - 500 - 1000 * np.arange(30)
    found = xarray.DataArray(
        RGB.transpose(2, 0, 1).astype(dtype), dims=("band", "y", "x"),
        coords={"y": y, "x": 200_500 + 1000 * np.arange(40)},
    ).rio.write_crs("EPSG:32720")  # fmt: skip
    return found if north_up else found.isel(y=slice(None, None, -1))


@pytest.mark.parametrize("north_up", [True, False])
def test_a_raster_lies_where_its_coordinates_say(north_up: bool, tmp_path: Path) -> None:
    picture = landed(raster(north_up=north_up), tmp_path)
    assert picture.georef.transform == (1000, 0, 200_000, 0, -1000, 8_000_000)
    assert picture.georef.keys[-4:] == (3072, 0, 1, 32720)
    assert np.abs(read_picture(picture.path).transpose(1, 2, 0) - RGB / 255).max() < 1e-6


def test_a_crs_without_a_code_is_said_by_what_it_is(tmp_path: Path) -> None:
    crs = "+proj=laea +lat_0=10 +lon_0=-60 +datum=WGS84 +units=m"
    picture = landed(raster().rio.write_crs(crs), tmp_path)
    from tiler.pictures.crs import crs_of

    assert crs_of(picture.georef).to_dict()["proj"] == "laea"


def test_what_is_no_data_is_transparent(tmp_path: Path) -> None:
    holed = raster(np.float32).rio.write_nodata(-1) / 255
    holed[:, :10] = -1
    picture = landed(holed.rio.write_nodata(-1), tmp_path)
    assert picture.has_alpha
    found = read_picture(picture.path, channels="rgba")
    assert found[3, :10].max() == 0
    assert found[3, 10:].min() == 1


def test_what_was_masked_when_it_was_read_has_nan_for_no_data() -> None:
    masked = raster(np.float32).rio.write_nodata(-1)
    masked.encoding["_FillValue"] = -1.0
    found = Given.of(masked).pixels.nodata
    assert isinstance(found, float)
    assert math.isnan(found)


def test_pixels_are_told_from_names() -> None:
    given = [RGB, Image.fromarray(RGB), raster(), "a.png", ["a.png"], SimpleNamespace(shape=(3, 4))]
    assert [is_pixels(one) for one in given] == [True, True, True, False, False, False]


REFUSED = [
    (RGB.transpose(2, 0, 1), r"shape \(3, 30, 40\); channels come last; allowed"),
    (RGB > 3, "array of bool"),
    (RGB.astype(np.complex64), "complex64"),
    (np.zeros((0, 4)), r"shape \(0, 4\)"),
    (np.zeros(7), r"shape \(7,\)"),
    (Image.new("LAB", (3, 3)), "mode LAB"),
    (Image.fromarray(np.full((2, 2), 70_000, np.int32)), "70000"),
    (xarray.DataArray(RGB[..., :2], dims=("y", "x", "c")), "y 30 x x 40 x c 2; allowed: 1, 3 or 4 bands"),
    (xarray.DataArray(GREY, dims=("row", "col")), "dimensions row, col"),
    (xarray.DataArray(GREY, dims=("y", "x"), coords={"x": np.arange(40.0) ** 2}), "not evenly spaced"),
]


@pytest.mark.parametrize(("value", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_no_picture_is_refused_in_one_line(value: Any, words: str, config: Any) -> None:
    for name in ("content", "styles"):
        with pytest.raises(ConfigError, match=words) as error:
            config(**{name: value})
        assert str(error.value).startswith(f"{name}: ")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(output=RGB), r"output = an array of shape \(30, 40, 3\); allowed: a text"),
        (dict(seed=RGB), "seed = an array of shape"),
        (
            dict(style_layer_weights={"sea": RGB}),
            r"style_layer_weights\.sea = an array of shape \(30, 40, 3\); allowed",
        ),
        (dict(region={"sea=": RGB}), r"region\.sea= = an array of shape \(30, 40, 3\); allowed: a name without '='"),
        (dict(mask={"sea": RGB.transpose(2, 0, 1)}), r"mask\.sea: .*shape \(3, 30, 40\); channels come last"),
        (
            dict(mask={"sea": [RGB, 3]}),
            r"mask\.sea = \[an array of shape \(30, 40, 3\), 3\]; allowed: a name without '=', and a text",
        ),
        (dict(mask=RGB), "mask = an array of shape"),
    ],
)
def test_pixels_where_none_are_taken_are_refused_in_one_line(options: dict[str, Any], words: str, config: Any) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        config(**options)
    assert "\n" not in str(error.value)


def test_a_configuration_stays_what_it_is_in_whatever_hands(config: Any, tmp_path: Path) -> None:
    one = config()
    assert one == config()
    assert replace(one, long_edge=20, output=str(tmp_path / "x.tif")).content.startswith(str(tmp_path / "x.pictures"))
    copied = pickle.loads(pickle.dumps(one))
    assert copied == one
    assert isinstance(copied.content, Given)
    assert one.to_dict()["content"] == str(one.content)
    assert not (tmp_path / "poster.pictures").exists()


def test_regions_and_masks_may_be_pixels_too(config: Any, tmp_path: Path) -> None:
    """Named in a table; to the bytes of the files of them."""
    where = np.zeros((30, 40), np.uint8)
    where[:, 20:] = 255
    Image.fromarray(GREY).save(tmp_path / "sea.png")
    Image.fromarray(where).save(tmp_path / "where, there.png")
    files = dict(region={"sea": tmp_path / "sea.png"}, mask={"sea": [tmp_path / "where, there.png"]})
    render_module().render(config(output=str(tmp_path / "files.png"), **files))
    one = config(region={"sea": GREY}, mask={"sea": [where]})
    copied = pickle.loads(pickle.dumps(one))
    render_module().render(replace(copied, device="cpu"))
    assert (tmp_path / "poster.png").read_bytes() == (tmp_path / "files.png").read_bytes()
    assert len(os.listdir(tmp_path / "poster.pictures")) == 4
    assert stored_config(str(tmp_path / "poster.zarr")).mask == one.mask


def test_a_render_goes_on_from_its_store_alone_in_another_place(config: Any, tmp_path: Path) -> None:
    render_module().render(config())
    first = (tmp_path / "poster.png").read_bytes()
    assert len(os.listdir(tmp_path / "poster.pictures")) == 2
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    tmp_path.rename(moved)
    (moved / "poster.png").unlink()
    render_module().render(stored_config(str(moved / "poster.zarr")))
    assert (moved / "poster.png").read_bytes() == first


def test_another_job_s_pictures_take_the_place_of_those_before(config: Any, tmp_path: Path) -> None:
    render_module().render(config())
    (tmp_path / "poster.pictures" / "mine.tif").write_bytes(b"kept")
    other = config(content=255 - RGB)
    render_module().render(other)
    there = {*os.listdir(tmp_path / "poster.pictures")}
    assert there == {"mine.tif", *(os.path.basename(name) for name in (other.content, *other.styles))}


def test_nothing_is_left_of_a_plan_a_preview_and_what_is_refused(config: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(planning, "_measured", lambda *asked: os.listdir(tmp_path / "poster.pictures"))
    assert len(planning.plan(config())) == 2
    assert os.listdir(tmp_path) == []
    seen = preview(config(), edge=16)
    assert max(seen.pixels.shape) == 32
    assert os.listdir(tmp_path) == []
    for wrong in (
        dict(overlay=RGB[:10, :40]),
        dict(style_layers=("relu9_9",)),
        dict(bits=16, output=str(tmp_path / "x.jpg")),
    ):
        with pytest.raises(tiler.TilerError):
            render_module().render(config(**wrong))
        assert os.listdir(tmp_path) == []


def test_an_unfinished_job_s_pictures_are_kept(config: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Here, "tiles", 1)
    with pytest.raises(BaseException):  # noqa: B017, PT011
        render_module().render(config(steps=4, steps_per_round=1))
    before = {*os.listdir(tmp_path / "poster.pictures")}
    with pytest.raises(StoreError, match="another job"):
        render_module().render(config(content=255 - RGB, steps=4, steps_per_round=1))
    assert {*os.listdir(tmp_path / "poster.pictures")} == before


def test_an_array_that_was_written_to_meanwhile_is_noticed(config: Any, tmp_path: Path) -> None:
    mine = RGB.copy()
    asked = config(content=mine)
    mine[3] = 0
    with pytest.raises(PictureError, match="has changed since it was given"):
        render_module().render(asked)
    assert os.listdir(tmp_path) == []
