"""PNG files of our own make: what other readers find in them is what libvips' writer would have written."""

import io
import os
import struct
import threading
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tiler.pictures import png, write_picture
from tiler.pictures.ahead import read_ahead
from tiler.pictures.stream import load_vips

RNG = np.random.default_rng(5)
SRGB = bytes(load_vips().Operation.call("profile_load", "srgb"))
TEXT = {"Software": "tiler 1", "Description": '{"style": "Fluß.jpg"}\nsecond line'}


def picture(height, width, channels=3, bits=8, seed=0):
    """Gradients under some grain, so that every filter and every kind of a block has something to do."""
    ramps = np.add.outer(np.arange(height), np.arange(width))[..., None] * np.arange(1, channels + 1)
    grain = np.random.default_rng(seed).integers(0, 9, (height, width, channels))
    return ((ramps * (257 if bits == 16 else 1) + grain) % 2**bits).astype(f"u{bits // 8}")


def cut(pixels, rows):
    return [pixels[top : top + rows] for top in range(0, len(pixels), rows)]


def written(path, pixels, rows=7, **options):
    png.write_png(path, *pixels.shape[:2], cut(pixels, rows), profile=SRGB, **options)
    return path.read_bytes()


def chunks(data):
    """(kind, bytes) of each chunk; its checksum is right."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at = 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        yield kind, data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(data[at + 4 : at + 8 + size])
        at += 12 + size


def unfiltered(data):
    """The pixels by the specification's own words, one byte after the other."""
    found = list(chunks(data))
    width, height, bits, colour = struct.unpack(">IIBB", found[0][1][:10])
    channels = {2: 3, 6: 4}[colour]
    step, size = channels * bits // 8, width * channels * bits // 8
    raw = zlib.decompress(b"".join(body for kind, body in found if kind == b"IDAT"))  # its Adler-32 is checked
    before, lines = bytearray(size), []
    for top in range(0, len(raw), 1 + size):
        assert raw[top] == 4
        line = bytearray(raw[top + 1 : top + 1 + size])
        for i in range(size):
            a, b = (line[i - step] if i >= step else 0), before[i]
            c = before[i - step] if i >= step else 0
            p = a + b - c
            near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            line[i] = (line[i] + near) % 256
        lines.append(bytes(line))
        before = line
    return np.frombuffer(b"".join(lines), f">u{bits // 8}").reshape(height, width, channels)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [3, 4])
def test_other_readers_find_what_libvips_would_have_written(tmp_path, channels, bits):
    rasterio = pytest.importorskip("rasterio")
    vips, pixels = load_vips(), picture(301, 257, channels, bits)
    written(tmp_path / "ours.png", pixels, dpi=300, text=TEXT)
    image = vips.Image.new_from_array(pixels, interpretation="rgb16" if bits == 16 else "srgb")
    image = image.copy(xres=300 / 25.4, yres=300 / 25.4)
    image.set_type(vips.GValue.blob_type, "icc-profile-data", SRGB)
    for number, (key, value) in enumerate(TEXT.items()):
        image.set_type(vips.GValue.gstr_type, f"png-comment-{number}-{key}", value.replace("ß", "\\xdf"))
    image.pngsave(str(tmp_path / "theirs.png"), filter="all", compression=6)

    ours, theirs = (vips.Image.new_from_file(str(tmp_path / f"{name}.png")) for name in ("ours", "theirs"))
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    for field in ("interpretation", "format", "icc-profile-data", "bits-per-sample", "png-comment-0-Software"):
        assert ours.get(field) == theirs.get(field), field
    assert (ours.xres, ours.yres) == pytest.approx((theirs.xres, theirs.yres), rel=1e-5)
    with Image.open(tmp_path / "ours.png") as mine, Image.open(tmp_path / "theirs.png") as other:
        assert (mine.mode, mine.size, mine.text) == (other.mode, other.size, other.text)
        assert mine.info["dpi"] == pytest.approx(other.info["dpi"], abs=0.02)
        assert mine.info["icc_profile"] == other.info["icc_profile"]
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))
    with rasterio.open(tmp_path / "ours.png") as file:
        np.testing.assert_array_equal(file.read().transpose(1, 2, 0), pixels)


