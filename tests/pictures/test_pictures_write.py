"""Every file is reopened by another reader; whatever fails leaves the folder as it was."""

import itertools
import json
import os
import sys
from subprocess import run

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tiler.errors import OutputError
from tiler.pictures import check_output, open_picture, read_picture, write_picture
from tiler.pictures.tiff import needs_big, write_tiff

RNG = np.random.default_rng(11)
HEIGHT, WIDTH = 600, 701
SMOOTH = np.stack([np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) ** power for power in (1, 2, 0.5, 1)])
NOISE = RNG.random((4, HEIGHT, WIDTH))
PICTURE = np.where(np.arange(WIDTH) < WIDTH // 2, SMOOTH, NOISE).astype(np.float32)
# Not ru_maxrss: it counts the parent's memory at the fork.
PEAK = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
METADATA = {"tiler": "0.1", "parameters": 'content_weight=0.15 (default) "é"\n</script>'}


def bands(picture, rows=100):
    return (picture[:, top : top + rows] for top in range(0, picture.shape[1], rows))


def integers(picture, bits):
    return np.rint(picture * np.float32(2**bits - 1)).astype(np.uint16 if bits == 16 else np.uint8).transpose(1, 2, 0)


def is_srgb(profile):
    import io

    description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    return "srgb" in description.lower()


@pytest.mark.parametrize("channels", [3, 4])
def test_png(tmp_path, channels):
    picture = PICTURE[:channels]
    write_picture(tmp_path / "a.png", HEIGHT, WIDTH, bands(picture), dpi=300, metadata=METADATA)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), integers(picture, 8))
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert is_srgb(image.info["icc_profile"])
        assert image.info["tiler"] == "0.1"
        assert image.info["parameters"] == METADATA["parameters"].replace("é", "\\xe9")
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("channels", [3, 4])
def test_png_of_16_bits(tmp_path, channels):
    picture = PICTURE[:channels]
    write_picture(tmp_path / "a.png", HEIGHT, WIDTH, bands(picture), bits=16)
    assert (tmp_path / "a.png").read_bytes()[24] == 16
    back = read_picture(tmp_path / "a.png", channels="rgb" if channels == 3 else "rgba")
    np.testing.assert_array_equal(np.rint(back * 65535).transpose(1, 2, 0), integers(picture, 16))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", [None, "zstd", "lzw", "none"])
def test_tiff(tmp_path, channels, bits, compression):
    rasterio = pytest.importorskip("rasterio")
    picture, path = PICTURE[:channels], tmp_path / "a.tif"
    write_picture(path, HEIGHT, WIDTH, bands(picture), bits=bits, dpi=254, metadata=METADATA, compression=compression)
    with rasterio.open(path) as file, rasterio.open(path, overview_level=1) as small:
        np.testing.assert_array_equal(file.read().transpose(1, 2, 0), integers(picture, bits))
        assert file.block_shapes == [(256, 256)] * channels
        assert file.overviews(1) == [2, 4]
        assert small.shape == (150, 175)
        means = picture[:3, :600, :700].reshape(3, 150, 4, 175, 4).mean((2, 4))
        assert channels == 4 or np.abs(small.read() / (2**bits - 1) - means).max() < 0.02
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        expected = {None: "ADOBE_DEFLATE", "none": "NONE"}.get(compression, str(compression).upper())
        assert page.compression.name == expected
        assert page.predictor == (1 if compression == "none" else 2)
        assert page.get_resolution(unit=2) == pytest.approx((254, 254), abs=1e-3)
        assert is_srgb(page.iccprofile)
        assert json.loads(page.description) == METADATA
        assert page.extrasamples == ((2,) if channels == 4 else ())
        assert all(level.is_reduced and level.is_tiled for level in tif.pages[1:])
    back = read_picture(path, channels="rgb" if channels == 3 else "rgba")
    np.testing.assert_array_equal(np.rint(back * (2**bits - 1)).transpose(1, 2, 0), integers(picture, bits))
    assert os.listdir(tmp_path) == ["a.tif"]


