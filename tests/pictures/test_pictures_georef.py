"""A poster lies where its content lay: same CRS, the transform scaled exactly, seen by rasterio."""

import codecs
import os
import re

import numpy as np
import pytest
import tifffile
from PIL import Image

from tiler.errors import OutputError
from tiler.pictures import Georef, georef, open_picture, read_picture, write_picture

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
NOISE = np.random.default_rng(5).random((3, 90, 120)).astype(np.float32)
TRANSFORM = (30.0, 0.0, 500_000.0, 0.0, -30.0, 4_600_000.0)
ROTATED = (20.0, 5.0, 1000.0, 4.0, -21.0, 2000.0)


def geotiff(path, transform, crs="EPSG:32633", **options):
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "height": 90, "width": 120, "count": 3, "dtype": "uint8", "crs": crs}
    with rasterio.open(
        path, "w", transform=rasterio.Affine(*transform), photometric="RGB", **profile, **options
    ) as file:
        file.write((NOISE * 255).astype(np.uint8))


@pytest.mark.parametrize("compression", ["deflate", "zstd", "lzw", "none"])
@pytest.mark.parametrize("transform", [TRANSFORM, ROTATED])
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "+proj=laea +lat_0=52 +lon_0=10 +ellps=GRS80 +units=m"])
def test_geotiff_to_geotiff(tmp_path, transform, crs, compression):
    rasterio = pytest.importorskip("rasterio")
    geotiff(tmp_path / "in.tif", transform, crs)
    picture = open_picture(tmp_path / "in.tif")
    assert picture.georef.transform == pytest.approx(transform, rel=1e-12)
    georef = picture.georef.scaled((90, 120), (271, 700))
    poster = np.concatenate(list(picture.bands(271, 700, 50)), 1)
    write_picture(
        tmp_path / "out.tif",
        271,
        700,
        [poster],
        georef=georef,
        compression=compression,
        bits=16,
        dpi=300,
        metadata={"a": "b"},
    )
    with rasterio.open(tmp_path / "in.tif") as before, rasterio.open(tmp_path / "out.tif") as after:
        assert after.crs == before.crs
        assert tuple(after.bounds) == pytest.approx(tuple(before.bounds), rel=1e-9)
        assert after.transform.almost_equals(before.transform @ rasterio.Affine.scale(120 / 700, 90 / 271), 1e-9)
        np.testing.assert_array_equal(after.read(), np.rint(poster * 65535))
        assert after.overviews(1) == [2, 4] or after.overviews(1) == [2]
    with tifffile.TiffFile(tmp_path / "out.tif") as tif:
        page = tif.pages.first
        assert page.iccprofile
        assert page.description == '{"a": "b"}'
        assert page.get_resolution(unit=2)[0] == 300
    assert sorted(os.listdir(tmp_path)) == ["in.tif", "out.tif"]
    assert open_picture(tmp_path / "out.tif").georef == georef


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_cloud_optimized(tmp_path, compression):
    rasterio = pytest.importorskip("rasterio")
    geotiff(tmp_path / "in.tif", TRANSFORM)
    georef = open_picture(tmp_path / "in.tif").georef.scaled((90, 120), (900, 1200))
    poster = np.tile(NOISE, (1, 10, 10))
    write_picture(tmp_path / "out.tif", 900, 1200, [poster], georef=georef, cog=True, compression=compression, dpi=300)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.compression.name == (compression or "deflate")
        assert tuple(file.transform)[:6] == pytest.approx((3, 0, 500_000, 0, -3, 4_600_000))
        assert file.crs.to_epsg() == 32633
        assert file.overviews(1) == [2, 4]
        np.testing.assert_array_equal(file.read(), np.rint(poster * 255))
        half = np.rint(poster * 255).reshape(3, 450, 2, 600, 2).mean((2, 4))
        assert np.abs(file.read(out_shape=(3, 450, 600)) - half).max() <= 0.5
    with tifffile.TiffFile(tmp_path / "out.tif") as tif:
        assert tif.pages.first.iccprofile
        assert tif.pages.first.get_resolution(unit=2)[0] == 300
    assert sorted(os.listdir(tmp_path)) == ["in.tif", "out.tif"]


