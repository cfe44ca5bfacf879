"""What each channel of a TIFF means, by numbers that are known: one row a kind of file."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from PIL import ImageCms

from tiler.errors import PictureError
from tiler.pictures import as_style, mask_bands, open_picture, part_bands, read_picture, tiffrows

RNG = np.random.default_rng(11)
RGB = RNG.integers(0, 256, (20, 36, 3), dtype=np.uint8)
EXTRA = RNG.integers(0, 256, (20, 36, 1), dtype=np.uint8)
RGBX = np.concatenate([RGB, EXTRA], -1)
GREYS = np.concatenate([EXTRA, RGB], -1)
SPREAD = (RNG.integers(0, 4096, (20, 36, 3))).astype(np.uint16)


def written(path, array, **options):
    tifffile.imwrite(path, array, metadata=None, **{"photometric": "rgb", "planarconfig": "contig", **options})
    return open_picture(path)


def planes(array):
    return array.transpose(2, 0, 1).astype(np.float32) / np.float32(np.iinfo(array.dtype).max)


@pytest.mark.parametrize("compression", [None, "zlib", "zstd"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize(
    ("array", "options", "colours", "alpha", "note"),
    [
        (RGB, {}, RGB, None, ""),
        (RGBX, dict(extrasamples=["unspecified"]), RGB, None, "channel 4 is neither colour nor alpha"),
        (RGBX, dict(extrasamples=["unassalpha"]), RGB, EXTRA, ""),
        (np.concatenate([RGBX, EXTRA[::-1]], -1), dict(extrasamples=["unspecified", "unassalpha"]), RGB, EXTRA[::-1],
         "channel 4 is"),
        (GREYS[..., :2], dict(photometric="minisblack", extrasamples=["unspecified"]), EXTRA, None, "channel 2 is"),
        (GREYS[..., :2], dict(photometric="minisblack", extrasamples=["unassalpha"]), EXTRA, RGB[..., :1], ""),
        (GREYS, dict(photometric="minisblack", extrasamples=["unspecified"] * 3), GREYS[..., :3], None,
         "the first three are taken as red, green and blue"),
        (EXTRA[..., 0], dict(photometric="miniswhite"), 255 - EXTRA, None, ""),
        (RGB, dict(planarconfig="separate"), RGB, None, ""),
    ],
)  # fmt: skip
def test_only_alpha_is_alpha(tmp_path, compression, tile, array, options, colours, alpha, note):
    stored = array.transpose(2, 0, 1) if options.get("planarconfig") == "separate" else array
    picture = written(tmp_path / "a.tif", stored, compression=compression, tile=tile, **options)
    assert picture.has_alpha == (alpha is not None)
    assert note in " ".join(picture.notes)
    assert bool(note) == bool(picture.notes)
    found = read_picture(tmp_path / "a.tif", channels="rgba")
    np.testing.assert_array_equal(found[:3], np.broadcast_to(planes(colours), found[:3].shape))
    np.testing.assert_array_equal(found[3], 1 if alpha is None else planes(alpha)[0])


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_associated_alpha_is_divided_out(tmp_path, compression):
    array = np.zeros((20, 36, 4), np.uint16)
    array[...] = (30000, 15000, 3000, 30000)
    array[:, 18:] = (0, 0, 0, 0)
    written(tmp_path / "a.tif", array, extrasamples=["assocalpha"], compression=compression)
    found = read_picture(tmp_path / "a.tif", channels="rgba")
    np.testing.assert_allclose(found[:, 3, 3], [1, 0.5, 0.1, 30000 / 65535], atol=1e-4)
    assert found[3, 3, 30] == 0


def test_a_spot_ink_is_no_alpha(tmp_path):
    array = np.zeros((20, 36, 5), np.uint8)
    picture = written(tmp_path / "a.tif", array, photometric="separated", extrasamples=["unspecified"])
    assert (picture.channels, picture.has_alpha) == (4, False)
    assert read_picture(tmp_path / "a.tif").min() > 0.95


@pytest.mark.parametrize("codec", ["zstd", "lzma", "lerc", "jpegxl", "jpeg2000", "png", "jpegxr", "webp"])
@pytest.mark.parametrize("cut", [{}, dict(tile=(16, 16)), dict(rowsperstrip=8)])
def test_codecs_that_libvips_lacks(tmp_path, codec, cut):
    """The last of several strips is a short one."""
    lossless = dict(lerc={}, jpegxl={}, jpeg2000=dict(compressionargs={"reversible": True, "level": 0}),
                    webp=dict(compressionargs={"lossless": True, "level": -1})).get(codec, {})  # fmt: skip
    written(tmp_path / "a.tif", RGB, compression=codec, **cut, **lossless)
    atol = 0.05 if codec in ("webp", "jpegxr", "jpeg2000", "jpegxl") else 0
    np.testing.assert_allclose(read_picture(tmp_path / "a.tif"), planes(RGB), atol=atol)


@pytest.mark.parametrize(("packed", "number"), [(None, 0), ("deflate", 1), ("zstd", 2)])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_lerc_may_be_packed_again(tmp_path, packed, number, tile):
    """A bomb in it is unpacked to twice the bytes of a tile's or strip's pixels and 64 kB, and is no LERC then."""
    import imagecodecs

    options = dict(compression="lerc", tile=tile, compressionargs={} if packed is None else dict(compression=packed))
    written(tmp_path / "a.tif", RGB, **options)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.pages.first.tags["LercParameters"].value[1] == number
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), planes(RGB))
    if packed is None:
        with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tif:
            tif.filehandle.seek(tif.pages.first.tags["LercParameters"].offset)
            tif.filehandle.write(struct.pack("<H", 60000))  # as if the tag were not there
        np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), planes(RGB))
        return
    bomb = (zlib.compress if packed == "deflate" else imagecodecs.zstd_encode)(bytes(2**24))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tif:
        page = tif.pages.first
        tif.filehandle.seek(0, 2)
        at, names = (
            tif.filehandle.tell(),
            ("TileOffsets", "TileByteCounts") if tile else ("StripOffsets", "StripByteCounts"),
        )
        tif.filehandle.write(bomb)
        for name, value in zip(names, (at, len(bomb)), strict=True):
            page.tags[name].overwrite([value] * len(page.dataoffsets))
    tracemalloc.start()
    with pytest.raises(PictureError, match="damaged"):
        read_picture(tmp_path / "a.tif")
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()


def test_a_codec_that_nobody_has_is_named(tmp_path):
    written(tmp_path / "a.tif", RGB)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tif:
        tif.pages.first.tags["Compression"].overwrite(34676)  # SGILOG
    with pytest.raises(PictureError, match="SGILOG"):
        open_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize(
    ("dtype", "nodata", "text"),
    [(np.uint8, 0, "0"), (np.uint16, 65535, "65535"), (np.float32, np.nan, "nan"), (np.float32, -9999, "-9999")],
)
def test_no_data_is_transparent(tmp_path, compression, dtype, nodata, text):
    array = np.full((20, 36, 3), 0.5 if dtype == np.float32 else 7, dtype)
    array[:5] = nodata
    array[10, 10, 0] = 0.25 if dtype == np.float32 else nodata  # one channel alone is a colour
    tags = [(42113, 2, len(text) + 1, text, True)]
    picture = written(tmp_path / "a.tif", array, compression=compression, extratags=tags)
    assert picture.has_alpha
    alpha = read_picture(tmp_path / "a.tif", channels="alpha")[0]
    assert not alpha[:5].any()
    assert (alpha[5:] == 1).all()
    small = read_picture(tmp_path / "a.tif", 5, 9, "rgba")
    assert np.isfinite(small).all()


def test_a_value_that_no_pixel_can_have_is_no_mask(tmp_path):
    assert not written(tmp_path / "a.tif", RGB, extratags=[(42113, 2, 6, "-9999", True)]).has_alpha


@pytest.mark.parametrize("own", [dict(rowsperstrip=20), dict(rowsperstrip=7), dict(tile=(16, 16))])
@pytest.mark.parametrize("rows", [3, 20])
def test_a_mask_page_is_transparency(tmp_path, monkeypatch, rows, own):
    """However it is cut, and however many rows of it and of the picture come at a time."""
    monkeypatch.setattr(tiffrows, "_BATCH_BYTES", 36 * 3 * 16)
    mask = np.zeros((20, 36), bool)
    mask[4:, 7:] = True
    mask[11] = False
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(RGB, photometric="rgb", metadata=None, compression="zlib", **own)
        writer.write(mask, photometric=4, subfiletype=4, metadata=None, rowsperstrip=rows)
    assert open_picture(tmp_path / "a.tif").notes == ()
    found = read_picture(tmp_path / "a.tif", channels="rgba")
    np.testing.assert_array_equal(found[3], mask)
    np.testing.assert_array_equal(found[:3], planes(RGB))


def test_a_preview_is_not_the_picture(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(RGB[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
        writer.write(RGB, photometric="rgb", metadata=None)
    picture = open_picture(tmp_path / "a.tif")
    assert (picture.height, picture.width) == (20, 36)
    assert "preview" in picture.notes[0]
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), planes(RGB))
    with tifffile.TiffWriter(tmp_path / "raw.tif") as writer:
        writer.write(RGB[::4, ::4], photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        writer.write(SPREAD[..., 0], photometric=32803, metadata=None)
    with pytest.raises(PictureError, match="raw sensor data"):
        open_picture(tmp_path / "raw.tif")


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_the_picture_may_lie_below_its_preview(tmp_path, compression):
    """As a SubIFD; what follows is another page."""
    small = dict(photometric="rgb", subfiletype=1, metadata=None, compression=compression)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(RGB[::4, ::4], subifds=2, **small)
        writer.write(RGB[::2, ::2], **small)
        writer.write(RGB, photometric="rgb", metadata=None, compression=compression)
        writer.write(RGB[::5, ::5], **small)
    picture = open_picture(tmp_path / "a.tif")
    assert (picture.height, picture.width, picture.page.chain) == (20, 36, (0, 1))
    said = "its first page is a preview; the full picture of 36 x 20 px is read"
    assert picture.notes == (f"{tmp_path / 'a.tif'}: {said}",)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), planes(RGB))


def test_further_pages_are_said(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in (RGB, RGB[::-1]):
            writer.write(page, photometric="rgb", metadata=None)
    assert "holds 2 pages; the first is read" in open_picture(tmp_path / "a.tif").notes[0]
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), planes(RGB))


@pytest.mark.parametrize(
    ("dtype", "values", "photometric"),
    [
        (np.uint8, (135, 20, 226), "cielab"),
        (np.uint16, (34734, 20 * 256, 65536 - 30 * 256), "cielab"),
        (np.uint8, (135, 148, 98), "icclab"),
        (np.uint16, (34598, 148 * 256, 98 * 256), "icclab"),
        (np.float32, (53, 20, -30), "cielab"),
    ],
)
def test_lab(tmp_path, dtype, values, photometric):
    """L 53, a 20, b -30 of D50 through Bradford's matrix and sRGB's curve: (133.6, 115.0, 178.0)."""
    written(tmp_path / "a.tif", np.full((20, 36, 3), values, dtype), photometric=photometric)
    np.testing.assert_allclose(read_picture(tmp_path / "a.tif")[:, 3, 3] * 255, LAB_SEEN, atol=1.2)


@pytest.mark.parametrize("compression", ["zstd", "lzw", None])
@pytest.mark.parametrize(("dtype", "fine"), [(np.uint8, 1), (np.uint16, 257)])
def test_what_alpha_is_divided_out_of_is_rounded(tmp_path, compression, dtype, fine):
    """255 * 50 / 77 = 165.58, 255 * 20 / 77 = 66.23, 65535 * 50 / 77 = 42555.19; what exceeds its alpha is full."""
    values = np.full((20, 36, 4), (50, 20, 90, 77), dtype) * dtype(fine)
    written(tmp_path / "a.tif", values, extrasamples=["assocalpha"], compression=compression)
    found = read_picture(tmp_path / "a.tif", channels="rgba")[:, 3, 3] * np.iinfo(dtype).max
    expected = (166, 66, 255, 77) if fine == 1 else (42555, 17022, 65535, 77 * 257)
    np.testing.assert_allclose(found, expected, atol=1e-2)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits(tmp_path, bits):
    """A portrait of one strip, from black to white in equal steps, rows of whole bytes."""
    levels = np.arange(19 * 9).reshape(19, 9) % 2**bits
    each = (levels[..., None] >> np.arange(bits)[::-1]) & 1
    strip = np.packbits(each.astype(np.uint8).reshape(19, -1), axis=1).tobytes()
    tags = {256: 9, 257: 19, 258: bits, 259: 1, 262: 1, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: 19, 279: len(strip)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + strip)
    found = read_picture(tmp_path / "a.tif", channels="grey")
    np.testing.assert_allclose(found[0], levels / (2**bits - 1), atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "peak", "neutral", "photometric"),
    [
        (np.uint8, 255, 0, "cielab"),
        (np.uint16, 65535, 0, "cielab"),
        (np.uint8, 255, 128, "icclab"),
        (np.uint16, 65280, 32768, "icclab"),
        (np.float32, 100, 0, "cielab"),
    ],
)
def test_labs_white_is_white_and_its_black_is_black(tmp_path, dtype, peak, neutral, photometric):
    values = np.full((20, 36, 3), neutral, dtype)
    values[:, :18, 0], values[:, 18:, 0] = peak, 0
    written(tmp_path / "a.tif", values, photometric=photometric)
    found = read_picture(tmp_path / "a.tif")
    assert (found[:, :, :18].min(), found[:, :, 18:].max()) == (1, 0)


def _lab_seen():
    light = (53 + 16) / 116
    f = np.array([light + 20 / 500, light, light + 30 / 200])
    xyz = f**3 * (0.9642, 1, 0.8249)
    to_d65 = [
        [0.9555766, -0.0230393, 0.0631636],
        [-0.0282895, 1.0099416, 0.0210077],
        [0.0122982, -0.0204830, 1.3299098],
    ]
    to_rgb = [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
    linear = np.array(to_rgb) @ np.array(to_d65) @ xyz
    return (1.055 * linear ** (1 / 2.4) - 0.055) * 255


LAB_SEEN = _lab_seen()


def test_few_bits_fill_the_range(tmp_path):
    written(tmp_path / "a.tif", SPREAD, bitspersample=12, rowsperstrip=20)
    np.testing.assert_allclose(read_picture(tmp_path / "a.tif"), SPREAD.transpose(2, 0, 1) / 4095, atol=1e-5)


@pytest.mark.parametrize("predictor", [2, 3])
def test_predictors(tmp_path, predictor):
    array = RGB.astype(np.float32) / 255 if predictor == 3 else SPREAD
    written(tmp_path / "a.tif", array, compression="zstd", predictor=predictor, tile=(16, 16))
    expected = array.transpose(2, 0, 1) / (1 if predictor == 3 else 65535)
    np.testing.assert_allclose(read_picture(tmp_path / "a.tif"), expected, atol=1e-7)


@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
def test_orientation_of_the_second_reader(tmp_path, orientation):
    for name, compression in (("a", None), ("b", "zstd")):
        tags = [(274, "H", 1, orientation, True)]
        written(tmp_path / f"{name}.tif", RGB, compression=compression, extratags=tags, resolution=(300, 300),
                resolutionunit=2)  # fmt: skip
    one, other = (open_picture(tmp_path / f"{name}.tif") for name in "ab")
    assert (one.height, one.width) == (other.height, other.width)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), read_picture(tmp_path / "b.tif"))


def test_segments_are_bounded_by_their_known_size(tmp_path):
    import imagecodecs

    for codec, number in (("zstd", 50000), ("lerc", 34887), ("webp", 50001)):
        written(tmp_path / "a.tif", RGB[:16, :16], tile=(16, 16), compression=codec)
        encode = getattr(imagecodecs, f"{codec}_encode")
        bomb = encode(bytes(2**28)) if codec == "zstd" else encode(np.zeros((1000, 1000, 3), np.uint8))
        with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tif:
            page = tif.pages.first
            tif.filehandle.seek(0, 2)
            at = tif.filehandle.tell()
            tif.filehandle.write(bytes(bomb))
            page.tags["TileOffsets"].overwrite(at)
            page.tags["TileByteCounts"].overwrite(len(bomb))
            assert page.compression == number
        with pytest.raises(PictureError, match="damaged"):
            read_picture(tmp_path / "a.tif")


def test_stretch(tmp_path):
    array = RNG.integers(200, 2801, (60, 50, 3)).astype(np.uint16)
    array[0, 0] = 65535
    picture = written(tmp_path / "a.tif", array)
    low, high = np.percentile(array, [2, 98])
    seen = picture.stretched(2, 98)
    assert (abs(seen.spread.low - low) <= 1, abs(seen.spread.high - high) <= 1) == (True, True)
    expected = np.clip((array.transpose(2, 0, 1) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(np.concatenate(list(seen.bands(60, 50, 7)), 1), expected, atol=0.001)
    assert seen.cropped((5, 5, 20, 20)).spread == picture.cropped((5, 5, 20, 20)).stretched(2, 98).spread


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_stretch_takes_any_numbers(tmp_path, dtype):
    heights = np.linspace(-400, 8000, 20 * 36).reshape(20, 36).astype(dtype)
    picture = written(tmp_path / "a.tif", heights, photometric="minisblack")
    with pytest.raises(PictureError, match="--stretch"):
        picture.check()
    seen = np.concatenate(list(picture.stretched(0, 100).bands(20, 36, 20, "grey")), 1)[0]
    np.testing.assert_allclose(seen, (heights + 400.0) / 8400, atol=0.002)


def test_a_small_part_of_the_range_is_said(tmp_path):
    dark = written(tmp_path / "a.tif", SPREAD % 3000)
    assert "dark" in dark.check()[0]
    assert "--stretch" in dark.check()[0]
    assert dark.stretched(2, 98).check() == []
    assert written(tmp_path / "b.tif", SPREAD * 16).check() == []


def test_a_style_counts_where_it_is_opaque(tmp_path):
    array = np.concatenate([RGB, np.full_like(EXTRA, 255)], -1)
    opaque = written(tmp_path / "a.tif", array, extrasamples=["unassalpha"])
    assert as_style(opaque) == opaque
    array[..., :3] = (200, 100, 50)
    array[:, :18] = (255, 255, 255, 0)
    style = as_style(written(tmp_path / "a.tif", array, extrasamples=["unassalpha"]))
    assert style.in_part
    np.testing.assert_allclose(np.array(style.backdrop) * 255, (200, 100, 50), atol=0.5)
    shown = np.concatenate(list(style.bands(20, 36, 20)), 1)
    np.testing.assert_allclose(shown[:, 5, 3] * 255, (200, 100, 50), atol=0.5)
    white = np.zeros((20, 36), np.uint8)
    white[:10] = 255
    mask = written(tmp_path / "m.tif", white, photometric="minisblack")
    part = np.concatenate(list(part_bands(style, mask, 20, 36, 7)), 1)[0]
    expected = np.zeros((20, 36))
    expected[:10, 18:] = 1
    np.testing.assert_allclose(part, expected, atol=1e-6)
    alone = np.concatenate(list(part_bands(style, None, 20, 36, 7)), 1)[0]
    np.testing.assert_allclose(alone[:, 18:], 1)
    assert not alone[:, :18].any()
    array[..., 3] = 0
    with pytest.raises(PictureError, match="transparent all over"):
        as_style(written(tmp_path / "a.tif", array, extrasamples=["unassalpha"]))


def test_a_mask_is_black_where_it_is_transparent(tmp_path):
    array = np.full((20, 36, 2), 255, np.uint8)
    array[:, :18, 1] = 0
    mask = written(tmp_path / "m.tif", array, photometric="minisblack", extrasamples=["unassalpha"])
    found = np.concatenate(list(mask_bands(mask, 20, 36, 20)), 1)[0]
    assert not found[:, :18].any()
    assert (found[:, 18:] == 1).all()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("codec", ["LERC", "LERC_DEFLATE", "LERC_ZSTD", "LZMA"])
def test_codecs_as_gdal_writes_them(tmp_path, codec):
    rasterio = pytest.importorskip("rasterio")
    profile = dict(driver="GTiff", height=200, width=300, count=3, dtype="uint8", photometric="RGB", compress=codec)
    pixels = np.tile(RGB, (10, 9, 1))[:, :300]
    with rasterio.open(tmp_path / "a.tif", "w", tiled=True, blockxsize=16, blockysize=16, **profile) as file:
        file.write(pixels.transpose(2, 0, 1))
    for _ in range(3):  # many tiles by many threads
        np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), planes(pixels))


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("nodata", [False, True])
def test_palettes_keep_their_colours(tmp_path, compression, nodata):
    classes = np.full((20, 36), 10, np.uint8)
    classes[:, 18:] = 80
    table = np.zeros((3, 256), np.uint16)
    table[:, 10], table[:, 80] = np.array((0, 100, 0)) * 257, np.array((0, 100, 200)) * 257
    tags = [(42113, 2, 3, "80", True)] if nodata else []
    written(tmp_path / "a.tif", classes, photometric="palette", colormap=table, compression=compression, extratags=tags)
    found = read_picture(tmp_path / "a.tif", channels="rgba")[:, 3]
    np.testing.assert_allclose(found[:3, 2] * 255, (0, 100, 0), atol=1e-4)
    if nodata:
        assert (found[3, 2], found[3, 30]) == (1, 0)
    else:
        np.testing.assert_allclose(found[:, 30] * 255, (0, 100, 200, 255), atol=1e-4)


@pytest.mark.parametrize("nodata", ["0", "37", None])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("codec", ["zstd", "lzma", "lerc"])
def test_tiles_that_were_left_out_are_zero_or_no_data(tmp_path, codec, separate, nodata):
    """GDAL's SPARSE_OK: a tile without bytes. The second of the lower row, portrait, with odd edges."""
    height, width = 45, 23
    array = RNG.integers(50, 256, (height, width, 3), dtype=np.uint8)
    stored = array.transpose(2, 0, 1) if separate else array
    tags = [] if nodata is None else [(42113, 2, 0, nodata, True)]
    options = dict(planarconfig="separate" if separate else "contig", compression=codec, tile=(32, 16), extratags=tags)
    written(tmp_path / "a.tif", stored, **options)
    expected = array.copy()
    expected[32:, 16:] = 0
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tif:
        page = tif.pages.first
        counts, offsets = (list(page.tags[name].value) for name in ("TileByteCounts", "TileOffsets"))
        for plane in range(3 if separate else 1):
            counts[4 * plane + 3] = offsets[4 * plane + 3] = 0
        page.tags["TileByteCounts"].overwrite(counts)
        page.tags["TileOffsets"].overwrite(offsets)
    picture = open_picture(tmp_path / "a.tif")
    found = np.concatenate(list(picture.bands(height, width, 11, "rgba")), 1)
    np.testing.assert_array_equal(found[:3], planes(expected))
    opaque = np.ones((height, width))
    if nodata is not None:
        opaque[32:, 16:] = 0
    np.testing.assert_array_equal(found[3], opaque)


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("text", ["-9999", "nan", "none", "1e400"])
def test_no_data_of_another_type_stops_nothing(tmp_path, compression, text):
    """GDAL writes it into tiles of bytes without a word, and tifffile warns of it whenever it opens the file."""
    picture = written(tmp_path / "a.tif", RGB, compression=compression, extratags=[(42113, 2, 0, text, True)])
    assert (picture.has_alpha, picture.notes, picture.check()) == (False, (), [])
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), planes(RGB))


