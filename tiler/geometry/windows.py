"""Feather windows and resampling weights: the two places where geometry turns into numbers per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tiler.geometry.tiles import Rect, Tile, TileGrid

RISING, FALLING = 0, 1


@dataclass(frozen=True)
class Stretch:
    """Pixels start..stop-1 of one axis of a tile's blend area. side: None where no neighbour along this axis covers
    them; else which row of `ramps` weighs them, from its column `offset` on."""

    start: int
    stop: int
    side: int | None = None
    offset: int = 0


def ramps(feather: int) -> np.ndarray:
    """[2, 2 * feather] weights over the overlap around a core line: of the tile that begins there, RISING, and of the
    one that ends there, FALLING. They are linear, and complements of each other."""
    rising = (np.arange(2 * feather, dtype=np.float64) + 0.5) / (2 * feather)
    return np.stack([rising, 1.0 - rising])


def _axis_stretches(part: tuple[int, int], core: tuple[int, int], size: int, feather: int, wrap: bool) -> list[Stretch]:
    first, last = core[0] - feather, core[1] - feather
    alone_from = core[0] + feather if feather and (wrap or core[0] > 0) else part[0]
    alone_to = last if feather and (wrap or core[1] < size) else part[1]
    found = []
    for start, stop, side, ramp in (
        (first, alone_from, RISING, first),
        (alone_from, alone_to, None, 0),
        (alone_to, core[1] + feather, FALLING, last),
    ):
        start, stop = max(start, part[0]), min(stop, part[1])
        if start < stop:
            found.append(Stretch(start, stop, side, 0 if side is None else start - ramp))
    return found


def feather_stretches(grid: TileGrid, tile: Tile, part: Rect) -> tuple[list[Stretch], list[Stretch]]:
    """Cut a part of a tile's blend area into rows and columns that one ramp weighs, or none: at most three of each.

    A pixel's weight is the product of its row's and its column's. Those of all tiles sum to 1 at every pixel: two
    neighbours share the 2 * feather pixels around the core line between them, and at a border that does not wrap there
    is nobody to share with.
    """
    return (
        _axis_stretches((part.y0, part.y1), (tile.core.y0, tile.core.y1), grid.height, grid.feather, grid.wrap_y),
        _axis_stretches((part.x0, part.x1), (tile.core.x0, tile.core.x1), grid.width, grid.feather, grid.wrap_x),
    )


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel, a = -0.5 (IEEE Trans. ASSP 29(6), 1981): exact for quadratics."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def resample_taps(
    start: int, stop: int, size: int, source_size: int, wrap: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Cubic upsampling of one axis, for the outputs start..stop-1 of an axis of `size` pixels.

    Returns (taps, weights), both [stop - start, 4]: output i is the sum over k of weights[i, k] * source[taps[i, k]].
    An output has the same taps and weights however the axis is cut, so tiles upscaled on their own meet without a seam.
    Borders replicate; where the axis wraps, taps may instead lie beyond it, and stand for pixels of the opposite end.
    """
    centres = (np.arange(start, stop) + 0.5) * source_size / size - 0.5
    taps = np.floor(centres).astype(np.int64)[:, None] + np.arange(-1, 3)[None, :]
    weights = _cubic(centres[:, None] - taps)
    weights /= weights.sum(axis=1, keepdims=True)
    return taps if wrap else np.clip(taps, 0, source_size - 1), weights
