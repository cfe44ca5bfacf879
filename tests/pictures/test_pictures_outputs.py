"""What each format holds, to its last pixel, and what is written where nothing is asked for."""

from __future__ import annotations

import io
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tiler.errors import OutputError
from tiler.pictures import Georef, check_output, check_xyz, outputs, replaced_by, tiff, viewer, write_picture, write_xyz
from tiler.pictures.outputs import check_format, typical_bytes
from tiler.pictures.tiff import needs_big, waiting_bytes, write_tiff
from tiler.pictures.write import spare_bytes

SIZES = {"png": 1_000_000, "tif": 1_000_000, "tiff": 1_000_000, "jpg": 65_500, "jpeg": 65_500, "webp": 16_383,
         "dzi": 1_000_000, "zarr": 1_000_000}  # fmt: skip
NAMES = {"tif": "TIFF", "tiff": "TIFF", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WebP", "dzi": "DeepZoom",
         "zarr": "OME-Zarr", "png": "PNG"}  # fmt: skip
NOISE = np.random.default_rng(6).random((4, 31, 47)).astype(np.float32)


@pytest.mark.parametrize("suffix", SIZES)
def test_a_side_is_as_long_as_a_format_holds(tmp_path: Path, suffix: str) -> None:
    """Larger ones are named where there are any."""
    path, most = tmp_path / f"a.{suffix.upper()}", SIZES[suffix]
    for size in ((most, 7), (7, most), (most, None), (None, most), (None, None), (1, 1)):
        assert check_output(path, *size).name == NAMES[suffix]
    more = "" if most == 1_000_000 else "; .tif, .png, .dzi and .zarr hold larger ones"
    for height, width in ((most + 1, 7), (7, most + 1), (most + 1, None), (None, most + 1)):
        said = f"{width} x {height} is too large: {NAMES[suffix]} holds {most} pixels a side{more}"
        with pytest.raises(OutputError, match=f"{re.escape(said)}$"):
            check_output(path, height, width)
    for height, width in ((0, 7), (7, 0), (None, 0), (0, None), (-1, 7)):
        with pytest.raises(OutputError, match=f"{width} x {height} is no size; at least 1 x 1 is needed"):
            check_output(path, height, width)


@pytest.mark.parametrize("suffix", SIZES)
def test_what_a_format_holds_of_a_pixel(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    deep, alpha = suffix in ("png", "tif", "tiff", "zarr"), suffix not in ("jpg", "jpeg")
    for bits, fine in ((8, True), (16, deep), (7, False), (9, False), (15, False), (17, False), (32, False)):
        if fine:
            check_output(path, bits=bits)
            continue
        said = f"{bits} bits; {NAMES[suffix]} holds {'8 or 16' if deep else '8'} "
        with pytest.raises(OutputError, match=said):
            check_output(path, bits=bits)
    for channels, fine in ((3, True), (4, alpha), (2, False), (5, False), (1, False)):
        if fine:
            check_output(path, channels=channels)
            continue
        said = "JPEG holds no transparency" if channels == 4 else rf"{channels} channels; 3 \(RGB\) or 4 \(RGBA\) are"
        with pytest.raises(OutputError, match=said):
            check_output(path, channels=channels)


@pytest.mark.parametrize("suffix", SIZES)
@pytest.mark.parametrize("there", [True, False])
def test_a_cog_is_a_tiff_and_needs_rasterio(
    tmp_path: Path, suffix: str, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "available", lambda: there)
    check_output(tmp_path / f"a.{suffix}")
    if there and suffix in ("tif", "tiff"):
        check_output(tmp_path / f"a.{suffix}", cog=True)
        return
    said = "needs the package rasterio" if suffix in ("tif", "tiff") else "is a .tif file"
    with pytest.raises(OutputError, match=said):
        check_output(tmp_path / f"a.{suffix}", cog=True)


def test_an_output_is_a_file_or_a_file_and_a_folder() -> None:
    assert replaced_by("b/a.png") == [Path("b/a.png")]
    assert replaced_by("b/a") == [Path("b/a")]
    assert replaced_by(Path("b/a.DZI")) == [Path("b/a.DZI"), Path("b/a_files")]


@pytest.mark.parametrize(("spare", "said"), [(0, "holds the state of a job"), (1, "something else")])
def test_a_group_s_attributes_are_read_up_to_4_mib(tmp_path: Path, spare: int, said: str) -> None:
    (tmp_path / "a.zarr").mkdir()
    text = '{"attributes": {"tiler": {}}}'.ljust(2**22 + spare)
    (tmp_path / "a.zarr" / "zarr.json").write_text(text)
    with pytest.raises(OutputError, match=said):
        check_output(tmp_path / "a.zarr")


def test_places_where_nothing_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match=r"a\.png: cannot be written \(File name too long\)"):
        check_output(tmp_path / ("x" * 300 + "a.png"))
    (tmp_path / "file").touch()
    for name, said in (("file/b/a.png", "file/b does not exist"), ("file/a.png", "file is not a folder")):
        with pytest.raises(OutputError, match=said):
            check_output(tmp_path / name)
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "a.png")
    check_output(tmp_path / "b.png")
    with pytest.raises(OutputError, match=r"a\.png: another file system begins there, so it cannot be replaced"):
        check_output(tmp_path / "a.png")
    for name in (Path(), Path(".."), tmp_path / ".."):
        with pytest.raises(OutputError, match="the name of a folder for map tiles is needed"):
            check_xyz(name)


