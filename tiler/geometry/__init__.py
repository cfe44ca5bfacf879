"""Integers only: where levels, tiles, halos and feathers lie. Knows nothing of pixels' values."""

from tiler.geometry.pyramid import Level, level_sizes
from tiler.geometry.tiles import Rect, Tile, TileGrid
from tiler.geometry.windows import feather_window, resample_weights

__all__ = ["Level", "Rect", "Tile", "TileGrid", "feather_window", "level_sizes", "resample_weights"]
