"""Small files that ask for much: time, memory, or another program's loader."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tiler.errors import PictureError
from tiler.pictures import open_picture, read_picture
from tiler.pictures.stream import load_vips

NOISE = np.random.default_rng(23).integers(0, 256, (42, 30, 3), dtype=np.uint8)


def saved(form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(NOISE).save(file, format=form, **options)
    return file.getvalue()


def tiff_of_many_pages(codec: str | None, number: int, in_a_circle: bool) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, NOISE, photometric="rgb", compression=codec)
    data = file.getvalue()
    at = struct.unpack("<I", data[4:8])[0]
    size = 2 + 12 * struct.unpack("<H", data[at : at + 2])[0]
    first, end = len(data), at if in_a_circle else 0
    following = [first + i * (size + 4) for i in range(1, number)] + [end]
    more = b"".join(data[at : at + size] + struct.pack("<I", place) for place in following)
    return data[: at + size] + struct.pack("<I", first) + data[at + size + 4 :] + more


def tiff_of_segments(compression: int, number: int, bytes_each: int, side: int, tile: int = 0) -> bytes:
    """One channel of 8 bits: strips of a row, or tiles; all lie in one place."""
    place = 8 + 2 + 12 * (11 if tile else 10) + 4
    tags = {256: side if tile else 1, 257: side if tile else number, 258: 8, 259: compression, 262: 1, 277: 1, 284: 1}
    lists = {324: place + 64, 325: place + 64 + 4 * number} if tile else {273: place + 64, 279: place + 64 + 4 * number}
    tags |= {322: tile, 323: tile} if tile else {278: 1}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()]
    entries += [struct.pack("<HHII", tag, 4, number, value) for tag, value in lists.items()]
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + b"".join(entries) + bytes(4 + 64)
    return head + np.full(number, place, "<u4").tobytes() + np.full(number, bytes_each, "<u4").tobytes()


def png_with(kind: bytes, body: bytes, times: int = 1) -> bytes:
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    data = saved("PNG")
    return data[:33] + chunk * times + data[33:]


def jpeg_with(segment: bytes, times: int = 1) -> bytes:
    data = saved("JPEG")
    return data[:2] + segment * times + data[2:]


ZEROS = zlib.compress(bytes(100_000_000), 9)
JPEG_XMP = b"\xff\xe1\xff\xffhttp://ns.adobe.com/xap/1.0/\0" + b" " * (65533 - 29)
JPEG_EXIF = b"\xff\xe1\xff\xffExif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(65533 - 16)
# Whether it is read or refused, and the words of it.
READ: dict[str, Callable[[], bytes]] = {
    "tiff of 30000 pages": lambda: tiff_of_many_pages(None, 30_000, False),
    "zstd tiff of 30000 pages": lambda: tiff_of_many_pages("zstd", 30_000, False),
    "tiff of pages in a circle": lambda: tiff_of_many_pages(None, 3, True),
    "zstd tiff of pages in a circle": lambda: tiff_of_many_pages("zstd", 3, True),
    "tiff with a large xmp": lambda: large_tag(700, None),
    "zstd tiff with a large xmp": lambda: large_tag(700, "zstd"),
    "zstd tiff with a large no-data value": lambda: large_tag(42113, "zstd"),
    "png with a packed text": lambda: png_with(b"zTXt", b"x\0\0" + ZEROS),
    "png with a packed xmp": lambda: png_with(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + ZEROS),
    "png with a packed profile": lambda: png_with(b"iCCP", b"x\0\0" + ZEROS),
    "png with 300 texts": lambda: png_with(b"tEXt", b"k\0v", 300),
    "png with 100000 unknown chunks": lambda: png_with(b"abCd", b"", 100_000),
    "jpeg with 200 exifs": lambda: jpeg_with(JPEG_EXIF, 200),
    "jpeg with 200 xmps": lambda: jpeg_with(JPEG_XMP, 200),
    "jpeg with padding": lambda: jpeg_with(b"\xff", 1_000_000),
    "webp with a large profile": lambda: saved("WEBP", lossless=True, icc_profile=bytes(20_000_000)),
}
REFUSED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "tiff of strips that are none": ("damaged TIFF", lambda: tiff_of_segments(34925, 300_000, 8, 0)),
    "tiff of a million a side": ("few bytes", lambda: tiff_of_segments(50000, 3721, 0, 1_000_000, 16400)),
    "deflate tiff of a million a side": ("few bytes", lambda: tiff_of_segments(8, 3721, 0, 1_000_000, 16400)),
    "avif with a large profile": ("MB in 2 boxes", lambda: saved("AVIF", icc_profile=bytes(5_000_000))),
    "avif with many boxes": ("1001 boxes", lambda: saved("AVIF") + struct.pack(">I4s", 8, b"free") * 500_000),
    "jpeg with a million segments": ("5000 segments", lambda: jpeg_with(b"\xff\xfe\0\2", 1_000_000)),
    "ppm of a comment": ("no size", lambda: b"P6\n#" + b"a" * 30_000_000 + b"\n5 5\n255\n" + bytes(75)),
    "ppm of text": ("more text", lambda: b"P3\n9 9\n255\n" + b" " * 30_000_000),
}
CHILD = """
import json, sys, time
from tiler.errors import PictureError
from tiler.pictures import open_picture
import imagecodecs, tifffile
def most(): return int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]) / 1e3
for path in sys.argv[1:]:
    open('/proc/self/clear_refs', 'w').write('5')
    before, began = most(), time.process_time()
    try:
        picture = open_picture(path)
        picture.check()
        answer = f'{picture.height} x {picture.width}'
    except PictureError as error:
        answer = str(error)
    print(json.dumps([answer, time.process_time() - began, most() - before]), flush=True)
