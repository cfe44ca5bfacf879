"""Whole windows and matrices, from the few numbers that geometry gives of them."""

import numpy as np

from tiler.geometry import feather_stretches, ramps, resample_taps


def feather_window(grid, tile, part=None):
    """[h, w]: the weights of a tile's patch over `part` of its blend area (default: all of it)."""
    part = part or tile.blend
    both = ramps(grid.feather) if grid.feather else None
    lines = []
    for stretches, start, stop in zip(
        feather_stretches(grid, tile, part), (part.y0, part.x0), (part.y1, part.x1), strict=True
    ):
        line = np.full(stop - start, np.nan)
        for one in stretches:
            there = slice(one.start - start, one.stop - start)
            assert np.isnan(line[there]).all()
            line[there] = 1 if one.side is None else both[one.side, one.offset : one.offset + one.stop - one.start]
        assert not np.isnan(line).any()
        lines.append(line)
    return lines[0][:, None] * lines[1][None, :]


def defined_window(grid, tile, part=None):
    """The same from the definition: ramps that go from 0 to 1 over the overlap around every core line that the tile
    shares with a neighbour."""
    part = part or tile.blend

    def line(start, stop, core, size, wrap):
        centres, width = np.arange(start, stop) + 0.5, 2 * grid.feather
        window = np.ones(stop - start)
        if width and (wrap or core[0] > 0):
            window *= np.clip((centres - core[0] + grid.feather) / width, 0, 1)
        if width and (wrap or core[1] < size):
            window *= 1 - np.clip((centres - core[1] + grid.feather) / width, 0, 1)
        return window

    rows = line(part.y0, part.y1, (tile.core.y0, tile.core.y1), grid.height, grid.wrap_y)
    cols = line(part.x0, part.x1, (tile.core.x0, tile.core.x1), grid.width, grid.wrap_x)
    return rows[:, None] * cols[None, :]


def enlarging_matrix(size, source_size, start=0, stop=None, wrap=False):
    """The rows start..stop-1 of the whole axis' matrix; taps beyond an axis that wraps are brought back."""
    stop = size if stop is None else stop
    taps, weights = resample_taps(start, stop, size, source_size, wrap)
    assert taps.shape == weights.shape == (stop - start, 4)
    if not wrap:
        assert taps.min() >= 0
        assert taps.max() < source_size
    rows = np.zeros((stop - start, source_size))
    np.add.at(rows, (np.arange(stop - start)[:, None], taps % source_size), weights)
    return rows