@pytest.mark.parametrize(("user", "fine"), [(0, True), (500, True), (600, True), (700, False)])
@pytest.mark.parametrize("sticky", [True, False])
def test_who_may_replace_a_file_where_all_may_write(
    user: int, fine: bool, sticky: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner, 600, the folder's, 500, and root."""
    system = SimpleNamespace(
        stat=lambda path: SimpleNamespace(st_uid=500, st_mode=stat.S_IFDIR | 0o777 | stat.S_ISVTX * sticky),
        lstat=lambda path: SimpleNamespace(st_uid=600, st_mode=stat.S_IFREG | stat.S_ISVTX * (not sticky)),
        geteuid=lambda: user,
    )
    monkeypatch.setattr(outputs, "os", system)
    if fine or not sticky:
        outputs._check_sticky(Path("b/a.png"))
        return
    with pytest.raises(PermissionError, match=r"a\.png belongs to another user"):
        outputs._check_sticky(Path("b/a.png"))


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("a.png", {}, 31_200), ("a.TIF", {}, 48_000), ("a.jpeg", {}, 8_400), ("a.webp", {}, 5_400),
        ("a.dzi", {}, 15_000), ("a", {}, 15_000), ("a.zarr", {}, 54_000), ("a.png", dict(channels=4), 41_600),
        ("a.png", dict(bits=16), 91_200), ("a.zarr", dict(bits=16, channels=4), 152_000),
        ("a.tif", dict(compression="none"), 80_000), ("a.tif", dict(compression="none", bits=16), 160_000),
        ("a.tif", dict(compression="lzw"), 48_000),
    ],
)  # fmt: skip
def test_how_large_a_poster_of_100_by_200_comes_out(name: str, more: dict[str, Any], expected: int) -> None:
    assert typical_bytes(name, 100, 200, **more) == expected


