"""Patches to image: the seams. Arrays only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tiler.geometry import Rect, Tile, TileGrid, feather_window, resample_weights


def composite(grid: TileGrid, rect: Rect, read_patch: Callable[[Tile, Rect], np.ndarray]) -> np.ndarray:
    """Blend the patches that meet `rect` into one array [c, h, w] of the patches' float type.

    read_patch(tile, part) returns [c, h, w] for a part of the tile's blend area, in level pixels. Tiles are added in
    tile order, so the result's bytes do not depend on who computed which tile. Where one tile alone covers `rect`,
    its values come through unchanged.
    """
    parts = list(grid.overlapping(rect))
    if len(parts) == 1:
        return read_patch(*parts[0])
    blended: np.ndarray | None = None
    for tile, part in parts:
        patch = read_patch(tile, part)
        if blended is None:
            blended = np.zeros((len(patch), rect.height, rect.width), patch.dtype)
        blended[(slice(None), *part.relative_to(rect).slices)] += patch * feather_window(grid, tile, part).astype(
            patch.dtype
        )
    assert blended is not None, f"{rect} lies outside {grid}"
    return blended


def repeated(rect: Rect, size: tuple[int, int], read: Callable[[Rect], np.ndarray]) -> np.ndarray:
    """`rect` of an image of (height, width) `size` that repeats without end: [c, h, w].

    read(part) returns [c, h, w] for a part inside the image. A rect inside the image is one part.
    """
    pieces = list(rect.pieces(*size))
    if len(pieces) == 1:
        return read(pieces[0][0])
    parts = [(read(inside), there) for inside, there in pieces]
    whole = np.empty((len(parts[0][0]), rect.height, rect.width), parts[0][0].dtype)
    for part, there in parts:
        whole[(slice(None), *there.slices)] = part
    return whole


def upscale(
    rect: Rect,
    size: tuple[int, int],
    source_size: tuple[int, int],
    read: Callable[[Rect], np.ndarray],
    wrap: tuple[bool, bool] = (False, False),
) -> np.ndarray:
    """`rect` of an image enlarged from source_size to size by cubic interpolation: [c, h, w] in 0..1.

    read(source rect) returns [c, h, w] floats. wrap: whether the image continues at the opposite edge, along y and x;
    read is then asked for rects that reach beyond it. The result does not depend on how the image is cut into rects.
    """
    y0, rows = resample_weights(rect.y0, rect.y1, size[0], source_size[0], wrap[0])
    x0, cols = resample_weights(rect.x0, rect.x1, size[1], source_size[1], wrap[1])
    source = read(Rect(y0, x0, y0 + rows.shape[1], x0 + cols.shape[1]))
    enlarged = rows @ source.astype(np.float64) @ cols.T
    return np.clip(enlarged, 0, 1).astype(source.dtype)


def noise(rect: Rect, width: int, seed: int) -> np.ndarray:
    """`rect` of a field of uniform noise around mid grey, [3, h, w] float32, the same however it is cut."""
    rows = [
        np.random.Generator(np.random.Philox(key=[seed, y])).random((width, 3), np.float32)[rect.x0 : rect.x1]
        for y in range(rect.y0, rect.y1)
    ]
    return np.float32(0.5) + np.float32(0.2) * (np.stack(rows).transpose(2, 0, 1) - np.float32(0.5))
