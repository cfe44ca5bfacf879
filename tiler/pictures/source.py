"""The one way from a file to a libvips image, whichever reader it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tiler.pictures.feed import streaming
from tiler.pictures.meaning import CMYK, LAB
from tiler.pictures.probe import check_sides, load
from tiler.pictures.stream import load_vips
from tiler.pictures.tiffpage import Page, at
from tiler.pictures.tiffrows import dtype_of, rows_of

Opener = Callable[[str], Any]  # (access) -> libvips image, not turned upright
_INTERPRETATIONS = {CMYK: "cmyk", LAB: "lab"}


@contextmanager
def opener(path: Path, kind: str, page: Page | None) -> Iterator[Opener]:
    """page: of a TIFF, as `read_page` gave it."""
    if page is None or page.plain:
        yield lambda access: load(path, kind, access)
        return
    dtype = dtype_of(page)
    with streaming(lambda: rows_of(path, page), _channels(page), page.height, page.width, dtype) as opened:
        yield lambda access: _dressed(opened(access), path, page)


def header(path: Path, kind: str, page: Page | None) -> Any:
    """A libvips image with all that the picture's has but its pixels. Raises PictureError, or what libvips raises."""
    if page is None or page.plain:
        return load(path, kind)
    check_sides(path, page.height, page.width)  # libvips counts them by 32 bits
    black = load_vips().Image.black(page.width, page.height, bands=_channels(page))
    return _dressed(black.cast({1: "uchar", 2: "ushort", 4: "float"}[dtype_of(page).itemsize]), path, page)


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
