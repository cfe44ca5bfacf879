"""Whatever a user points at: a picture or one line that says what is wrong. No traceback, no hang, no garbage."""

import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from subprocess import run

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tiler.errors import PictureError
from tiler.pictures import open_picture, read_picture

NOISE = np.random.default_rng(3).integers(0, 256, (70, 90, 3), dtype=np.uint8)
KINDS = {
    "png": ("png", {}),
    "jpeg": ("jpg", {}),
    "progressive": ("jpg", {"progressive": True}),
    "tiff": ("tif", {}),
    "tiff-deflate": ("tif", {"compression": "tiff_deflate"}),
    "tiff-lzw": ("tif", {"compression": "tiff_lzw"}),
    "webp": ("webp", {"lossless": True}),
    "avif": ("avif", {}),
    "gif": ("gif", {}),
    "bmp": ("bmp", {}),
    "ppm": ("ppm", {}),
}


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    files = {}
    for kind, (suffix, options) in KINDS.items():
        path = folder / f"{kind}.{suffix}"
        Image.fromarray(NOISE).save(path, **options)
        files[kind] = path.read_bytes()
    return files


def refusal(path, **options):
    """The message with which the picture is refused: one line that names the file."""
    with pytest.raises(PictureError) as caught:
        read_picture(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert os.path.basename(path) in message
    assert len(message.replace(os.path.dirname(path), "")) < 400
    return message


def png(width, height, data=b"", depth=8, colour=2, interlaced=0):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


WRONG_BYTES = {
    "empty": b"",
    "one byte": b"\x89",
    "text": b"hello, I am no picture\n" * 20,
    "zeros": bytes(5000),
    "html": b"<!doctype html><title>404</title>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
    "zip": b"PK\x03\x04" + bytes(60),
    "magic only png": b"\x89PNG\r\n\x1a\n",
    "magic only jpeg": b"\xff\xd8\xff",
    "magic only tiff": b"II*\0",
    "magic only webp": b"RIFF\x00\x00\x00\x00WEBP",
    "magic only avif": b"\0\0\0\x20ftypavif" + bytes(20),
    "magic only gif": b"GIF89a",
    "magic only bmp": b"BM",
    "magic only ppm": b"P6\n",
    "ppm of no size": b"P6\n0 0\n255\n",
    "ppm of negative size": b"P6\n-5 5\n255\n",
    "ppm of words": b"P6\nten ten\n255\n",
    "ppm bomb": b"P6\n90000 90000\n255\n\0\0\0",
    "bmp bomb": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 99999, 99999, 1, 24, 0, 0, 0, 0, 0, 0),
    "png of no size": png(0, 0),
    "png of no width": png(0, 5),
    "png bomb": png(2**31 - 1, 2**31 - 1),
    "png wider than any": png(2_000_000, 10),
    "png without its pixels": png(30_000, 30_000),
    "png of wrong depth": png(4, 4, bytes(60), depth=7),
    "png of wrong colour type": png(4, 4, bytes(60), colour=5),
    "tiff with a loop": struct.pack("<2sHIHI", b"II", 42, 8, 0, 8),
    "tiff of entries beyond the end": struct.pack("<2sHIH", b"II", 42, 8, 65535),
}


@pytest.mark.parametrize("name", WRONG_BYTES)
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", ""])
def test_wrong_bytes_under_any_name(tmp_path, name, suffix):
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(WRONG_BYTES[name])
    refusal(path)


@pytest.mark.parametrize("kind", ["progressive", "gif", "interlaced", "tiled tiff"])
def test_small_files_that_claim_much_memory(tmp_path, samples, kind):
    """A child's memory is limited, so that a failure here is an error and no dead machine."""
    if kind == "progressive":
        data = bytearray(samples["progressive"])
        at = data.index(b"\xff\xc2")
        data[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    elif kind == "gif":
        data = bytearray(samples["gif"])
        at = data.index(struct.pack("<BHHHH", 0x2C, 0, 0, 90, 70))
        data[6:10] = data[at + 5 : at + 9] = struct.pack("<HH", 65_535, 65_535)
    elif kind == "interlaced":
        data = png(60_000, 60_000, bytes(1000), interlaced=1)
    else:
        tifffile.imwrite(tmp_path / "bad.tif", NOISE, tile=(16, 16), photometric="rgb")
        with tifffile.TiffFile(tmp_path / "bad.tif", mode="r+b") as tif:
            for name in ("ImageWidth", "ImageLength", "TileWidth", "TileLength"):
                tif.pages.first.tags[name].overwrite(60_000)
        data = (tmp_path / "bad.tif").read_bytes()
    (tmp_path / "bad").write_bytes(data)
    code = (
        "import resource, sys\nresource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "from tiler.errors import PictureError\nfrom tiler.pictures import read_picture\n"
        "try: read_picture(sys.argv[1], 16, 16)\nexcept PictureError as error: print('refused:', error)"
    )
    out = run([sys.executable, "-c", code, str(tmp_path / "bad")], capture_output=True, text=True, timeout=30)
    assert out.stdout.startswith("refused:"), out.stderr
    assert out.stdout.count("\n") == 1
    assert out.stderr == ""


def test_what_is_no_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "absent.png")
    assert "folder" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a regular file" in refusal(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    refusal(tmp_path / "loop.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert "no such file" in refusal(tmp_path / "gone.png")
    assert "not a regular file" in refusal("/dev/null")
    refusal(tmp_path / ("x" * 300))
    with pytest.raises(PictureError, match="null"):
        open_picture("a\0b.png")
    (tmp_path / "a.png").write_bytes(png(1, 1, b"\0abc"))
    assert "cannot be opened" in refusal(tmp_path / "a.png" / "b.png")


