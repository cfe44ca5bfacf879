"""What a file is, from its first bytes: which loader may read it, and what its header says."""

from __future__ import annotations

import os
import re
import stat
from functools import cache
from pathlib import Path
from typing import Any

from tiler.errors import PictureError
from tiler.pictures import jpeg, mosaic, svg, uncompressed
from tiler.pictures.stream import VipsError, first_line, load_vips

KINDS = "PNG, JPEG, TIFF, WebP, AVIF, GIF, BMP, PPM, SVG, PDF, MBTiles or a folder of map tiles"
# libvips itself goes on to 100 million; nothing printed or mapped comes near this, only forged headers do.
LONGEST_SIDE = 1_000_000

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (mosaic.MAGIC, "mbtiles"),
    (b"\xff\n", "jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
    *((b"P%d%c" % (kind, space), "ppm") for kind in range(1, 7) for space in b" \t\r\n"),
)
_HEIF_BRANDS = (b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"hevc", b"heim", b"heis")
# What a reader may warn of and go on: nothing of it is about pixels.
_HARMLESS = ("profile", "iCCP", "cHRM", "gAMA", "sRGB", "exif", "eXIf", "xmp", "unknown field", "Unknown field", "tEXt",
             "iTXt", "zTXt", "text chunks", "pHYs", "tIME", "metadata")  # fmt: skip
# libheif goes through whatever is not pixels byte by byte, and takes a second for a million of them.
_HEIF_ABOUT_BYTES, _HEIF_BOXES = 2 * 2**20, 1000
# Comments may stand before an SVG's first element.
_HEAD_BYTES = 4096
_NO_ROOM = re.compile("unable to write to|No space left|[Ww]rite failed|temporary")


def kind_of(path: Path) -> str:
    """The kind of the regular file at `path`; PictureError, in one line, for everything else."""
    try:
        mode = os.stat(path).st_mode
        # Opening a FIFO would wait for a writer for ever.
        if stat.S_ISDIR(mode) and mosaic.is_folder(path):
            return "xyz"
        if not stat.S_ISREG(mode):
            found = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise PictureError(f"{path}: is {found}; a picture file is needed ({KINDS})")
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PictureError(f"{path}: cannot be opened ({reason})") from None
    if not head:
        raise PictureError(f"{path}: is empty; a picture file is needed ({KINDS})")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "heif"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    # Drawings have a language of their own, and large readers: nobody hands one over under another name unknowingly.
    if path.suffix.lower() in (".svg", ".svgz") and svg.is_svg(head):
        return "svg"
    if path.suffix.lower() == ".pdf" and head.startswith(b"%PDF-"):
        return "pdf"
    raise PictureError(f"{path}: is not a picture of a known kind; {KINDS} are allowed")


def load(path: Path, kind: str, access: str = "sequential") -> Any:
    """The libvips image of the file, not decoded yet, not turned upright. PictureError when the header is bad."""
    if kind in ("bmp", "ppm"):
        return uncompressed.load(path)
    if kind == "heif":
        _check_heif(path)
    vips = load_vips()
    if kind == "jxl":
        _let_jxl_in(path)
    # Named loaders: new_from_file would read "[...]" in a file name as options, and try loaders we do not want.
    loader = getattr(vips.Image, f"{kind}load")
    mended = jpeg.without_strays(path) if kind == "jpeg" else None
    # Below "warning" libvips goes on with black or grey where pixels are missing.
    options = dict(access=access, fail_on="warning")
    try:
        image = loader(_name(path), **options) if mended is None else vips.Image.jpegload_buffer(mended, **options)
    except vips.Error as error:
        raise unreadable(path, kind, VipsError(first_line(error))) from None
    except ValueError as error:
        raise PictureError(f"{path}: the name cannot be used ({error})") from None
    return _filled(image) if kind == "heif" else image


def _filled(image: Any) -> Any:
    """libvips moves 10 or 12 bits up into 16, so that white would not be white."""
    bits = image.get("bits-per-sample") if image.get_typeof("bits-per-sample") else 0
    if image.format != "ushort" or not 8 < bits < 16:
        return image
    return (image * (65535 / ((2**bits - 1) << (16 - bits)))).rint().cast("ushort")


def _let_jxl_in(path: Path) -> None:
    """PictureError where this libvips has no such reader, as its wheels have none."""
    vips = load_vips()
    if not vips.type_find("VipsOperation", "jxlload"):
        raise PictureError(
            f"{path}: is a JPEG XL, which the libvips of this machine does not read; save it as PNG or TIFF"
        )
    vips.operation_block_set("VipsForeignLoadJxlFile", False)


def _check_heif(path: Path) -> None:
    """PictureError where the boxes beside the pixels are more, or larger, than any camera's are."""
    size, at, about, boxes = path.stat().st_size, 0, 0, 0
    with open(path, "rb") as file:
        while at + 8 <= size:
            file.seek(at)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            length = {0: size - at, 1: int.from_bytes(head[8:], "big")}.get(length, length)
            about, boxes = about + (0 if head[4:8] == b"mdat" else length), boxes + 1
            if about > _HEIF_ABOUT_BYTES or boxes > _HEIF_BOXES:
                raise PictureError(
                    f"{path}: holds {about / 1e6:.1f} MB in {boxes} boxes beside its pixels; an AVIF or HEIF may hold "
                    f"{_HEIF_ABOUT_BYTES / 1e6:.1f} MB in {_HEIF_BOXES}"
                )
            at += max(8, length)


def is_harmless(warning: str) -> bool:
    """Whether what libvips warned of leaves the pixels as they are."""
    return any(word in warning for word in _HARMLESS)


def _name(path: Path) -> str:
    """What libvips is to call a file: its messages are read as UTF-8, so one whose name is not goes by the number of an
    open file."""
    name = os.fspath(path)
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        about = os.stat(path)
        return f"/dev/fd/{_opened(name, about.st_dev, about.st_ino)}"


@cache
def _opened(name: str, device: int, inode: int) -> int:
    """Of one such file, once: nobody knows when libvips, which opens by name again and again, is done with it."""
    return os.open(name, os.O_RDONLY)


def unreadable(path: Path, kind: str, error: Exception) -> PictureError:
    """The one-line error for a file whose pixels or header cannot be read."""
    if _NO_ROOM.search(str(error)):  # nothing else is written while a picture is read
        folder = os.environ.get("TMPDIR", "/tmp")
        return PictureError(
            f"{path}: reading it takes room for temporary files, and there is none in {folder} ({first_line(error)});"
            " name another folder in TMPDIR"
        )
    return PictureError(f"{path}: damaged or unsupported {kind.upper()} ({first_line(error)})")


def check_sides(path: Path, height: int, width: int) -> None:
    """Raise PictureError for sides that no picture has."""
    if not (0 < height <= LONGEST_SIDE and 0 < width <= LONGEST_SIDE):
        raise PictureError(f"{path}: its header says {width} x {height}; 1 to {LONGEST_SIDE} pixels a side are allowed")
