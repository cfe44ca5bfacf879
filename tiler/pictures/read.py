"""Opening a picture: what its header says, checked; and reading a small one whole."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import PictureError
from tiler.pictures import colour, jpeg, mosaic
from tiler.pictures.claims import unused
from tiler.pictures.georef import read_georef
from tiler.pictures.meaning import meaning_of
from tiler.pictures.picture import COUNTS, Channels, Crop, Picture, orientation_of, stamp_of
from tiler.pictures.probe import check_sides, kind_of, unreadable
from tiler.pictures.source import header, told_meaning
from tiler.pictures.stream import heard, load_vips
from tiler.pictures.tiffpage import Page, read_page

_BITS = {"uchar": 8, "ushort": 16, "uint": 32, "float": 32, "double": 64}
# A header of a few bytes can claim more than any machine has; what streams needs no such limit.
_WHOLE_BYTES = 4 * 2**30
# A block of 8 x 8 takes a bit at least. libjpeg would fill the rest of a forged picture with grey, for minutes.
_JPEG_PIXELS_PER_BYTE = 1024
# A progressive JPEG is read to its end, and cameras hang films on it.
_SCANS_BYTES = 2**28
# Tiles may be left out of a TIFF, and a flat one of any size takes no room: what would be read for hours holds more.
_PIXELS_PER_BYTE, _MANY_PIXELS = 100_000, 2**32


def open_picture(path: str | os.PathLike[str]) -> Picture:
    """Reads the header of a picture file: PNG, JPEG, TIFF (the first page that is no preview), WebP, AVIF, GIF, BMP,
    PPM; or a drawing, SVG or the first page of a PDF, whose size in pixels is that at 96 to an inch.

    The kind is told by the content, not by the name. Animations are refused, as GIF or WebP; of a PNG or AVIF that is
    one the still picture is read. Raises PictureError, in one line, for a file that is missing, no picture, damaged in
    its header, or of pixels that cannot be used.
    """
    if "://" in os.fspath(path):
        raise PictureError(f"{os.fspath(path)}: is an address; pictures are read from files")
    path = Path(path)
    kind, stamp = kind_of(path), stamp_of(path)
    page = read_page(path) if kind == "tiff" else None
    vips = load_vips()
    try:
        with heard() as warnings:
            image = header(path, kind, page)
        frames = image.get("n-pages") if kind in ("gif", "webp") and image.get_typeof("n-pages") else 1
        turned = orientation_of(image)
    except vips.Error as error:
        raise unreadable(path, kind, error) from None
    height, width = (image.width, image.height) if turned >= 5 else (image.height, image.width)
    if frames > 1:
        raise PictureError(f"{path}: is an animation of {frames} frames; save the one you want as a still picture")
    _check_size(path, kind, image, height, width)
    try:
        colour.check_pixels(image)
        meaning = page.meaning if page else told_meaning(path, kind) or meaning_of(image)
    except colour.PixelsError as error:
        raise PictureError(f"{path}: {error}") from None
    except vips.Error as error:
        raise unreadable(path, kind, error) from None
    georef, about_place = (
        (mosaic.mosaic_of(path).georef, [])
        if kind in mosaic.KINDS
        else read_georef(path, kind, page.chain if page else (0,))
    )
    strays = jpeg.stray_bytes(path) if kind == "jpeg" else 0
    found = (
        *meaning.notes,
        *colour.guessed(image, meaning.colours),
        *unused(path, kind, image),
        *(["is turned by its EXIF, so where it lies on the map is not used"] * bool(georef and turned != 1)),
        *dict.fromkeys(warnings),
        *([f"skipped {strays} stray bytes in its header"] * bool(strays)),
    )
    notes = [f"{path}: {note}" for note in found] + list(about_place)
    size = (height, width)
    return Picture(
        path, *size, meaning.colours, _bits(image, page), meaning.alpha is not None,
        georef if turned == 1 else None, kind, file_size=size, stamp=stamp, meaning=meaning, page=page,
        notes=tuple(notes),
    )  # fmt: skip


def read_picture(
    path: str | os.PathLike[str],
    height: int | None = None,
    width: int | None = None,
    channels: Channels = "rgb",
    crop: Crop | None = None,
) -> np.ndarray:
    """A whole picture, float32 `[C, height, width]` in 0..1, for those that fit into memory.

    With one of height and width the other follows from the (cropped) picture's shape; with neither the size
    stays. Channels, crop and errors as in `Picture.bands`.
    """
    picture = open_picture(path)
    y0, x0, y1, x1 = crop or (0, 0, picture.height, picture.width)
    source_height, source_width = max(1, y1 - y0), max(1, x1 - x0)
    if height is None:
        height = source_height if width is None else max(1, round(source_height * width / source_width))
    if width is None:
        width = max(1, round(source_width * height / source_height))
    rows = max(1, 2**22 // width)
    bands = picture.bands(height, width, rows, channels, crop)
    whole = np.empty((COUNTS[channels], height, width), np.float32)
    top = 0
    for band in bands:
        whole[:, top : top + band.shape[1]] = band
        top += band.shape[1]
    return whole


def _check_size(path: Path, kind: str, image: Any, height: int, width: int) -> None:
    check_sides(path, height, width)
    per_byte = (
        _JPEG_PIXELS_PER_BYTE if kind == "jpeg" else _PIXELS_PER_BYTE if height * width > _MANY_PIXELS else math.inf
    )
    if kind not in mosaic.KINDS and height * width > per_byte * path.stat().st_size:
        raise PictureError(f"{path}: its header says {width} x {height}, more than its few bytes can hold")
    scans = kind == "jpeg" and _decoded_whole(image, kind)
    if scans and path.stat().st_size > _SCANS_BYTES + 16 * height * width:
        raise PictureError(f"{path}: damaged JPEG (far more bytes than {width} x {height} pixels need)")
    if _decoded_whole(image, kind) and image.height * image.width * image.bands * 2 > _WHOLE_BYTES:
        raise PictureError(
            f"{path}: {width} x {height} is too large for a {kind.upper()} that cannot be read row by row;"
            " save it as TIFF, or as PNG or JPEG that is not interlaced or progressive"
        )


def _decoded_whole(image: Any, kind: str) -> bool:
    """Whether the codec holds all the pixels at once, however they are asked for."""
    flags = ("interlaced", "jpeg-multiscan")
    return kind in ("gif", "webp", "heif", "jxl") or any(image.get_typeof(flag) and image.get(flag) for flag in flags)


def _bits(image: Any, page: Page | None) -> int:
    return page.bits if page and page.is_float and page.bits == 64 else _BITS[image.format]


def shown_small(path: str | os.PathLike[str], edge: int) -> bytes:
    """A picture as a PNG whose longer side has `edge` pixels at most. Raises PictureError."""
    from PIL import Image

    picture = open_picture(path)
    scale = min(1.0, edge / max(picture.height, picture.width))
    height, width = (max(1, round(side * scale)) for side in (picture.height, picture.width))
    pixels = np.rint(read_picture(path, height, width, "rgba") * 255).astype(np.uint8)
    found = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(found, "PNG")
    return found.getvalue()