@pytest.fixture
def nobodys_right():
    """Whoever runs the tests may perhaps read everything; user 65534 may not."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_no_permission(nobodys_right):
    with tempfile.TemporaryDirectory() as folder:  # of that user's own
        path = Path(folder, "a.png")
        path.write_bytes(png(1, 1, b"\0abc"))
        path.chmod(0)
        assert "ermission" in refusal(path)
        path.chmod(0o600)
        assert open_picture(path).kind == "png"


def test_mislabelled_files_are_told_by_content(tmp_path, samples):
    (tmp_path / "a.jpg").write_bytes(samples["png"])
    assert open_picture(tmp_path / "a.jpg").kind == "png"
    np.testing.assert_array_equal(
        read_picture(tmp_path / "a.jpg"), NOISE.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    )


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_animations(tmp_path, suffix):
    frames = [Image.new("RGB", (20, 20), (shade, 0, 0)) for shade in (0, 100, 200)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    assert "animation of 3 frames" in refusal(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.full((20, 20), np.nan, np.float32), "NaN"),
        (np.full((20, 20), np.inf, np.float32), "NaN or infinite"),
        (np.full((20, 20), 255, np.float32), "255"),
        (np.full((20, 20), -100, np.float32), "-100"),
        (np.zeros((20, 20), np.int16), "signed"),
        (np.zeros((20, 20), np.complex64), ""),
        (np.zeros((20, 20, 7), np.uint8), "7 channels"),
        (np.zeros((20, 20, 6), np.uint16), "6 channels"),
    ],
)
def test_pixels_that_are_no_colours(tmp_path, array, word):
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", planarconfig="contig")
    assert word in refusal(tmp_path / "a.tif")
    refusal(tmp_path / "a.tif", height=3, width=5)


def test_one_nan_is_found_at_any_size(tmp_path):
    array = np.full((64, 64), 0.5, np.float32)
    array[40, 7] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", array)
    for size in (3, 16, 64, 100):
        assert "NaN" in refusal(tmp_path / "a.tif", height=size, width=size)
    assert read_picture(tmp_path / "a.tif", crop=(0, 0, 30, 64)).max() == 0.5


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_thin_pictures_are_fine(tmp_path, size):
    Image.new("RGB", size[::-1], (255, 0, 0)).save(tmp_path / "a.png")
    for target in (size, (1, 1), (7, 5), (40, 60)):
        pixels = read_picture(tmp_path / "a.png", *target)
        assert pixels.shape == (3, *target)
        assert (pixels[0] > 0.999).all()
        assert (pixels[1:] < 0.001).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9])
def test_truncated(tmp_path, samples, kind, kept):
    data = samples[kind]
    path = tmp_path / "cut"
    path.write_bytes(data[: int(len(data) * kept)])
    refusal(path)


def read_or_refuse(path):
    message = ""
    try:
        pixels = read_picture(path, 24, 24)
    except PictureError as error:
        message = str(error)
        pixels = np.zeros((3, 24, 24))
    assert "\n" not in message
    assert pixels.shape == (3, 24, 24)
    assert ((pixels >= 0) & (pixels <= 1)).all()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_never_break_out(tmp_path, samples, data):
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    content = bytearray(samples[kind])
    # Most of what can go wrong is in the first bytes.
    places = st.one_of(st.integers(0, min(200, len(content) - 1)), st.integers(0, len(content) - 1))
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)):
        content[at] = value
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    path = tmp_path / "damaged"
    path.write_bytes(content[:cut])
    read_or_refuse(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    magic=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0", b"BM", b"P6\n", b"GIF89a"]),
    rest=st.binary(max_size=300),
)
def test_random_bytes_never_break_out(tmp_path, magic, rest):
    path = tmp_path / "random"
    path.write_bytes(magic + rest)
    read_or_refuse(path)


def test_no_room_for_temporary_files_is_no_damage(tmp_path):
    """libvips turns a picture by way of a file when it is large; here anything is."""
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (300, 200), (90, 120, 60)).save(tmp_path / "a.jpg", exif=exif)
    code = (
        "import sys\nfrom tiler.errors import PictureError\nfrom tiler.pictures import open_picture\n"
        "try: open_picture(sys.argv[1]).check()\nexcept PictureError as error: print(error)"
    )
    none = str(tmp_path / "none")
    environment = {**os.environ, "TMPDIR": none, "VIPS_DISC_THRESHOLD": "1000"}
    command = [sys.executable, "-c", code, str(tmp_path / "a.jpg")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert said.returncode == 0, said.stderr
    assert none in said.stdout
    assert "TMPDIR" in said.stdout
    assert "damaged" not in said.stdout
    assert said.stdout.count("\n") == 1