@pytest.mark.parametrize("bits", [8, 16])
def test_posters_are_as_small_as_by_libvips(tmp_path, bits):
    vips = load_vips()
    with Image.open(Path(__file__).parents[2] / "examples" / "gallery" / "demo.jpg") as poster:
        # Halved: what JPEG makes of blocks of 8 x 8 repeats itself, and no poster that we write comes from a JPEG.
        pixels = np.asarray(poster.reduce(2))
    if bits == 16:
        pixels = np.clip(pixels * 257.0 + RNG.normal(0, 60, pixels.shape), 0, 65535).astype(np.uint16)
    image = vips.Image.new_from_array(pixels, interpretation="rgb16" if bits == 16 else "srgb")
    theirs = len(image.pngsave_buffer(filter="all", compression=6))
    assert len(written(tmp_path / "a.png", pixels)) < 1.03 * theirs


def test_chunks(tmp_path):
    found = list(chunks(written(tmp_path / "a.png", picture(3, 5), text=TEXT)))
    kinds = [kind for kind, _ in found]
    assert kinds == [b"IHDR", b"iCCP", b"pHYs", b"tEXt", b"tEXt", b"IDAT", b"IDAT", b"IDAT", b"IEND"]
    assert found[2][1] == struct.pack(">IIB", 2835, 2835, 1)  # 72 dpi, where nothing was said
    assert found[0][1] == bytes([0, 0, 0, 5, 0, 0, 0, 3, 8, 2, 0, 0, 0])


def test_filter_by_hand():
    """Paeth's choice, with ties: left before up before corner."""
    lines = np.array([[10, 20, 30], [11, 25, 20]], np.uint8)
    np.testing.assert_array_equal(
        png.filtered(lines, np.array([8, 10, 40], np.uint8), 1),
        # left, up, corner: (0, 8, 0) up; (10, 10, 8) left; (20, 40, 10): 50 is nearest to 40
        # (0, 10, 0) up; (11, 20, 10): 21, up; (25, 30, 20): 35, up
        [[4, 2, 10, 246], [4, 1, 5, 246]],
    )


@given(
    height=st.integers(1, 40), width=st.integers(1, 40), channels=st.sampled_from([3, 4]),
    bits=st.sampled_from([8, 16]), rows=st.integers(1, 41), block=st.sampled_from([1, 100, 999, 2**20]),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_any_size_in_any_bands_and_blocks(tmp_path_factory, height, width, channels, bits, rows, block, seed):
    pixels = picture(height, width, channels, bits, seed)
    path = tmp_path_factory.getbasetemp() / "any.png"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "_BLOCK_BYTES", block)
        patch.setattr(png, "_FILTER_BYTES", 1 + block // 3)
        data = written(path, pixels, rows, threads=2)
    np.testing.assert_array_equal(unfiltered(data), pixels)
    if bits == 8:
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (2, 3), (3, 120_000)])
def test_awkward_sizes(tmp_path, size):
    pixels = picture(*size)
    data = written(tmp_path / "a.png", pixels, rows=2)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)


def test_same_bytes_for_any_number_of_threads_and_bands(tmp_path):
    pixels = picture(1500, 800)
    first = written(tmp_path / "a.png", pixels, rows=1500, threads=1)
    assert sum(kind == b"IDAT" for kind, _ in chunks(first)) == 2 + 4  # one block each of 436 rows
    for threads, rows in ((2, 100), (3, 1), (16, 777)):
        assert written(tmp_path / "b.png", pixels, rows=rows, threads=threads) == first


def test_what_repeats_is_searched_for(tmp_path):
    """A pattern that only deflate's search finds: as run lengths it would be as large as the pixels."""
    pattern = np.tile(RNG.integers(0, 256, (64, 64, 3), np.uint8), (8, 8, 1))
    assert len(written(tmp_path / "a.png", pattern)) < pattern.size / 5
    noise = RNG.integers(0, 256, (512, 512, 3), np.uint8)
    assert len(written(tmp_path / "b.png", noise)) < 1.003 * noise.size


def test_memory_does_not_grow_with_the_height(tmp_path):
    band = RNG.integers(0, 256, (64, 1000, 3), np.uint8)

    def peak(count):
        tracemalloc.start()
        png.write_png(
            tmp_path / "a.png", 64 * count, 1000, (band.copy() for _ in range(count)), profile=SRGB, threads=2
        )
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(192) < 1.2 * peak(48)


