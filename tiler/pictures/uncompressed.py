"""BMP and PPM, old uncompressed kinds that libvips' wheels leave out: Pillow reads them, but for colours of 16 bits."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import PictureError
from tiler.pictures.stream import first_line, load_vips

_PPM_HEAD_BYTES, _PPM_SPACE = 2**14, rb"(?:\s|#[^\r\n]*[\r\n])+"
_PPM_HEAD = re.compile(rb"P[1-6]" + _PPM_SPACE + rb"(\d{1,10})" + _PPM_SPACE + rb"(\d{1,10})\s")
_PPM_WIDE = re.compile(rb"P6" + (_PPM_SPACE + rb"\d{1,10}") * 2 + _PPM_SPACE + rb"(\d{1,5})\s")


def load(path: Path) -> Any:
    """As a libvips image: held whole, so Pillow's limit of 179 Mpx stands. PictureError for what is damaged."""
    from PIL import Image

    with open(path, "rb") as file:
        head = file.read(_PPM_HEAD_BYTES)
    _check_ppm(path, head)
    wide, vips = _PPM_WIDE.match(head), load_vips()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=["BMP", "PPM"]) as picture:
                if wide and int(wide[1]) > 255:  # which Pillow would read in 8 bits
                    pixels = _wide_ppm(path, wide, picture.height, picture.width)
                elif picture.mode.startswith("I"):
                    pixels = np.asarray(picture).clip(0, 65535).astype(np.uint16)
                elif picture.mode in ("1", "L", "RGB", "RGBA"):
                    pixels = np.asarray(picture.convert("L") if picture.mode == "1" else picture)
                else:
                    pixels = np.asarray(picture.convert("RGBA" if "transparency" in picture.info else "RGB"))
    except Exception as error:
        # Pillow's decoders raise nearly anything on damaged input, from SyntaxError to struct.error.
        found = first_line(error)
        raise PictureError(f"{path}: damaged, unsupported or too large to be read whole ({found})") from None
    return vips.Image.new_from_array(np.ascontiguousarray(pixels))


def _wide_ppm(path: Path, head: re.Match[bytes], height: int, width: int) -> np.ndarray:
    """Colours of 16 bits, first byte first, behind a head that ends with the number that is white."""
    most = int(head[1])
    with open(path, "rb") as file:
        file.seek(head.end())
        values = np.frombuffer(file.read(6 * height * width), ">u2")
    if most > 65535 or values.size < 3 * height * width:
        raise ValueError(f"{values.size // 3} pixels of values up to {most}")
    scaled = np.rint(np.minimum(np.arange(2**16) / most, 1) * 65535).astype(np.uint16)
    return scaled[values].reshape(height, width, 3)


def _check_ppm(path: Path, head: bytes) -> None:
    """PictureError for what Pillow would go through byte by byte for ever: comments, and numbers as text."""
    found = _PPM_HEAD.match(head)
    if head[:1] == b"P" and not found:
        raise PictureError(f"{path}: damaged PPM (no size within its first {_PPM_HEAD_BYTES} bytes)")
    if found and head[1:2] in b"123" and path.stat().st_size > len(head) + 64 * int(found[1]) * int(found[2]):
        raise PictureError(
            f"{path}: damaged PPM (more text than its {found[1].decode()} x {found[2].decode()} pixels need)"
        )
