"""Files beside a poster: GDAL finds the CRS by them, and those of other pictures are not touched."""

import os
from pathlib import Path

import numpy as np
import pytest

from tiler.errors import OutputError
from tiler.pictures import Georef, check_sidecars, crs, metres_per_pixel, open_picture, write_picture
from tiler.pictures.sidecars import sidecars

rasterio = pytest.importorskip("rasterio")
GREY = np.full((3, 20, 30), 0.5, np.float32)
PLAIN = Georef((10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))


def utm() -> Georef:
    """UTM zone 33 N as GeoTIFF keys."""
    wkt = rasterio.crs.CRS.from_epsg(32633).to_wkt()
    return crs.with_keys(Georef(PLAIN.transform, prj=wkt))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_gdal_finds_crs_and_place_of_a_poster(tmp_path, name):
    write_picture(tmp_path / name, 20, 30, [GREY], georef=utm())
    world = {"a.png": "a.pgw", "a.jpg": "a.jgw", "a.webp": "a.wpw"}[name]
    assert sorted(os.listdir(tmp_path)) == sorted([name, world, "a.prj", f"{name}.aux.xml"])
    with rasterio.open(tmp_path / name) as file:
        assert file.crs.to_epsg() == 32633
        assert tuple(file.transform)[:6] == PLAIN.transform
    assert metres_per_pixel(open_picture(tmp_path / name)) == pytest.approx(10, rel=2e-3)


def test_a_tiff_takes_the_crs_of_a_prj_file_in(tmp_path):
    prj = rasterio.crs.CRS.from_epsg(32633).to_wkt(version="WKT1_ESRI")
    write_picture(tmp_path / "a.tif", 20, 30, [GREY], georef=Georef(PLAIN.transform, prj=prj))
    assert os.listdir(tmp_path) == ["a.tif"]
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.crs.to_epsg() == 32633


def test_without_rasterio_the_epsg_code_is_left(monkeypatch):
    georef = utm()
    monkeypatch.setattr(crs, "find_spec", lambda name: None)
    assert crs.texts(georef) == (None, "EPSG:32633")
    assert crs.texts(Georef(PLAIN.transform, prj="mine")) == ("mine", "mine")
    assert crs.texts(PLAIN) == (None, None)
    head, elsewhere = (1, 1, 0, 2), Georef(PLAIN.transform, (1, 1, 0, 1, 3072, 34737, 7, 4326))
    assert crs.texts(elsewhere) == (None, None)  # the number is a place in a text
    for keys, said in (((3072, 0, 1, 32767, 2048, 0, 1, 4326), None), ((2048, 0, 1, 4326, 1024, 0, 1, 2), "EPSG:4326")):
        assert crs.texts(Georef(PLAIN.transform, head + keys)) == (None, said)


@pytest.mark.parametrize("foreign", ["a.pgw", "a.prj", "a.png.aux.xml"])
def test_what_others_wrote_is_refused_before_anything_is_written(tmp_path, foreign):
    (tmp_path / foreign).write_text("<PAMDataset><Metadata/></PAMDataset>")
    for call in (
        lambda: check_sidecars(tmp_path / "a.png", utm()),
        lambda: write_picture(tmp_path / "a.png", 20, 30, [GREY], georef=utm()),
    ):
        with pytest.raises(OutputError, match=foreign.replace(".", r"\.")) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == [foreign]
    check_sidecars(tmp_path / "a.png", None)


@pytest.mark.parametrize("foreign", ["a.pgw", "a.prj", "a.png.aux.xml"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "large"])
def test_what_is_no_sidecar_is_not_opened(tmp_path, foreign, kind):
    """Opening a pipe would wait for ever."""
    if kind == "large":
        (tmp_path / foreign).touch()
        os.truncate(tmp_path / foreign, 2**20 + 1)
    else:
        (os.mkdir if kind == "folder" else os.mkfifo)(tmp_path / foreign)
    with pytest.raises(OutputError, match=foreign.replace(".", r"\.")) as caught:
        check_sidecars(tmp_path / "a.png", utm())
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == [foreign]


def test_ours_are_replaced_and_removed_and_changed_ones_are_not_ours(tmp_path):
    write_picture(tmp_path / "a.png", 20, 30, [GREY], georef=utm())
    write_picture(tmp_path / "a.png", 20, 30, [GREY], georef=utm().scaled((20, 30), (10, 15)))
    assert (tmp_path / "a.pgw").read_text().startswith("20.0\n")
    write_picture(tmp_path / "a.png", 20, 30, [GREY])
    assert os.listdir(tmp_path) == ["a.png"]
    write_picture(tmp_path / "a.png", 20, 30, [GREY], georef=utm())
    (tmp_path / "a.prj").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.prj"):
        check_sidecars(tmp_path / "a.png", utm())
    write_picture(tmp_path / "a.png", 20, 30, [GREY])
    assert sorted(os.listdir(tmp_path)) == ["a.png", "a.prj"]


def test_a_sidecar_that_says_the_same_is_nobodys_loss(tmp_path):
    path = Path(tmp_path / "a.png")
    for file, text in sidecars(path, utm()).items():
        if file.suffix != ".xml":
            file.write_text(text)
    check_sidecars(path, utm())


def test_names_and_crs_that_xml_must_not_take_as_its_own(tmp_path):
    georef = Georef(PLAIN.transform, prj='LOCAL_CS["<b>&\'"]')
    write_picture(tmp_path / "a&<b>.png", 20, 30, [GREY], georef=georef)
    check_sidecars(tmp_path / "a&<b>.png", georef.scaled((2, 3), (4, 6)))