@pytest.mark.parametrize("size", [(257, 513), (700, 1), (1, 700), (512, 257)])
def test_pages_of_a_tiff_are_means_of_two_by_two(tmp_path, size):
    pixels = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    write_tiff(tmp_path / "a.tif", *size, [pixels], compression="deflate", profile=b"")
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        pages = [page.asarray() for page in tif.pages]
    np.testing.assert_array_equal(pages[0], pixels)
    assert max(pages[-1].shape) <= 256
    assert all(max(page.shape) > 256 for page in pages[:-1])
    for finer, coarser in itertools.pairwise(pages):
        rows, columns = (max(1, side // 2) for side in finer.shape[:2])
        assert coarser.shape == (rows, columns, 3)
        whole = np.pad(finer, ((0, finer.shape[0] == 1), (0, finer.shape[1] == 1), (0, 0)), mode="edge")
        means = whole[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, 3).mean((1, 3))
        np.testing.assert_array_equal(coarser, np.rint(means))


def test_what_is_transparent_has_no_part_in_coarser_colours(tmp_path):
    pixels = np.zeros((300, 300, 4), np.uint8)
    pixels[::2, ::2] = (200, 100, 50, 255)
    write_tiff(tmp_path / "a.tif", 300, 300, [pixels], compression="none", profile=b"")
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert np.unique(tif.pages[1].asarray().reshape(-1, 4), axis=0).tolist() == [[200, 100, 50, 64]]


def test_a_tiffs_bytes_do_not_depend_on_threads_or_bands(tmp_path):
    pixels = RNG.integers(0, 65536, (1500, 900, 3), dtype=np.uint16)
    for threads, rows in ((1, 1500), (2, 77), (5, 256)):
        parts = [pixels[top : top + rows] for top in range(0, 1500, rows)]
        write_tiff(tmp_path / f"{threads}.tif", 1500, 900, parts, compression="zstd", profile=b"x", threads=threads)
    first = (tmp_path / "1.tif").read_bytes()
    assert first == (tmp_path / "2.tif").read_bytes() == (tmp_path / "5.tif").read_bytes()


def test_tiff_becomes_big_where_it_must():
    assert not needs_big(16384, 16384, 3, 1)
    assert not needs_big(1024, 1024, 4, 2)
    assert needs_big(40000, 40000, 3, 1)
    assert needs_big(32768, 32768, 3, 2)


def test_jpeg(tmp_path):
    picture = SMOOTH[:3].astype(np.float32)
    write_picture(tmp_path / "a.jpg", HEIGHT, WIDTH, bands(picture), dpi=300, metadata=METADATA)
    with Image.open(tmp_path / "a.jpg") as image:
        assert np.abs(np.asarray(image).astype(int) - integers(picture, 8)).max() <= 6
        assert image.info["dpi"] == (300, 300)
        assert is_srgb(image.info["icc_profile"])
        assert json.loads(image.getexif()[270]) == METADATA


@pytest.mark.parametrize("channels", [3, 4])
def test_webp(tmp_path, channels):
    picture = PICTURE[:channels]
    write_picture(tmp_path / "a.webp", HEIGHT, WIDTH, bands(picture), compression="lossless", metadata=METADATA)
    with Image.open(tmp_path / "a.webp") as image:
        np.testing.assert_array_equal(np.asarray(image), integers(picture, 8))
        assert is_srgb(image.info["icc_profile"])
        assert json.loads(image.getexif()[270]) == METADATA


def test_rounding_and_clipping(tmp_path):
    values = np.float32([-3, -0.001, 0, 0.4999 / 255, 0.5001 / 255, 1, 1.2, 7]).reshape(1, 1, 8)
    write_picture(tmp_path / "a.png", 1, 8, [np.repeat(values, 3, 0)])
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 0, 0, 1, 255, 255, 255]


@pytest.mark.parametrize(
    "most", ["bands._VALUES_AT_ONCE", "picture._CHECK_PIXELS", "tiffrows._ROWS_PIXELS", "tiffrows._BATCH_BYTES"]
)
@pytest.mark.parametrize("rows", [0, 2])
def test_a_row_is_written_and_read_however_much_is_held_at_once(tmp_path, monkeypatch, most, rows):
    picture = PICTURE[:3, :7, 320:380]
    monkeypatch.setattr(f"tiler.pictures.{most}", rows * 3 * 60 + 1)
    for name, compression in (("a.png", None), ("a.tif", "zstd")):
        write_picture(tmp_path / name, 7, 60, bands(picture), compression=compression)
        assert open_picture(tmp_path / name).check() == []
        np.testing.assert_array_equal(
            np.rint(read_picture(tmp_path / name) * 255).transpose(1, 2, 0), integers(picture, 8)
        )


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_same_bytes_for_any_bands(tmp_path, suffix):
    for name, rows in (("a", 600), ("b", 1), ("c", 77)):
        write_picture(tmp_path / f"{name}.{suffix}", HEIGHT, WIDTH, bands(PICTURE[:3], rows), dpi=72, metadata=METADATA)
    first = (tmp_path / f"a.{suffix}").read_bytes()
    assert first == (tmp_path / f"b.{suffix}").read_bytes() == (tmp_path / f"c.{suffix}").read_bytes()


@pytest.mark.parametrize("name", ["a.png", "a.TIF", "sp ace [Q=3] ü.jpeg", "a.webp", "a.tiff"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 2)])
def test_tiny_pictures_and_odd_names(tmp_path, name, size):
    write_picture(tmp_path / name, *size, [np.full((3, *size), 0.5, np.float32)])
    with Image.open(tmp_path / name) as image:
        assert image.size == size[::-1]
        assert np.abs(np.asarray(image).astype(int) - 128).max() <= 2
    assert os.listdir(tmp_path) == [name]


