"""Pictures in a job's store: its inputs at every level's size, and the levels that are finished. 16 bits a channel."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tiler.engine import layout
from tiler.engine.arrays import Arrays
from tiler.engine.contents import IMAGE
from tiler.geometry import Rect, TileGrid
from tiler.geometry.ome import AXES

_UINT16 = np.float32(65535)


class StoredPictures(Arrays):
    def write_picture(self, path: str, height: int, width: int, bands: Iterable[np.ndarray], channels: int = 3) -> None:
        """Stream bands [channels, rows, width] in 0..1 into a 16-bit array; a picture that is complete is kept."""
        self.write_pieces(path, height, width, _from_top(bands), channels)

    def write_pieces(
        self, path: str, height: int, width: int, pieces: Iterable[tuple[Rect, np.ndarray]], channels: int = 3
    ) -> None:
        """The same of a picture of which no more is there than these pieces [channels, h, w]."""
        if self.has_picture(path):
            return
        self._create(path, layout.picture(height, width, channels))
        array = self._array(path)
        for rect, piece in pieces:
            array[(slice(None), *rect.slices)] = _to_16_bits(piece)
        array.attrs["complete"] = True

    def has_picture(self, path: str) -> bool:
        return bool(self._attributes(path).get("complete"))

    def read_picture(self, path: str, rect: Rect) -> np.ndarray:
        """[channels, h, w] float32 in 0..1."""
        return _from_16_bits(self._values(path, (slice(None), *rect.slices)))

    def picture_bands(self, path: str) -> Iterator[np.ndarray]:
        """The whole picture, top to bottom: [channels, rows, width] float32."""
        _, height, width = self._array(path).shape
        for y in range(0, height, self.picture_rows):
            yield self.read_picture(path, Rect(y, 0, min(y + self.picture_rows, height), width))

    def picture_size(self, path: str) -> tuple[int, int]:
        """(height, width)."""
        _, height, width = self._array(path).shape
        return int(height), int(width)

    picture_rows = layout.PICTURE_ROWS

    def read_back(self, path: str, read: Sequence[Rect] | None) -> None:
        """Read all that should be there, and drop it. read: see `layout.picture_boxes`; None: a whole picture."""
        _, height, width = self._array(path).shape
        for box in layout.picture_boxes(height, width, [Rect(0, 0, height, width)] if read is None else read):
            self.read_picture(path, box)

    def write_areas(self, path: str, areas: Mapping[str, Any]) -> None:
        """Record how much of a picture each of its guides has; JSON values."""
        self._array(path).attrs["areas"] = dict(areas)

    def read_areas(self, path: str) -> dict[str, Any] | None:
        """As written, or None."""
        return json.loads(json.dumps(self._attributes(path).get("areas")))

    def create_image(self, level: int, grid: TileGrid, dtype: str, name: str = IMAGE) -> None:
        """Room for the finished level. dtype: the state's; float32 is kept in 16 bits. name: see Job.images."""
        self._create(f"levels/{level}/{name}", layout.image(grid, dtype), dimension_names=AXES)

    def write_image(self, level: int, core: Rect, pixels: np.ndarray, name: str = IMAGE) -> None:
        """pixels: [3, h, w] in 0..1."""
        array = self._array(f"levels/{level}/{name}")
        array[(slice(None), *core.slices)] = _to_16_bits(pixels) if array.dtype == np.uint16 else pixels

    def read_image(self, level: int, rect: Rect, name: str = IMAGE) -> np.ndarray:
        """[3, h, w] floats in 0..1 of a finished level."""
        found = self._values(f"levels/{level}/{name}", (slice(None), *rect.slices))
        return _from_16_bits(found) if found.dtype == np.uint16 else found

    def written_tiles(self, level: int, grid: TileGrid, name: str = IMAGE) -> set[int]:
        """The tiles whose cores an image has that is perhaps being written; by the names of its chunks, unread."""
        path = f"levels/{level}/{name}"
        if not self.has(path):
            return set()
        _, rows, columns = self._array(path).chunks
        there = {row: {*self._names(f"{path}/c/0/{row}")} for row in self._names(f"{path}/c/0")}

        def whole(core: Rect) -> bool:
            across = {str(column) for column in range(core.x0 // columns, -(-core.x1 // columns))}
            return all(across <= there.get(str(row), set()) for row in range(core.y0 // rows, -(-core.y1 // rows)))

        return {tile.index for tile in grid.tiles if whole(tile.core)}


def _from_top(bands: Iterable[np.ndarray]) -> Iterator[tuple[Rect, np.ndarray]]:
    y = 0
    for band in bands:
        _, rows, width = band.shape
        yield Rect(y, 0, y + rows, width), band
        y += rows


def _to_16_bits(pixels: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(pixels, 0, 1) * _UINT16).astype(np.uint16)


def _from_16_bits(values: np.ndarray) -> np.ndarray:
    floats = values.astype(np.float32)
    floats /= _UINT16
    return floats
