"""What each output format can hold, checked before hours of work rather than after them."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from tiler.errors import OutputError
from tiler.pictures.cog import available
from tiler.pictures.held import held
from tiler.pictures.ours import DEEPZOOM, OMEZARR, check_ours
from tiler.pictures.replace import scratch, settled

# Pixels of all levels over those of the finest.
_PYRAMID = 4 / 3
_METADATA_BYTES = 2**22
TIFF_COMPRESSIONS = ("deflate", "zstd", "lzw", "none")


@dataclass(frozen=True)
class Format:
    """One output format: its limits, in pixels a side and bits a channel, and what it can hold. file_bytes: of 8-bit
    posters as they come out, per value, pyramids included."""

    name: str
    longest_side: int
    bits: tuple[int, ...]
    alpha: bool
    file_bytes: float
    compressions: tuple[str, ...] = ()


_PNG = Format("PNG", 1_000_000, (8, 16), True, 0.52)
_TIFF = Format("TIFF", 1_000_000, (8, 16), True, 0.8, TIFF_COMPRESSIONS)
_JPEG = Format("JPEG", 65_500, (8,), False, 0.14)
_WEBP = Format("WebP", 16_383, (8,), True, 0.09, ("lossy", "lossless"))
_DZI = Format("DeepZoom", 1_000_000, (8,), True, 0.25)
_ZARR = Format("OME-Zarr", 1_000_000, (8, 16), True, 0.9)
FORMATS: dict[str, Format] = {
    ".png": _PNG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": _WEBP,
    ".dzi": _DZI,
    ".zarr": _ZARR,
}


def check_output(
    path: str | os.PathLike[str],
    height: int | None = None,
    width: int | None = None,
    channels: int = 3,
    bits: int = 8,
    compression: str | None = None,
    cog: bool = False,
) -> Format:
    """Raises OutputError if `write_picture` could not write such a poster to `path`; writes nothing.

    Checks the extension, the folder, and, where given, size, channels (3 or 4), bits (8 or 16), compression
    and cog against the format's limits. The message says what is allowed.
    """
    path, form = Path(path), check_format(path)
    _check_place(path, form)
    _check_size(path, form, height, width)
    if channels not in (3, 4):
        raise OutputError(f"{path}: {channels} channels; 3 (RGB) or 4 (RGBA) are allowed")
    if channels == 4 and not form.alpha:
        raise OutputError(f"{path}: {form.name} holds no transparency; .png, .tif, .webp, .dzi and .zarr do")
    if bits not in form.bits:
        allowed = " or ".join(str(b) for b in form.bits)
        raise OutputError(f"{path}: {bits} bits; {form.name} holds {allowed} (16 bits: .png, .tif or .zarr)")
    if compression is not None and compression not in form.compressions:
        allowed = ", ".join(form.compressions) or "none to choose"
        raise OutputError(f"{path}: compression {compression!r}; for {form.name}: {allowed}")
    if cog and form is not _TIFF:
        raise OutputError(f"{path}: a Cloud Optimized GeoTIFF is a .tif file")
    if cog and not available():
        raise OutputError(f"{path}: a Cloud Optimized GeoTIFF needs the package rasterio (the extra 'geo')")
    return form


def check_format(path: str | os.PathLike[str]) -> Format:
    """That of the extension. Raises OutputError where it is none."""
    suffix = Path(path).suffix
    if suffix.lower() not in FORMATS:
        found = f"{suffix} is unknown" if suffix else "has no extension"
        raise OutputError(f"{path}: {found}; {', '.join(FORMATS)} are allowed")
    return FORMATS[suffix.lower()]


def _check_place(path: Path, form: Format) -> None:
    """Whether something can be made there, and what is there may be replaced."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):  # the folder is looked at below
        mode = stat.S_IFREG
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    if form is _DZI:
        check_ours(dzi_files(path), DEEPZOOM, path)
    if form is _ZARR:
        _check_zarr(path)
    elif stat.S_ISDIR(mode):
        raise OutputError(f"{path}: is a folder; the name of a file is needed")
    elif not stat.S_ISREG(mode):
        raise OutputError(f"{path}: is not a regular file and would not be replaced; choose another name")
    check_folder(path)


def _check_size(path: Path, form: Format, height: int | None, width: int | None) -> None:
    longest = max(height or 1, width or 1)
    if min(1 if height is None else height, 1 if width is None else width) < 1:
        raise OutputError(f"{path}: {width} x {height} is no size; at least 1 x 1 is needed")
    if longest > form.longest_side:
        larger = "" if form.longest_side >= _TIFF.longest_side else "; .tif, .png, .dzi and .zarr hold larger ones"
        raise OutputError(
            f"{path}: {width} x {height} is too large: {form.name} holds {form.longest_side} pixels a side{larger}"
        )


def dzi_files(path: Path) -> Path:
    """The folder of tiles of `name.dzi`."""
    return path.with_name(f"{path.stem}_files")


def replaced_by(path: str | os.PathLike[str]) -> list[Path]:
    """The file, and the folder beside it, that writing a poster to `path` replaces."""
    path = Path(path)
    return [path, dzi_files(path)] if FORMATS.get(path.suffix.lower()) is _DZI else [path]


def _check_zarr(path: Path) -> None:
    """Only what was written as an output may be replaced: neither a job's store nor somebody's data."""
    try:
        check_ours(path, OMEZARR)
    except OutputError:
        if not _is_store(path):
            raise
        raise OutputError(
            f"{path}: holds the state of a job, which would not be replaced; choose another name"
        ) from None


def _is_store(path: Path) -> bool:
    try:
        return "tiler" in json.loads(held(path / "zarr.json", _METADATA_BYTES))["attributes"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def typical_bytes(
    path: str | os.PathLike[str],
    height: int,
    width: int,
    channels: int = 3,
    bits: int = 8,
    compression: str | None = None,
) -> int:
    """Size of a poster in the format of `path`'s extension, or of a folder of map tiles where it has none; to some ten
    percent of those that were measured."""
    form = FORMATS.get(Path(path).suffix.lower(), _DZI)
    # The lower half of 16 bits is noise to every codec.
    each = bits / 8 * _PYRAMID if compression == "none" else form.file_bytes + (bits - 8) / 8
    return round(each * channels * height * width)


def check_folder(path: Path) -> None:
    """OutputError unless a file or folder can be made at `path`, or where it points to, which only making one can tell
    (quotas, read-only mounts, folders of the kernel's), and what is there can be replaced."""
    final = settled(path)
    parent = final.parent
    if not parent.is_dir():
        found = "is not a folder" if parent.exists() else "does not exist"
        raise OutputError(f"{path}: the folder {parent} {found}")
    try:
        with scratch(final) as folder:
            (folder / "new").touch()
        if os.path.ismount(final):
            raise OutputError(f"{path}: another file system begins there, so it cannot be replaced; name one below it")
        _check_sticky(final)
    except OSError as error:
        raise OutputError(f"{path}: the folder {parent} is not writable ({error.strerror})") from None


def _check_sticky(final: Path) -> None:
    """In folders like /tmp only the owner of a file may replace it."""
    try:
        folder, held = os.stat(final.parent), os.lstat(final)
    except FileNotFoundError:
        return
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, folder.st_uid, held.st_uid):
        raise PermissionError(0, f"{final.name} belongs to another user")