@pytest.mark.parametrize(
    ("height", "width", "each", "expected"),
    [(600, 701, 3, 393_750), (701, 600, 3, 394_650), (701, 600, 8, 1_052_400), (256, 255, 3, 0), (257, 3, 2, 258),
     (3, 257, 2, 512)],
)  # fmt: skip
def test_what_coarser_pages_wait_in(height: int, width: int, each: int, expected: int) -> None:
    """300 x 350 and 150 x 175, or 351 x 300 (a row is left over) and 175 x 150."""
    assert waiting_bytes(height, width, each) == expected


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("a.png", dict(cog=True), 0), ("a.zarr", {}, 0), ("a.tif", {}, 393_750), ("a.tiff", dict(bits=16), 787_500),
        ("a.tif", dict(channels=4), 525_000), ("a.tif", dict(cog=True), 1_261_800),
        ("a.tif", dict(cog=True, compression="none"), 2_103_000),
        ("a.tif", dict(cog=True, channels=4, bits=16), 600 * 701 * 4 * 9 // 5 * 5 // 4),
    ],
)  # fmt: skip
def test_what_writing_takes_for_a_while(name: str, more: dict[str, Any], expected: int) -> None:
    """0.8 of a byte each and a quarter more, where a COG is copied."""
    assert spare_bytes(name, 600, 701, **more) == expected
    with pytest.raises(OutputError, match=r"has no extension; \.png, "):
        spare_bytes("a", 600, 701)
    assert check_format("a.TIFF").name == "TIFF"


@pytest.mark.parametrize(
    ("shape", "big"),
    [((1_533_916_891, 1, 1, 2), False), ((1, 1_533_916_891, 2, 1), False), ((3_067_833_783, 1, 1, 1), True),
     ((1, 3_067_833_783, 1, 1), True), ((1, 1, 3_067_833_783, 1), True), ((1, 1, 1, 3_067_833_783), True)],
)  # fmt: skip
def test_a_tiff_is_big_from_two_to_the_32_over_1_4_on(shape: tuple[int, int, int, int], big: bool) -> None:
    assert needs_big(*shape) == big


