"""What arrays a job's store holds: their shapes, chunks and types, and the disk they take."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tiler.geometry import Rect, TileGrid

# Whoever reads or writes a picture or an image as a whole holds a row of chunks, as wide as the picture: low ones.
PICTURE_ROWS, _PICTURE_COLUMNS = 128, 512
_PATCH_CHUNK = 288
# Files take whole blocks of the disk, and so do folders, which every index of a chunk but the last makes. An array has
# two folders and a file of metadata of its own.
_BLOCK, _OWN_BLOCKS, _CHECKSUM = 4096, 3, 4
# Packed over plain size of what the store packs, taken on shaded relief and photographs; flat pictures take less.
_PICTURE, _IMAGE, _PIXELS, _MOMENTS = 0.7, 0.94, 0.79, 0.7


@dataclass(frozen=True)
class Array:
    """One array. dtype: a numpy name. ratio: packed over plain size of its chunks, None where they are not packed."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    ratio: float | None = None
    fill_value: float = 0

    def disk_bytes(self, written: float = 1.0) -> int:
        """Blocks on the disk, folders included, when a share of the chunks is `written`; a chunk that holds nothing but
        the fill value is not kept, and what lies beyond the border packs to nothing."""
        counts = [-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True)]
        chunks = math.prod(counts)
        plain = math.prod(self.shape) * np.dtype(self.dtype).itemsize / chunks
        file_bytes = plain * (1 if self.ratio is None else self.ratio) + _CHECKSUM
        folders = sum(math.prod(counts[: depth + 1]) for depth in range(len(counts) - 1))
        blocks = chunks * math.ceil(file_bytes / _BLOCK) + folders
        return (math.ceil(blocks * written) + _OWN_BLOCKS) * _BLOCK


def picture(height: int, width: int, channels: int = 3) -> Array:
    """A content or style picture, or an alpha channel, at a level's size: 16 bits, whatever the job's precision."""
    chunks = (channels, min(PICTURE_ROWS, height), min(_PICTURE_COLUMNS, width))
    return Array((channels, height, width), chunks, "uint16", _PICTURE)


def picture_boxes(height: int, width: int, read: Iterable[Rect]) -> list[Rect]:
    """What is kept of a picture of this size of which only some rects are `read`: whole chunks, from top to bottom,
    each row of them in as few boxes as there are gaps."""
    wanted: dict[int, set[int]] = {}
    for rect in read:
        for row in range(rect.y0 // PICTURE_ROWS, -(-rect.y1 // PICTURE_ROWS)):
            wanted.setdefault(row, set()).update(range(rect.x0 // _PICTURE_COLUMNS, -(-rect.x1 // _PICTURE_COLUMNS)))
    found = []
    for row, columns in sorted(wanted.items()):
        y0 = row * PICTURE_ROWS
        for first in sorted(column for column in columns if column - 1 not in columns):
            end = next(column for column in itertools.count(first) if column not in columns)
            box = Rect(y0, first * _PICTURE_COLUMNS, y0 + PICTURE_ROWS, end * _PICTURE_COLUMNS)
            found.append(box.clipped(height, width))
    return found


def image(grid: TileGrid, dtype: str, chunks: tuple[int, ...] | None = None) -> Array:
    """A finished level. Cores are cut into whole chunks, so each chunk has one writer. dtype: the state's; float32 is
    kept in 16 bits. chunks: of another cut than the grid's."""
    own = (3, grid.band_height, min(grid.core_width, grid.width))
    return Array((3, grid.height, grid.width), chunks or own, "uint16" if dtype == "float32" else dtype, _IMAGE)


def image_chunks(grid: TileGrid) -> set[tuple[int, int, int]]:
    """The chunks of a level's image in this cut and in all with fewer tiles a row or a column."""

    def core(size: int, count: int) -> int:
        return math.ceil(math.ceil(size / count) / grid.align) * grid.align

    def coarser(rows: int, columns: int) -> TileGrid:
        cores = core(grid.height, rows), core(grid.width, columns)
        return TileGrid(grid.height, grid.width, *cores, 0, 0, grid.align)

    heights = {coarser(rows, 1).band_height for rows in range(1, grid.rows + 1)}
    widths = {min(coarser(1, columns).core_width, grid.width) for columns in range(1, grid.cols + 1)}
    return {(3, height, width) for height in heights for width in widths}


def totals(sums: Mapping[str, tuple[int, int]], dtype: str, regions: int = 1) -> dict[str, Array]:
    """Sums of a whole picture, such as a style's. sums: their shape per layer, of a region."""
    return {f"totals/{layer}": Array((regions, *shape), (regions, *shape), dtype) for layer, shape in sums.items()}


def state(
    grid: TileGrid, sums: Mapping[str, tuple[int, int]], dtype: str, moment_dtype: str, regions: int = 1
) -> dict[str, Array]:
    """Two states of a level's tiles: patches, sums and which regions each tile holds, losses, and marks. sums: their
    shape per layer, of a region. moment_dtype: bfloat16 or a numpy name."""
    (height, width), tiles = grid.patch_shape, grid.places
    chunk = tuple(-(-size // -(-size // _PATCH_CHUNK)) for size in (height, width))
    moments = "uint16" if moment_dtype == "bfloat16" else moment_dtype
    return {
        **{
            f"grams/{layer}": Array((2, tiles, regions, *shape), (1, 1, 1, *shape), dtype)
            for layer, shape in sums.items()
        },
        "regions": Array((2, tiles, regions), (1, 1, regions), "uint8"),
        "pixels": Array((2, tiles, 3, height, width), (1, 1, 3, *chunk), dtype, _PIXELS),
        "moments": Array((2, tiles, 6, height, width), (1, 1, 3, *chunk), moments, _MOMENTS),
        "losses": Array((2, tiles, 2), (1, 1, 2), "float64"),
        "marks": Array((2, tiles), (1, 1), "int32", fill_value=-1),
    }
