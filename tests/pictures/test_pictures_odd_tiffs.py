"""TIFFs that are rare: each is read as it says, or refused in one line that says why."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tiler.errors import PictureError
from tiler.pictures import open_picture, read_picture, tiffrows
from tiler.pictures.tiffpage import read_page

RNG = np.random.default_rng(29)
RGB = RNG.integers(0, 256, (45, 23, 3), dtype=np.uint8)
FLAT = np.full((48, 32, 3), (200, 100, 50), np.uint8)


def written(path: Path, array: np.ndarray, **options: Any) -> Path:
    tifffile.imwrite(path, array, metadata=None, **{"photometric": "rgb", "planarconfig": "contig", **options})
    return path


def retagged(path: Path, **values: Any) -> Path:
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for name, value in values.items():
            tif.pages.first.tags[name].overwrite(value)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(PictureError) as refused:
        open_picture(path).check()
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(f"{path}: ")


PALETTE = {"photometric": "palette", "colormap": np.arange(0, 65536, 256, dtype=np.uint16)[None].repeat(3, 0)}
READ_BY = {
    "as it is": ({}, True), "BigTIFF": ({"bigtiff": True}, True), "deflate": ({"compression": "zlib"}, True),
    "tiles": ({"tile": (16, 16)}, True), "a palette": (PALETTE, True),
    "planes": ({"planarconfig": "separate"}, True),
    "planes in tiles": ({"planarconfig": "separate", "tile": (16, 16)}, False),
    "no data": ({"extratags": [(42113, 2, 2, "0", True)]}, False),
}  # fmt: skip


@pytest.mark.parametrize("name", READ_BY)
def test_libvips_reads_what_it_reads_rightly(tmp_path: Path, name: str) -> None:
    """What reads all others takes longer."""
    options, plain = READ_BY[name]
    array = RGB[..., 0] if "colormap" in options else RGB.transpose(2, 0, 1) if "planarconfig" in options else RGB
    assert read_page(written(tmp_path / "a.tif", array, **options)).plain == plain


@pytest.mark.parametrize(
    ("dtype", "plain"), [("u1", True), ("u2", True), ("u4", True), ("f4", True), ("f8", False), ("i2", False)]
)
def test_libvips_reads_whole_numbers_and_floats_of_32_bits(tmp_path: Path, dtype: str, plain: bool) -> None:
    assert read_page(written(tmp_path / "a.tif", RGB.astype(dtype))).plain == plain


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("nodata", [False, True])
def test_jpeg_in_a_tiff(tmp_path: Path, tile: tuple[int, int] | None, nodata: bool) -> None:
    """By either reader: a no-data value calls for the second."""
    tags = [(42113, 2, 2, "0", True)] if nodata else []
    options = dict(compression="jpeg", compressionargs={"level": 100}, tile=tile, extratags=tags)
    found = read_picture(written(tmp_path / "a.tif", FLAT, **options))
    np.testing.assert_allclose(found * 255, np.broadcast_to(FLAT.transpose(2, 0, 1), found.shape), atol=2)


@pytest.mark.parametrize("tile", [None, (16, 16), (32, 32)])
@pytest.mark.parametrize("rows", [1, 5, 100])
def test_bands_are_handed_on_in_parts(
    tmp_path: Path, tile: tuple[int, int] | None, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows are decoded at once, and however many of them are converted at once."""
    monkeypatch.setattr(tiffrows, "_ROWS_PIXELS", rows * RGB.shape[1])
    found = read_picture(written(tmp_path / "a.tif", RGB, compression="lzma", tile=tile, rowsperstrip=45))
    np.testing.assert_array_equal(np.rint(found * 255), RGB.transpose(2, 0, 1))


@pytest.mark.parametrize(("more", "fine"), [(0, True), (16, True), (17, False), (40_000, False)])
@pytest.mark.parametrize("side", ["height", "width"])
def test_a_jpeg_in_a_tile_is_no_larger_than_it(tmp_path: Path, side: str, more: int, fine: bool) -> None:
    """Some write whole blocks of 16 at the edges."""
    path = tmp_path / "a.tif"
    written(path, FLAT[:16, :16], compression="jpeg", tile=(16, 16), extratags=[(42113, 2, 2, "0", True)])
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xc0") + 5 + 2 * (side == "width")
    data[at : at + 2] = struct.pack(">H", 16 + more)
    path.write_bytes(data)
    if not fine:
        height, width = (16 + more, 16) if side == "height" else (16, 16 + more)
        assert f"a JPEG of {height} x {width} in a tile or strip of 16 x 16" in refusal(path)
    elif not more:
        assert open_picture(path).check() == []


