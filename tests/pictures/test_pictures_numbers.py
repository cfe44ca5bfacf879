"""Numbers that are known beforehand: what a colour, a size, a mask or a changed file comes to."""

from __future__ import annotations

import io
import math
import os
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tiler.errors import PictureChangedError, PictureError
from tiler.pictures import label_bands, mask_bands, open_picture, read, read_picture, shown_small
from tiler.pictures.stream import load_vips


def grey_profile(curve: list[int]) -> bytes:
    """ICC, version 2: one curve from black to the white of D50; of one number, 256 times an exponent."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
    points = b"curv\0\0\0\0" + struct.pack(f">I{len(curve)}H", len(curve), *curve)
    head = bytearray(128)
    head[8:24] = b"\x02\x40\0\0mntrGRAYXYZ "
    head[36:40] = b"acsp"
    head[68:80] = white[8:]
    at = 128 + 4 + 2 * 12
    table = struct.pack(">I4sII4sII", 2, b"wtpt", at, 20, b"kTRC", at + 20, len(points))
    data = bytes(head) + table + white + points + bytes(-len(points) % 4)
    return struct.pack(">I", len(data)) + data[4:]


def srgb_to_light(coded: np.ndarray) -> np.ndarray:
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("deep", [False, True])
def test_a_grey_profile_is_obeyed(tmp_path, deep):
    """Half of the light of a linear grey is 188 of sRGB's 255."""
    values = np.full((9, 5), 32768 if deep else 128, np.uint16 if deep else np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", iccprofile=grey_profile([256]))
    for channels, count in (("grey", 1), ("rgb", 3)):
        found = read_picture(tmp_path / "a.tif", channels=channels) * 255
        assert found.shape == (count, 9, 5)
        np.testing.assert_allclose(found, 188, atol=1)


@pytest.mark.parametrize("steps", [-3, -2, -1, 0, 1, 2, 3])
def test_a_profile_within_a_step_of_srgb_is_srgb_and_any_other_is_obeyed(tmp_path, steps):
    """What is sRGB's comes back equal. The curve of a grey is moved by some of 255 steps, but for black and white."""
    coded = np.clip(np.linspace(0, 255, 256) + steps, 0, 255) / 255
    coded[[0, -1]] = 0, 1
    profile = grey_profile([round(65535 * light) for light in srgb_to_light(coded)])
    values = np.arange(40, 200, dtype=np.uint8).reshape(32, 5)
    for name, stored in (("8", values), ("16", values.astype(np.uint16) * 257)):
        tifffile.imwrite(tmp_path / name, stored, photometric="minisblack", iccprofile=profile)
        found = read_picture(tmp_path / name, channels="grey")[0] * 255
        np.testing.assert_allclose(found, values + (float(steps) if abs(steps) > 1 else 0), atol=0.1 if steps else 1e-4)


@pytest.mark.parametrize("photometric", ["rgb", "separated"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.float32])
@pytest.mark.parametrize("compression", [None, "zstd"])
def test_profiles_are_obeyed_as_littlecms_does(tmp_path, photometric, dtype, compression):
    """Relative colorimetric with black point compensation, in numbers of every type, by either reader. The profiles:
    RGB with a curve of its own, and the press that inks without a profile are taken for."""
    count = 3 if photometric == "rgb" else 4
    values = np.random.default_rng(5).integers(*((90, 170) if count == 3 else (0, 256)), (12, 5, count), dtype=np.uint8)
    values[:2, 0] = [[0] * count, [255] * count]
    data = bytes(load_vips().Operation.call("profile_load", "p3" if count == 3 else "cmyk"))
    seen = ImageCms.profileToProfile(
        Image.frombytes("RGB" if count == 3 else "CMYK", (5, 12), values.tobytes()),
        ImageCms.ImageCmsProfile(io.BytesIO(data)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOOPTIMIZE,
    )
    most = 1 if dtype == np.float32 else np.iinfo(dtype).max
    stored = (values * (most / 255)).astype(dtype) if dtype == np.float32 else values * dtype(most // 255)
    for profile in (data,) if count == 3 else (data, None):
        options = dict(photometric=photometric, iccprofile=profile, compression=compression, planarconfig="contig")
        tifffile.imwrite(tmp_path / "a.tif", stored, **options)
        found = read_picture(tmp_path / "a.tif").transpose(1, 2, 0) * 255
        difference = np.abs(found - np.asarray(seen, np.float64))
        assert difference.max() < 7  # where it is darkest, 8 bits are few
        assert difference.mean() < 0.5
        np.testing.assert_allclose(difference[:2, 0], 0, atol=0.5)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_coded_values(tmp_path, compression, dtype):
    values = np.linspace(0, 1, 35, dtype=dtype).reshape(7, 5)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", compression=compression)
    found = read_picture(tmp_path / "a.tif", channels="grey")
    np.testing.assert_allclose(found[0], values, atol=1e-6)


def test_adobes_cmyk_is_inverted_in_a_jpeg_and_in_no_tiff(tmp_path):
    """Photoshop's JPEGs hold 255 where there is no ink, and say so by their Adobe segment."""
    ink = Image.new("CMYK", (16, 24), (0, 230, 230, 20))
    seen = []
    for name in ("a.jpg", "a.tif"):
        ink.save(tmp_path / name, quality=100)
        seen.append(read_picture(tmp_path / name)[:, 12, 8])
    assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()[:64]
    np.testing.assert_allclose(seen[0], seen[1], atol=0.02)
    assert seen[0][0] > 0.6
    assert seen[0][1:].max() < 0.35


def test_halves_are_the_means_of_a_ramp(tmp_path):
    """A portrait ramp that grows by 4 to the right and by 2 downwards; the rim is left to the filter."""
    y, x = np.mgrid[0:32, 0:16]
    Image.fromarray((2 * y + 4 * x).astype(np.uint8)).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png", 16, 8, "grey")[0] * 255
    y, x = np.mgrid[0:16, 0:8]
    np.testing.assert_allclose(found[4:-4, 2:-2], (2 * (2 * y + 0.5) + 4 * (2 * x + 0.5))[4:-4, 2:-2], atol=0.05)
    doubled = read_picture(tmp_path / "a.png", 64, 32, "grey")[0] * 255
    y, x = np.mgrid[0:64, 0:32]
    exact = 2 * ((y + 0.5) / 2 - 0.5) + 4 * ((x + 0.5) / 2 - 0.5)
    np.testing.assert_allclose(doubled[6:-6, 6:-6], exact[6:-6, 6:-6], atol=0.05)


def test_one_side_shrinks_while_the_other_grows(tmp_path):
    y, x = np.mgrid[0:40, 0:20]
    Image.fromarray((3 * y + 5 * x).astype(np.uint8)).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png", 20, 40, "grey")[0] * 255
    y, x = np.mgrid[0:20, 0:40]
    exact = 3 * (2 * y + 0.5) + 5 * ((x + 0.5) / 2 - 0.5)
    np.testing.assert_allclose(found[4:-4, 6:-6], exact[4:-4, 6:-6], atol=0.05)


def test_a_mask_of_colours_is_their_luma_times_their_opacity(tmp_path):
    pixels = np.zeros((3, 2, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[0, 0, 0] = pixels[0, 1, 1] = pixels[1, 0, 2] = 255
    pixels[1, 1] = 255, 255, 255, 51
    pixels[2, 0] = 255
    Image.fromarray(pixels).save(tmp_path / "m.png")
    found = np.concatenate(list(mask_bands(open_picture(tmp_path / "m.png"), 3, 2, 2)), 1)[0]
    np.testing.assert_allclose(found, [[0.2126, 0.7152], [0.0722, 0.2], [1, 0]], atol=2e-5)


def test_labels_are_the_nearest_of_the_palette_and_the_first_of_equals(tmp_path):
    pixels = np.array(
        [[[250, 5, 0], [0, 0, 255]], [[127, 0, 127], [128, 0, 128]], [[9, 200, 9], [0, 90, 200]]], np.uint8
    )
    Image.fromarray(pixels).save(tmp_path / "l.png")
    palette = [(255, 0, 0), (0, 0, 255), (0, 255, 0)]
    found = np.concatenate(list(label_bands(open_picture(tmp_path / "l.png"), palette, 3, 2, 2)), 1)
    assert found.sum(0).tolist() == [[1, 1]] * 3
    assert found.argmax(0).tolist() == [[0, 1], [0, 0], [2, 1]]


def test_an_edge_is_softened_over_its_width(tmp_path):
    white = np.zeros((64, 40), np.uint8)
    white[32:] = 255
    Image.fromarray(white).save(tmp_path / "m.png")
    found = np.concatenate(list(mask_bands(open_picture(tmp_path / "m.png"), 64, 40, 9, edge=8)), 1)[0]
    column = found[:, 20]
    assert column[:24].max() < 0.01
    assert column[40:].min() > 0.99
    between = ((column > 0.02) & (column < 0.98)).sum()
    assert 6 <= between <= 10
    assert column[31] == pytest.approx(1 - column[32], abs=1e-3)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("how", ["replaced", "touched", "gone"])
def test_a_file_that_changes_while_it_is_read_is_refused_at_its_end(tmp_path, suffix, how):
    """Bands of two pictures would be one: all rows have come when it is seen."""
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.full((60, 30, 3), 99, np.uint8)).save(path)
    bands = open_picture(path).bands(60, 30, 20)
    heights = [next(bands).shape[1]]
    if how == "replaced":
        Image.fromarray(np.full((60, 30, 3), 9, np.uint8)).save(tmp_path / f"b.{suffix}")
        os.replace(tmp_path / f"b.{suffix}", path)
    elif how == "touched":
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
    with pytest.raises(PictureChangedError, match=f"a.{suffix}: has changed since it was opened"):
        heights.extend(band.shape[1] for band in bands)
    assert heights == [20, 20, 20]


def test_a_file_that_changed_after_it_was_opened_is_refused_at_once(tmp_path):
    Image.new("RGB", (30, 60)).save(tmp_path / "a.png")
    picture = open_picture(tmp_path / "a.png")
    os.utime(tmp_path / "a.png", ns=(1, 1))
    with pytest.raises(PictureChangedError):
        next(iter(picture.bands(60, 30, 20)))


@pytest.mark.parametrize(
    ("given", "expected"), [((None, 30), (45, 30)), ((90, None), (90, 60)), ((None, None), (60, 40))]
)
def test_the_other_side_follows_from_the_shape(tmp_path, given, expected):
    Image.new("RGB", (40, 60)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", *given).shape == (3, *expected)
    cropped = read_picture(tmp_path / "a.png", None, 30, "alpha", (0, 0, 20, 40))
    assert cropped.shape == (1, 15, 30)


def test_limits_of_a_picture_are_as_they_are_said(tmp_path):
    """1000 x 1000 in a JPEG of too few bytes; and a side of a million, but not one more."""
    Image.new("L", (1000, 1000)).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    at = data.index(b"\xff\xc0") + 5
    (tmp_path / "a.jpg").write_bytes(data[:at] + struct.pack(">HH", 60_000, 60_000) + data[at + 4 :])
    with pytest.raises(PictureError, match="its header says 60000 x 60000, more than its few bytes can hold"):
        open_picture(tmp_path / "a.jpg")
    for spare, fine in ((0, True), (1, False)):  # 1024 pixels a byte, and no more
        filled = data[:at] + struct.pack(">HH", 16_384, len(data) // 16 + 1) + data[at + 4 :]
        filled += bytes((len(data) // 16 + 1) * 16 - len(data) - spare)
        (tmp_path / "a.jpg").write_bytes(filled)
        if fine:
            assert open_picture(tmp_path / "a.jpg").height == 16_384
            continue
        with pytest.raises(PictureError, match="x 16384, more than its few"):
            open_picture(tmp_path / "a.jpg")
    for side, fine in ((1_000_000, True), (1_000_001, False)):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((1, side), np.uint8), photometric="minisblack")
        if fine:
            assert open_picture(tmp_path / "a.tif").width == side
            continue
        with pytest.raises(PictureError, match="1 to 1000000 pixels a side are allowed"):
            open_picture(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("size", "given", "expected"),
    [
        ((37, 53), (None, 30), (21, 30)), ((37, 53), (10, None), (10, 14)), ((53, 37), (30, None), (30, 21)),
        ((1, 1000), (None, 100), (1, 100)), ((1000, 1), (100, None), (100, 1)), ((1, 3), (None, 1), (1, 1)),
        ((1, 3), (2, None), (2, 6)),
    ],
)  # fmt: skip
def test_a_side_that_follows_is_the_nearest_whole_number_and_one_at_least(tmp_path, size, given, expected):
    Image.new("L", size[::-1]).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", *given, "grey").shape == (1, *expected)


@pytest.mark.parametrize(
    ("size", "edge", "expected"),
    [((40, 100), 50, (20, 50)), ((100, 40), 50, (50, 20)), ((1, 1000), 10, (1, 10)), ((1000, 1), 10, (10, 1)),
     ((7, 5), 7, (7, 5)), ((5, 7), 8, (5, 7)), ((11, 7), 4, (4, 3))],
)  # fmt: skip
def test_a_small_one_to_show_keeps_its_shape_and_opacity_and_grows_never(tmp_path, size, edge, expected):
    pixels = np.full((*size, 4), (250, 120, 9, 77), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = np.asarray(Image.open(io.BytesIO(shown_small(tmp_path / "a.png", edge))))
    assert found.shape == (*expected, 4)
    assert np.abs(found.astype(int) - (250, 120, 9, 77)).max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_turned_lies_nowhere(tmp_path, orientation):
    """A world file speaks of rows and columns, and nobody says of which."""
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("RGB", (3, 5)).save(tmp_path / "a.png", exif=exif)
    (tmp_path / "a.pgw").write_text("1 0 0 -1 5 5")
    picture = open_picture(tmp_path / "a.png")
    assert (picture.height, picture.width) == ((5, 3) if orientation < 5 else (3, 5))
    assert (picture.georef is not None) == (orientation == 1)


@pytest.mark.parametrize(
    ("name", "options", "bands"),
    [("a.webp", {}, 3), ("a.gif", {}, 3), ("a.avif", {}, 3), ("a.jpg", dict(progressive=True), 3), ("a.jpg", {}, 0),
     ("a.png", {}, 0), ("a.tif", {}, 0), ("interlaced.png", {}, 3)],
)  # fmt: skip
def test_what_is_decoded_whole_has_a_limit_and_what_streams_has_none(tmp_path, monkeypatch, name, options, bands):
    """Of 16 bits a value, in portrait."""
    if name == "interlaced.png":
        load_vips().Image.black(20, 30, bands=3).copy(interpretation="srgb").pngsave(
            str(tmp_path / name), interlace=True
        )
    else:
        Image.new("RGB", (20, 30), (250, 3, 9)).save(tmp_path / name, **options)
    monkeypatch.setattr(read, "_WHOLE_BYTES", 30 * 20 * 3 * 2)
    assert open_picture(tmp_path / name).height == 30
    monkeypatch.setattr(read, "_WHOLE_BYTES", 30 * 20 * 3 * 2 - 1)
    if not bands:
        assert open_picture(tmp_path / name).height == 30
        return
    kind = {"jpg": "JPEG", "avif": "HEIF"}.get(name.rpartition(".")[2], name.rpartition(".")[2].upper())
    with pytest.raises(PictureError, match=f"{name}: 20 x 30 is too large for a {kind} that cannot be read row by row"):
        open_picture(tmp_path / name)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("more", [0, 1])
def test_bytes_behind_the_scans_of_a_jpeg(tmp_path, progressive, more):
    """2**28 and 16 a pixel, where it is read to its end."""
    Image.new("RGB", (20, 30)).save(tmp_path / "a.jpg", progressive=progressive)
    os.truncate(tmp_path / "a.jpg", 2**28 + 16 * 600 + more)
    if not (progressive and more):
        assert open_picture(tmp_path / "a.jpg").height == 30
        return
    with pytest.raises(PictureError, match=r"a\.jpg: damaged JPEG \(far more bytes than 20 x 30 pixels need\)"):
        open_picture(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("size", "holds", "fine"),
    [((65_536, 65_536), 400, True), ((65_536, 65_537), 400, False), ((65_537, 65_536), 400, False),
     ((100_000, 50_000), 50_000, True), ((50_000, 100_000), 49_999, False)],
)  # fmt: skip
def test_how_flat_a_tiff_may_be(tmp_path, size, holds, fine):
    """Of more than 2**32 pixels, 100000 in a byte."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((2, 2), np.uint8), photometric="minisblack", compression="zstd", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for name, value in zip(("ImageLength", "ImageWidth"), size, strict=True):
            tif.pages.first.tags[name].overwrite(value)
    assert path.stat().st_size <= holds
    os.truncate(path, holds)
    if fine:
        assert (open_picture(path).height, open_picture(path).width) == size
        return
    with pytest.raises(PictureError, match=f"its header says {size[1]} x {size[0]}, more than its few bytes can hold"):
        open_picture(path)


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize(
    ("dtype", "bits"), [(np.uint8, 8), (np.uint16, 16), (np.uint32, 32), (np.float32, 32), (np.float64, 64)]
)
def test_how_many_bits_a_picture_has(tmp_path, dtype, bits, compression):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 2), dtype), photometric="minisblack", compression=compression)
    assert open_picture(tmp_path / "a.tif").bits == bits


def test_a_soft_edge_is_a_gaussian_s_sum(tmp_path):
    """Of a quarter of its width as sigma: 4 px."""
    white = np.zeros((80, 9), np.uint8)
    white[40:] = 255
    Image.fromarray(white).save(tmp_path / "m.png")
    found = np.concatenate(list(mask_bands(open_picture(tmp_path / "m.png"), 80, 9, 80, edge=16)), 1)[0, :, 4]
    expected = [0.5 * (1 + math.erf((y + 0.5 - 40) / 4 / math.sqrt(2))) for y in range(80)]
    np.testing.assert_allclose(found, expected, atol=0.005)


def test_an_enlarged_mask_rises_in_straight_lines(tmp_path):
    """And so do labels, of which nothing is lost: 3 x 2 to 6 x 4."""
    Image.fromarray(np.array([[0, 0], [0, 255], [0, 255]], np.uint8)).save(tmp_path / "m.png")
    picture = open_picture(tmp_path / "m.png")
    [found] = mask_bands(picture, 6, 4, 6)
    down, right = [0, 0.25, 0.75, 1, 1, 1], [0, 0.25, 0.75, 1]
    np.testing.assert_allclose(found[0], np.outer(down, right), atol=1e-5)
    [labels] = label_bands(picture, [(255, 255, 255), (0, 0, 0)], 6, 4, 6)
    np.testing.assert_allclose(labels, [np.outer(down, right), 1 - np.outer(down, right)], atol=1e-5)


@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_a_deep_mask_with_opacity(tmp_path, photometric):
    """Luma times opacity, both of 16 bits."""
    values = np.zeros((3, 2, 4 if photometric == "rgb" else 2), np.uint16)
    values[..., -1] = [[65535, 0], [13107, 26214], [1, 65535]]
    values[..., :-1] = np.array([[65535, 65535], [65535, 32768], [65535, 257]])[..., None]
    tifffile.imwrite(tmp_path / "m.tif", values, photometric=photometric, extrasamples=["unassalpha"])
    [found] = mask_bands(open_picture(tmp_path / "m.tif"), 3, 2, 3)
    np.testing.assert_allclose(found[0], [[1, 0], [0.2, 0.2], [1 / 65535, 1 / 255]], atol=1e-5)


@pytest.mark.parametrize(
    ("palette", "expected"),
    [
        ([90, 0, 110, 110], 0), ([0, 90, 200, 110], 1), ([0, 0, 110, 90], 2), ([0, 99, 100, 101], 2),
        ([89, 110, 0, 90], 1), ([101], 0),
    ],
)  # fmt: skip
def test_of_labels_that_are_as_near_the_first_wins(tmp_path, palette, expected):
    """And no other, wherever they stand; a portrait of grey 100."""
    Image.new("L", (2, 3), 100).save(tmp_path / "l.png")
    [found] = label_bands(open_picture(tmp_path / "l.png"), [(one, one, one) for one in palette], 3, 2, 3)
    assert found[:, 0, 0].tolist() == [float(number == expected) for number in range(len(palette))]
    assert (found == found[:, :1, :1]).all()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_labels_are_told_apart_by_a_single_step(tmp_path, mode):
    Image.fromarray(np.array([[254, 255], [1, 0], [127, 128]], np.uint8)).convert(mode).save(tmp_path / "l.png")
    palette = [(one, one, one) for one in (0, 1, 127, 128, 254, 255)]
    [found] = label_bands(open_picture(tmp_path / "l.png"), palette, 3, 2, 3)
    assert found.argmax(0).tolist() == [[4, 5], [1, 0], [2, 3]]


def test_labels_that_are_faint_are_seen_on_white(tmp_path):
    """Black of 51 of 255 is 204."""
    pixels = np.zeros((3, 1, 2), np.uint8)
    pixels[:, 0, 1] = 51, 0, 255
    Image.fromarray(pixels, "LA").save(tmp_path / "l.png")
    palette = [(one, one, one) for one in (0, 51, 153, 204, 230, 255)]
    [found] = label_bands(open_picture(tmp_path / "l.png"), palette, 3, 1, 3)
    assert found.argmax(0)[:, 0].tolist() == [3, 5, 0]


@pytest.mark.parametrize(
    ("crop", "given", "expected"),
    [
        ((4, 10, 30, 50), (None, 20), (13, 20)), ((4, 10, 30, 50), (13, None), (13, 20)),
        ((3, 5, 4, 45), (None, 10), (1, 10)), ((3, 5, 4, 45), (2, None), (2, 80)),
        ((5, 3, 35, 4), (10, None), (10, 1)), ((5, 3, 35, 4), (None, 2), (60, 2)),
    ],
)  # fmt: skip
def test_the_other_side_follows_from_the_shape_of_the_part(tmp_path, crop, given, expected):
    Image.new("L", (53, 37)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", *given, "grey", crop).shape == (1, *expected)
    for wrong in ((5, 5, 5, 9), (5, 5, 9, 5)):
        with pytest.raises(PictureError, match="crop"):
            read_picture(tmp_path / "a.png", *given, "grey", wrong)


@pytest.mark.parametrize(
    ("size", "rows"), [((2, 1000), 4194), ((1000, 2), 2**21), ((1, 2**22), 1), ((1, 2**22 + 1), 1)]
)
def test_a_whole_picture_is_read_four_million_pixels_at_a_time(tmp_path, monkeypatch, size, rows):
    asked = []
    monkeypatch.setattr(read.Picture, "bands", lambda self, *how: asked.append(how[:3]) or iter(()))
    Image.new("L", (3, 2)).save(tmp_path / "a.png")
    read_picture(tmp_path / "a.png", *size, "grey")
    assert asked == [(*size, rows)]
