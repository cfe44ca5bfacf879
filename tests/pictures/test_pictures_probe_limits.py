"""What a file may claim before anything of it is decoded; and pixels that are kept, where there is room."""

from __future__ import annotations

import io
import mmap
import os
import struct
from collections import namedtuple
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from test_pictures_numbers import grey_profile

from tiler.errors import PictureError
from tiler.pictures import colour, kept, open_picture, probe, read_picture
from tiler.pictures.stream import load_vips

MOST = 2 * 2**20
Box = tuple[int, bytes, int]


def boxes(path: Path, *found: Box, more: bytes = b"") -> Path:
    """An AVIF of boxes: the length that each claims (over 2**32 in 64 bits), its kind, and the bytes that it takes."""
    with open(path, "wb") as file:
        for length, kind, size in found:
            head = (
                struct.pack(">I4s", length, kind) if length < 2**32 else struct.pack(">I4sQ", 1, kind, length - 2**32)
            )
            file.write(head)
            file.seek(size - len(head), os.SEEK_CUR)
        file.write(more)
        file.truncate()
    return path


FTYP = (24, b"ftyp", 24)
LONG = 2**32  # is taken off again


@pytest.mark.parametrize(
    ("found", "more", "said"),
    [
        ([FTYP, (MOST - 24, b"meta", MOST - 24)], b"", ""),
        ([FTYP, (MOST - 23, b"meta", MOST - 23)], b"", "2.1 MB in 2 boxes"),
        ([FTYP, (2 * MOST, b"mdat", 2 * MOST), (MOST - 24, b"meta", MOST - 24)], b"", ""),
        ([FTYP, (2 * MOST, b"mdat", 2 * MOST), (MOST - 23, b"meta", MOST - 23)], b"", "2.1 MB in 3 boxes"),
        ([FTYP, (0, b"meta", MOST - 24)], b"", ""),
        ([FTYP, (0, b"meta", MOST - 23)], b"", "2.1 MB in 2 boxes"),
        ([FTYP, (0, b"mdat", 2 * MOST)], b"", ""),
        ([FTYP, (LONG + MOST - 24, b"meta", MOST - 24)], b"", ""),
        ([FTYP, (LONG + MOST - 23, b"meta", MOST - 23)], b"", "2.1 MB in 2 boxes"),
        ([FTYP, (LONG + 2 * MOST, b"mdat", 2 * MOST), (MOST - 24, b"meta", MOST - 24)], b"", ""),
        ([FTYP, (3 * MOST, b"meta", 16)], b"", "6.3 MB in 2 boxes"),
        ([FTYP, *[(8, b"free", 8)] * 999], b"", ""), ([FTYP, *[(8, b"free", 8)] * 999], bytes(7), ""),
        ([FTYP, *[(8, b"free", 8)] * 1000], b"", "0.0 MB in 1001 boxes"),
        ([FTYP, *[(5, b"free", 8)] * 1000], b"", "0.0 MB in 1001 boxes"),
        ([FTYP, *[(20, b"free", 20)] * 999], b"", ""),
    ],
)  # fmt: skip
def test_how_much_an_avif_holds_beside_its_pixels(tmp_path: Path, found: list[Box], more: bytes, said: str) -> None:
    path = boxes(tmp_path / "a.avif", *found, more=more)
    if not said:
        probe._check_heif(path)
        return
    with pytest.raises(PictureError, match=f"{said} beside its pixels; an AVIF or HEIF may hold 2.1 MB in 1000$"):
        probe._check_heif(path)


@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"RIFF\1\2\3\4WEBP", "webp"), (b"RIFF\1\2\3\4WAVE", ""), (b"RIFX\1\2\3\4WEBP", ""),
     (b"\0\0\0\x18ftypavif", "heif"), (b"\0\0\0\x18ftypheic", "heif"), (b"\0\0\0\x18ftypisom", ""),
     (b"\0\0\0\x18freeavif", ""), (b"BM", "bmp"), (b"P6\n", "ppm"), (b"", "is empty; a picture file is needed")],
)  # fmt: skip
def test_what_a_file_is_by_its_first_bytes(tmp_path: Path, head: bytes, kind: str) -> None:
    (tmp_path / "a").write_bytes(head)
    if kind in ("webp", "heif", "bmp", "ppm"):
        assert probe.kind_of(tmp_path / "a") == kind
        return
    with pytest.raises(PictureError, match=kind or "is not a picture of a known kind"):
        probe.kind_of(tmp_path / "a")