def test_cloud_optimized_without_rasterio(tmp_path, monkeypatch):
    monkeypatch.setattr("tiler.pictures.outputs.available", lambda: False)
    with pytest.raises(OutputError, match="needs the package rasterio"):
        write_picture(tmp_path / "out.tif", 90, 120, [NOISE], cog=True)
    with pytest.raises(OutputError, match=r"is a \.tif"):
        write_picture(tmp_path / "out.png", 90, 120, [NOISE], cog=True)


def test_pixel_is_point(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    geotiff(tmp_path / "in.tif", TRANSFORM)
    with rasterio.open(tmp_path / "in.tif", "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    with rasterio.open(tmp_path / "in.tif") as file:
        assert file.tags()["AREA_OR_POINT"] == "Point"
        expected = tuple(file.transform)[:6]
    georef = open_picture(tmp_path / "in.tif").georef
    assert georef.transform == pytest.approx(expected, rel=1e-12)
    write_picture(tmp_path / "out.tif", 90, 120, [NOISE], georef=georef)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert tuple(file.transform)[:6] == pytest.approx(expected, rel=1e-12)
        assert file.crs.to_epsg() == 32633


@pytest.mark.parametrize(
    ("name", "world"), [("a.png", "a.pgw"), ("a.jpg", "a.jgw"), ("a.png", "a.WLD"), ("a.tif", "a.tfw")]
)
def test_world_files(tmp_path, name, world):
    rasterio = pytest.importorskip("rasterio")
    Image.fromarray((NOISE * 255).astype(np.uint8).transpose(1, 2, 0)).save(tmp_path / name)
    a, b, c, d, e, f = ROTATED
    lines = (a, d, b, e, c + (a + b) / 2, f + (d + e) / 2)
    (tmp_path / world).write_text("\r\n".join(map(str, lines)))
    (tmp_path / "a.prj").write_text('LOCAL_CS["somewhere"]')
    georef = open_picture(tmp_path / name).georef
    assert georef.transform == pytest.approx(ROTATED)
    assert georef.prj == 'LOCAL_CS["somewhere"]'
    georef = georef.scaled((90, 120), (45, 40))
    (tmp_path / "out").mkdir()
    write_picture(tmp_path / "out" / name, 45, 40, [NOISE[:, :45, :40]], georef=georef)
    with rasterio.open(tmp_path / "out" / name) as file:
        assert tuple(file.transform)[:6] == pytest.approx((60, 10, 1000, 12, -42, 2000))
        assert file.crs == rasterio.crs.CRS.from_wkt('LOCAL_CS["somewhere"]')
    if name != "a.tif":
        assert (tmp_path / "out" / "a.prj").read_text() == 'LOCAL_CS["somewhere"]'
    beside = {"a.png": {"a.pgw", "a.prj"}, "a.jpg": {"a.jgw", "a.prj"}, "a.tif": set()}[name]
    assert set(os.listdir(tmp_path / "out")) == {name} | beside | {f"{name}.aux.xml" for _ in beside}


@pytest.mark.parametrize("text", ["", "1 2 3 4 5", "a b c d e f", "1 2 3 4 5 nan", "\0\0\0", "EPSG:2154 1 2 3 4 5 6"])
def test_broken_world_file_is_said_and_stops_nothing(tmp_path, text):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.pgw").write_text(text)
    picture = open_picture(tmp_path / "a.png")
    assert picture.georef is None
    [note] = picture.notes
    assert re.search(r"a\.pgw.*six numbers", note)


@pytest.mark.parametrize(
    "data",
    [
        b"10.0\n0.0\n0.0\n-10.0\n500000.0\n5000000.0\n",
        codecs.BOM_UTF8 + b"10\n0\n0\n-10\n500000\n5000000",
        "10\n0\n0\n-10\n500000\n5000000".encode("utf-16"),
        codecs.BOM_UTF16_BE + "10\n0\n0\n-10\n500000\n5000000".encode("utf-16-be"),
        b"10.0\r\n0.0\r\n0.0\r\n-10.0\r\n500000.0\r\n5000000.0\r\nEPSG:2154\r\n",
        b"10,0\n0,0\n0,0\n-10,0\n500000,0\n5000000,0\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_world_files_and_crs_in_any_encoding(tmp_path, data, encoding):
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.pgw").write_bytes(data)
    (tmp_path / "a.prj").write_bytes('PROJCS["R\u00e9seau"]'.encode(encoding))
    picture = open_picture(tmp_path / "a.png")
    assert picture.georef.transform == (10.0, 0.0, 499995.0, 0.0, -10.0, 5000005.0)
    assert picture.georef.prj == 'PROJCS["R\u00e9seau"]'
    assert picture.notes == ()


def test_broken_tags_do_not_spoil_the_picture(tmp_path):
    tags = [(33550, "d", 1, (3.0,), True), (33922, "d", 2, (1.0, 2.0), True), (34735, "H", 3, (1, 1, 0), True)]
    pixels = (NOISE * 255).astype(np.uint8).transpose(1, 2, 0)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=tags)
    assert open_picture(tmp_path / "a.tif").georef is None
    assert read_picture(tmp_path / "a.tif").shape == (3, 90, 120)


def test_a_part_of_a_picture_lies_where_it_lay(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    geotiff(tmp_path / "in.tif", TRANSFORM)
    part = open_picture(tmp_path / "in.tif").cropped((10, 20, 70, 110))
    with rasterio.open(tmp_path / "in.tif") as file:
        expected = file.window_transform(rasterio.windows.Window(20, 10, 90, 60))
    assert part.georef.transform == pytest.approx(tuple(expected)[:6])


def test_cropped():
    georef = Georef(ROTATED).cropped(10, 4)
    assert georef.transform == (20.0, 5.0, 1000 + 4 * 20 + 10 * 5, 4.0, -21.0, 2000 + 4 * 4 - 21 * 10)


def test_a_prj_file_that_cannot_be_read_is_said(tmp_path, monkeypatch):
    Image.new("RGB", (4, 6)).save(tmp_path / "a.png")
    (tmp_path / "a.pgw").write_text("10\n0\n0\n-10\n100\n200\n")
    (tmp_path / "a.prj").write_text("mine")
    text = georef._text

    def no_prj(path):
        if path.suffix == ".prj":
            raise PermissionError(13, "Permission denied")
        return text(path)

    monkeypatch.setattr(georef, "_text", no_prj)
    picture = open_picture(tmp_path / "a.png")
    assert picture.notes == (f"{tmp_path / 'a.prj'}: cannot be read (Permission denied), and is left out",)
    assert picture.georef == Georef((10.0, 0.0, 95.0, 0.0, -10.0, 205.0))


KEYS = (1, 1, 0, 1, 1025, 0, 1, 1)
UP = (10.0, 0.0, 5.0, 0.0, -20.0, 7.0)
SCALE_AND_POINT = [(33550, "d", 3, (10.0, 20.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 5.0, 7.0, 0.0), True)]
TURNED = [(10.0, b, 5.0, d, -20.0, 7.0) for b, d in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0))]


def matrix(a, b, c, d, e, f):
    return [(34264, "d", 16, (a, b, 0.0, c, d, e, 0.0, f, *[0.0] * 7, 1.0), True)]


@pytest.mark.parametrize(
    ("transform", "tags"),
    [
        (UP, SCALE_AND_POINT),
        (
            (0.25, 0.0, 5.0, 0.0, -0.5, 7.0),
            [(33550, "d", 3, (0.25, 0.5, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 5.0, 7.0, 0.0), True)],
        ),
        *((one, matrix(*one)) for one in (*TURNED, (10.0, 0, 5.0, 0, 20.0, 7.0), (-10.0, *UP[1:]))),
    ],
)
def test_the_tags_of_a_place(transform, tags):
    """Scale and one point where north is up, as every reader knows it; else the matrix."""
    assert Georef(transform).tags() == tags
    more = [(34735, "H", 8, KEYS, True), (34736, "d", 2, (1.5, 2.5), True), (34737, "s", 3, "WGS", True)]
    assert Georef(transform, KEYS, (1.5, 2.5), "WGS").tags() == tags + more
    assert Georef(transform, KEYS).tags() == tags + more[:1]


@pytest.mark.parametrize("size", [(72, 96), (128, 128), (5, 3), (129, 40), (300, 40)])
def test_a_small_cog_is_read_again(tmp_path, size):
    """libvips refuses blocks much larger than a picture."""
    pixels = np.random.default_rng(1).random((3, *size)).astype(np.float32)
    write_picture(tmp_path / "a.tif", *size, [pixels], cog=True)
    assert np.abs(read_picture(tmp_path / "a.tif") - pixels).max() < 1 / 255
