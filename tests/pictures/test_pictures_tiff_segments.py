"""Tiles and strips of TIFFs: how many are decoded at once, how large they may be, and what is in them."""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from tiler.errors import PictureError
from tiler.pictures import read_picture, tiffrows
from tiler.pictures.tiffpage import read_page


def segments(nodata: float | None = None, listed: tuple[int, int] | None = None, **page: Any) -> tiffrows._Segments:
    """Of a page of 48 x 20 in tiles of 16 x 16, of which none lies in the file. listed: places and lengths there."""
    about = dict(imagelength=48, imagewidth=20, is_tiled=True, tilelength=16, tilewidth=16, rowsperstrip=48,
                 samplesperpixel=1, planarconfig=1, dtype=np.dtype("u1"), jpegtables=None, compression=1)  # fmt: skip
    about |= page
    rows, columns = (about["tilelength"], about["tilewidth"]) if about["is_tiled"] else (about["rowsperstrip"], 2**40)
    planes = about["samplesperpixel"] if about["planarconfig"] == 2 else 1
    number = -(-about["imagelength"] // rows) * -(-about["imagewidth"] // columns) * planes
    offsets, counts = listed or (number, number)
    of = SimpleNamespace(**about, tags=SimpleNamespace(valueof=lambda tag, default: default),
                         dataoffsets=(8,) * offsets, databytecounts=(0,) * counts)  # fmt: skip
    with ThreadPoolExecutor(1) as pool:
        return tiffrows._Segments(Path("a.tif"), of, nodata, pool)


@pytest.mark.parametrize(
    ("page", "shapes"),
    [
        (dict(imagelength=2**14 + 5, imagewidth=3), [(1, 2**14, 3), (1, 5, 3)]),  # 1024 tiles
        (dict(imagelength=2**13 + 5, imagewidth=19), [(1, 2**13, 19), (1, 5, 19)]),  # and so where two lie in a row
        (dict(imagelength=39, imagewidth=16 * 1024 + 1), [(1, 16, 16385), (1, 16, 16385), (1, 7, 16385)]),
        (dict(imagelength=2**12 + 5, imagewidth=9, samplesperpixel=4, planarconfig=2), [(4, 2**12, 9), (4, 5, 9)]),
        (dict(imagelength=2**14 + 5, imagewidth=9, samplesperpixel=4), [(4, 2**14, 9), (4, 5, 9)]),
        (dict(tilelength=4096, tilewidth=2048, imagelength=9000, imagewidth=7), [(1, 8192, 7), (1, 808, 7)]),  # 16 MiB
        (dict(tilelength=4096, tilewidth=2064, imagelength=9000, imagewidth=7),
         [(1, 4096, 7), (1, 4096, 7), (1, 808, 7)]),
        (dict(tilelength=2048, tilewidth=2048, imagelength=5000, imagewidth=7, dtype=np.dtype("u2")),
         [(1, 4096, 7), (1, 904, 7)]),
        (dict(is_tiled=False, rowsperstrip=7, imagelength=7169, imagewidth=3), [(1, 7168, 3), (1, 1, 3)]),
        (dict(is_tiled=False, rowsperstrip=2**31 - 1, imagelength=50, imagewidth=3), [(1, 50, 3)]),
    ],
)  # fmt: skip
def test_how_many_segments_are_decoded_at_once(page: dict[str, Any], shapes: list[tuple[int, int, int]]) -> None:
    assert [band.shape for band in segments(**page).bands()] == shapes


@pytest.mark.parametrize(("nodata", "value"), [(None, 0), (0, 0), (7, 7)])
def test_what_lies_nowhere_in_the_file_is_no_data(nodata: float | None, value: int) -> None:
    [band] = segments(nodata).bands()
    assert (band.shape, band.dtype, np.unique(band).tolist()) == ((1, 48, 20), np.uint8, [value])


HALF = dict(tilelength=2**15, tilewidth=2**14)


@pytest.mark.parametrize(
    ("page", "mb"),
    [
        (HALF, 0), (dict(HALF, imagelength=2**15 + 1), 0), (dict(HALF, imagewidth=2**14 + 1), 1074),
        (dict(HALF, samplesperpixel=3), 1611), (dict(HALF, samplesperpixel=3, planarconfig=2), 1611),
        (dict(HALF, dtype=np.dtype("u2")), 1074), (dict(tilelength=2**15, tilewidth=2**14 + 16), 537),
        (dict(is_tiled=False, rowsperstrip=2**15, imagelength=2**15, imagewidth=2**14), 0),
        (dict(is_tiled=False, rowsperstrip=2**15, imagelength=2**15, imagewidth=2**14 + 1), 537),
        (dict(is_tiled=False, rowsperstrip=2**31 - 1, imagelength=100, imagewidth=2**14), 0),
    ],
)  # fmt: skip
def test_a_row_of_segments_is_of_so_many_bytes_and_of_no_more(page: dict[str, Any], mb: int) -> None:
    if not mb:
        assert segments(**page)
        return
    with pytest.raises(PictureError, match=f"hold {mb} MB a row; up to 537 MB are allowed; save it with smaller ones"):
        segments(**page)


@pytest.mark.parametrize(("listed", "found"), [((6, 6), 6), ((7, 8), 6), ((5, 6), 5), ((6, 5), 5), ((0, 3), 0)])
def test_segments_are_listed_with_place_and_length(listed: tuple[int, int], found: int) -> None:
    if found == 6:
        assert segments(listed=listed)
        return
    with pytest.raises(PictureError, match=rf"a\.tif: damaged TIFF \({found} of 6 tiles or strips\)"):
        segments(listed=listed)


def test_a_row_of_pixels_is_a_million_at_most_of_what_is_given_on(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((1100, 1024), np.uint8), photometric="minisblack", metadata=None,
                     compression="zstd", rowsperstrip=1100)  # fmt: skip
    page = read_page(tmp_path / "a.tif")
    assert [band.shape for band in tiffrows.rows_of(tmp_path / "a.tif", page)] == [(1, 1024, 1024), (1, 76, 1024)]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (dict(bits=1), "u1"), (dict(bits=8), "u1"), (dict(bits=9), "u2"), (dict(bits=16), "u2"), (dict(bits=17), "f4"),
        (dict(bits=8, signed=True), "f4"), (dict(bits=16, is_float=True), "f4"),
        (dict(bits=8, meaning=SimpleNamespace(space=tiffrows.LAB)), "f4"),
    ],
)  # fmt: skip
def test_rows_are_of_8_or_16_bits_or_floats(more: dict[str, Any], expected: str) -> None:
    page = SimpleNamespace(**{"is_float": False, "signed": False, "meaning": SimpleNamespace(space="rgb"), **more})
    assert tiffrows.dtype_of(page) == np.dtype(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("parameters", [(), (4,), (4, 0), (4, 0, 1)])
def test_lerc_that_is_not_packed_again_comes_as_it_is(parameters: tuple[int, ...]) -> None:
    data = zlib.compress(b"lerc")
    assert tiffrows._unpacked_lerc(parameters, data, 100) == data


def test_lerc_is_not_unpacked_beyond_twice_its_pixels_and_some() -> None:
    """Of 100 bytes of pixels 200 and 65536."""
    most = 65_736
    for size, fits in ((most, True), (most + 1, False)):
        values = np.random.default_rng(3).integers(0, 256, size, np.uint8).tobytes()
        assert tiffrows._unpacked_lerc((4, 1), zlib.compress(values), 100) == values[:most]
        packed = imagecodecs.zstd_encode(values)
        if fits:
            assert tiffrows._unpacked_lerc((4, 2), packed, 100) == values
            continue
        with pytest.raises(imagecodecs.ZstdError):
            tiffrows._unpacked_lerc((4, 2), packed, 100)


def jpeg(*parts: tuple[int, bytes]) -> bytes:
    return b"\xff\xd8" + b"".join(struct.pack(">BBH", 0xFF, kind, 2 + len(data)) + data for kind, data in parts)


LARGE = struct.pack(">BHHB", 8, 100, 200, 3)


@pytest.mark.parametrize("kind", [0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC7, 0xC9, 0xCB, 0xCD, 0xCF])
@pytest.mark.parametrize("before", [(), ((0xE0, b"JFIF"), (0xDB, bytes(65))), ((0xC4, LARGE), (0xCC, bytes(2)))])
def test_the_size_of_a_jpeg_in_a_tile_is_that_of_its_frame(kind: int, before: tuple[tuple[int, bytes], ...]) -> None:
    """In portrait and in landscape; whatever stands before."""
    data = jpeg(*before, (kind, LARGE))
    tiffrows._check_jpeg(data, 84, 184)
    for tall, wide in ((83, 184), (84, 183)):
        with pytest.raises(ValueError, match=f"a JPEG of 100 x 200 in a tile or strip of {tall} x {wide}"):
            tiffrows._check_jpeg(data, tall, wide)


@pytest.mark.parametrize("kind", [0xBF, 0xC4, 0xC8, 0xCC, 0xD0, 0xFE])
def test_other_parts_of_a_jpeg_have_no_size(kind: int) -> None:
    tiffrows._check_jpeg(jpeg((kind, LARGE)), 16, 16)
    tiffrows._check_jpeg(jpeg((kind, LARGE), (0xC0, struct.pack(">BHHB", 8, 16, 32, 3)), (0xC0, LARGE)), 16, 16)
    tiffrows._check_jpeg(jpeg((kind, LARGE)) + b"\0" + jpeg((0xC0, LARGE))[2:], 16, 16)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_that_nothing_was_left_of_are_black(tmp_path: Path, dtype: type) -> None:
    """What is multiplied by an opacity of 0 has none, whatever stands there; by one of a fifth it is five times that,
    and white at most."""
    peak = np.iinfo(dtype).max
    values = np.array([[[50, 40, 30, 0], [20, 0, 30, 51], [51, 50, 90, 51]]], dtype) * dtype(peak // 255)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", metadata=None, compression="zstd",
                     extrasamples=["assocalpha"])  # fmt: skip
    found = read_picture(tmp_path / "a.tif", channels="rgba").transpose(1, 2, 0)[0] * 255
    np.testing.assert_allclose(found, [[0, 0, 0, 0], [100, 0, 150, 51], [255, 250, 255, 51]], atol=1e-3)


def test_samples_beyond_their_bits_are_spread_over_them(tmp_path: Path) -> None:
    """Of 12 bits in 16, and of one."""
    page = SimpleNamespace(is_float=False, signed=False, bits=12, nodata=None, alpha=None,
                           meaning=SimpleNamespace(space="b-w", colours=1, alpha=None))  # fmt: skip
    tags = SimpleNamespace(photometric=1)
    found = tiffrows._Converter(page, tags)(np.array([[[0, 819, 4095]]], np.uint16), None)  # type: ignore[arg-type]
    assert (found.dtype, found.tolist()) == (np.uint16, [[[0, 13107, 65535]]])
    page.bits, tags.photometric = 1, 0
    found = tiffrows._Converter(page, tags)(np.array([[[0, 1, 1]]], bool), None)  # type: ignore[arg-type]
    assert (found.dtype, found.tolist()) == (np.uint8, [[[255, 0, 0]]])


@pytest.mark.parametrize("cut", [dict(tile=(16, 16)), dict(rowsperstrip=7)])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("batch", [1, 6, 13, 100])
def test_pixels_are_the_same_however_many_segments_are_decoded_at_once(
    tmp_path: Path, cut: dict[str, Any], planes: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(2).integers(0, 256, (75, 23, 3), dtype=np.uint8)
    array = values if planes == "contig" else np.ascontiguousarray(values.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", planarconfig=planes, metadata=None,
                     compression="zstd", **cut)  # fmt: skip
    monkeypatch.setattr(tiffrows, "_BATCH_SEGMENTS", batch)
    found = np.concatenate(list(tiffrows.rows_of(tmp_path / "a.tif", read_page(tmp_path / "a.tif"))), 1)
    np.testing.assert_array_equal(found.transpose(1, 2, 0), values)
