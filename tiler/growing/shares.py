"""How much of each land every cell of a growth is: where a label picture says so, in one land, or by themselves."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tiler.geometry import Rect
from tiler.growing.noise import Noise
from tiler.pictures import Picture, label_bands
from tiler.request.regions import Colour

_STREAM, _SPACING, _SHARPNESS = 64, 24, 5.0
_ROWS = 64


class Shares(Protocol):
    """shares(noise, cells) -> [lands, h, w] float32 that sum to 1 in each cell of a box."""

    def __call__(self, noise: Noise, cells: Rect) -> np.ndarray: ...


@dataclass(frozen=True)
class Everywhere:
    """One land, by its number among so many."""

    land: int
    lands: int

    def __call__(self, noise: Noise, cells: Rect) -> np.ndarray:
        found = np.zeros((self.lands, cells.height, cells.width), np.float32)
        found[self.land] = 1
        return found


@dataclass(frozen=True)
class Wild:
    """Where each of so many lands lies is chance, too."""

    lands: int

    def __call__(self, noise: Noise, cells: Rect) -> np.ndarray:
        likely = np.exp(_SHARPNESS * noise.slow(_STREAM, cells, self.lands, _SPACING))
        found: np.ndarray = likely / likely.sum(0)
        return found


@dataclass(frozen=True)
class Labelled:
    """As a label picture says that lies over `box`, a box of cells; beyond its edges as at them, or around it where
    `wraps` (along y, along x). colours: the land of each. blend: cells over which one passes into the next.

    The picture is read once, in bands, into a file without a name."""

    picture: Picture
    colours: Sequence[tuple[Colour, int]]
    lands: int
    box: Rect
    blend: float
    wraps: tuple[bool, bool]
    _grid: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = self.box.height, self.box.width, self.lands
        with tempfile.TemporaryFile() as file:  # the mapping keeps it
            file.truncate(2 * int(np.prod(shape)))
            grid = np.memmap(file, np.float16, "r+", shape=shape)
        palette, y = [colour for colour, _ in self.colours], 0
        for band in label_bands(self.picture, palette, *shape[:2], _ROWS, self.blend):
            rows = grid[y : y + band.shape[1]]
            rows[:] = 0
            for (_, land), plane in zip(self.colours, band, strict=True):
                rows[..., land] += plane
            y += len(rows)
        object.__setattr__(self, "_grid", grid)

    def __call__(self, noise: Noise, cells: Rect) -> np.ndarray:
        rows, columns = (
            np.arange(low - first, high - first) % size if wraps else np.clip(np.arange(low, high) - first, 0, size - 1)
            for low, high, first, size, wraps in (
                (cells.y0, cells.y1, self.box.y0, self.box.height, self.wraps[0]),
                (cells.x0, cells.x1, self.box.x0, self.box.width, self.wraps[1]),
            )
        )
        found = self._grid[rows][:, columns].astype(np.float32).transpose(2, 0, 1)
        shares: np.ndarray = found / found.sum(0)
        return shares