def damaged_tag(path, code, place, **options):
    """A TIFF with alpha, a profile and an artist, of whose tag one has no type ("type") or lies outside ("offset")."""
    tags = [(315, 2, 0, b"somebody of this name", True)]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = dict(extrasamples=["unassalpha"], iccprofile=profile, extratags=tags, predictor=True) | options
    written(path, RGBX, **options)
    with tifffile.TiffFile(path) as tif:
        at = tif.pages.first.tags[code].offset
    data = bytearray(path.read_bytes())
    data[at + 2 : at + 8] = struct.pack("<HI", *((99, 1) if place == "type" else (2, 9_999_999)))
    path.write_bytes(data)


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
@pytest.mark.parametrize("place", ["type", "offset"])
@pytest.mark.parametrize("code", [282, 305, 315])
def test_a_header_damaged_where_it_does_not_matter_is_said(tmp_path, compression, place, code):
    damaged_tag(tmp_path / "a.tif", code, place, compression=compression)
    picture = open_picture(tmp_path / "a.tif")
    assert len(picture.notes) == 1
    assert f"a.tif: its header is damaged in places (tag {code}: invalid " in picture.notes[0]
    found = read_picture(tmp_path / "a.tif", channels="rgba")
    np.testing.assert_array_equal(found, planes(RGBX))


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
@pytest.mark.parametrize("place", ["type", "offset"])
@pytest.mark.parametrize("code", [258, 259, 262, 277, 317, 338, 34675])
def test_a_header_damaged_where_pixels_depend_on_it_is_refused(tmp_path, compression, place, code):
    damaged_tag(tmp_path / "a.tif", code, place, compression=compression)
    with pytest.raises(PictureError, match=rf"a.tif: damaged TIFF \(tag {code}: invalid "):
        open_picture(tmp_path / "a.tif")


def test_tags_in_another_order_are_read(tmp_path):
    """What libtiff warns of, libvips takes for damage."""
    written(tmp_path / "a.tif", RGB, extratags=[(315, 2, 0, b"somebody of this name", True)])
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        at, number = tif.pages.first.offset + 2, len(tif.pages.first.tags)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    entries = [bytes(data[at + 12 * i : at + 12 * i + 12]) for i in range(number)]
    data[at : at + 12 * number] = b"".join(entries[::-1])
    (tmp_path / "a.tif").write_bytes(data)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), planes(RGB))
