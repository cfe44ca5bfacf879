"""Patches to image: the seams. Tensors only, on whatever device they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F

from tiler.geometry import Rect, Tile, TileGrid, feather_stretches, ramps, resample_taps


def composite(
    grid: TileGrid,
    rect: Rect,
    read_patch: Callable[[Tile, Rect], torch.Tensor],
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Blend the patches that meet `rect` into one tensor [c, h, w], on the patches' device.

    read_patch(tile, part) returns [c, h, w] for a part of the tile's blend area, in level pixels. dtype: the result's,
    default the patches' own; shorter ones (bfloat16) are widened on the way, which is exact. Tiles are added in tile
    order, and every product and every sum is rounded on its own, so a pixel's bytes depend neither on who computed
    which tile nor on the `rect` asked for. Where one tile alone covers a pixel its value comes through unchanged; where
    one alone covers `rect`, what read_patch returned is the result.
    """
    parts = list(grid.overlapping(rect))
    assert parts, f"{rect} lies outside {grid}"
    if len(parts) == 1:
        alone = read_patch(*parts[0])
        return alone.to(dtype or alone.dtype)
    whole: torch.Tensor | None = None
    begun = set()
    for tile, part in parts:
        patch = read_patch(tile, part)
        if whole is None:
            whole = patch.new_empty((len(patch), rect.height, rect.width), dtype=dtype or patch.dtype)
        for cell, weights in _cells(grid, tile, part, whole):
            source = patch[(slice(None), *cell.relative_to(part).slices)]
            target = whole[(slice(None), *cell.relative_to(rect).slices)]
            if weights is None:
                target.copy_(source)
            elif cell in begun:
                target.add_(source * weights)
            else:
                torch.mul(source, weights, out=target)
                begun.add(cell)
    assert whole is not None
    return whole


def _cells(grid: TileGrid, tile: Tile, part: Rect, like: torch.Tensor) -> Iterator[tuple[Rect, torch.Tensor | None]]:
    """Cut a part of a tile's blend area where the number of tiles that cover it changes: (cell, its weights, which
    broadcast to [h, w]; None where the tile is alone)."""
    for row, col in product(*feather_stretches(grid, tile, part)):
        weights: torch.Tensor | None = None
        for stretch, shape in ((row, (-1, 1)), (col, (1, -1))):
            if stretch.side is not None:
                ramp = _ramps(grid.feather, like.device)[stretch.side, stretch.offset :]
                line = ramp[: stretch.stop - stretch.start].view(shape)
                weights = line if weights is None else weights * line
        yield Rect(row.start, col.start, row.stop, col.stop), None if weights is None else weights.to(like.dtype)


@lru_cache(maxsize=16)
def _ramps(feather: int, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(ramps(feather)).to(device)


def repeated(rect: Rect, size: tuple[int, int], read: Callable[[Rect], torch.Tensor]) -> torch.Tensor:
    """`rect` of an image of (height, width) `size` that repeats without end: [c, h, w].

    read(part) returns [c, h, w] for a part inside the image. A rect inside the image is one part, and what read
    returned is the result.
    """
    pieces = list(rect.pieces(*size))
    if len(pieces) == 1:
        return read(pieces[0][0])
    whole: torch.Tensor | None = None
    for inside, there in pieces:
        part = read(inside)
        if whole is None:
            whole = part.new_empty((len(part), rect.height, rect.width))
        whole[(slice(None), *there.slices)] = part
    assert whole is not None, f"{rect} is empty"
    return whole


def upscale(
    rect: Rect,
    size: tuple[int, int],
    source_size: tuple[int, int],
    read: Callable[[Rect], torch.Tensor],
    wrap: tuple[bool, bool] = (False, False),
) -> torch.Tensor:
    """`rect` of an image enlarged from source_size to size by cubic interpolation: [c, h, w] in 0..1.

    read(source rect) returns [c, h, w] floats, in whose type it is computed: in float32 within 4e-7 of float64's
    values, far below a 16-bit level's steps, in a tenth of its time. wrap: whether the image continues at the opposite
    edge, along y and x; read is then asked for rects that reach beyond it. The bytes do not depend on how the image is
    cut into rects: an embedding bag adds up its rows in the order they are given.
    """
    rows, row_weights = resample_taps(rect.y0, rect.y1, size[0], source_size[0], wrap[0])
    cols, col_weights = resample_taps(rect.x0, rect.x1, size[1], source_size[1], wrap[1])
    y0, x0 = int(rows.min()), int(cols.min())
    source = read(Rect(y0, x0, int(rows.max()) + 1, int(cols.max()) + 1))
    channels, height, _ = source.shape
    # Columns first, while there are few rows; every channel's rows lie below each other.
    across = _weighted_rows(source.reshape(channels * height, -1).t(), cols - x0, col_weights)
    starts = np.repeat(np.arange(channels) * height, rect.height)[:, None]
    down = _weighted_rows(across.t(), np.tile(rows - y0, (channels, 1)) + starts, np.tile(row_weights, (channels, 1)))
    return down.view(channels, rect.height, rect.width).clamp_(0, 1)


def _weighted_rows(source: torch.Tensor, taps: np.ndarray, weights: np.ndarray) -> torch.Tensor:
    """[n, w]: row i is the sum of the rows taps[i] of source [h, w], times weights[i]."""
    where = torch.from_numpy(taps).to(source.device)
    factors = torch.from_numpy(weights).to(source.device, source.dtype)
    # A single column counts as contiguous with any stride, and other strides than 1 are added up by other code, which
    # rounds otherwise. A clone has a new tensor's strides.
    rows = source.clone(memory_format=torch.contiguous_format)
    return F.embedding_bag(where, rows, mode="sum", per_sample_weights=factors)


def noise(rect: Rect, width: int, seed: int) -> torch.Tensor:
    """`rect` of a field of uniform noise around mid grey, [3, h, w] float32, the same however it is cut."""
    rows = [
        np.random.Generator(np.random.Philox(key=[seed, y])).random((width, 3), np.float32)[rect.x0 : rect.x1]
        for y in range(rect.y0, rect.y1)
    ]
    field = np.float32(0.5) + np.float32(0.2) * (np.stack(rows).transpose(2, 0, 1) - np.float32(0.5))
    return torch.from_numpy(np.ascontiguousarray(field))
