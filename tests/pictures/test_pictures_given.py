"""Pixels that are given: what file becomes of them, which are refused, and where labelled ones lie, in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import xarray
from PIL import Image

from tiler.errors import PictureError
from tiler.pictures import pixels, read_picture
from tiler.pictures.pixels import Pixels

RNG = np.random.default_rng(31)


def written(given: Pixels, path: Path) -> Path:
    given.write(path, given.digest())
    return path


@pytest.mark.parametrize(
    ("most", "heights"), [(1, [1] * 5), (30, [1] * 5), (59, [1] * 5), (60, [2, 2, 1]), (2**24, [5])]
)
def test_bands_hold_as_many_rows_as_fit(
    most: int, heights: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a row at least. A row of these takes 30 bytes; the file's strips are the bands."""
    monkeypatch.setattr(pixels, "_BYTES_AT_ONCE", most)
    values = RNG.integers(0, 65536, (5, 5, 3), np.uint16)
    found = list(Pixels.of(values).bands())
    assert [len(band) for band in found] == heights
    np.testing.assert_array_equal(np.concatenate(found), values)
    with tifffile.TiffFile(written(Pixels.of(values), tmp_path / "a.tif")) as tif:
        assert tif.pages.first.rowsperstrip == heights[0]
        np.testing.assert_array_equal(tif.asarray(), values)


def test_a_band_holds_16_mib_and_so_does_a_strip(tmp_path: Path) -> None:
    given = Pixels.of(np.zeros((17_000, 1000), np.uint8))
    assert [len(band) for band in given.bands()] == [16_777, 223]
    with tifffile.TiffFile(written(given, tmp_path / "a.tif")) as tif:
        assert (tif.pages.first.rowsperstrip, tif.is_bigtiff) == (16_777, False)