class UnpluggedError(Exception):
    pass


def breaking(after):
    for number, band in enumerate(bands(PICTURE[:3])):
        if number == after:
            raise UnpluggedError
        yield band


def spoiled():
    for number, band in enumerate(bands(PICTURE[:3])):
        yield np.where(band > 0.9, np.nan, band) if number == 4 else band


FAILURES = {
    "raised": (lambda: breaking(3), UnpluggedError),
    "raised at once": (lambda: breaking(0), UnpluggedError),
    "interrupted": (lambda: (_ for _ in ()).throw(KeyboardInterrupt), KeyboardInterrupt),
    "too few rows": (lambda: bands(PICTURE[:3, :599]), OutputError),
    "too many rows": (lambda: bands(np.concatenate([PICTURE[:3]] * 2, 1)), OutputError),
    "none": (lambda: iter(()), OutputError),
    "other width": (lambda: bands(PICTURE[:3, :, 1:]), OutputError),
    "channels change": (lambda: iter([PICTURE[:3, :300], PICTURE[:, 300:]]), OutputError),
    "not finite": (spoiled, OutputError),
}


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.webp", "a.dzi"])
@pytest.mark.parametrize("failure", FAILURES)
def test_failures_leave_nothing(tmp_path, name, failure):
    make, error = FAILURES[failure]
    (tmp_path / name).write_bytes(b"the poster of yesterday")
    with pytest.raises(error):
        write_picture(tmp_path / name, HEIGHT, WIDTH, make())
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"the poster of yesterday"


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.dzi"])
def test_full_disk(tmp_path, name):
    """A file size limit makes the same write error as a full disk, and needs no root."""
    code = (
        "import resource, signal, sys\nimport numpy as np\n"
        "from tiler.errors import OutputError\nfrom tiler.pictures import write_picture\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "noise = np.random.default_rng(0).random((3, 100, 3000), np.float32)\n"
        "try: write_picture(sys.argv[1], 2000, 3000, (noise for _ in range(20)))\n"
        "except OutputError as error: print(error)"
    )
    out = run([sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    assert str(tmp_path / name) in out.stdout
    assert out.stdout.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_memory_is_flat(tmp_path):
    code = (
        "import sys\nimport numpy as np\nfrom tiler.pictures import write_picture\n"
        "band = np.random.default_rng(0).random((3, 128, 2048), np.float32)\n"
        "write_picture(sys.argv[1], int(sys.argv[2]), 2048, (band for _ in range(int(sys.argv[2]) // 128)))\n"
        f"{PEAK}"
    )
    for suffix in ("jpg", "tif", "png"):
        peaks = []
        for height in (2048, 8192):  # both fill every buffer on the way
            command = [sys.executable, "-c", code, str(tmp_path / f"a.{suffix}"), str(height)]
            peaks.append(int(run(command, capture_output=True, text=True, check=True).stdout))
        assert peaks[1] < 1.25 * peaks[0]


class TestCheckOutput:
    def test_good(self, tmp_path):
        for name in ("a.png", "A.JPG", "a.tiff", "a.dzi", "a.webp"):
            check_output(tmp_path / name, 1000, 1000)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(
        ("name", "options", "words"),
        [
            ("a.gif", {}, "'.gif' is unknown|.gif is unknown.*.png.*.zarr are allowed"),
            ("a", {}, "has no extension"),
            ("no/folder/a.png", {}, "does not exist"),
            ("file/a.png", {}, "is not a folder"),
            ("folder.png", {}, "is a folder"),
            ("a.jpg", {"height": 70_000, "width": 10}, "JPEG holds 65500.*tif"),
            ("a.webp", {"height": 10, "width": 16_384}, "WebP holds 16383"),
            ("a.png", {"height": 0, "width": 10}, "at least 1 x 1"),
            ("a.jpg", {"channels": 4}, "no transparency.*png"),
            ("a.jpg", {"bits": 16}, "JPEG holds 8"),
            ("a.png", {"bits": 12}, "8 or 16"),
            ("a.png", {"channels": 2}, "3 .RGB. or 4"),
            ("a.tif", {"compression": "rar"}, "deflate, zstd, lzw, none"),
            ("a.png", {"compression": "zstd"}, "none to choose"),
        ],
    )
    def test_refused(self, tmp_path, name, options, words):
        (tmp_path / "file").write_text("")
        (tmp_path / "folder.png").mkdir()
        with pytest.raises(OutputError, match=words) as caught:
            check_output(tmp_path / name, **options)
        assert "\n" not in str(caught.value)
        assert str(tmp_path / name) in str(caught.value)

    def test_no_fifo_is_replaced(self, tmp_path):
        os.mkfifo(tmp_path / "a.png")
        with pytest.raises(OutputError, match="not a regular file"):
            check_output(tmp_path / "a.png")

    def test_folder_that_may_not_be_written(self, tmp_path, monkeypatch):
        tmp_path.chmod(0o500)
        if os.access(tmp_path, os.W_OK):  # this user may write everywhere

            def refuse(*arguments):
                raise PermissionError(13, "Permission denied")

            monkeypatch.setattr(os, "mkdir", refuse)
        try:
            with pytest.raises(OutputError, match=r"not writable .*[Pp]ermission"):
                check_output(tmp_path / "a.png")
        finally:
            tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("size", "fine"), [((16383, 2), True), ((2, 16383), True), ((16384, 2), False), ((2, 16384), False)]
)
def test_neither_side_may_be_longer_than_a_format_holds(tmp_path, size, fine):
    grey = np.full((3, *size), 0.5, np.float32)
    if fine:
        write_picture(tmp_path / "a.webp", *size, [grey])
        assert Image.open(tmp_path / "a.webp").size == size[::-1]
        return
    with pytest.raises(OutputError, match=f"{size[1]} x {size[0]} is too large: WebP holds 16383 pixels a side"):
        write_picture(tmp_path / "a.webp", *size, [grey])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.webp", "a.dzi", "a.zarr"])
def test_no_file_stays_open(tmp_path, still_open, name):
    for _ in range(3):
        write_picture(tmp_path / name, 20, 30, [np.full((3, 20, 30), 0.5, np.float32)])
        assert still_open() == []
