"""Feather windows and resampling weights: the two places where geometry turns into numbers per pixel."""

from __future__ import annotations

import numpy as np

from tiler.geometry.tiles import Rect, Tile, TileGrid


def _ramp(start: int, stop: int, line: int, feather: int) -> np.ndarray:
    """Weight of the tile that begins at core line `line`: 0 before the overlap, 1 behind it, linear between."""
    centres = np.arange(start, stop, dtype=np.float64) + 0.5
    return np.clip((centres - (line - feather)) / (2 * feather), 0.0, 1.0)


def _axis_window(start: int, stop: int, core: tuple[int, int], size: int, feather: int, wrap: bool) -> np.ndarray:
    window = np.ones(stop - start)
    if feather and (wrap or core[0] > 0):
        window *= _ramp(start, stop, core[0], feather)
    if feather and (wrap or core[1] < size):
        window *= 1.0 - _ramp(start, stop, core[1], feather)
    return window


def feather_window(grid: TileGrid, tile: Tile, part: Rect | None = None) -> np.ndarray:
    """Weights [h, w] in 0..1 of a tile's patch over `part` of its blend area (default: all of it).

    The windows of all tiles sum to 1 at every pixel: neighbours' linear ramps over the 2 * feather pixels around a
    shared core line are complements of each other, and at a border that does not wrap there is nobody to share with.
    """
    part = part or tile.blend
    rows = _axis_window(part.y0, part.y1, (tile.core.y0, tile.core.y1), grid.height, grid.feather, grid.wrap_y)
    cols = _axis_window(part.x0, part.x1, (tile.core.x0, tile.core.x1), grid.width, grid.feather, grid.wrap_x)
    return rows[:, None] * cols[None, :]


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel, a = -0.5 (IEEE Trans. ASSP 29(6), 1981): exact for quadratics."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def resample_weights(start: int, stop: int, size: int, source_size: int, wrap: bool = False) -> tuple[int, np.ndarray]:
    """Cubic upsampling of one axis, for the outputs start..stop-1 of an axis of `size` pixels.

    Returns (first, weights): output = weights @ source[first : first + weights.shape[1]]. Any cut of the axis gives
    the same rows of one and the same matrix, so tiles upscaled on their own meet without a seam. Borders replicate;
    where the axis wraps, the source's indices may instead reach beyond it, and stand for those of the opposite end.
    """
    centres = (np.arange(start, stop) + 0.5) * source_size / size - 0.5
    base = np.floor(centres).astype(int)
    taps = base[:, None] + np.arange(-1, 3)[None, :]
    values = _cubic(centres[:, None] - taps)
    values /= values.sum(axis=1, keepdims=True)
    reached = taps if wrap else np.clip(taps, 0, source_size - 1)
    first, last = int(reached.min()), int(reached.max())
    weights = np.zeros((stop - start, last - first + 1))
    np.add.at(weights, (np.arange(stop - start)[:, None], reached - first), values)
    return first, weights
