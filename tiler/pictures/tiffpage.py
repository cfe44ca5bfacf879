"""What a TIFF's tags say: which page is the picture, what its channels mean, and who can decode it."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiler.errors import PictureError
from tiler.pictures.meaning import CMYK, COLOURS, GREY, LAB, RGB, Meaning, extra_samples
from tiler.pictures.probe import is_harmless, load
from tiler.pictures.stream import first_line, heard

# What libvips' wheels decode (none, CCITT, LZW, JPEG, deflate, PackBits), and the number types that they read.
_VIPS_CODECS = frozenset({1, 2, 3, 4, 5, 7, 8, 32773, 32946})
_JPEG = frozenset({6, 7, 33007})
_VIPS_BITS = {1: (1, 8, 16, 32), 3: (32,)}  # by SampleFormat: unsigned integers, floats
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_NODATA, _DNG, _INKSET = 42113, 50706, 332
_SPACES = {0: GREY, 1: GREY, 2: RGB, 3: RGB, 4: GREY, 5: CMYK, 6: RGB, 8: LAB, 9: LAB}
PALETTE, YCBCR = 3, 6
_RAW = {32803: "a camera's raw sensor data", 34892: "a camera's linear raw data"}
_FORMATS = {1: "unsigned integer", 2: "signed integer", 3: "float", 5: "complex integer", 6: "complex"}
_MOST_PAGES, _MOST_GREYS, _MOST_NOTES = 64, 4, 3
# Tags without which the pixels are others: sizes, types, codec, places, and what channels mean.
_ESSENTIAL = frozenset({254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325,
                        330, 332, 338, 339, 347, 34675, _NODATA})  # fmt: skip
_OF_A_TAG = re.compile(r"TiffTag (\d+) @\d+> ([^'\"]*)")


@dataclass(frozen=True)
class Page:
    """The page of a TIFF that is the picture. Plain values, picklable.

    chain: its place, (page,) or (page, SubIFD). plain: libvips reads it rightly; else `tiffrows` does. meaning: of the
    channels as whichever reads them hands them on. alpha: the file's own alpha channel, and whether it is associated.
    nodata: the value that means no pixel. mask: number of the page that says which pixels there are.
    """

    chain: tuple[int, ...]
    plain: bool
    meaning: Meaning
    height: int
    width: int
    bits: int
    is_float: bool
    signed: bool
    orientation: int
    alpha: int | None = None
    associated: bool = False
    nodata: float | None = None
    mask: int | None = None


def read_page(path: Path) -> Page:
    """Raises PictureError, in one line, for tags that cannot be read or mean nothing that can be shown."""
    import tifffile

    try:
        with heard("tifffile") as warnings, tifffile.TiffFile(path) as tif:
            return _page(path, tif, warnings)
    except PictureError:
        raise
    except Exception as error:
        # Damage shows in tifffile as errors of many types.
        raise PictureError(f"{path}: damaged TIFF ({first_line(error)})") from None


def _notes(path: Path, page: Any, warnings: list[str]) -> tuple[str, ...]:
    """What there is to say of a header that is damaged in places. PictureError where what a pixel means is among them:
    tifffile goes on without such a tag, and would show another picture."""
    found = []
    for warning in warnings:
        tag = _OF_A_TAG.search(warning)
        if tag and int(tag[1]) in _ESSENTIAL and int(tag[1]) not in page.tags:
            raise PictureError(f"{path}: damaged TIFF (tag {tag[1]}: {tag[2]})")
        if "GDAL_NODATA" not in warning:  # which we read ourselves
            found.append(f"its header is damaged in places ({f'tag {tag[1]}: {tag[2]}' if tag else warning})")
    return tuple(dict.fromkeys(found))[:_MOST_NOTES]


def _reads_without_complaint(path: Path) -> bool:
    """Whether libvips does: later it could not tell a header's faults from those of pixels."""
    with heard() as warnings:
        load(path, "tiff")
    return all(is_harmless(warning) for warning in warnings)


def at(tif: Any, chain: tuple[int, ...]) -> Any:
    """tifffile's page at a place."""
    page = tif.pages[chain[0]]
    return page.pages[chain[1]] if len(chain) > 1 else page


def _page(path: Path, tif: Any, warnings: list[str]) -> Page:
    pages = list(_pages(tif))
    if not pages:
        raise PictureError(f"{path}: damaged TIFF (it holds no page)")
    chain, page, notes = _chosen(path, tif, pages)
    notes += _notes(path, page, warnings)
    space, alpha, associated, more = _channels(path, page)
    bits = max(page.bitspersample) if isinstance(page.bitspersample, tuple) else int(page.bitspersample)
    sample_format = int(page.sampleformat)
    mask = next((i for i, one in enumerate(pages) if _is_mask(one) and _same_size(one, page)), None)
    nodata = _nodata(page)
    if os.path.exists(f"{path}.msk"):
        notes += (f"{path.name}.msk beside it is not used; a mask inside the file (GDAL_TIFF_INTERNAL_MASK) is",)
    _check(path, page, bits, sample_format)
    plain = (
        chain == (0,)
        and nodata is None
        and mask is None
        and space != LAB
        and not associated  # libvips cuts off the fractions of what it divides alpha out of
        and page.compression in _VIPS_CODECS
        and bits in _VIPS_BITS.get(sample_format, ())
        and not (page.is_tiled and page.planarconfig == 2)
        and (page.photometric != PALETTE or page.samplesperpixel == 1)
        and not (sample_format == 3 and page.photometric == 0)  # libvips turns integers round only
        and all(page.databytecounts)
        and len(pages) < _MOST_PAGES  # libvips counts them all, however many there are
        and _reads_without_complaint(path)
    )
    if page.photometric == YCBCR and page.compression not in _JPEG:  # whoever reads it, as if it were RGB
        name = getattr(page.compression, "name", page.compression)
        raise PictureError(f"{path}: TIFF of YCbCr in {name}; RGB, or YCbCr in JPEG, is allowed")
    if not plain:  # what `tiffrows` hands on: the colours, then opacity of whatever origin
        shown = COLOURS[space] if alpha is not None or nodata is not None or mask is not None else None
    else:
        shown = alpha
    meaning = Meaning(space, shown, (*notes, *more))
    turned = page.tags.valueof(274, default=1)
    turned = turned if isinstance(turned, int) and 1 <= turned <= 8 else 1
    return Page(
        chain, plain, meaning, int(page.imagelength), int(page.imagewidth), bits, sample_format == 3,
        sample_format == 2, turned, alpha, associated, nodata, mask,
    )  # fmt: skip