"""


def large_tag(tag: int, codec: str | None) -> bytes:
    file = io.BytesIO()
    more = [(tag, 2, 0, "1" * 20_000_000, True)]
    tifffile.imwrite(file, NOISE, photometric="rgb", compression=codec, extratags=more)
    return file.getvalue()


@pytest.mark.timeout(200)
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells a peak of memory, and forgets it")
def test_what_is_small_takes_little(tmp_path: Path) -> None:
    """One child for all: each has 10 s of a processor and 500 MB, beside what it takes to read the file itself."""
    files = {name: tmp_path / name.replace(" ", "-") for name in (*READ, *REFUSED)}
    for name, path in files.items():
        path.write_bytes(READ[name]() if name in READ else REFUSED[name][1]())
    child = subprocess.run([sys.executable, "-c", CHILD, *files.values()], capture_output=True, text=True, timeout=180)
    assert child.returncode == 0, child.stderr
    answers = [json.loads(line) for line in child.stdout.splitlines()]
    assert len(answers) == len(files)
    for name, (answer, seconds, megabytes) in zip(files, answers, strict=True):
        assert (REFUSED[name][0] if name in REFUSED else "42 x 30") in answer, name
        assert "\n" not in answer
        assert seconds < 10, name
        assert megabytes < 500, name


@pytest.mark.parametrize("name", ["tiff of 30000 pages", "tiff of pages in a circle", "zstd tiff of 30000 pages"])
def test_many_pages_are_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.tif").write_bytes(READ[name]())
    assert "holds many pages; the first is read" in open_picture(tmp_path / "a.tif").notes[0]
    np.testing.assert_array_equal(np.rint(read_picture(tmp_path / "a.tif") * 255), NOISE.transpose(2, 0, 1))


HEADS = {
    "jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n", "tiff": b"II*\0\x08\0\0\0", 
    "big tiff": b"II+\0\x08\0\0\0\x10",
    "gif": b"GIF89a", "webp": b"RIFF\xff\xff\xff\xffWEBPVP8L", "avif": b"\0\0\0\x18ftypavif", "bmp": b"BM",
    "ppm": b"P6\n", "ppm in text": b"P3\n9 9\n255\n", "nothing": b"",
}  # fmt: skip


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", HEADS)
def test_a_terabyte_of_nothing(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(HEADS[kind])
    os.truncate(tmp_path / "a", 2**40)
    with pytest.raises(PictureError) as refused:
        open_picture(tmp_path / "a").check()
    assert "\n" not in str(refused.value)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "GIF", "WEBP", "PPM", "BMP"])
def test_a_terabyte_behind_a_picture(tmp_path: Path, form: str) -> None:
    """Cameras hang films on their pictures."""
    (tmp_path / "a").write_bytes(saved(form, **(dict(lossless=True) if form == "WEBP" else {})))
    os.truncate(tmp_path / "a", 2**40)
    found = read_picture(tmp_path / "a") * 255
    assert np.abs(found - NOISE.transpose(2, 0, 1)).mean() < (1 if form not in ("JPEG", "GIF") else 60)


@pytest.mark.timeout(20)
def test_a_progressive_jpeg_is_not_looked_through_for_its_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(saved("JPEG", progressive=True)[:-2])
    os.truncate(tmp_path / "a", 2**40)
    with pytest.raises(PictureError, match="far more bytes than 30 x 42 pixels need"):
        open_picture(tmp_path / "a")


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script/></svg>'
HIDDEN = (SVG, b"\n" * 20 + SVG, b"%PDF-1.7\n", b"%!PS\n", b"BM" + SVG, b"II*\0%PDF-1.7\n", b"P6 " + SVG,
          b"\0\0\0\x18ftypmif1" + SVG, b"push graphic-context\nimage over 0,0 1,1 'msl:x'\n", b"#?RADIANCE\n\n",
          b"SIMPLE  =                    T", b"\x93NUMPY", b"<?xml version='1.0'?>" + SVG)  # fmt: skip


@pytest.mark.parametrize("data", HIDDEN)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.svg", "a.pdf", "a.mvg"])
def test_no_loader_but_a_pictures_is_asked(tmp_path: Path, data: bytes, name: str, monkeypatch) -> None:
    """libvips would hand them to librsvg, poppler or ImageMagick."""
    import pyvips

    asked: list[str] = []
    call = pyvips.Operation.call
    monkeypatch.setattr(pyvips.Operation, "call", lambda name, *a, **b: asked.append(name) or call(name, *a, **b))
    (tmp_path / name).write_bytes(data)
    with pytest.raises(PictureError):
        open_picture(tmp_path / name)
    assert {*asked} <= {"tiffload", "heifload"}


def test_what_is_not_for_strangers_files_is_shut(tmp_path: Path) -> None:
    """Should a loader be asked for by mistake."""
    (tmp_path / "a.svg").write_bytes(SVG)
    with pytest.raises(load_vips().Error, match="svgload: operation is blocked"):
        load_vips().Image.svgload(str(tmp_path / "a.svg"))