def test_an_error_of_a_thread_leaves_nothing(tmp_path, monkeypatch):
    def broken(data):
        raise MemoryError

    monkeypatch.setattr(png, "_deflated", broken)
    with pytest.raises(MemoryError):
        write_picture(tmp_path / "a.png", 90, 90, [np.zeros((3, 90, 90), np.float32)])
    assert os.listdir(tmp_path) == []
    assert not [one for one in threading.enumerate() if one.name.startswith("tiler-")]


class TestReadAhead:
    def test_order_and_a_bound(self):
        made = []

        def bands():
            for number in range(20):
                made.append(number)
                yield number

        with read_ahead(bands(), waiting=3) as arriving:
            assert next(arriving) == 0
            deadline = time.monotonic() + 10
            while len(made) < 4 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.05)
            assert made == [0, 1, 2, 3]  # one was taken, three wait
            assert list(arriving) == list(range(1, 20))

    @pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt()])
    def test_errors_come_after_what_came_before_them(self, error):
        def bands():
            yield 1
            yield 2
            raise error

        with read_ahead(bands()) as arriving:
            assert [next(arriving), next(arriving)] == [1, 2]
            with pytest.raises(type(error)) as raised:
                next(arriving)
        assert raised.value is error
        assert "tiler-ahead" not in [one.name for one in threading.enumerate()]

    def test_leaving_early_closes_what_is_read(self):
        closed = []

        def bands():
            try:
                while True:
                    yield 0
            finally:
                closed.append(threading.current_thread().name)

        with read_ahead(bands(), waiting=2) as arriving:
            next(arriving)
        assert closed == ["tiler-ahead"]


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (3, 3), (16, 16), (17, 16), (200, 16)])
def test_as_many_threads_as_cores_and_no_more_than_one_can_feed(monkeypatch, cores, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda of: set(range(cores)), raising=False)
    assert png.usable_cores() == threads
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert png.usable_cores() == threads


@pytest.mark.parametrize("rows", [1, 7, 400, 1000])
def test_a_picture_is_packed_in_blocks_of_a_million_bytes(rows: int) -> None:
    """However many rows come at once: this is what it takes of memory, per thread."""
    lines = np.arange(1000 * 1000 * 3, dtype=np.uint32).astype(np.uint8).reshape(1000, 1000, 3)
    tasks = list(png._tasks(lines[top : top + rows] for top in range(0, 1000, rows)))
    assert [len(task.lines) for task in tasks] == [349, 349, 302]
    np.testing.assert_array_equal(np.concatenate([task.lines for task in tasks]), lines)
    for before, task in zip([np.zeros_like(lines[:1]), *(task.lines for task in tasks)], tasks, strict=False):
        np.testing.assert_array_equal(task.above, before[-1])


@pytest.mark.parametrize(
    ("dpi", "per_metre"), [(None, 2835), (72, 2835), (300, 11811), (25.4, 1000), (0.5 * 25.4, 500)]
)
def test_dots_per_inch_are_written_per_metre(tmp_path, dpi, per_metre):
    found = dict(chunks(written(tmp_path / "a.png", picture(3, 5), dpi=dpi)))
    assert found[b"pHYs"] == struct.pack(">IIB", per_metre, per_metre, 1)


@pytest.mark.parametrize("threads", [1, 3])
def test_no_thread_is_far_ahead_of_the_file(monkeypatch, threads):
    """Two blocks are on their way for each."""
    taken = []
    monkeypatch.setattr(png, "_block", lambda task: task)
    found = png._in_order((taken.append(number) or number for number in range(20)), threads)
    for done in range(20):
        assert next(found) == done
        assert len(taken) == min(20, done + 2 * threads)


@pytest.mark.parametrize("repeats", [True, False])
def test_what_the_middle_is_packed_best_by_is_taken_for_all(monkeypatch, repeats):
    """A sample of 1000 bytes, with 4000 of the other kind on both sides: a pattern that repeats itself, and noise."""
    monkeypatch.setattr(png, "_SAMPLE_BYTES", 1000)
    noise = np.random.default_rng(1).integers(0, 256, 4000, np.uint8)
    inner, outer = (np.tile(noise[:50], 80), noise) if repeats else (noise, np.tile(noise[:50], 80))
    data = np.concatenate([outer, inner[:1000], outer]).data
    assert png._deflated(data) == png._raw(data, 6, zlib.Z_DEFAULT_STRATEGY if repeats else zlib.Z_RLE)
    assert png._raw(data, 6, zlib.Z_DEFAULT_STRATEGY) != png._raw(data, 6, zlib.Z_RLE)
