"""The one way from a file to a libvips image, whichever reader it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import PictureError
from tiler.pictures import mosaic, pdf, svg
from tiler.pictures.feed import streaming
from tiler.pictures.meaning import CMYK, LAB, RGB, Meaning
from tiler.pictures.probe import check_sides, load
from tiler.pictures.stream import heard, load_vips
from tiler.pictures.tiffpage import Page, at
from tiler.pictures.tiffrows import dtype_of, rows_of

Opener = Callable[[str], Any]  # (access) -> libvips image, not turned upright
# Kinds that have no pixels of their own.
DRAWN = ("svg", "pdf")
_INTERPRETATIONS = {CMYK: "cmyk", LAB: "lab"}


@contextmanager
def opener(path: Path, kind: str, page: Page | None, scale: float = 1.0) -> Iterator[Opener]:
    """page: of a TIFF, as `read_page` gave it. scale: of a drawing, how many times its own size it is to have."""
    if kind == "svg":
        drawing = svg.read_svg(path)
        yield lambda access: drawing.image(scale)
        return
    if kind == "pdf":
        height, width, _ = pdf.size_of(path, scale)
        with streaming(lambda: pdf.rows_of(path, height, width), 3, height, width, np.dtype(np.uint8)) as opened:
            yield opened
        return
    if kind in mosaic.KINDS:
        found = mosaic.mosaic_of(path)
        with streaming(found.rows, found.channels, found.height, found.width, np.dtype(np.uint8)) as opened:
            yield opened
        return
    if page is None or page.plain:
        yield lambda access: load(path, kind, access)
        return
    dtype = dtype_of(page)
    with streaming(lambda: rows_of(path, page), _channels(page), page.height, page.width, dtype) as opened:
        yield lambda access: _dressed(opened(access), path, page)


def header(path: Path, kind: str, page: Page | None, scale: float = 1.0) -> Any:
    """A libvips image with all that the picture's has but its pixels. Raises PictureError, or what libvips raises."""
    if kind == "svg":
        return svg.read_svg(path).image(scale)
    if kind == "pdf":
        height, width, _ = pdf.size_of(path, scale)
        check_sides(path, height, width)
        return load_vips().Image.black(width, height, bands=3)
    if kind in mosaic.KINDS:
        found = mosaic.mosaic_of(path)
        check_sides(path, found.height, found.width)
        return load_vips().Image.black(found.width, found.height, bands=found.channels)
    if page is None or page.plain:
        return load(path, kind)
    check_sides(path, page.height, page.width)  # libvips counts them by 32 bits
    black = load_vips().Image.black(page.width, page.height, bands=_channels(page))
    return _dressed(black.cast({1: "uchar", 2: "ushort", 4: "float"}[dtype_of(page).itemsize]), path, page)


def told_meaning(path: Path, kind: str) -> Meaning | None:
    """Of the channels of what is no file of pixels; None for other kinds. A drawing that covers its page is opaque."""
    if kind == "svg":
        drawing = svg.read_svg(path)
        with heard() as warnings:
            opaque = drawing.is_opaque
        if warnings:
            raise PictureError(f"{path}: damaged SVG ({warnings[0]})")
        return Meaning(RGB, None if opaque else 3, drawing.notes)
    if kind == "pdf":
        pages = pdf.size_of(path, 1.0)[2]
        return Meaning(RGB, None, (f"the first of its {pages} pages",) if pages > 1 else ())
    if kind in mosaic.KINDS:
        found = mosaic.mosaic_of(path)
        return Meaning(RGB, 3 if found.has_alpha else None, found.notes)
    return None


def _channels(page: Page) -> int:
    return page.meaning.colours + (page.meaning.alpha is not None)


def _dressed(image: Any, path: Path, page: Page) -> Any:
    """With what the pixels do not say: colour space, profile, orientation."""
    import tifffile

    vips = load_vips()
    with tifffile.TiffFile(path) as tif:
        profile = at(tif, page.chain).iccprofile
    image = image.copy(interpretation=_INTERPRETATIONS.get(page.meaning.space, "multiband"))
    image.set_type(vips.GValue.gint_type, "orientation", page.orientation)
    if isinstance(profile, bytes) and profile:
        image.set_type(vips.GValue.blob_type, "icc-profile-data", profile)
    return image