def _pages(tif: Any) -> Iterator[Any]:
    for number in range(_MOST_PAGES):
        try:
            page = tif.pages[number]
        except Exception:  # the end; or damage behind what is needed
            return
        yield page


def _chosen(path: Path, tif: Any, pages: list[Any]) -> tuple[tuple[int, ...], Any, tuple[str, ...]]:
    """The first page that is neither a preview nor a mask, also among the first's SubIFDs."""
    first = pages[0]
    inner = list(itertools.islice(first.pages or (), _MOST_PAGES)) if first.subifds else []
    all_pages = [((i,), page) for i, page in enumerate(pages)] + [((0, i), page) for i, page in enumerate(inner)]
    full = [(chain, page) for chain, page in all_pages if not page.subfiletype & (_REDUCED | _MASK)]
    raw = next((_RAW[page.photometric] for _, page in full if page.photometric in _RAW), None)
    if raw or _head(path)[8:10] == b"CR":
        made = "DNG" if any(_DNG in page.tags for page in pages) else "TIFF"
        raise PictureError(
            f"{path}: holds {raw or 'a cameras raw sensor data'} ({made}) and at most a preview of it; develop it "
            "and save it as TIFF"
        )
    if not full:
        return (0,), first, ("says of itself that it is a preview (reduced in size)",)
    chain, page = full[0]
    notes: tuple[str, ...] = ()
    if chain != (0,):
        notes = (f"its first page is a preview; the full picture of {page.imagewidth} x {page.imagelength} px is read",)
    others = sum(len(one) == 1 for one, _ in full) - (len(chain) == 1)
    if others:
        notes += (f"holds {others + 1 if others < _MOST_PAGES - 1 else 'many'} pages; the first is read",)
    return chain, page, notes


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(16)


def _channels(path: Path, page: Any) -> tuple[str, int | None, bool, tuple[str, ...]]:
    """(space, the file's alpha channel, whether it is associated, notes)."""
    number, samples = page.photometric, int(page.samplesperpixel)
    space = _SPACES.get(None if number is None else int(number))  # type: ignore[arg-type]
    if space is None or (space == CMYK and page.tags.valueof(_INKSET, default=1) != 1):
        name = getattr(number, "name", number) if space is None else "inks other than CMYK"
        raise PictureError(f"{path}: TIFF of {name}; grey, RGB, palette, CMYK, YCbCr or Lab are allowed")
    used = 1 if number == PALETTE else COLOURS[space]
    kinds = tuple(int(kind) for kind in page.extrasamples or ())[: max(0, samples - used)]
    kinds += (0,) * (samples - used - len(kinds))
    as_rgb = space == GREY and samples >= 3 and kinds[:2] == (0, 0)
    if space == GREY and samples > _MOST_GREYS:
        raise PictureError(
            f"{path}: has {samples} channels and does not say which are colours; grey, RGB or CMYK, with or without "
            "alpha, are allowed"
        )
    if as_rgb:
        space, kinds, used = RGB, kinds[2:], 3
    if samples < used:
        raise PictureError(f"{path}: damaged TIFF ({samples} channels, and {space} has {used})")
    alpha, notes = extra_samples(space, kinds, as_rgb)
    if number == PALETTE:
        alpha = None if alpha is None else alpha - COLOURS[space] + 1
    return space, alpha, alpha is not None and kinds[alpha - used] == 1, notes


def _check(path: Path, page: Any, bits: int, sample_format: int) -> None:
    if page.compression not in _VIPS_CODECS:
        import tifffile

        name = getattr(page.compression, "name", f"number {page.compression}")
        if page.compression not in tifffile.TIFF.DECOMPRESSORS:
            raise PictureError(f"{path}: TIFF compressed with {name}, which cannot be read; deflate or LZW are allowed")
    kind = _FORMATS.get(sample_format, "unknown")
    if sample_format not in (1, 2, 3) or bits > (64 if sample_format == 3 else 32):
        raise PictureError(f"{path}: holds {kind} values of {bits} bits; 1 to 32-bit integers or floats are allowed")


def _is_mask(page: Any) -> bool:
    return bool(page.subfiletype & _MASK) and page.samplesperpixel == 1


def _same_size(one: Any, other: Any) -> bool:
    return (one.imagelength, one.imagewidth) == (other.imagelength, other.imagewidth)


def _nodata(page: Any) -> float | None:
    """GDAL's value for "no data here", None where there is none that a pixel of this type can have."""
    try:
        value = float(str(page.tags.valueof(_NODATA, default="")).strip("\0 ").replace(",", "."))
    except ValueError:
        return None
    if page.dtype is None or page.dtype.kind == "f":
        return value
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if page.dtype.kind == "i" else (0, 2**bits - 1)
    return value if math.isfinite(value) and value == int(value) and low <= value <= high else None
