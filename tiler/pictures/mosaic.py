"""Map tiles as one picture: a folder {z}/{x}/{y}, or an MBTiles file. Tiles are read a row at a time.

Web Mercator's (EPSG:3857), but for folders that tiler wrote, which are of a poster's own grid. Of several zooms the
finest is taken. Where there is no tile the picture is transparent. What is read may be anybody's: sizes are compared
before a tile is decoded, and a database is only asked, for a bounded time."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np

from tiler.errors import PictureError
from tiler.pictures.georef import Georef
from tiler.pictures.stream import first_line

KINDS = ("xyz", "mbtiles")
MAGIC = b"SQLite format 3\0"
_HALF_WORLD = 20_037_508.342789244  # metres of EPSG:3857
_KEYS = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 3857)
_FINEST, _MOST_TILES, _SMALLEST, _LARGEST = 30, 2**24, 16, 4096
_TILE_BYTES, _FACTS_BYTES = 2**24, 2**22
# Headers that are looked at to know whether there is transparency; of more tiles it is supposed.
_LOOKED_AT = 4096
_QUERY_SECONDS, _STEPS_BETWEEN_LOOKS = 60.0, 100_000
_NAME = re.compile(r"(\d{1,10})\.(png|jpe?g|webp)", re.I)
_FORMATS = ("PNG", "JPEG", "WEBP")


class _Tiles(Protocol):
    """Where tiles come from. (column, row) count from the top left."""

    def data(self, column: int, row: int) -> bytes | None: ...


@dataclass(frozen=True)
class Mosaic:
    """Which tiles a picture is made of. top, left: the first row and column. height, width: in pixels, which may leave
    out the end of the last tiles. side: of a tile."""

    path: Path
    kind: str
    zoom: int
    top: int
    left: int
    height: int
    width: int
    side: int
    has_alpha: bool
    georef: Georef | None
    notes: tuple[str, ...]
    names: dict[tuple[int, int], str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def channels(self) -> int:
        return 4 if self.has_alpha else 3

    def rows(self) -> Iterator[np.ndarray]:
        """Bands [3 or 4, n, width] uint8 from top to bottom. Raises PictureError naming the tile that is damaged."""
        columns = range(self.left, self.left - (-self.width // self.side))
        with _opened(self) as tiles, ThreadPoolExecutor(4) as pool:
            for number, top in enumerate(range(0, self.height, self.side)):
                row = self.top + number
                data = [tiles.data(column, row) for column in columns]
                band = np.zeros((self.channels, self.side, len(columns) * self.side), np.uint8)
                found = pool.map(self._decoded, data, columns, [row] * len(data))
                for at, pixels in enumerate(found):
                    if pixels is not None:
                        band[:, :, at * self.side : (at + 1) * self.side] = pixels
                yield np.ascontiguousarray(band[:, : min(self.side, self.height - top), : self.width])

    def _decoded(self, data: bytes | None, column: int, row: int) -> np.ndarray | None:
        if data is None:
            return None
        where = f"{self.path}: tile {self.zoom}/{column}/{row}"
        with _tile(data, where) as image:
            if image.size != (self.side, self.side):
                raise PictureError(
                    f"{where} has {image.size[0]} x {image.size[1]} px, others {self.side} x {self.side}"
                )
            try:
                pixels = np.asarray(image.convert("RGBA" if self.has_alpha else "RGB"))
            except Exception as error:  # Pillow's are of many types
                raise PictureError(f"{where} is damaged ({first_line(error)})") from None
        return pixels.transpose(2, 0, 1)


@contextlib.contextmanager
def _tile(data: bytes, where: str) -> Iterator[Any]:
    from PIL import Image

    if len(data) > _TILE_BYTES:
        raise PictureError(f"{where} has {len(data)} bytes; up to {_TILE_BYTES} are allowed")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Exception as error:
        raise PictureError(f"{where} is no PNG, JPEG or WebP ({first_line(error)})") from None
    with image:
        yield image


# A folder ------------------------------------------------------------------------------------------------------------


class _Folder:
    def __init__(self, path: Path, names: dict[tuple[int, int], str]) -> None:
        self._path, self._names = path, names

    def data(self, column: int, row: int) -> bytes | None:
        name = self._names.get((column, row))
        if name is None:
            return None
        path = self._path / name
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise PictureError(f"{path}: is not a regular file")
            with open(path, "rb") as file:
                return file.read(_TILE_BYTES + 1)
        except OSError as error:
            raise PictureError(f"{path}: cannot be read ({error.strerror})") from None


def is_folder(path: Path) -> bool:
    """Whether a folder holds map tiles: {z}/{x}/{y}.png, or, where it is one zoom, {x}/{y}.png."""
    return _finest(path) is not None


def stamp(path: Path) -> tuple[int, ...]:
    """Tells a folder's tiles from others that come under its name, by when files came and went and when what is said of
    them changed."""
    finest = _finest(path)
    if finest is None:
        return ()
    with contextlib.suppress(OSError):
        found = [os.stat(finest[0] / name) for name in (".", *_numbers(finest[0]).values())]
        said = _said_of(path)
        times = [one.st_mtime_ns for one in (*found, *([os.stat(said)] if said.exists() else []))]
        return sum(times), len(times), found[0].st_ino
    return ()


def files(path: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of every tile that a folder's picture is made of, in an order that only the names decide."""
    found = _of_folder(path, stamp(path))
    for (_, _), name in sorted(found.names.items()):
        yield f"{found.zoom}/{name}", path / name


