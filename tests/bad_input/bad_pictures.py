"""Pictures that are none, that are broken, or that claim to be enormous."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from bad_case import Case, as_content, render
from PIL import Image

NOISE = np.random.default_rng(3).integers(0, 256, (40, 52, 3), dtype=np.uint8)
FORMATS: dict[str, dict[str, Any]] = {
    "png": dict(format="PNG"),
    "interlaced png of 16 bits": dict(format="PNG", bits=16),
    "palette png": dict(format="PNG", mode="P"),
    "jpeg": dict(format="JPEG"),
    "progressive jpeg": dict(format="JPEG", progressive=True),
    "cmyk jpeg": dict(format="JPEG", mode="CMYK"),
    "tiff": dict(format="TIFF"),
    "deflate tiff": dict(format="TIFF", compression="tiff_deflate"),
    "lzw tiff": dict(format="TIFF", compression="tiff_lzw"),
    "webp": dict(format="WEBP"),
    "lossless webp": dict(format="WEBP", lossless=True),
    "avif": dict(format="AVIF"),
    "gif": dict(format="GIF"),
    "bmp": dict(format="BMP"),
    "ppm": dict(format="PPM"),
}
CUTS = (0.01, 0.1, 0.35, 0.6, 0.85, 0.95)


@cache
def sample(name: str) -> bytes:
    """A good picture of this format."""
    options = dict(FORMATS[name])
    mode, bits = options.pop("mode", "RGB"), options.pop("bits", 8)
    picture = Image.fromarray(NOISE).convert(mode)
    if bits == 16:
        picture = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
    file = io.BytesIO()
    picture.save(file, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, data: bytes = b"", depth: int = 8, colour: int = 2, interlaced: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def jpeg_of(side: int, name: str, marker: bytes) -> bytes:
    data = bytearray(sample(name))
    at = data.index(marker)
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def gif_of(side: int) -> bytes:
    data = bytearray(sample("gif"))
    at = data.index(struct.pack("<BHHHH", 0x2C, 0, 0, 52, 40))
    data[6:10] = data[at + 5 : at + 9] = struct.pack("<HH", side, side)
    return bytes(data)


def bmp_of(side: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)


def webp_of(side: int) -> bytes:
    """Lossless, whose header holds 14 bits a side: 16384 is the most that it can claim."""
    data = bytearray(sample("lossless webp"))
    at = data.index(b"VP8L") + 9
    data[at : at + 4] = struct.pack("<I", (side - 1) | (side - 1) << 14)
    return bytes(data)


def tiff_of(side: int, tiled: bool = False) -> bytes:
    file = io.BytesIO()
    options: dict[str, Any] = dict(tile=(16, 16)) if tiled else {}
    tifffile.imwrite(file, NOISE, photometric="rgb", **options)
    file.seek(0)
    with tifffile.TiffFile(file, mode="r+b") as tif:
        names = ["ImageWidth", "ImageLength", *(("TileWidth", "TileLength") if tiled else ())]
        for name in names:
            tif.pages.first.tags[name].overwrite(side, dtype="I")
    return file.getvalue()


def avif_of(side: int) -> bytes:
    data = bytearray(sample("avif"))
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", side, side)
    return bytes(data)


def tiff(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **{"photometric": "minisblack", **options})
    return file.getvalue()


def animation(form: str) -> bytes:
    frames = [Image.new("RGB", (20, 20), (shade, 0, 0)) for shade in (0, 100, 200)]
    file = io.BytesIO()
    frames[0].save(file, format=form, save_all=True, append_images=frames[1:])
    return file.getvalue()


def one(value: float) -> np.ndarray:
    array = np.full((40, 52, 3), 0.5, np.float32)
    array[33, 7, 1] = value
    return array


class _Opens:
    """What a pickle could do to whoever loads it."""

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, ("stolen", "w")


NO_PICTURES: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"\x89",
    "text": b"hello, I am no picture\n" * 20,
    "zeros": bytes(5000),
    "html": b"<!doctype html><title>404</title>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "svg that reads a file": b'<svg xmlns:xlink="x"><image xlink:href="file:///etc/passwd"/></svg>',
    "postscript": b"%!PS-Adobe-3.0\n(stolen) (w) file\n",
    "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "program": b"\x7fELF" + bytes(60),
    "script": b"#!/bin/sh\ntouch stolen\n",
    "pickle": pickle.dumps(_Opens()),
    "zip": b"PK\x03\x04" + bytes(60),
    "gzip": gzip.compress(NOISE.tobytes()),
    "numpy": b"\x93NUMPY\x01\x00" + bytes(60),
    "json": b'{"zarr_format": 3}',
    "photoshop": b"8BPS" + bytes(60),
    "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
    "openexr": b"\x76\x2f\x31\x01" + bytes(60),
    "film": b"\0\0\0\x18ftypisom" + bytes(60),
    "riff of sound": b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
    **{f"only the first bytes of {name}": data for name, data in {
        "png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "tiff": b"II*\0", "big tiff": b"MM\0+",
        "webp": b"RIFF\0\0\0\0WEBP", "avif": b"\0\0\0\x20ftypavif" + bytes(20), "gif": b"GIF89a", "bmp": b"BM",
        "ppm": b"P6\n",
    }.items()},
}  # fmt: skip

BROKEN: dict[str, Callable[[], bytes]] = {
    "png of no size": lambda: png(0, 0),
    "png of no width": lambda: png(0, 5),
    "png of no height": lambda: png(5, 0),
    "png of 2^31": lambda: png(2**31 - 1, 2**31 - 1),
    "png of 2^32": lambda: png(2**32 - 1, 1),
    "png of 60000": lambda: png(60_000, 60_000),
    "interlaced png of 60000": lambda: png(60_000, 60_000, bytes(1000), interlaced=1),
    "png wider than any": lambda: png(2_000_000, 10),
    "png of wrong depth": lambda: png(4, 4, bytes(60), depth=7),
    "png of wrong colour type": lambda: png(4, 4, bytes(60), colour=5),
    "png of a palette it has not": lambda: png(4, 4, bytes(60), colour=3),
    "png with a wrong check sum": lambda: sample("png")[:40] + b"\0\0" + sample("png")[42:],
    "jpeg of 65500": lambda: jpeg_of(65_500, "jpeg", b"\xff\xc0"),
    "jpeg of no size": lambda: jpeg_of(0, "jpeg", b"\xff\xc0"),
    "progressive jpeg of 60000": lambda: jpeg_of(60_000, "progressive jpeg", b"\xff\xc2"),
    "gif of 65535": lambda: gif_of(65_535),
    "bmp of 60000": lambda: bmp_of(60_000),
    "bmp of 2^31": lambda: bmp_of(2**31 - 1),
    "bmp of no size": lambda: bmp_of(0),
    "bmp of a negative size": lambda: bmp_of(-(2**31)),
    "webp of 16384": lambda: webp_of(16_384),
    "avif of 60000": lambda: avif_of(60_000),
    "avif of 2^31": lambda: avif_of(2**31 - 1),
    "tiff of 60000": lambda: tiff_of(60_000),
    "tiff of one tile of 60000": lambda: tiff_of(60_000, tiled=True),
    "tiff of 2^31": lambda: tiff_of(2**31 - 1),
    "tiff of one tile of 2^31": lambda: tiff_of(2**31 - 16, tiled=True),
    "tiff of 2^32": lambda: tiff_of(2**32 - 1),
    "tiff of no size": lambda: tiff_of(0),
    "tiff with a loop": lambda: struct.pack("<2sHIHI", b"II", 42, 8, 0, 8),
    "tiff of entries beyond the end": lambda: struct.pack("<2sHIH", b"II", 42, 8, 65535),
    "ppm of no size": lambda: b"P6\n0 0\n255\n",
    "ppm of a negative size": lambda: b"P6\n-5 5\n255\n",
    "ppm of words": lambda: b"P6\nten ten\n255\n",
    "ppm of 60000": lambda: b"P6\n60000 60000\n255\n\0\0\0",
    "ppm of 2^31": lambda: b"P6\n2147483648 2147483648\n255\n\0\0\0",
    "ppm of a billion digits": lambda: b"P6\n" + b"9" * 100_000,
    "tiff of nan": lambda: tiff(one(np.nan), photometric="rgb"),
    "tiff of inf": lambda: tiff(one(np.inf), photometric="rgb"),
    "tiff of -inf": lambda: tiff(one(-np.inf), photometric="rgb"),
    "tiff of 64-bit nan": lambda: tiff(one(np.nan).astype(np.float64), photometric="rgb"),
    "tiff of one pixel at 1e30": lambda: tiff(one(1e30), photometric="rgb"),
    "tiff of metres": lambda: tiff(np.full((20, 20), 4810, np.float32)),
    "tiff of signed integers": lambda: tiff(np.zeros((20, 20), np.int16)),
    "tiff of signed bytes": lambda: tiff(np.zeros((20, 20), np.int8)),
    "tiff of complex numbers": lambda: tiff(np.zeros((20, 20), np.complex64)),
    "tiff of 7 channels": lambda: tiff(np.zeros((20, 20, 7), np.uint8), planarconfig="contig"),
    "tiff of 64-bit integers": lambda: tiff(np.zeros((20, 20), np.uint64)),
    "jpeg of nothing but stray bytes": lambda: b"\xff\xd8\xff\xdb\0\4\0\0" + bytes(70_000),
    "jpeg of 6000 remarks": lambda: sample("jpeg")[:2] + b"\xff\xfe\0\2" * 6000 + sample("jpeg")[2:],
    "ppm of a remark": lambda: b"P6\n#" + b"a" * 20_000 + b"\n5 5\n255\n" + bytes(75),
    "ppm of more text than pixels": lambda: b"P3\n2 2\n255\n" + b"1 " * 20_000,
    "avif of 2000 boxes": lambda: sample("avif") + struct.pack(">I4s", 8, b"free") * 2000,
    "tiff with a drawing in it": lambda: b"II*\0<svg xmlns='http://www.w3.org/2000/svg'/>",
    "animated gif": lambda: animation("GIF"),
    "animated webp": lambda: animation("WEBP"),
}


def _case(data: Callable[[], bytes], name: str = "bad.png") -> Case:
    def make(folder: Path) -> list[str]:
        (folder / name).write_bytes(data())
        return as_content(name)

    return Case(make, (name,))


def _as_style(data: bytes) -> Case:
    def make(folder: Path) -> list[str]:
        (folder / "style.png").write_bytes(data)
        return render()

    return Case(make, ("style.png",))


def _as_init(data: bytes) -> Case:
    def make(folder: Path) -> list[str]:
        (folder / "start.png").write_bytes(data)
        return render("--init", "start.png")

    return Case(make, ("start.png",))


CASES = {
    **{f"{name}, cut at {kept}": _case(lambda name=name, kept=kept: sample(name)[: int(len(sample(name)) * kept)])
       for name in FORMATS for kept in CUTS},
    **{f"{name} as picture": _case(lambda data=data: data) for name, data in NO_PICTURES.items()},
    **{name: _case(make) for name, make in BROKEN.items()},
    "cut style": _as_style(sample("jpeg")[:900]),
    "style of nan": _as_style(tiff(one(np.nan), photometric="rgb")),
    "cut start": _as_init(sample("lossless webp")[:900]),
    "start of nan": _as_init(tiff(one(np.nan), photometric="rgb")),
    "text as style": _as_style(b"no picture"),
    "text as start": _as_init(b"no picture"),
}  # fmt: skip
