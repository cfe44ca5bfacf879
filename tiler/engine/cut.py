"""How a job is cut: into levels, tiles and rounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tiler.geometry import Level, TileGrid

LONGEST_SIDE = 2**20
MOST_LEVELS, MOST_STEPS = 24, 10**6
# Where a tile is the whole level: a round only bounds what a crash can cost.
_ALONE = 25


@dataclass(frozen=True)
class Cut:
    """levels: coarsest first. wrap: the axes along which levels continue at the opposite edge: none, x, y or xy.
    align: tiles start on its multiples, those of the backbone's deepest cells. tile, feather, halo: in pixels.
    steps_per_round: in fast mode, between two exchanges of statistics."""

    levels: tuple[Level, ...]
    wrap: str
    align: int
    tile: int
    feather: int
    halo: int
    mode: str
    optimizer: str
    steps_per_round: int

    def rules(self) -> Iterator[tuple[bool, str]]:
        """Whether it holds, and what does not."""
        yield 0 < len(self.levels) <= MOST_LEVELS, "its levels are none, or too many"
        yield all(level.index == i for i, level in enumerate(self.levels)), "its levels are out of order"
        sides = [side for level in self.levels for side in (level.height, level.width)]
        yield all(0 < side <= LONGEST_SIDE for side in sides), f"its pictures are not 1 to {LONGEST_SIDE} pixels a side"
        yield 16 <= self.tile <= 2**16 and 0 <= self.feather <= 4096 and 0 <= self.halo <= 4096, "its tiles are no size"
        yield self.steps_per_round > 0, "its counts are out of range"
        yield self.mode in ("fast", "exact"), "its mode is unknown"
        yield self.wrap in ("none", "x", "y", "xy"), "its wrap is unknown"
        yield self.optimizer in ("adam", "lbfgs"), "its optimizer is unknown"
        yield all(level.steps <= MOST_STEPS for level in self.levels), f"its steps are more than {MOST_STEPS} a level"
        yield 0 < self.align <= 16, "its cells are no size"
        wraps = ((axis, size) for level in self.levels for axis, size in (("y", level.height), ("x", level.width)))
        meets = all(axis not in self.wrap or size % self.align == 0 for axis, size in wraps)
        yield meets, f"its edges that meet are no multiples of {self.align}"

    @property
    def last(self) -> Level:
        """The finest, which the poster is made of."""
        return self.levels[-1]

    def grid(self, level: int) -> TileGrid:
        size = self.levels[level]
        return TileGrid.balanced(
            size.height, size.width, self.tile, self.feather, self.halo, self.align, "y" in self.wrap, "x" in self.wrap
        )

    def uses_lbfgs(self, level: int) -> bool:
        return self.optimizer == "lbfgs" and self.grid(level).alone

    def steps_after(self, level: int, rounds: int) -> int:
        """How many of a level's steps are done after so many of its rounds."""
        return min(self.levels[level].steps, rounds * self._per_round(level))

    def _per_round(self, level: int) -> int:
        if self.uses_lbfgs(level):
            return max(1, self.levels[level].steps)
        return _ALONE if self.grid(level).alone else 1 if self.mode == "exact" else self.steps_per_round

    def rounds(self, level: int) -> list[tuple[int, int]]:
        """(first step, steps) of every round of a level. A tile that is the whole level exchanges nothing, not even
        with itself over an edge, so its rounds only bound what a crash can cost."""
        steps, per_round = self.levels[level].steps, self._per_round(level)
        return [(start, min(per_round, steps - start)) for start in range(0, steps, per_round)]

    def measures_every_round(self, level: int) -> bool:
        """Exact mode measures the statistics before each round; otherwise tiles report theirs as they go."""
        return self.mode == "exact" and not self.grid(level).alone
