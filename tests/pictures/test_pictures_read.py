"""Known colours in every kind of file come out upright, right and at any size, whatever the band height."""

import io
import pickle
import sys
from subprocess import run

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

import tiler.pictures.picture
from tiler.errors import PictureError
from tiler.pictures import open_picture, read_picture

RNG = np.random.default_rng(7)
RGB8 = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (37, 53, 3), dtype=np.uint16)
# Not ru_maxrss: it counts the parent's memory at the fork.
PEAK = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
GREY8, GREY16 = RGB8[..., 0], RGB16[..., 0]


def planes(array):
    array = array[..., None] if array.ndim == 2 else array
    peak = {"u1": 255, "u2": 65535}.get(array.dtype.str[1:], 1)
    return array.transpose(2, 0, 1).astype(np.float32) / np.float32(peak)


def smooth(height, width):
    """A picture without detail near the pixel: every good filter agrees on it."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = (y + 0.5) / height, (x + 0.5) / width
    return np.stack([0.5 + 0.3 * np.sin(5 * x + 2 * y), 0.2 + 0.6 * x * y, 0.8 - 0.5 * y], -1)


def test_import_is_light():
    code = "import sys, tiler.pictures; print(sorted({'torch', 'pyvips', 'tifffile', 'PIL'} & set(sys.modules)))"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tif", "webp"])
def test_8_bit_rgb_is_exact(tmp_path, suffix):
    path = tmp_path / f"rgb.{suffix}"
    Image.fromarray(RGB8).save(path, **({"lossless": True} if suffix == "webp" else {}))
    picture = open_picture(path)
    assert (picture.height, picture.width, picture.channels, picture.bits) == (37, 53, 3, 8)
    assert not picture.has_alpha
    assert picture.georef is None
    assert pickle.loads(pickle.dumps(picture)) == picture
    pixels = read_picture(path)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, planes(RGB8))


def test_jpeg_and_avif_are_close(tmp_path):
    colours = (smooth(64, 80) * 255).round().astype(np.uint8)
    for suffix in ("jpg", "avif"):
        Image.fromarray(colours).save(tmp_path / f"a.{suffix}", quality=95)
        assert np.abs(read_picture(tmp_path / f"a.{suffix}") - planes(colours)).max() < 0.05


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("colour", [True, False])
def test_deep_tiff_is_exact(tmp_path, dtype, colour):
    array = RGB16 if colour else GREY16
    expected = planes(array)
    stored = array if dtype == np.uint16 else (array / np.float32(65535)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb" if colour else "minisblack")
    picture = open_picture(tmp_path / "a.tif")
    assert picture.bits == np.dtype(dtype).itemsize * 8
    pixels = read_picture(tmp_path / "a.tif", channels="rgb" if colour else "grey")
    np.testing.assert_allclose(pixels, expected, atol=1e-7)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("options", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}, {"interleave": "band"}])
@pytest.mark.parametrize("predictor", [1, 2])
def test_zstandard_tiff(tmp_path, options, predictor):
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "height": 37, "width": 53, "count": 3, "dtype": "uint16", "photometric": "RGB"}
    with rasterio.open(tmp_path / "a.tif", "w", compress="zstd", predictor=predictor, **profile, **options) as file:
        file.write(RGB16.transpose(2, 0, 1))
    assert open_picture(tmp_path / "a.tif").bits == 16
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), planes(RGB16))
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PictureError, match="damaged"):
        read_picture(tmp_path / "a.tif")


def test_grey_palette_and_bitmap(tmp_path):
    Image.fromarray(GREY16).save(tmp_path / "g16.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "g16.png", channels="grey"), planes(GREY16))
    Image.fromarray(GREY8).save(tmp_path / "g8.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "g8.png"), np.repeat(planes(GREY8), 3, 0))
    palette = Image.fromarray(RGB8).quantize(16)
    for suffix in ("png", "gif"):
        palette.save(tmp_path / f"p.{suffix}")
        np.testing.assert_array_equal(
            read_picture(tmp_path / f"p.{suffix}"), planes(np.asarray(palette.convert("RGB")))
        )
    Image.fromarray(GREY8 > 128).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "bits.png", channels="grey")[0], GREY8 > 128)


def test_grey_of_colours_is_luma(tmp_path):
    Image.fromarray(RGB8).save(tmp_path / "a.png")
    expected = planes(RGB8)[0] * 0.2126 + planes(RGB8)[1] * 0.7152 + planes(RGB8)[2] * 0.0722
    np.testing.assert_allclose(read_picture(tmp_path / "a.png", channels="grey")[0], expected, atol=1e-6)


def test_alpha(tmp_path):
    rgba = np.dstack([RGB8, RNG.integers(0, 256, GREY8.shape, dtype=np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "a.png")
    colour, alpha = planes(RGB8), planes(rgba)[3:]
    assert open_picture(tmp_path / "a.png").has_alpha
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", channels="rgba"), planes(rgba))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", channels="alpha"), alpha)
    on_white = colour * alpha + (1 - alpha)
    np.testing.assert_allclose(read_picture(tmp_path / "a.png"), on_white, atol=2 / 65535)
    Image.fromarray(RGB8).save(tmp_path / "opaque.png")
    assert (read_picture(tmp_path / "opaque.png", height=5, channels="alpha") == 1).all()
    assert (read_picture(tmp_path / "opaque.png", height=5, channels="rgba")[3] == 1).all()


@pytest.mark.parametrize("grey", [False, True])
def test_transparent_colours_do_not_bleed(tmp_path, grey):
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[:, :20] = (200, 200, 200, 255) if grey else (200, 100, 50, 255)
    image = Image.fromarray(rgba)
    (image.convert("LA") if grey else image).save(tmp_path / "a.png")
    for size in (13, 90):
        pixels = read_picture(tmp_path / "a.png", size, size, "rgba")
        seen = pixels[3] > 0.05
        for channel, value in enumerate((200, 200, 200) if grey else (200, 100, 50)):
            assert np.abs(pixels[channel][seen] - value / 255).max() < 0.01


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(RGB8).save(tmp_path / "a.png", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    picture = open_picture(tmp_path / "a.png")
    assert (picture.height, picture.width) == upright.shape[:2]
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), planes(upright))
    crop = (3, 5, 20, 31)
    np.testing.assert_array_equal(
        read_picture(tmp_path / "a.png", crop=crop), planes(upright)[:, crop[0] : crop[2], crop[1] : crop[3]]
    )


def _swapped_profile():
    """A profile whose three colours are sRGB's in another order: a colour that ignores it is far off."""
    import struct

    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    names = {b"rXYZ": b"gXYZ", b"gXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
    for at in range(132, 132 + 12 * count, 12):
        data[at : at + 4] = names.get(bytes(data[at : at + 4]), data[at : at + 4])
    return bytes(data)


@pytest.mark.parametrize("deep", [False, True])
def test_icc_profile_is_obeyed(tmp_path, deep):
    profile = _swapped_profile()
    array = RGB16 if deep else RGB8
    if deep:
        tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", iccprofile=profile)
    else:
        Image.fromarray(array).save(tmp_path / "a.tif", icc_profile=profile)
    # The profile says that the file's green channel is what sRGB calls red, and so on.
    expected = planes(array)[[1, 2, 0]]
    np.testing.assert_allclose(read_picture(tmp_path / "a.tif"), expected, atol=0.004)


def test_srgb_and_broken_profiles_change_nothing(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"nonsense" * 50, srgb[:200]):
        Image.fromarray(RGB8).save(tmp_path / "a.png", icc_profile=profile)
        np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), planes(RGB8))


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_what_is_assumed_of_inks_is_said(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path)
    assert open_picture(path).notes == (f"{path}: is CMYK without a profile, read as printed on coated paper",)
    Image.new("RGB", (16, 16)).save(path)
    assert open_picture(path).notes == ()


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk(tmp_path, suffix):
    inks = {"white": (0, 0, 0, 0), "black": (255, 255, 255, 255), "red": (0, 255, 255, 0), "blue": (255, 255, 0, 0)}
    seen = {}
    for name, ink in inks.items():
        Image.new("CMYK", (16, 16), ink).save(tmp_path / f"a.{suffix}")
        assert open_picture(tmp_path / f"a.{suffix}").channels == 4
        seen[name] = read_picture(tmp_path / f"a.{suffix}")[:, 8, 8]
    assert (seen["white"] > 0.97).all()
    assert (seen["black"] < 0.1).all()
    assert seen["red"][0] > 0.8
    assert (seen["red"][1:] < 0.25).all()
    assert seen["blue"][2] > 0.4
    assert (seen["blue"][:2] < 0.3).all()


