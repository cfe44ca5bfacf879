"""Files beside a poster: GDAL finds the CRS by them, and those of other pictures are not touched."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

import tiler.pictures.sidecars
from tiler.errors import OutputError
from tiler.pictures import Georef, check_sidecars, crs, metres_per_pixel, open_picture, write_picture
from tiler.pictures.sidecars import sidecars, write_sidecars

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


@pytest.mark.parametrize(
    "suffix", [".tif", ".TIF", ".tiff", ".TIFF", ".dzi", ".DZI", ".zarr", ".ZARR", ".PNG", ".jpeg"]
)
def test_what_holds_its_place_itself_has_nothing_beside_it(suffix):
    """But for a CRS that only a .prj file can say, beside a TIFF."""
    path, own = Path(f"a{suffix}"), Georef(PLAIN.transform, prj="mine")
    kind = suffix.lower()
    place = {".png": {"a.pgw"}, ".jpeg": {"a.jgw"}}.get(kind, set())
    beside = {"a.prj", f"a{suffix}.aux.xml"}
    assert {file.name for file in sidecars(path, None)} == set()
    assert {file.name for file in sidecars(path, PLAIN)} == (place | beside - {"a.prj"} if place else set())
    assert {file.name for file in sidecars(path, utm())} == (place | beside if place else set())
    found = sidecars(path, own)
    assert {file.name for file in found} == (set() if kind in (".dzi", ".zarr") else place | beside)
    if found:
        assert ("<GeoTransform>" in found[Path(f"a{suffix}.aux.xml")]) == bool(place)


@pytest.mark.parametrize("foreign", ["a.pgw", "a.prj", "a.png.aux.xml"])
def test_what_came_while_a_poster_was_written_is_not_replaced(tmp_path, foreign):
    (tmp_path / foreign).write_text("mine")
    with pytest.raises(OutputError, match=f"{foreign} beside it would be replaced, which tiler did not write"):
        write_sidecars(tmp_path / "a.png", utm())
    assert (os.listdir(tmp_path), (tmp_path / foreign).read_text()) == ([foreign], "mine")


def test_what_another_put_beside_ours_stays(tmp_path):
    write_sidecars(tmp_path / "a.png", PLAIN)
    (tmp_path / "a.prj").write_text("mine")
    write_sidecars(tmp_path / "a.png", None)
    assert os.listdir(tmp_path) == ["a.prj"]


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_what_a_process_that_ended_in_between_has_written_is_known_as_ours(tmp_path, monkeypatch, done):
    left, new_file = iter([True] * done), tiler.pictures.sidecars.new_file
    monkeypatch.setattr(
        "tiler.pictures.sidecars.new_file", lambda file: new_file(file) if next(left, False) else pytest.fail("ended")
    )
    if done < 3:
        with pytest.raises(pytest.fail.Exception, match="ended"):
            write_sidecars(tmp_path / "a.png", utm())
    else:
        write_sidecars(tmp_path / "a.png", utm())
    assert len(os.listdir(tmp_path)) == done
    check_sidecars(tmp_path / "a.png", utm().scaled((20, 30), (10, 15)))


TURNED = Georef((2.0, 0.5, 100.0, 0.25, -2.5, 50.0))


@pytest.mark.parametrize("prj", [None, "mine <b> & more"])
def test_what_is_written_beside_a_picture_to_its_last_letter(prj):
    """GDAL has the corner first; a world file has the middle of the first pixel, and columns before rows."""
    path, georef = Path("b/a.PNG"), Georef(TURNED.transform, prj=prj)
    found = {str(file): text for file, text in sidecars(path, georef).items()}
    world = "\n".join(map(str, (2.0, 0.25, 0.5, -2.5, 101.25, 48.875))) + "\n"
    assert found["b/a.pgw"] == world
    listed = f'<MDI key=".pgw">{hashlib.sha256(world.encode()).hexdigest()}</MDI>'
    srs = ""
    if prj:
        assert found["b/a.prj"] == prj
        listed += f'<MDI key=".prj">{hashlib.sha256(prj.encode()).hexdigest()}</MDI>'
        srs = "<SRS>mine &lt;b&gt; &amp; more</SRS>"
    assert found["b/a.PNG.aux.xml"] == (
        f"<PAMDataset>{srs}<GeoTransform>100.0, 2.0, 0.5, 50.0, 0.25, -2.5</GeoTransform>"
        f'<Metadata domain="tiler">{listed}</Metadata></PAMDataset>\n'
    )
    assert len(found) == (3 if prj else 2)


@pytest.mark.parametrize(
    ("size", "said"),
    [(2**20, "would be replaced, which tiler did not write"), (2**20 + 1, r"\(is there and is no such file\)")],
)
def test_a_sidecar_has_a_million_bytes_at_most(tmp_path, size, said):
    (tmp_path / "a.pgw").touch()
    os.truncate(tmp_path / "a.pgw", size)
    with pytest.raises(OutputError, match=rf"a\.png: a\.pgw beside it .*{said}"):
        check_sidecars(tmp_path / "a.png", TURNED)


def test_sidecars_lie_beside_what_a_link_leads_to(tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    (tmp_path / "here" / "a.png").symlink_to(tmp_path / "there" / "b.png")
    write_sidecars(tmp_path / "here" / "a.png", TURNED)
    assert (os.listdir(tmp_path / "here"), sorted(os.listdir(tmp_path / "there"))) == (
        ["a.png"],
        ["b.pgw", "b.png.aux.xml"],
    )
    (tmp_path / "there" / "b.pgw").write_text("mine")
    with pytest.raises(OutputError, match=r"b\.pgw beside it"):
        check_sidecars(tmp_path / "here" / "a.png", TURNED)


@pytest.mark.parametrize(
    "text", ["", "<a", "<PAMDataset/>", '<PAMDataset><Metadata domain="other"/></PAMDataset>', "\0"]
)
def test_a_list_that_is_none_makes_nothing_ours(tmp_path, text):
    (tmp_path / "a.png.aux.xml").write_text(text)
    (tmp_path / "a.pgw").write_text("mine")
    write_sidecars(tmp_path / "a.png", None)
    assert (tmp_path / "a.pgw").read_text() == "mine"
    assert (tmp_path / "a.png.aux.xml").read_text() == text


def test_a_crs_is_named_by_keys_or_by_words():
    assert [crs.names_crs(one) for one in (PLAIN, utm(), Georef(PLAIN.transform, prj=""))] == [False, True, True]
    with pytest.raises(ValueError, match="no coordinate reference system is named"):
        crs.crs_of(PLAIN)
    with pytest.raises(ValueError, match="no coordinate reference system is named"):
        crs.crs_of(Georef(PLAIN.transform, keys=(1, 1, 0, 0)))
    assert crs.crs_of(utm()).to_epsg() == 32633


def test_keys_take_the_place_of_words_where_they_can_say_them():
    """And the place stays what it was."""
    wkt = rasterio.crs.CRS.from_epsg(32633).to_wkt()
    found = crs.with_keys(Georef(TURNED.transform, prj=wkt))
    assert (found.transform, found.prj, bool(found.keys)) == (TURNED.transform, None, True)
    turned = "+proj=ob_tran +o_proj=longlat +o_lon_p=-162 +o_lat_p=39.25 +lon_0=180 +to_meter=0.0174532925199433"
    for words in ("no words", rasterio.crs.CRS.from_proj4(turned).to_wkt()):
        assert crs.with_keys(Georef(TURNED.transform, prj=words)) == Georef(TURNED.transform, prj=words)
    assert (crs.with_keys(TURNED), crs.with_keys(found)) == (TURNED, found)
