"""Where a picture lies on the map: read from GeoTIFF tags or a world file, scaled exactly, written again."""

from __future__ import annotations

import codecs
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from tiler.pictures.stream import heard

# (tag code, TIFF type, count, value, first page only), as tifffile's extratags want them.
ExtraTag = tuple[int | str, int | str, int | None, Any, bool]

_SCALE, _TIEPOINT, _MATRIX = 33550, 33922, 34264
_KEYS, _DOUBLES, _ASCII = 34735, 34736, 34737
_RASTER_TYPE_KEY, _PIXEL_IS_AREA, _PIXEL_IS_POINT = 1025, 1, 2
_TEXT_BYTES = 65_536


@dataclass(frozen=True)
class Georef:
    """transform: (a, b, c, d, e, f), x = a*col + b*row + c and y = d*col + e*row + f, of pixel corners.

    keys, doubles, text: the GeoTIFF key directory and its parameters (empty without a CRS), always in the
    sense of "pixel is area". prj: the text of a .prj file beside a world file.
    """

    transform: tuple[float, float, float, float, float, float]
    keys: tuple[int, ...] = ()
    doubles: tuple[float, ...] = ()
    text: str = ""
    prj: str | None = None

    def cropped(self, y0: int, x0: int) -> Georef:
        """Of the part that begins at row y0, column x0."""
        a, b, c, d, e, f = self.transform
        return replace(self, transform=(a, b, c + a * x0 + b * y0, d, e, f + d * x0 + e * y0))

    def scaled(self, size: tuple[int, int], new_size: tuple[int, int]) -> Georef:
        """Of the same ground drawn in new_size instead of size pixels, both (height, width)."""
        a, b, c, d, e, f = self.transform
        (height, width), (new_height, new_width) = size, new_size
        return replace(
            self,
            transform=(
                a * width / new_width,
                b * height / new_height,
                c,
                d * width / new_width,
                e * height / new_height,
                f,
            ),
        )

    def tags(self) -> list[ExtraTag]:
        """GeoTIFF tags. Without rotation the pair every reader knows, else the full matrix."""
        a, b, c, d, e, f = self.transform
        values: dict[int, tuple[str, Any]]
        if b == d == 0 and a > 0 > e:
            values = {_SCALE: ("d", (a, -e, 0.0)), _TIEPOINT: ("d", (0.0, 0.0, 0.0, c, f, 0.0))}
        else:
            values = {_MATRIX: ("d", (a, b, 0.0, c, d, e, 0.0, f, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))}
        values |= {_KEYS: ("H", self.keys), _DOUBLES: ("d", self.doubles), _ASCII: ("s", self.text)}
        return [(tag, kind, len(value), value, True) for tag, (kind, value) in values.items() if value]

    def world_file(self) -> str:
        """The six lines of a world file, which speaks of the centre of the first pixel."""
        a, b, c, d, e, f = self.transform
        lines = (a, d, b, e, c + a / 2 + b / 2, f + d / 2 + e / 2)
        return "".join(f"{value!r}\n" for value in lines)


def read_georef(path: Path, kind: str, chain: tuple[int, ...] = (0,)) -> tuple[Georef | None, list[str]]:
    """The georeference in a TIFF's tags, else in a world file beside the picture, else None; and notes, a line each, on
    what is there and cannot be read: no picture becomes unusable by it. chain: the TIFF's page (see `tiffpage.Page`).

    A TIFF tied to the ground only by several control points has no transform and counts as None.
    """
    notes: list[str] = []
    return (from_tags(path, chain, notes) if kind == "tiff" else None) or _from_world_file(path, notes), notes


def world_suffixes(suffix: str) -> list[str]:
    """Of ".png": .pgw, .pngw, .wld; the first one is the usual one."""
    name = suffix.lower().lstrip(".")
    return [f".{name[0]}{name[-1]}w", f".{name}w", ".wld"] if name else [".wld"]


def from_tags(path: Path | BinaryIO, chain: tuple[int, ...], notes: list[str]) -> Georef | None:
    """The georeference in a TIFF's tags, if it has one that gives a transform; notes are added."""
    import tifffile

    try:
        with heard("tifffile"), tifffile.TiffFile(path) as tif:
            page = tif.pages[chain[0]]
            tags = (page.pages[chain[1]] if len(chain) > 1 else page).tags
            values = {code: tags.valueof(code) for code in (_SCALE, _TIEPOINT, _MATRIX, _KEYS, _DOUBLES, _ASCII)}
        transform = _transform(values)
        keys, is_point = _keys(values[_KEYS])
        doubles = values[_DOUBLES] if values[_DOUBLES] is not None else ()
        doubles = tuple(doubles) if isinstance(doubles, tuple | list) else (float(doubles),)
        if transform is not None and not all(map(math.isfinite, transform)):
            raise ValueError
    except Exception:
        # tifffile parses strictly what libtiff reads leniently; a picture does not become unusable by it.
        notes.append(f"{path}: its georeference cannot be read, and is left out")
        return None
    if transform is None:
        return None
    georef = Georef(transform, keys, doubles, values[_ASCII] or "")
    return georef.cropped(-0.5, -0.5) if is_point else georef  # type: ignore[arg-type]


def _transform(values: dict[int, Any]) -> tuple[float, float, float, float, float, float] | None:
    matrix, scale, tie = values[_MATRIX], values[_SCALE], values[_TIEPOINT]
    if matrix is not None:
        m = [float(v) for v in matrix]
        return m[0], m[1], m[3], m[4], m[5], m[7]
    if scale is None or tie is None:
        return None
    column, row, _, x, y, _ = (float(v) for v in tie[:6])
    a, e = float(scale[0]), -float(scale[1])
    return a, 0.0, x - a * column, 0.0, e, y - e * row


def _keys(directory: Any) -> tuple[tuple[int, ...], bool]:
    """(the key directory, saying "pixel is area"; whether it said "point")."""
    keys = [int(v) for v in directory or ()]
    is_point = False
    for at in range(4, len(keys) - 3, 4):
        if keys[at] == _RASTER_TYPE_KEY:
            is_point = keys[at + 3] == _PIXEL_IS_POINT
            keys[at + 3] = _PIXEL_IS_AREA
    return tuple(keys), is_point


def _from_world_file(path: Path, notes: list[str]) -> Georef | None:
    for suffix in world_suffixes(path.suffix):
        for beside in (path.with_suffix(suffix), path.with_suffix(suffix.upper())):
            if beside.is_file():
                return _parse_world_file(beside, path, notes)
    return None


def _parse_world_file(beside: Path, path: Path, notes: list[str]) -> Georef | None:
    """Its first six numbers; some programs write the CRS's name below them."""
    try:
        a, d, b, e, x, y = (float(word.replace(",", ".")) for word in _text(beside).split()[:6])
        if not all(map(math.isfinite, (a, d, b, e, x, y))):
            raise ValueError
    except (ValueError, OSError):
        notes.append(f"{beside}: is no world file of {path.name}, which begins with six numbers; it is left out")
        return None
    prj, text = path.with_suffix(".prj"), None
    try:
        text = _text(prj) if prj.is_file() else None
    except OSError as error:
        notes.append(f"{prj}: cannot be read ({error.strerror}), and is left out")
    return Georef((a, b, x - a / 2 - b / 2, d, e, y - d / 2 - e / 2), prj=text)


def _text(path: Path) -> str:
    """In whichever encoding: a byte order mark says it, else UTF-8 where it is that, else Windows' western one."""
    with open(path, "rb") as file:
        data = file.read(_TEXT_BYTES)
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