@pytest.mark.parametrize(("height", "width"), [(10, 14), (36, 20), (100, 150), (20, 150), (100, 30), (1, 1), (37, 53)])
def test_resize_keeps_places_and_colours(tmp_path, height, width):
    Image.fromarray((smooth(74, 106) * 65535).round().astype(np.uint16)[..., 0]).save(tmp_path / "a.png")
    pixels = read_picture(tmp_path / "a.png", height, width, "grey")
    assert pixels.shape == (1, height, width)
    # Edges differ between filters, and a pixel of a small picture is a mean over an area.
    inner = np.abs(pixels[0] - smooth(height, width)[..., 0])[1:-1, 1:-1]
    assert inner.size == 0 or inner.max() < 0.006


def test_reduction_is_antialiased_like_pillow(tmp_path):
    noise = RNG.random((300, 410)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", noise)
    expected = np.asarray(Image.fromarray(noise).resize((41, 30), Image.Resampling.LANCZOS))
    difference = read_picture(tmp_path / "a.tif", 30, 41, "grey")[0] - expected.clip(0, 1)
    assert np.sqrt((difference**2).mean()) < 0.25 * expected.std()


def test_constant_stays_constant(tmp_path):
    Image.new("RGB", (33, 31), (200, 100, 7)).save(tmp_path / "a.png")
    for size in (5, 31, 77):
        pixels = read_picture(tmp_path / "a.png", size, size)
        expected = np.float32([200, 100, 7]).reshape(3, 1, 1) / 255
        assert np.abs(pixels - expected).max() < 1 / 65535


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_bands_do_not_depend_on_rows(tmp_path, rows):
    Image.fromarray(RGB8).save(tmp_path / "a.png")
    picture = open_picture(tmp_path / "a.png")
    for size in ((90, 61), (37, 53), (12, 100)):
        bands = list(picture.bands(*size, rows))
        assert all(band.shape == (3, rows, size[1]) for band in bands[:-1])
        np.testing.assert_array_equal(np.concatenate(bands, 1), read_picture(tmp_path / "a.png", *size))


def test_bands_can_be_left_half_way(tmp_path):
    import threading

    Image.fromarray(np.tile(RGB8, (40, 10, 1))).save(tmp_path / "a.png")
    before = threading.active_count()
    for _ in range(5):
        bands = open_picture(tmp_path / "a.png").bands(1480, 530, 16)
        next(bands)
        bands.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.ppm", "zstd.tif", "plain.tif"])
@pytest.mark.parametrize("whole", [True, False])
def test_no_file_stays_open(tmp_path, still_open, name, whole):
    """Read to the end or not, kept or not, however often."""
    if name == "zstd.tif":
        tifffile.imwrite(tmp_path / name, RGB8, photometric="rgb", compression="zstd")
    else:
        Image.fromarray(RGB8).save(tmp_path / name)
    for _ in range(3):
        for picture in (open_picture(tmp_path / name), open_picture(tmp_path / name).kept_in(tmp_path)):
            bands = picture.bands(*RGB8.shape[:2], 5, "rgba")
            assert next(bands).shape[1] == 5
            for _ in bands if whole else ():
                pass
            bands.close()
            if picture.kept:
                picture.kept.drop()
            del picture, bands
        assert still_open() == []


@pytest.mark.parametrize("width", [1, 700, 5000])
def test_a_check_reads_a_million_pixels_at_a_time(tmp_path, monkeypatch, width):
    """And so do percentiles."""
    asked = []
    monkeypatch.setattr(
        tiler.pictures.picture, "bands_of", lambda image, rows, tick: asked.append(rows) or (_ for _ in ())
    )
    Image.new("L", (width, 3)).save(tmp_path / "a.png")
    open_picture(tmp_path / "a.png").check()
    open_picture(tmp_path / "a.png").stretched(2, 98)
    assert asked == [2**20 // width] * 2


def test_a_part_of_a_picture_is_a_picture(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(RGB8).save(tmp_path / "a.png", exif=exif)
    whole = open_picture(tmp_path / "a.png")
    part = whole.cropped((4, 3, 40, 30))
    inner = part.cropped((1, 2, 30, 20))
    assert (part.height, part.width, inner.height, inner.width) == (36, 27, 29, 18)
    pixels = np.concatenate(list(whole.bands(53, 37, 10)), 1)
    np.testing.assert_array_equal(np.concatenate(list(part.bands(36, 27, 7)), 1), pixels[:, 4:40, 3:30])
    np.testing.assert_array_equal(np.concatenate(list(inner.bands(29, 18, 7)), 1), pixels[:, 5:34, 5:23])
    np.testing.assert_array_equal(
        np.concatenate(list(part.bands(12, 9, 7)), 1),
        np.concatenate(list(whole.bands(12, 9, 7, crop=(4, 3, 40, 30))), 1),
    )
    for crop in ((0, 0, 37, 5), (0, 0, 5, 28), (-1, 0, 5, 5), (5, 0, 5, 5)):
        with pytest.raises(PictureError, match="crop"):
            part.cropped(crop)
    Image.fromarray(RGB8[:, ::2]).save(tmp_path / "mask.png")
    mask = open_picture(tmp_path / "mask.png")
    assert mask.cropped_like(open_picture(tmp_path / "a.png")) == mask
    alike = mask.cropped_like(part)
    assert (alike.origin, alike.height, alike.width) == ((4 * 37 // 53, 3 * 27 // 37), 27 - 2, 21 - 2)
    for at in range(37):  # a pixel of these is less than one of the mask's
        tiny = mask.cropped_like(whole.cropped((at, at, at + 1, at + 1)))
        assert (tiny.height, tiny.width, tiny.origin) == (1, 1, (at * 37 // 53, at * 27 // 37))


def test_crop_comes_before_resize(tmp_path):
    Image.fromarray(RGB8).save(tmp_path / "a.png")
    Image.fromarray(RGB8[4:30, 10:50]).save(tmp_path / "cut.png")
    np.testing.assert_array_equal(
        read_picture(tmp_path / "a.png", 13, 20, crop=(4, 10, 30, 50)), read_picture(tmp_path / "cut.png", 13, 20)
    )
    for crop in ((0, 0, 38, 10), (5, 5, 5, 9), (-1, 0, 5, 5)):
        with pytest.raises(PictureError, match="crop"):
            read_picture(tmp_path / "a.png", crop=crop)


def test_size_from_one_side(tmp_path):
    Image.fromarray(RGB8).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", height=74).shape == (3, 74, 106)
    assert read_picture(tmp_path / "a.png", width=106).shape == (3, 74, 106)


def test_a_rewritten_file_gives_its_new_pixels(tmp_path):
    path = tmp_path / "a [1] ü,é.png"
    for value in (10, 250):
        Image.new("RGB", (8, 8), (value,) * 3).save(path)
        assert read_picture(path)[0, 0, 0] == np.float32(value / 255)
    picture = open_picture(path)
    Image.new("RGB", (9, 8)).save(path)
    with pytest.raises(PictureError, match="changed"):
        list(picture.bands(8, 8, 8))


def test_large_pictures_stream_in_little_memory(tmp_path):
    """12000 x 12000 RGB is 432 MB of bytes; nothing near that may be held."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom tiler.pictures import open_picture\n"
        "picture = open_picture(sys.argv[1])\n"
        "picture = picture.kept_in(Path(sys.argv[2])) if len(sys.argv) > 2 else picture\n"
        "for band in picture.bands(1000, 1000, 128): pass\n"
        f"{PEAK}"
    )
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        tiles = (np.full((512, 512, 3), n % 251, np.uint8) for n in range(24 * 24))
        writer.write(tiles, shape=(12000, 12000, 3), dtype=np.uint8, tile=(512, 512), photometric="rgb", compression=8)
    # Of a picture that is kept, what was read within the last hundredths of a second counts as held; all is 432 MB.
    for kept, most in (([], 220), ([str(tmp_path)], 330)):
        command = [sys.executable, "-c", code, str(tmp_path / "a.tif"), *kept]
        out = run(command, capture_output=True, text=True, check=True)
        assert int(out.stdout) < most * 1024


def test_bytesio_is_not_a_path():
    with pytest.raises(TypeError):
        open_picture(io.BytesIO(b""))


def _jpeg(tmp_path, **options):
    path = tmp_path / "a.jpg"
    Image.fromarray(RGB8).save(path, quality=90, **options)
    return path, path.read_bytes(), read_picture(path)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("marker", [b"\xff\xdb", b"\xff\xc4", b"\xff\xda"])
def test_stray_bytes_between_a_jpegs_segments_are_said(tmp_path, progressive, marker):
    """No pixel is made of them. libjpeg counts them as corrupt data."""
    path, data, expected = _jpeg(tmp_path, progressive=progressive)
    at = data.index(marker)
    path.write_bytes(data[:at] + b"\0ab\xff\0" + data[at:])
    assert "a.jpg: skipped 5 stray bytes in its header" in open_picture(path).notes[0]
    np.testing.assert_array_equal(read_picture(path), expected)


@pytest.mark.parametrize("progressive", [False, True])
def test_bytes_behind_a_jpeg_and_padding_in_it_are_nothing(tmp_path, progressive):
    path, data, expected = _jpeg(tmp_path, progressive=progressive)
    at = data.index(b"\xff\xdb")
    path.write_bytes(data[:at] + b"\xff" * 9 + data[at:] + b"a film\xff\xd8\xff" * 300)
    assert open_picture(path).notes == ()
    np.testing.assert_array_equal(read_picture(path), expected)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("strays", [b"", b"\0ab"])
def test_a_jpeg_whose_pixels_are_damaged_is_refused(tmp_path, progressive, strays):
    """Also where its header was mended."""
    path, data, _ = _jpeg(tmp_path, progressive=progressive, restart_marker_rows=1)
    at, scan = data.index(b"\xff\xdb"), data.index(b"\xff\xda")
    data = data[:at] + strays + data[at:]
    middle = (scan + len(data)) // 2
    for broken in (data[:middle], data[:middle] + b"\xff\xd9", data[:middle] + b"\xff\xd3" + data[middle + 60 :]):
        path.write_bytes(broken)
        with pytest.raises(PictureError, match="damaged"):
            open_picture(path).check()