@pytest.mark.parametrize("tile", [False, True])
def test_a_row_of_strips_or_tiles_is_half_a_gigabyte_at_most(tmp_path: Path, tile: bool) -> None:
    """What a header claims: all of it would be decoded at once."""
    path = written(tmp_path / "a.tif", RGB[:16, :16, 0], photometric="minisblack", compression="zstd",
                   **(dict(tile=(16, 16)) if tile else dict(rowsperstrip=16)))  # fmt: skip
    side = 2**15 + 1
    retagged(path, ImageLength=side, ImageWidth=2**14, **(dict(TileLength=side, TileWidth=2**14) if tile else {}))
    if not tile:
        retagged(path, RowsPerStrip=side)
    assert "its tiles or strips hold 537 MB a row; up to 537 MB are allowed; save it with smaller" in refusal(path)


def test_tiles_that_are_not_listed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", RGB, compression="zstd", tile=(16, 16))
    retagged(path, ImageLength=49)
    assert refusal(path) == "damaged TIFF (6 of 8 tiles or strips)"


@pytest.mark.parametrize(
    ("page", "said"),
    [("nowhere", "it holds no page"), ("beyond the end", "it holds no page"), ("of too many tags", "suspicious numb")],
)
def test_a_first_page_that_cannot_be_read(tmp_path: Path, page: str, said: str) -> None:
    path = written(tmp_path / "a.tif", RGB)
    data = bytearray(path.read_bytes())
    [at] = struct.unpack_from("<I", data, 4)
    if page == "of too many tags":
        struct.pack_into("<H", data, at, 5000)
    else:
        struct.pack_into("<I", data, 4, 0 if page == "nowhere" else 2**30)
    path.write_bytes(data)
    assert refusal(path).startswith(f"damaged TIFF ({said}")