@pytest.mark.parametrize(
    ("height", "width", "fine"),
    [(1, 1_000_000, True), (1_000_000, 1, True), (0, 7, False), (7, 0, False), (1_000_001, 7, False),
     (7, 1_000_001, False)],
)  # fmt: skip
def test_sides_that_a_picture_has(height: int, width: int, fine: bool) -> None:
    if fine:
        probe.check_sides(Path("a"), height, width)
        return
    said = f"a: its header says {width} x {height}; 1 to 1000000 pixels a side are allowed"
    with pytest.raises(PictureError, match=said):
        probe.check_sides(Path("a"), height, width)


def test_what_a_reader_warns_of_is_about_pixels_or_not() -> None:
    assert probe.is_harmless("bad iCCP chunk")
    assert probe.is_harmless("Unknown field with tag 33550")
    assert not probe.is_harmless("premature end of data")


@pytest.mark.parametrize("said", ["unable to write to x", "No space left on device", "Write failed", "temporary file"])
def test_where_there_was_no_room_is_said(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("/somewhere", None):
        monkeypatch.setenv("TMPDIR", folder) if folder else monkeypatch.delenv("TMPDIR")
        found = str(probe.unreadable(Path("a.png"), "png", ValueError(f"{said}\nmore")))
        assert found.startswith("a.png: reading it takes room for temporary files, and there is none in ")
        assert f"none in {folder or '/tmp'} ({said});" in found
    assert str(probe.unreadable(Path("a"), "png", ValueError("odd\n"))) == "a: damaged or unsupported PNG (odd)"


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("P", 3), ("RGB", 3)])
def test_bitmaps_of_every_mode(tmp_path: Path, mode: str, channels: int) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    image.save(tmp_path / "a.bmp")
    picture = open_picture(tmp_path / "a.bmp")
    assert (picture.height, picture.width, picture.channels, picture.has_alpha) == (37, 53, channels, False)
    found = np.rint(read_picture(tmp_path / "a.bmp") * 255).transpose(1, 2, 0)
    np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(("size", "fine"), [(4096, True), (4097, False)])
def test_a_drawing_begins_within_four_thousand_bytes(tmp_path: Path, size: int, fine: bool) -> None:
    start = '<?xml version="1.0"?><!--'
    (tmp_path / "a.svg").write_text(start.ljust(size - len("--><svg ")) + "--><svg " + 'width="3" height="2"/>')
    if fine:
        assert probe.kind_of(tmp_path / "a.svg") == "svg"
        return
    with pytest.raises(PictureError, match="is not a picture of a known kind"):
        probe.kind_of(tmp_path / "a.svg")


@pytest.mark.parametrize(
    ("form", "said"),
    [("char", "signed integer"), ("short", "signed integer"), ("int", "signed integer"), ("complex", "complex"),
     ("dpcomplex", "complex"), ("uchar", ""), ("ushort", ""), ("uint", ""), ("float", ""), ("double", "")],
)  # fmt: skip
def test_numbers_that_are_colours(form: str, said: str) -> None:
    image = load_vips().Image.black(3, 2).cast(form)
    if not said:
        colour.check_pixels(image)
        return
    with pytest.raises(colour.PixelsError, match=f"holds {said} values; unsigned 8, 16 or 32-bit or float 0..1 are"):
        colour.check_pixels(image)


@pytest.mark.parametrize(
    ("dtype", "values", "form", "expected", "units"),
    [
        (np.uint8, [0, 1, 51, 255], "ushort", [0, 257, 13107, 65535], [0, 1 / 255, 0.2, 1]),
        (np.uint16, [0, 1, 13107, 65535], "ushort", [0, 1, 13107, 65535], [0, 1 / 65535, 0.2, 1]),
        (np.uint32, [0, 65537, 98306, 2**32 - 1], "ushort", [0, 1, 2, 65535], [0, 1 / 65535, 2 / 65535, 1]),
        (np.float32, [-0.5, 0.2, 1, 3], "float", [-0.5, 0.2, 1, 3], [-0.5, 0.2, 1, 3]),
        (np.float64, [-0.5, 0.2, 1, 3], "float", [-0.5, 0.2, 1, 3], [-0.5, 0.2, 1, 3]),
    ],
)  # fmt: skip
def test_numbers_of_any_type_become_16_bits_or_floats(
    dtype: type, values: list[float], form: str, expected: list[float], units: list[float]
) -> None:
    image = load_vips().Image.new_from_array(np.array([values], dtype))
    found = colour.widen(image)
    assert found.format == form
    np.testing.assert_allclose(found.numpy()[0].reshape(-1), expected, rtol=1e-6)
    np.testing.assert_allclose(colour.unit(found).numpy()[0].reshape(-1), units, rtol=1e-6)