def _numbers(folder: Path) -> dict[int, str]:
    """Folders within one whose names are numbers."""
    found: dict[int, str] = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.isascii() and entry.name.isdecimal() and len(entry.name) <= 10 and entry.is_dir():
                found[int(entry.name)] = entry.name
    return found


def _holds_tiles(folder: Path) -> bool:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return any(_NAME.fullmatch(entry.name) for entry in entries)
    return False


def _finest(path: Path) -> tuple[Path, int] | None:
    """(the folder of the finest zoom, its number); None where there are no tiles."""
    if path.name.isdecimal() and any(_holds_tiles(path / name) for name in _numbers(path).values()):
        return path, int(path.name)
    for zoom, name in sorted(_numbers(path).items(), reverse=True):
        if zoom <= _FINEST and any(_holds_tiles(path / name / column) for column in _numbers(path / name).values()):
            return path / name, zoom
    return None


@lru_cache(4)
def _of_folder(path: Path, stamp: tuple[int, ...]) -> Mosaic:
    finest = _finest(path)
    if finest is None:
        raise PictureError(f"{path}: is a folder without map tiles {{z}}/{{x}}/{{y}}.png, .jpg or .webp")
    folder, zoom = finest
    names: dict[tuple[int, int], str] = {}
    for column, text in _numbers(folder).items():
        with os.scandir(folder / text) as entries:
            for entry in entries:
                found = _NAME.fullmatch(entry.name)
                if found:
                    names[column, int(found[1])] = os.path.relpath(folder / text / entry.name, path)
        if len(names) > _MOST_TILES:
            raise PictureError(
                f"{path}: more than {_MOST_TILES} tiles of zoom {zoom}; name the folder of a coarser one"
            )
    own = _own_facts(path, zoom)
    if own is None and _facts(path).get("scheme") == "tms":
        names = {(column, 2**zoom - 1 - row): name for (column, row), name in names.items()}
    columns, rows = ({place[axis] for place in names} for axis in (0, 1))
    box = min(rows), min(columns), max(rows), max(columns)
    return _mosaic(path, "xyz", zoom, box, len(names), _Folder(path, names), list(names), own, names)


def _said_of(path: Path) -> Path:
    return path / "tiles.json"


