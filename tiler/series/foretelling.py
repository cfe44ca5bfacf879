"""How well a proof can foretell its poster: how far the tiles from which the poster's statistics were estimated are
like all of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tiler.engine.store import RenderStore
from tiler.geometry import Rect, TileGrid
from tiler.request.identity import load_job


@dataclass(frozen=True)
class Foretold:
    """known: share of the finest level's pixels that were measured, 0 to 1. error: relative error of an estimate from
    the same tiles where all is known: of the second moments of colours and of their steps to the next pixel, on the
    finest level that was rendered as a whole; 0 where nothing was estimated."""

    known: float
    error: float


def foretold(url: str) -> Foretold:
    """Of the finished proof in the store at `url`. Raises StoreError."""
    store = RenderStore.open(url, writable=False)
    job = load_job(store)
    grids = [job.cut.grid(level.index) for level in job.cut.levels]
    last = grids[-1]
    if last.part is None:
        return Foretold(1.0, 0.0)
    known = sum(tile.core.area for tile in last.tiles) / (last.height * last.width)
    whole = max(k for k, grid in enumerate(grids) if grid.part is None)
    image = store.read_image(whole, Rect(0, 0, grids[whole].height, grids[whole].width), job.look.images[-1])
    return Foretold(known, _error(image, last))


def _error(image: np.ndarray, grid: TileGrid) -> float:
    """image: [3, h, w] of all that `grid` has a part of, at another size."""
    _, height, width = image.shape
    steps = [np.diff(image.mean(0, keepdims=True), axis=axis, prepend=0) for axis in (1, 2)]
    steps[0][:, 0], steps[1][:, :, 0] = 0, 0
    features = np.concatenate([image, *steps]).astype(np.float64)
    total = np.einsum("ahw,bhw->ab", features, features) / (height * width)
    found, area = np.zeros_like(total), 0.0
    for tile in grid.tiles:
        down, across = height / grid.height, width / grid.width
        y0, x0 = int(tile.core.y0 * down), int(tile.core.x0 * across)
        y1, x1 = max(y0 + 1, round(tile.core.y1 * down)), max(x0 + 1, round(tile.core.x1 * across))
        part, weight = features[:, y0:y1, x0:x1], grid.weight(tile.index)
        found += weight * np.einsum("ahw,bhw->ab", part, part)
        area += weight * part.shape[1] * part.shape[2]
    return float(np.linalg.norm(found / area - total) / np.linalg.norm(total))