@pytest.mark.parametrize(("more", "large"), [(0, False), (1, True)])
def test_a_file_of_four_gigabytes_is_a_large_one(
    more: int, large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less 32 MiB for all that is no pixel: what counts in 32 bits ends there."""
    asked = []

    def writer(path: Path, bigtiff: bool) -> None:
        asked.append(bigtiff)
        raise KeyError

    monkeypatch.setattr(tifffile, "TiffWriter", writer)
    given = Pixels(np.broadcast_to(np.uint16(7), (2**15 - 2**8 + more, 2**16)), "L")
    with pytest.raises(KeyError):
        given.write(tmp_path / "a.tif", "")
    assert asked == [large]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 5), (5, 3), (4, 4), (1, 7, 4), (7, 1, 3), (3, 5, 3), (4, 3, 4), (3, 3, 3)]
)
def test_the_file_says_what_is_a_colour_whatever_the_shape(shape: tuple[int, ...], dtype: Any, tmp_path: Path) -> None:
    values = RNG.integers(0, 256, shape, np.uint8).astype(dtype) * dtype(1 if dtype == np.uint8 else 257)
    path = written(Pixels.of(values), tmp_path / "a.tif")
    with tifffile.TiffFile(path) as tif:
        [page] = tif.pages
        channels = shape[2] if len(shape) == 3 else 1
        assert (page.photometric, page.planarconfig) == (1 if channels == 1 else 2, 1)
        assert page.extrasamples == ((2,) if channels == 4 else ())
        assert (page.rowsperstrip, {*page.tags.keys()} & {270, 305, 34675, 42113}) == (shape[0], set())
    found = read_picture(path, channels={1: "grey", 3: "rgb", 4: "rgba"}[channels]).transpose(1, 2, 0)
    np.testing.assert_array_equal(np.rint(found * np.iinfo(dtype).max).reshape(shape), values)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 2), (4, 4), (5, 3)])
@pytest.mark.parametrize(("mode", "photometric", "extra"), [("LA", 1, (2,)), ("CMYK", 5, ()), ("RGBA", 2, (2,))])
def test_inks_and_opacity_are_told_apart(
    mode: str, photometric: int, extra: tuple[int, ...], size: tuple[int, int], tmp_path: Path
) -> None:
    values = RNG.integers(0, 256, (size[1], size[0], len(mode)), np.uint8)
    given = Pixels.of(Image.frombytes(mode, size, values.tobytes()))
    with tifffile.TiffFile(written(given, tmp_path / "a.tif")) as tif:
        [page] = tif.pages
        assert (page.photometric, page.planarconfig, page.extrasamples) == (photometric, 1, extra)
        np.testing.assert_array_equal(page.asarray().reshape(values.shape), values)


@pytest.mark.parametrize("nodata", [-9999.0, 0.1, 1e300])
def test_no_data_is_written_to_its_last_digit(nodata: float, tmp_path: Path) -> None:
    given = Pixels(np.zeros((3, 2), np.float32), "L", nodata=nodata)
    with tifffile.TiffFile(written(given, tmp_path / "a.tif")) as tif:
        assert float(tif.pages.first.tags[42113].value) == nodata


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((3, 4, 5), "(3, 4, 5); channels come last; allowed"), ((4, 5, 2), "(4, 5, 2); channels come last; allowed"),
        ((5, 4, 2), "(5, 4, 2); allowed"), ((2, 3, 4, 5), "(2, 3, 4, 5); allowed"),
        ((3, 4, 3, 3), "(3, 4, 3, 3); allowed"),
        ((7,), "(7,); allowed"), ((), "(); allowed"), ((0, 3), "(0, 3); allowed"), ((3, 0), "(3, 0); allowed"),
    ],
)  # fmt: skip
def test_a_shape_that_no_picture_has(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(PictureError) as refused:
        Pixels.of(np.zeros(shape, np.uint8))
    assert str(refused.value).startswith(f"an array of shape {said}: a file's name, a PIL image")


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("u1", "u1"), ("u2", "u2"), (">u2", "u2"), ("u4", "u4"), ("i2", "i2"), ("i4", "i4"), ("f2", "f4"),
        ("f4", "f4"), ("f8", "f4"), ("i1", "i2"), ("u8", "f4"), ("i8", "f4"), ("?", None), ("c8", None), ("S1", None),
    ],
)  # fmt: skip
def test_which_numbers_are_taken_and_as_which(given: str, stored: str | None) -> None:
    values = np.ones((2, 3, 1), given)
    if stored is None:
        with pytest.raises(PictureError, match=f"an array of {values.dtype}; allowed: "):
            Pixels.of(values)
        return
    found = Pixels.of(values)
    assert (found.dtype, found.space, found.has_alpha) == (np.dtype(stored), "L", False)
    [band] = found.bands()
    assert (band.dtype, band.tolist()) == (np.dtype(stored), [[1, 1, 1]] * 2)


MODES = {
    "1": ("L", False), "L": ("L", False), "LA": ("L", True), "P": ("RGB", False), "PA": ("RGB", True),
    "RGB": ("RGB", False), "RGBA": ("RGB", True), "RGBX": ("RGB", False), "CMYK": ("CMYK", False), "La": ("L", True),
    "YCbCr": ("RGB", False), "HSV": ("RGB", False), "F": ("L", False), "I": ("L", False), "I;16": ("L", False),
    "I;16B": ("L", False), "RGBa": ("RGB", True),
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_images_of_every_mode(mode: str) -> None:
    image = Image.new(mode, (3, 5))
    image.info["icc_profile"] = b"mine"
    found = Pixels.of(image)
    assert (found.space, found.has_alpha, found.profile) == (*MODES[mode], b"mine")
    assert found.values.shape[:2] == (5, 3)
    assert found.dtype == {"F": np.float32, "I": np.uint16}.get(mode[0], np.uint8)


@pytest.mark.parametrize(("mode", "colour"), [("L", 7), ("RGB", (7, 8, 9)), ("P", 0)])
def test_a_colour_that_is_said_to_be_transparent_is(mode: str, colour: Any) -> None:
    image = Image.new(mode, (2, 3), colour)
    image.putpixel((1, 2), 1 if mode != "RGB" else (1, 1, 1))
    image.info["transparency"] = colour
    found = Pixels.of(image)
    assert found.has_alpha
    assert found.values[..., -1].tolist() == [[0, 0], [0, 0], [0, 255]]


@pytest.mark.parametrize(("value", "fine"), [(-1, False), (0, True), (65_535, True), (65_536, False)])
def test_whole_numbers_are_of_16_bits(value: int, fine: bool) -> None:
    image = Image.fromarray(np.array([[9, 9], [9, value]], np.int32))
    if fine:
        assert Pixels.of(image).values.tolist() == [[9, 9], [9, value]]
        return
    with pytest.raises(
        PictureError, match=f"of mode I with values {min(9, value)} to {max(9, value)}; allowed: 0 to 6"
    ):
        Pixels.of(image)


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_an_image_without_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(PictureError, match=f"a PIL image of {size[0]} x {size[1]} pixels; allowed"):
        Pixels.of(Image.new("RGB", size))


# Labelled ------------------------------------------------------------------------------------------------------------

UTM = 'PROJCS["UTM zone 20S",GEOGCS["WGS 84"],AUTHORITY["EPSG","32720"]]'
WORLD = 'GEOGCS["WGS 84",AUTHORITY["EPSG","4326"]]'


def labelled(x: Any = (100.0, 110.0), y: Any = (57.0, 37.0, 17.0), crs: Any = None, **attributes: Any) -> Any:
    """As many rows as there are y, of 0, 1, then 2, 3."""
    coords = {name: (name, np.asarray(values)) for name, values in (("x", x), ("y", y)) if values is not None}
    rows = 3 if y is None else len(y)
    values = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    found = xarray.DataArray(values, dims=("y", "x"), coords=coords)
    if crs is not None:
        found = found.assign_coords(spatial_ref=((), 0, crs))
    return found.assign_attrs(attributes)


def keys(kind: int, key: int, code: int) -> tuple[int, ...]:
    return 1, 1, 0, 3, 1024, 0, 1, kind, 1025, 0, 1, 1, key, 0, 1, code


def test_coordinates_are_of_the_middle_of_pixels() -> None:
    found = Pixels.of(labelled())
    assert found.georef is not None
    assert (found.georef.transform, found.georef.keys) == ((10, 0, 95, 0, -20, 67), ())


@pytest.mark.parametrize("step", [0.25, 20.0])
def test_north_comes_first_where_coordinates_are_on_a_map(step: float) -> None:
    """Numbers of no map stay as they are."""
    upwards = (17.0, 17 + step, 17 + 2 * step)
    plain, mapped, down = (
        Pixels.of(labelled(y=y, crs=crs))
        for y, crs in ((upwards, None), (upwards, {"crs_wkt": UTM}), (upwards[::-1], {"crs_wkt": UTM}))
    )
    north = (10, 0, 95, 0, -step, 17 + 2.5 * step)
    for found, transform, values in (
        (plain, (10, 0, 95, 0, step, 17 - step / 2), [[0, 1], [2, 3], [4, 5]]),
        (mapped, north, [[4, 5], [2, 3], [0, 1]]),
        (down, north, [[0, 1], [2, 3], [4, 5]]),
    ):
        assert found.georef is not None
        assert (found.georef.transform, found.values.tolist()) == (transform, values)


@pytest.mark.parametrize(
    "coords",
    [
        dict(x=None), dict(y=None), dict(x=("a", "b")), dict(y=(57.0, np.nan, 17.0)), dict(y=(57.0, np.inf, 17.0)),
        dict(x=np.array(["2001", "2002"], "M8[Y]")),
    ],
)  # fmt: skip
def test_without_numbers_on_both_sides_it_lies_nowhere(coords: dict[str, Any]) -> None:
    assert Pixels.of(labelled(**coords)).georef is None


@pytest.mark.parametrize("side", ["x", "y"])
def test_of_one_row_or_column_no_step_is_known(side: str) -> None:
    assert Pixels.of(labelled().isel({side: slice(0, 1)})).georef is None
    assert Pixels.of(labelled().isel(y=slice(0, 2))).georef is not None


@pytest.mark.parametrize(("off", "fine"), [(0.0014, True), (0.0016, False), (-0.0014, True), (-0.0016, False)])
@pytest.mark.parametrize("step", [-1000.0, 1000.0])
def test_steps_are_even_to_a_thousandth(step: float, off: float, fine: bool) -> None:
    """The last of three is longer by so much, and two thirds of it off their mean."""
    array = labelled(y=(0.0, step, 2 * step, (3 + off) * step))
    if fine:
        assert Pixels.of(array).georef is not None
        return
    with pytest.raises(PictureError, match="coordinates y are not evenly spaced; allowed: those of a raster"):
        Pixels.of(array)


def test_coordinates_count_to_the_last_digit_of_64_bits() -> None:
    found = Pixels.of(labelled(x=(16_000_000.25, 16_000_000.5), y=(16_000_000.75, 16_000_000.5))).georef
    assert found is not None
    assert found.transform == (0.25, 0, 16_000_000.125, 0, -0.25, 16_000_000.875)


@pytest.mark.parametrize("names", [("y", "col"), ("row", "x"), ("row", "col")])
def test_both_sides_have_names_that_are_known(names: tuple[str, str]) -> None:
    with pytest.raises(PictureError) as refused:
        Pixels.of(xarray.DataArray(np.zeros((2, 3)), dims=names))
    assert str(refused.value) == (
        f"a DataArray of dimensions {names[0]}, {names[1]}; allowed: y and x, and perhaps bands"
    )


def test_coordinates_that_are_all_one_are_no_raster() -> None:
    with pytest.raises(PictureError, match="coordinates x are not evenly spaced"):
        Pixels.of(labelled(x=(5, 5)))


@pytest.mark.parametrize("said", ["7 10 1 50 2 -20", "7 10 1 50 2", "7 10 1 50 2 -20 3", "a b c d e f"])
def test_a_transform_in_gdals_order_counts_where_there_are_no_coordinates(said: str) -> None:
    meant = (10, 1, 7, 2, -20, 50) if said == "7 10 1 50 2 -20" else None
    found = Pixels.of(labelled(None, None, {"GeoTransform": said})).georef
    assert (found and found.transform) == meant
    for other in (dict(x=None), dict(y=None)):
        assert Pixels.of(labelled(**other, crs={"GeoTransform": said})).georef is None


@pytest.mark.parametrize(
    ("crs", "meant"),
    [
        (UTM, keys(1, 3072, 32720)), (WORLD, keys(2, 2048, 4326)), ("EPSG:4326", keys(2, 2048, 4326)),
        (" epsg:3857 ", keys(1, 3072, 3857)), (f"{UTM}  \n", keys(1, 3072, 32720)),
        ('GEOGCRS["WGS 84",ID["EPSG",4326]]', keys(2, 2048, 4326)),
        ('PROJCRS["UTM",BASEGEOGCRS["WGS 84",ID["EPSG",4326]],ID["EPSG",32720]]', keys(1, 3072, 32720)),
    ],
)  # fmt: skip
def test_a_code_of_epsg_is_written_as_geotiff_has_it(crs: str, meant: tuple[int, ...]) -> None:
    for how in (dict(crs={"crs_wkt": crs}), dict(crs={"spatial_ref": crs})):
        found = Pixels.of(labelled(**how)).georef
        assert found is not None
        assert found.keys == meant


def test_where_the_words_of_a_crs_are_looked_for() -> None:
    """In the coordinate that is named, else in rioxarray's; else in the array's own word, whatever its type."""
    array = labelled(crs={"crs_wkt": UTM, "spatial_ref": "EPSG:4326"}).assign_coords(other=((), 0, {"crs_wkt": WORLD}))
    assert Pixels.of(array).georef.keys == keys(1, 3072, 32720)
    assert Pixels.of(array.assign_attrs(grid_mapping="other")).georef.keys == keys(2, 2048, 4326)
    array.encoding["grid_mapping"] = "other"
    assert Pixels.of(array.assign_attrs(grid_mapping="spatial_ref")).georef.keys == keys(2, 2048, 4326)
    assert Pixels.of(labelled().assign_attrs(crs="EPSG:3857")).georef.keys == keys(1, 3072, 3857)


def test_a_crs_that_nobody_knows_is_named_shortly() -> None:
    with pytest.raises(PictureError) as refused:
        Pixels.of(labelled(crs={"crs_wkt": "x" * 100}))
    assert str(refused.value) == f"a DataArray in {'x' * 60}, which GeoTIFF cannot say without the extra `geo`"


@pytest.mark.parametrize(
    ("attributes", "meant"), [({}, None), ({"nodata": -1}, -1.0), ({"_FillValue": 0, "nodata": -1}, 0.0)]
)
def test_no_data_is_what_the_array_says(attributes: dict[str, Any], meant: float | None) -> None:
    assert Pixels.of(labelled(**attributes)).nodata == meant
    whole = labelled(**attributes).astype(np.uint16)
    whole.encoding["_FillValue"] = 5  # nothing was masked: a whole number cannot be
    assert Pixels.of(whole).nodata == meant


@pytest.mark.parametrize("bands", [3, 4])
@pytest.mark.parametrize("names", [("y", "x"), ("lat", "lon"), ("Latitude", "LONGITUDE"), ("northing", "easting")])
def test_sides_by_any_of_their_names(names: tuple[str, str], bands: int) -> None:
    values = RNG.integers(0, 256, (1, 2, 4, bands), np.uint8)
    y, x = names
    found = Pixels.of(xarray.DataArray(values, dims=("time", x, y, "c")))
    np.testing.assert_array_equal(found.values, values[0].transpose(1, 0, 2))


@pytest.mark.parametrize(
    ("sizes", "first"), [(dict(y=4, x=2, c=2), "c"), (dict(t=3, y=4, x=2, c=3), "t"), (dict(c=5, y=4, x=2), "c")]
)
def test_bands_that_are_too_many_are_told_by_their_names(sizes: dict[str, int], first: str) -> None:
    shape = " x ".join(f"{name} {size}" for name, size in sizes.items())
    with pytest.raises(PictureError) as refused:
        Pixels.of(xarray.DataArray(np.zeros(tuple(sizes.values())), dims=tuple(sizes)))
    assert str(refused.value) == (
        f"a DataArray of {shape}; allowed: 1, 3 or 4 bands, as array.isel({first}=[0, 1, 2]) has"
    )