def _facts(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        place = _said_of(path)
        if place.is_file() and place.stat().st_size <= _FACTS_BYTES:
            found = json.loads(place.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
    return {}


def _own_facts(path: Path, zoom: int) -> tuple[int, int, Georef | None] | None:
    """(height, width, georeference) of tiles that `write_xyz` wrote, at their finest zoom."""
    found = _facts(path)
    height, width, transform = (found.get(name) for name in ("height", "width", "transform"))
    if found.get("maxzoom") != zoom or type(height) is not int or type(width) is not int:
        return None
    if not (isinstance(transform, list) and len(transform) == 6 and all(map(_is_finite, transform))):
        return height, width, None
    a, b, c, d, e, f = transform
    return height, width, Georef((a, b, c, d, e, f))


def _is_finite(value: Any) -> bool:
    """Whether it is a number that a float can be: JSON has longer ones, and Python's also NaN and Infinity."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


# A database ----------------------------------------------------------------------------------------------------------


class _Database:
    """Asked only: nothing is written, and what a stranger's file has for a table may compute little."""

    def __init__(self, path: Path) -> None:
        self._path, self.zoom, self._until = path, 0, 0.0
        for suffix in ("-wal", "-journal"):
            with contextlib.suppress(OSError):
                if os.stat(f"{path}{suffix}").st_size:
                    raise PictureError(f"{path}: is being written, as {path.name}{suffix} says; close what writes it")
        # Immutable: no lock and no file is made beside it.
        self._connection = sqlite3.connect(
            f"file:{quote(os.fspath(path.absolute()))}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        self._connection.execute("PRAGMA trusted_schema=OFF")
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2 * _TILE_BYTES)
        self._connection.set_authorizer(_only_reads)
        self._connection.set_progress_handler(lambda: time.monotonic() > self._until, _STEPS_BETWEEN_LOOKS)

    def ask(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        self._until = time.monotonic() + _QUERY_SECONDS
        try:
            return self._connection.execute(text, values).fetchmany(1000)
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            slow = "interrupted" in str(error)
            what = f"takes more than {_QUERY_SECONDS:.0f} s for a question" if slow else first_line(error)
            raise PictureError(f"{self._path}: damaged or unsupported MBTiles ({what})") from None

    def data(self, column: int, row: int) -> bytes | None:
        found = self.ask(
            "SELECT tile_data FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ? LIMIT 1",
            self.zoom, column, 2**self.zoom - 1 - row,
        )  # fmt: skip
        if not found or found[0][0] is None:
            return None
        if not isinstance(found[0][0], bytes):
            raise PictureError(f"{self._path}: tile {self.zoom}/{column}/{row} is no picture")
        return found[0][0]

    def close(self) -> None:
        self._connection.close()


def _only_reads(action: int, *about: Any) -> int:
    allowed = action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


@lru_cache(4)
def _of_database(path: Path, stamp: tuple[int, ...]) -> Mosaic:
    with contextlib.closing(_Database(path)) as tiles:
        said = {str(name): str(value) for name, value in tiles.ask("SELECT name, value FROM metadata")}
        form = said.get("format", "png").lower()
        if form not in ("png", "jpg", "jpeg", "webp"):
            raise PictureError(f"{path}: MBTiles of {form[:20]}; tiles of PNG, JPEG or WebP are allowed")
        zoom = tiles.ask("SELECT max(zoom_level) FROM tiles")[0][0]
        if type(zoom) is not int or not 0 <= zoom <= _FINEST:
            raise PictureError(f"{path}: MBTiles without tiles of a zoom from 0 to {_FINEST}")
        tiles.zoom = zoom
        left, right, bottom, top, count = tiles.ask(
            "SELECT min(tile_column), max(tile_column), min(tile_row), max(tile_row), count(*) FROM tiles "
            "WHERE zoom_level = ?", zoom,
        )[0]  # fmt: skip
        if not all(type(n) is int and 0 <= n < 2**zoom for n in (left, right, bottom, top)):
            raise PictureError(f"{path}: damaged MBTiles (tiles outside zoom {zoom})")
        box = 2**zoom - 1 - top, left, 2**zoom - 1 - bottom, right
        asked = tiles.ask(
            "SELECT tile_column, tile_row FROM tiles WHERE zoom_level = ? AND tile_data IS NOT NULL LIMIT 1000", zoom
        )
        places = [(x, 2**zoom - 1 - y) for x, y in asked if type(x) is int and type(y) is int]
        return _mosaic(path, "mbtiles", zoom, box, count, tiles, places)


# Either --------------------------------------------------------------------------------------------------------------


def mosaic_of(path: Path) -> Mosaic:
    """Raises PictureError, in one line, for what is damaged, or too large."""
    try:
        if path.is_dir():
            return _of_folder(path, stamp(path))
        found = os.stat(path)
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror})") from None
    return _of_database(path, (found.st_mtime_ns, found.st_size, found.st_ino))


@contextlib.contextmanager
def _opened(mosaic: Mosaic) -> Iterator[_Tiles]:
    if mosaic.kind == "xyz":
        yield _Folder(mosaic.path, mosaic.names)
        return
    with contextlib.closing(_Database(mosaic.path)) as tiles:
        tiles.zoom = mosaic.zoom
        yield tiles


def _mosaic(
    path: Path,
    kind: str,
    zoom: int,
    box: tuple[int, int, int, int],
    count: int,
    tiles: _Tiles,
    places: list[tuple[int, int]],
    own: tuple[int, int, Georef | None] | None = None,
    names: dict[tuple[int, int], str] | None = None,
) -> Mosaic:
    """box: (first row, first column, last row, last column). places: (column, row) of tiles, of some or all. own: where
    they are no Web Mercator."""
    side, transparent = _side_and_alpha(path, zoom, tiles, places, count)
    top, left, bottom, right = box if own is None else (0, 0, box[2], box[3])
    rows, columns = bottom - top + 1, right - left + 1
    if rows * columns > _MOST_TILES:
        raise PictureError(f"{path}: zoom {zoom} spans {columns} x {rows} tiles; up to {_MOST_TILES} are allowed")
    height, width, georef = own or (rows * side, columns * side, _web_mercator(zoom, top, left, side))
    if own is not None and not (0 < height <= rows * side and 0 < width <= columns * side):
        raise PictureError(f"{path}: its tiles.json says {width} x {height} px, and its tiles have not as many")
    missing = math.ceil(height / side) * math.ceil(width / side) - count
    note = f"zoom {zoom}, {columns} x {rows} tiles" + (f", of which {missing} are missing" if missing > 0 else "")
    alpha = transparent or missing > 0
    return Mosaic(path, kind, zoom, top, left, height, width, side, alpha, georef, (note,), names or {})


def _side_and_alpha(
    path: Path, zoom: int, tiles: _Tiles, places: list[tuple[int, int]], count: int
) -> tuple[int, bool]:
    """(pixels of a tile's side, whether any may be transparent), by the tiles' headers."""
    sides: set[tuple[int, int]] = set()
    transparent, jpeg = False, True
    for column, row in places[:_LOOKED_AT]:
        data = tiles.data(column, row)
        if data is None:
            continue
        with _tile(data, f"{path}: tile {zoom}/{column}/{row}") as image:
            sides.add(image.size)
            transparent = transparent or "A" in image.mode or "transparency" in image.info
            jpeg = jpeg and image.format == "JPEG"
        if transparent and len(sides) == 1:
            break
    if len(sides) != 1 or (found := sides.pop())[0] != found[1] or not _SMALLEST <= found[0] <= _LARGEST:
        raise PictureError(f"{path}: its tiles are not all squares of one size, {_SMALLEST} to {_LARGEST} px")
    return found[0], transparent or (count > len(places[:_LOOKED_AT]) and not jpeg)


def _web_mercator(zoom: int, top: int, left: int, side: int) -> Georef:
    pixel = 2 * _HALF_WORLD / (2**zoom * side)
    x, y = -_HALF_WORLD + left * side * pixel, _HALF_WORLD - top * side * pixel
    return Georef((pixel, 0.0, x, 0.0, -pixel, y), keys=_KEYS)
