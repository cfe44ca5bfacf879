"""Integers only: where levels, tiles, halos and feathers lie. Knows nothing of pixels' values."""

from tiler.geometry.pyramid import Level, level_sizes
from tiler.geometry.tiles import Part, Rect, Tile, TileGrid
from tiler.geometry.windows import feather_stretches, ramps, resample_taps

__all__ = [
    "Level", "Part", "Rect", "Tile", "TileGrid", "feather_stretches", "level_sizes", "ramps", "resample_taps",
]  # fmt: skip