def test_luma_is_rec_709_s() -> None:
    values = np.eye(3, dtype=np.float32)[None]
    found = colour.luma(load_vips().Image.new_from_array(values)).numpy().reshape(-1)
    np.testing.assert_allclose(found, [0.2126, 0.7152, 0.0722], rtol=1e-6)


@pytest.mark.parametrize("profile", ["of three colours", "no profile"])
def test_a_profile_that_cannot_be_meant_is_not_obeyed(tmp_path: Path, profile: str) -> None:
    data = bytes(load_vips().Operation.call("profile_load", "p3")) if profile != "no profile" else b"\0\1\2" * 50
    values = np.arange(45, dtype=np.uint8).reshape(9, 5) * 5
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", iccprofile=data)
    np.testing.assert_allclose(read_picture(tmp_path / "a.tif", channels="grey")[0] * 255, values, atol=1e-4)
    colours = np.dstack([values, values[::-1], values[:, ::-1]])
    tifffile.imwrite(tmp_path / "b.tif", colours, photometric="rgb", iccprofile=grey_profile([256]))
    np.testing.assert_allclose(read_picture(tmp_path / "b.tif").transpose(1, 2, 0) * 255, colours, atol=1e-4)


# Kept pixels ---------------------------------------------------------------------------------------------------------

usage = namedtuple("usage", "free")
PIXELS = np.random.default_rng(7).integers(0, 256, (37, 53, 3), dtype=np.uint8)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def free(monkeypatch: pytest.MonkeyPatch, count: float) -> None:
    monkeypatch.setattr(kept.shutil, "disk_usage", lambda folder: usage(count))


def whole(bands: Iterator[np.ndarray]) -> np.ndarray:
    return np.rint(np.concatenate(list(bands), 1).transpose(1, 2, 0) * 255)


def test_room_that_there_is_not_is_said_in_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 2.04e9)
    found, notes = kept.keep(Path("b/a.png"), 1_560_000_000, Path("spare"))
    assert found is None
    assert notes == (
        "b/a.png: is decoded anew for every level, since its pixels take 1.6 GB and spare has 2.0 GB free",
    )
    found, notes = kept.keep(Path("b/a.png"), 510_000_000, Path("spare"))
    assert found is not None
    assert (found.need, notes) == (510_000_000, ())


@pytest.mark.parametrize("spare", [0, -1])
def test_room_that_is_gone_by_now_is_not_taken(picture: Path, monkeypatch: pytest.MonkeyPatch, spare: int) -> None:
    """And is not asked for again."""
    free(monkeypatch, 10**9)
    found = open_picture(picture).kept_in(picture.parent)
    assert found.kept is not None
    assert not found.kept.whole
    free(monkeypatch, 4 * PIXELS.size + spare)
    np.testing.assert_array_equal(whole(found.bands(37, 53, 10)), PIXELS)
    assert found.kept.whole == (spare == 0)
    free(monkeypatch, 10**9)
    np.testing.assert_array_equal(whole(found.bands(37, 53, 10)), PIXELS)
    assert found.kept.whole == (spare == 0)
    found.kept.release()
    np.testing.assert_array_equal(whole(found.bands(37, 53, 10)), PIXELS)
    found.kept.drop()
    assert not found.kept.whole
    np.testing.assert_array_equal(whole(found.bands(37, 53, 10)), PIXELS)


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="this system takes no advice")
def test_memory_of_what_was_read_is_given_back(tmp_path: Path) -> None:
    found, told = kept.Kept(tmp_path, 9), []
    found.release()
    found._decoded = SimpleNamespace(values=SimpleNamespace(madvise=told.append))  # type: ignore[assignment]
    found.release()
    assert told == [mmap.MADV_DONTNEED]


@pytest.mark.parametrize(("width", "rows"), [(53, 19784), (2**20, 1), (2**20 + 1, 1)])
def test_a_million_pixels_are_kept_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, rows: int
) -> None:
    asked = []

    def bands_of(image: Any, rows: int) -> Iterator[np.ndarray]:
        asked.append(rows)
        yield np.zeros((1, 1, 1), np.uint8)

    image = load_vips().Image.black(width, 1)
    monkeypatch.setattr(kept, "bands_of", bands_of)
    with kept.Kept(tmp_path, 9).opener(lambda: nullcontext(lambda access: image), lambda warnings: None):
        pass
    assert asked == [rows]


def test_a_file_may_take_a_few_bytes_at_a_time() -> None:
    class Slow(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(bytes(data[:7]))

    file, band = Slow(), PIXELS[:2].astype(np.uint16) * 257
    kept._write(file, band)
    assert file.getvalue() == band.tobytes()
