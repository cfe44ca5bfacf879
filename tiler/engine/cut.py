"""How a job is cut: into levels, tiles and rounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from tiler.geometry import Level, Part, Rect, TileGrid
from tiler.geometry.parts import below, parts

LONGEST_SIDE = 2**20
MOST_LEVELS, MOST_STEPS = 24, 10**6
# Side of a crop, as --edge allows it: its tiles are small, and all of them are looked through.
MOST_EDGE = 16384
# Where a tile is the whole level: a round only bounds what a crash can cost.
_ALONE = 25
# Core of a tile, at most, where a level is rendered in part: many places are worth more than large ones.
_PART_TILE = 256


@dataclass(frozen=True)
class Cut:
    """levels: coarsest first. wrap: the axes along which levels continue at the opposite edge: none, x, y or xy.
    align: tiles start on its multiples, those of the backbone's deepest cells. tile, feather, halo: in pixels.
    steps_per_round: in fast mode, between two exchanges of statistics. crop: (y0, x0, y1, x1) of the finest level, if
    no more than that is to be seen; of levels that are large for it only a part is rendered (see `geometry.parts`).
    touched: of each level, the (y0, x0, y1, x1) in which a finished poster may change; None: there is none before."""

    levels: tuple[Level, ...]
    wrap: str
    align: int
    tile: int
    feather: int
    halo: int
    mode: str
    optimizer: str
    steps_per_round: int
    crop: tuple[int, int, int, int] | None = None
    touched: tuple[tuple[tuple[int, int, int, int], ...], ...] | None = None

    def rules(self) -> Iterator[tuple[bool, str]]:
        """Whether it holds, and what does not."""
        yield 0 < len(self.levels) <= MOST_LEVELS, "its levels are none, or too many"
        yield all(level.index == i for i, level in enumerate(self.levels)), "its levels are out of order"
        sides = [side for level in self.levels for side in (level.height, level.width)]
        yield all(0 < side <= LONGEST_SIDE for side in sides), f"its pictures are not 1 to {LONGEST_SIDE} pixels a side"
        yield 16 <= self.tile <= 2**16 and 0 <= self.feather <= 4096 and 0 <= self.halo <= 4096, "its tiles are no size"
        yield self.steps_per_round > 0, "its counts are out of range"
        y0, x0, y1, x1 = self.crop or (0, 0, 1, 1)
        yield 0 <= y0 < y1 <= self.last.height and 0 <= x0 < x1 <= self.last.width, "its crop lies beside it"
        yield max(y1 - y0, x1 - x0) <= MOST_EDGE, f"its crop is larger than {MOST_EDGE} pixels"
        yield self.mode in ("fast", "exact"), "its mode is unknown"
        yield self.wrap in ("none", "x", "y", "xy"), "its wrap is unknown"
        yield self.optimizer in ("adam", "lbfgs"), "its optimizer is unknown"
        yield all(level.steps <= MOST_STEPS for level in self.levels), f"its steps are more than {MOST_STEPS} a level"
        yield self.touched is None or self.crop is None, "it cannot be a part and a change"
        yield self.touched is None or len(self.touched) == len(self.levels), "its changes do not fit its levels"
        boxes = ((level, box) for level, found in zip(self.levels, self.touched or (), strict=False) for box in found)
        on_it = all(0 <= y0 < y1 <= size.height and 0 <= x0 < x1 <= size.width for size, (y0, x0, y1, x1) in boxes)
        yield on_it, "its changes lie beside it"
        areas = (sum((y1 - y0) * (x1 - x0) for y0, x0, y1, x1 in found) for found in self.touched or ())
        fits = all(area <= level.height * level.width for level, area in zip(self.levels, areas, strict=False))
        yield fits, "its changes overlap"  # each is looked through tile by tile
        yield 0 < self.align <= 16, "its cells are no size"
        wraps = ((axis, size) for level in self.levels for axis, size in (("y", level.height), ("x", level.width)))
        meets = all(axis not in self.wrap or size % self.align == 0 for axis, size in wraps)
        yield meets, f"its edges that meet are no multiples of {self.align}"

    @property
    def last(self) -> Level:
        """The finest, which the poster is made of."""
        return self.levels[-1]

    def grid(self, level: int) -> TileGrid:
        if self.touched is not None:
            return replace(self._grid(level), part=_touched(self, level))
        part = None if self.crop is None else _parts(self)[level]
        return self._grid(level) if part is None else replace(self._grid(level, _PART_TILE), part=part)

    def rest(self, level: int) -> TileGrid | None:
        """The tiles of a finished poster that stay as they are, while others change; None where there are none."""
        grid = self.grid(level)
        if self.touched is None or grid.part is None:
            return None
        tiles = tuple(index for index in range(grid.places) if index not in grid)
        return replace(grid, part=Part(tiles, (1.0,) * len(tiles)))

    def estimates(self, level: int) -> bool:
        """Whether a level is known by some of its tiles only."""
        return self.crop is not None and self.grid(level).part is not None

    def _grid(self, level: int, most: int = LONGEST_SIDE) -> TileGrid:
        size, tile, wrap = self.levels[level], min(self.tile, most), ("y" in self.wrap, "x" in self.wrap)
        return TileGrid.balanced(size.height, size.width, tile, self.feather, self.halo, self.align, *wrap)

    def box(self, level: int) -> Rect:
        """What is to be seen of a level."""
        size, last = self.levels[level], self.last
        y0, x0, y1, x1 = self.crop or (0, 0, last.height, last.width)
        top, left = y0 * size.height // last.height, x0 * size.width // last.width
        bottom, right = -(-y1 * size.height // last.height), -(-x1 * size.width // last.width)
        return Rect(top, left, max(bottom, top + 1), max(right, left + 1))

    @property
    def shown(self) -> Rect:
        """What of the finest level the poster's file shows."""
        return self.box(self.last.index)

    def read(self, level: int) -> list[Rect] | None:
        """What of a level's pictures its tiles read; None: all."""
        grid = self.grid(level)
        if not self.estimates(level):
            return None
        return [inside for tile in grid for inside, _ in tile.read.pieces(grid.height, grid.width)]

    def read_below(self, level: int) -> list[Rect] | None:
        """The same of a picture that has the size of the level before, and is enlarged."""
        grid = self.grid(level)
        if not self.estimates(level):
            return None
        before = self._grid(level - 1)
        wanted = (below(tile.read, grid, before) for tile in grid)
        return [inside for rect in wanted for inside, _ in rect.pieces(before.height, before.width)]

    def uses_lbfgs(self, level: int) -> bool:
        return self.optimizer == "lbfgs" and self.grid(level).alone

    def steps_after(self, level: int, rounds: int) -> int:
        """How many of a level's steps are done after so many of its rounds."""
        return min(self.levels[level].steps, rounds * self._per_round(level))

    def _per_round(self, level: int) -> int:
        if self.uses_lbfgs(level):
            return max(1, self.levels[level].steps)
        return _ALONE if self.grid(level).alone else 1 if self.mode == "exact" else self.steps_per_round

    def work(self, level: int) -> int:
        """Pixels that are read, times steps."""
        return self.levels[level].steps * sum(tile.read.area for tile in self.grid(level))

    def rounds(self, level: int) -> list[tuple[int, int]]:
        """(first step, steps) of every round of a level. A tile that is the whole level exchanges nothing, not even
        with itself over an edge, so its rounds only bound what a crash can cost."""
        steps, per_round = self.levels[level].steps, self._per_round(level)
        return [(start, min(per_round, steps - start)) for start in range(0, steps, per_round)]

    def measures_every_round(self, level: int) -> bool:
        """Exact mode measures the statistics before each round; otherwise tiles report theirs as they go."""
        return self.mode == "exact" and not self.grid(level).alone


@lru_cache(maxsize=64)
def _parts(cut: Cut) -> list[Part | None]:
    assert cut.crop is not None
    return parts([cut._grid(level, _PART_TILE) for level in range(len(cut.levels))], Rect(*cut.crop))


@lru_cache(maxsize=64)
def _touched(cut: Cut, level: int) -> Part | None:
    """Tiles that show in what may change; None: all."""
    assert cut.touched is not None
    grid = cut._grid(level)
    boxes = (Rect(*box) for box in cut.touched[level])
    found = sorted({tile.index for box in boxes for tile, _ in grid.overlapping(box)})
    return None if len(found) == len(grid) else Part(tuple(found), (1.0,) * len(found))