@pytest.mark.parametrize(("height", "width"), [(10, 7), (7, 10)])
@pytest.mark.parametrize(("channels", "dtype"), [(3, np.uint8), (4, np.uint8), (3, np.uint16)])
@pytest.mark.parametrize("spare", [0, -1])
def test_a_tiff_is_as_big_as_its_pixels_call_for(
    tmp_path: Path, height: int, width: int, channels: int, dtype: type, spare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.zeros((height, width, channels), dtype)
    monkeypatch.setattr(tiff, "_BIG_BYTES", pixels.nbytes + spare)
    write_tiff(tmp_path / "a.tif", height, width, [pixels], compression="none", profile=b"x")
    assert (tmp_path / "a.tif").read_bytes()[:4] == (b"II+\0" if spare else b"II*\0")


def test_a_tiff_says_nothing_that_nobody_said(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", 300, 200, [np.zeros((300, 200, 3), np.uint8)], compression="none", profile=b"x")
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert [page.shape for page in tif.pages] == [(300, 200, 3), (150, 100, 3)]
        assert [page.subfiletype for page in tif.pages] == [0, 1]
        for page in tif.pages:
            assert not {"ImageDescription", "Software", "DateTime"} & {tag.name for tag in page.tags}
            assert page.tags["XResolution"].value == (1, 1)
            assert page.tags["ResolutionUnit"].value == 1
    assert not tif.is_bigtiff


def test_every_page_of_a_tiff_has_its_resolution_and_the_first_its_words(tmp_path: Path) -> None:
    pixels = np.zeros((300, 200, 3), np.uint8)
    tags = [(42113, "s", 2, "7", True)]
    write_tiff(tmp_path / "a.tif", 300, 200, [pixels], compression="lzw", profile=b"icc", dpi=150, description="{}",
               tags=tags)  # type: ignore[arg-type]  # fmt: skip
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        for number, page in enumerate(tif.pages):
            assert page.get_resolution(unit="inch") == (150, 150)
            assert page.tags["ResolutionUnit"].value == 2
            assert ("GDAL_NODATA" in page.tags, "ImageDescription" in page.tags) == ((number == 0,) * 2)
            assert page.iccprofile == b"icc"


def test_what_a_coarser_page_waits_in_has_no_name_and_is_closed(tmp_path: Path) -> None:
    with tiff._Coarser(tmp_path, (1, 2, 3), np.dtype(np.uint8)) as coarser:
        coarser.add(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
        assert [band.tolist() for band in coarser.bands()] == [[[[8, 8, 10], [14, 14, 16]]]]
        assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match="closed"):
        coarser.add(np.zeros((2, 4, 3), np.uint8))


def test_a_quality_is_from_1_to_100(tmp_path: Path) -> None:
    sizes = []
    for quality in (1, 30, 94, 95, 96, 100):
        write_picture(tmp_path / "a.jpg", 31, 47, [NOISE[:3]], quality=quality)
        sizes.append((tmp_path / "a.jpg").stat().st_size)
    assert sizes == sorted(set(sizes))
    write_picture(tmp_path / "b.jpg", 31, 47, [NOISE[:3]])
    assert (tmp_path / "b.jpg").stat().st_size == sizes[3]
    for quality in (0, 101, -1):
        with pytest.raises(OutputError, match=f"quality {quality}; 1 to 100 is allowed"):
            write_picture(tmp_path / "c.jpg", 31, 47, [NOISE[:3]], quality=quality)
    assert sorted(os.listdir(tmp_path)) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("name", ["a.webp", "a.dzi", "tiles"])
def test_quality_counts_in_every_format_that_loses(tmp_path: Path, name: str) -> None:
    """95 where nothing is said."""
    sizes = {}
    for quality in (30, 94, 95, 96, None):
        more = {} if quality is None else {"quality": quality}
        path = tmp_path / str(quality) / name
        path.parent.mkdir()
        if name == "tiles":
            write_xyz(path, 31, 47, [NOISE[:3]], **more)  # type: ignore[arg-type]
        else:
            write_picture(path, 31, 47, [NOISE[:3]], **more)  # type: ignore[arg-type]
        sizes[quality] = sum(one.stat().st_size for one in path.parent.rglob("*.*") if one.suffix in (".jpg", ".webp"))
    assert sizes[None] == sizes[95]
    assert sizes[30] < sizes[94] < sizes[95] < sizes[96]


def test_lossless_webp_keeps_colours_where_nothing_shows(tmp_path: Path) -> None:
    picture = NOISE.copy()
    picture[3, :, :20] = 0
    for compression in ("lossless", "lossy"):
        write_picture(tmp_path / f"{compression}.webp", 31, 47, [picture], compression=compression)
    expected = np.rint(picture * np.float32(255)).transpose(1, 2, 0)
    with Image.open(tmp_path / "lossless.webp") as image:
        np.testing.assert_array_equal(np.asarray(image), expected)
    with Image.open(tmp_path / "lossy.webp") as image:
        assert np.abs(np.asarray(image) - expected).max() > 20


def test_map_tiles_are_refused_before_they_are_made(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    def bands() -> Iterator[np.ndarray]:
        yield NOISE[:3, :1]
        pytest.fail("more was asked for")

    with pytest.raises(OutputError, match="something else"):
        write_xyz(tmp_path, 31, 47, bands())
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("channels", [3, 4])
def test_map_tiles_say_all_that_a_viewer_asks(tmp_path: Path, channels: int) -> None:
    """Of 257 x 301, in two levels; beyond its edge there is white, or nothing."""
    picture = np.full((channels, 257, 301), 0.25, np.float32)
    georef = Georef((2.0, 0.5, 100.0, 0.25, -2.0, 50.0))
    for folder, place in (("a", georef), ("b", None)):
        write_xyz(tmp_path / folder, 257, 301, [picture], georef=place, metadata={"seed": "7"} if place else None)
        suffix = "jpg" if channels == 3 else "png"
        assert json.loads((tmp_path / folder / "tiles.json").read_text()) == {
            "height": 257, "width": 301, "tile_size": 256, "minzoom": 0, "maxzoom": 1,
            "tiles": [f"{{z}}/{{x}}/{{y}}.{suffix}"], "transform": list(georef.transform) if place else None,
            "metadata": {"seed": "7"} if place else {},
        }  # fmt: skip
        with Image.open(tmp_path / folder / "1" / "1" / f"1.{suffix}") as image:
            tile = np.asarray(image)
        assert tile.shape == (256, 256, channels)
        assert np.abs(tile[0, 0, :3].astype(int) - 64).max() < 20
        beyond = tile[100:, 100:].reshape(-1, channels)
        assert np.abs(beyond.astype(int) - (255 if channels == 3 else 0)).max() <= 1
        page = (tmp_path / folder / "index.html").read_text(encoding="utf-8")
        assert facts_of(page) == {
            "levels": [[129, 151], [257, 301]], "tile": 256, "overlap": 0, "folder": ".",
            "pattern": f"{{z}}/{{x}}/{{y}}.{suffix}",
        }  # fmt: skip
        assert f"<title>{folder} (301 × 257)</title>" in page
        assert ("<tr><th>seed<td>7</table>" in page) == (place is not None)


def facts_of(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.partition("const facts = ")[2].partition(";\n")[0])
    return found


def test_a_page_s_own_numbers() -> None:
    levels = [(1, 2), (3, 5), (6, 9)]
    page = viewer.page("a <b>", levels, 254, 1, "ü {z}", "{z}/{x}_{y}.jpg", {"k<": "v&", "second": "2"})
    assert facts_of(page) == {
        "levels": [[1, 2], [3, 5], [6, 9]], "tile": 254, "overlap": 1, "folder": "%C3%BC%20%7Bz%7D",
        "pattern": "{z}/{x}_{y}.jpg",
    }  # fmt: skip
    assert "<title>a &lt;b&gt; (9 × 6)</title>" in page
    assert "<summary>a &lt;b&gt;</summary><table><tr><th>k&lt;<td>v&amp;<tr><th>second<td>2</table>" in page
    assert viewer.tile_format(True, 77) == (".png", "")
    assert viewer.tile_format(False, 77) == (".jpg", "[Q=77]")


def test_deep_zoom_s_page_begins_with_one_pixel(tmp_path: Path) -> None:
    write_picture(tmp_path / "a b.dzi", 31, 47, [NOISE], metadata={"seed": "7"})
    page = (tmp_path / "a b.html").read_text(encoding="utf-8")
    assert facts_of(page) == {
        "levels": [[1, 1], [1, 2], [2, 3], [4, 6], [8, 12], [16, 24], [31, 47]], "tile": 254, "overlap": 1,
        "folder": "a%20b_files", "pattern": "{z}/{x}_{y}.png",
    }  # fmt: skip
    assert "<title>a b (47 × 31)</title>" in page
    assert "<tr><th>seed<td>7</table>" in page
    assert sorted(one.name for one in (tmp_path / "a b_files").iterdir() if one.is_dir()) == list("0123456")
    with Image.open(io.BytesIO((tmp_path / "a b_files" / "6" / "0_0.png").read_bytes())) as image:
        assert not {"icc_profile", "exif"} & set(image.info)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_pictures_of_which_nothing_is_known_say_nothing(tmp_path: Path, name: str) -> None:
    write_picture(tmp_path / name, 31, 47, [NOISE[:3]])
    with Image.open(tmp_path / name) as image:
        assert 270 not in image.getexif()
        assert image.info.get("dpi", (72, 72)) == pytest.approx((72, 72), abs=0.1)
    write_picture(tmp_path / name, 31, 47, [NOISE[:3]], dpi=150, metadata={"a": "b (c)"})
    with Image.open(tmp_path / name) as image:
        said = image.getexif()
        assert json.loads(said[270]) == {"a": "b (c)"}
        assert (said[282], said[283], said[296]) == (150, 150, 2)  # an inch
        assert name == "a.webp" or image.info["dpi"] == (150, 150)