def test_colours_that_nobody_shows(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", RGB, compression="zstd")
    retagged(path, PhotometricInterpretation=6)
    assert refusal(path) == "TIFF of YCbCr in ZSTD; RGB, or YCbCr in JPEG, is allowed"
    for number, name in ((32845, "LOGLUV"), (32844, "LOGL"), (60000, "60000")):
        retagged(path, PhotometricInterpretation=number)
        assert refusal(path) == f"TIFF of {name}; grey, RGB, palette, CMYK, YCbCr or Lab are allowed"
    retagged(path, PhotometricInterpretation=5)
    assert refusal(path) == "damaged TIFF (3 channels, and cmyk has 4)"
    inks = written(tmp_path / "b.tif", np.zeros((9, 5, 4), np.uint8), photometric="separated",
                   extratags=[(332, 3, 1, 2, True)])  # fmt: skip
    assert refusal(inks) == "TIFF of inks other than CMYK; grey, RGB, palette, CMYK, YCbCr or Lab are allowed"


def test_a_preview_alone_is_shown_and_said(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", RGB, subfiletype=1)
    assert open_picture(path).notes == (f"{path}: says of itself that it is a preview (reduced in size)",)
    np.testing.assert_array_equal(np.rint(read_picture(path) * 255), RGB.transpose(2, 0, 1))


def test_a_mask_beside_it_is_not_used(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", RGB)
    (tmp_path / "a.tif.msk").write_bytes(b"")
    assert open_picture(path).notes == (
        f"{path}: a.tif.msk beside it is not used; a mask inside the file (GDAL_TIFF_INTERNAL_MASK) is",
    )


@pytest.mark.parametrize("pages", [63, 64, 70])
def test_many_pages(tmp_path: Path, pages: int) -> None:
    """They are counted as far as 63."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for _ in range(pages):
            writer.write(RGB[:2, :2], photometric="rgb", metadata=None)
    number = "63" if pages == 63 else "many"
    assert f"holds {number} pages; the first is read" in open_picture(tmp_path / "a.tif").notes[0]


def test_no_more_than_three_lines_of_a_damaged_header(tmp_path: Path) -> None:
    tags = [(code, 2, 0, b"a text that is long enough", True) for code in (269, 270, 285, 305, 315, 316, 333)]
    path = written(tmp_path / "a.tif", RGB, extratags=tags, software=False)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        for code, *_ in tags:
            at = tif.pages.first.tags[code].offset
            data[at + 2 : at + 8] = struct.pack("<HI", 2, 9_999_999)
    path.write_bytes(data)
    assert len(open_picture(path).notes) == 3


@pytest.mark.parametrize("value", [7, np.nan, np.inf])
def test_values_that_are_all_one_cannot_be_spread(tmp_path: Path, value: float) -> None:
    picture = open_picture(written(tmp_path / "a.tif", np.full((9, 5), value, np.float32), photometric="minisblack"))
    seen = picture.stretched(2, 98)
    assert (seen.spread, seen.notes[-1]) == (
        None, f"{tmp_path}/a.tif: is all alike between 2 % and 98 % of its values, and not spread (--stretch)",
    )  # fmt: skip
    if value == 7:
        whole = open_picture(written(tmp_path / "b.tif", np.full((9, 5), 7, np.uint16), photometric="minisblack"))
        assert whole.stretched(2, 98).spread is None


def test_what_is_not_finite_does_not_count_where_values_are_spread(tmp_path: Path) -> None:
    heights = np.linspace(100, 300, 45, dtype=np.float32).reshape(9, 5)
    heights[0, 0], heights[0, 1], heights[0, 2] = np.nan, np.inf, -np.inf
    picture = open_picture(written(tmp_path / "a.tif", heights, photometric="minisblack"))
    seen = picture.stretched(0, 100)
    assert (seen.spread.low, seen.spread.high) == (heights[0, 3], 300)
    assert seen.notes == (f"{tmp_path}/a.tif: values that are not finite are taken as no data, and transparent",)
    found = np.concatenate(list(seen.bands(9, 5, 4, "rgba")), 1)
    assert found[3, 0].tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(found[0, 1:], (heights[1:] - heights[0, 3]) / (300 - heights[0, 3]), atol=1e-4)
    assert seen.check() == []


def test_no_data_and_what_is_not_finite(tmp_path: Path) -> None:
    """One channel that is not finite is enough; of no-data values it takes all."""
    colours = np.full((3, 4, 3), 50, np.float32)
    colours[0, 0], colours[0, 1, 2], colours[1, 0], colours[1, 1, 1] = np.nan, np.inf, -9, -9
    colours[2] = 150
    path = written(tmp_path / "a.tif", colours, extratags=[(42113, 2, 0, "-9", True)])
    seen = open_picture(path).stretched(20, 100)
    found = np.concatenate(list(seen.bands(3, 4, 4, "rgba")), 1)
    assert found[3].tolist() == [[0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
    assert (seen.spread.low, seen.spread.high) == (50, 150)


@pytest.mark.parametrize("most", [1, 255, 32767])
def test_opacity_of_signed_integers(tmp_path: Path, most: int) -> None:
    signed = np.concatenate([RGB[:3, :4].astype(np.int16) - 90, np.full((3, 4, 1), most, np.int16)], -1)
    signed[0, :, 3] = 0
    seen = open_picture(written(tmp_path / "a.tif", signed, extrasamples=["unassalpha"])).stretched(0, 100)
    assert seen.check() == []
    found = np.concatenate(list(seen.bands(3, 4, 3, "rgba")), 1)
    assert found[3].tolist() == [[0] * 4, [1] * 4, [1] * 4]


@pytest.mark.parametrize("channels", ["cmyk", "rgba", "", "RGB"])
def test_what_cannot_be_asked_of_a_picture(tmp_path: Path, channels: str) -> None:
    path = written(tmp_path / "a.tif", RGB)
    with pytest.raises(PictureError, match="one of rgb, rgba, grey, alpha is allowed"):
        read_picture(path, channels=channels + "!")
    for size in ((0, 5, 5), (5, 0, 5), (5, 5, 0)):
        with pytest.raises(
            PictureError, match=rf"cannot be resized to {size[0]} x {size[1]} in bands of {size[2]} rows"
        ):
            open_picture(path).bands(*size)


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("kind", ["unassalpha", "unspecified"])
def test_a_palette_with_a_second_channel(tmp_path: Path, kind: str, compression: str | None) -> None:
    """Opacity where it says so, of each pixel, not of its colour."""
    values = np.array([[[0, 9], [1, 255]], [[2, 0], [255, 77]], [[1, 1], [0, 200]]], np.uint8)
    table = RNG.integers(0, 256, (3, 256)).astype(np.uint16)
    tags = [(320, 3, 768, (table * 257).ravel().tolist(), True)]
    path = written(tmp_path / "a.tif", values, photometric="minisblack", extrasamples=[kind], compression=compression,
                   extratags=tags)  # fmt: skip
    retagged(path, PhotometricInterpretation=3)
    assert len(open_picture(path).notes) == (kind == "unspecified")
    found = np.rint(read_picture(path, channels="rgba") * 255)
    np.testing.assert_array_equal(found[:3], table[:, values[..., 0]])
    np.testing.assert_array_equal(found[3], values[..., 1] if kind == "unassalpha" else 255)


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize(
    ("photometric", "extra", "said", "colours", "alpha"),
    [
        ("rgb", "u", False, 3, None), ("minisblack", "u", False, 1, None), ("minisblack", "uu", True, 3, None),
        ("minisblack", "uu", False, 3, None), ("minisblack", "uuu", False, 3, None),
        ("minisblack", "uua", True, 3, 3), ("minisblack", "ua", True, 1, 2), ("minisblack", "au", True, 1, 1),
        ("rgb", "ua", True, 3, 4), ("rgb", "au", True, 3, 3),
    ],
)  # fmt: skip
def test_what_further_channels_are(
    tmp_path: Path, photometric: str, extra: str, said: bool, colours: int, alpha: int | None, compression: str | None
) -> None:
    """u: of no meaning, a: opacity; where the file says so."""
    number = (3 if photometric == "rgb" else 1) + len(extra)
    values = RNG.integers(0, 256, (5, 3, number), dtype=np.uint8)
    kinds = [{"u": "unspecified", "a": "unassalpha"}[one] for one in extra]
    path = written(tmp_path / "a.tif", values, photometric=photometric, extrasamples=kinds, compression=compression)
    with tifffile.TiffFile(path) as tif:
        at = tif.pages.first.tags["ExtraSamples"].offset
    data = bytearray(path.read_bytes())
    data[at : at + 2] = struct.pack("<H", 338 if said else 335)
    path.write_bytes(data)
    picture = open_picture(path)
    assert (picture.channels, picture.has_alpha) == (colours, alpha is not None)
    found = np.rint(read_picture(path, channels="rgba") * 255)
    np.testing.assert_array_equal(found[:3], np.broadcast_to(values[..., :colours].transpose(2, 0, 1), (3, 5, 3)))
    np.testing.assert_array_equal(found[3], 255 if alpha is None else values[..., alpha])


def test_five_greys_are_no_colours(tmp_path: Path) -> None:
    kinds = ["unspecified"] * 4
    path = written(tmp_path / "a.tif", np.zeros((5, 3, 5), np.uint8), photometric="minisblack", extrasamples=kinds)
    assert refusal(path) == (
        "has 5 channels and does not say which are colours; grey, RGB or CMYK, with or without alpha, are allowed"
    )


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize("codec", ["webp", "jpegxl", "lerc", "zstd", "lzma"])
def test_alpha_of_any_codec_is_read(codec: str, opaque: bool, tmp_path: Path) -> None:
    """An encoder may leave out an alpha that is opaque."""
    values = np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    values[..., 3] |= 255 if opaque else 0
    exactly = {"compressionargs": {"lossless": True}} if codec in ("webp", "jpegxl") else {}
    path = tmp_path / "a.tif"
    alpha = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(path, values, compression=codec, tile=(16, 16), **alpha, **exactly)
    np.testing.assert_array_equal(read_picture(path, channels="rgba").transpose(1, 2, 0) * 255, values)
