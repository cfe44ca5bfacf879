"""Numbers that are known beforehand: what a colour, a size, a mask or a changed file comes to."""

from __future__ import annotations

import io
import os
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tiler.errors import PictureChangedError, PictureError
from tiler.pictures import label_bands, mask_bands, open_picture, read_picture
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


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_floats_are_coded_values(tmp_path, compression):
    values = np.linspace(0, 1, 35, dtype=np.float32).reshape(7, 5)
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
        with pytest.raises(PictureError, match="its header says 16384 x"):
            open_picture(tmp_path / "a.jpg")
    for side, fine in ((1_000_000, True), (1_000_001, False)):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((1, side), np.uint8), photometric="minisblack")
        if fine:
            assert open_picture(tmp_path / "a.tif").width == side
            continue
        with pytest.raises(PictureError, match="1 to 1000000 pixels a side are allowed"):
            open_picture(tmp_path / "a.tif")
