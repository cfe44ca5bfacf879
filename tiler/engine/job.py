"""A job: everything a task must know, fully decided. It is stored with the state, and tasks read it from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tiler.geometry import Level, Rect, Tile, TileGrid
from tiler.style.backbone import deepest, statistics_halo, stride_of

STYLE_TILE = 512


@dataclass(frozen=True)
class Job:
    """levels: coarsest first. style_sizes[level][style]: (height, width) of the style picture at that level.
    precision: fp32, bf16, fp16 or fp64, the backbone's number type. init: content, noise or picture.
    wrap: the axes along which levels continue at the opposite edge: none, x, y or xy.
    channels: (layer, number of features) of every layer in use."""

    id: str
    levels: tuple[Level, ...]
    style_sizes: tuple[tuple[tuple[int, int], ...], ...]
    style_shares: tuple[float, ...]
    style_layers: tuple[str, ...]
    content_layers: tuple[str, ...]
    style_weight: float
    content_weight: float
    tv_weight: float
    init: str
    seed: int
    optimizer: str
    weights: str
    channels: tuple[tuple[str, int], ...]
    pooling: str
    precision: str
    device: str
    threads: int
    wrap: str
    mode: str
    steps_per_round: int
    tile: int
    feather: int
    halo: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Job:
        """The inverse of to_dict after a trip through JSON. Raises KeyError or TypeError when it does not fit."""
        plain = {item.name: _tuples(values[item.name]) for item in fields(cls)}
        return cls(**{**plain, "levels": tuple(Level(**level) for level in values["levels"])})

    @property
    def state_dtype(self) -> str:
        """numpy name of the type of pixels, moments and statistics, which the backbone's precision does not lower."""
        return "float64" if self.precision == "fp64" else "float32"

    @property
    def moment_dtype(self) -> str:
        """Of Adam's moments in the store. Exact mode rounds nothing that the untiled optimiser would not."""
        return "bfloat16" if self.mode == "fast" and self.state_dtype == "float32" else self.state_dtype

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer in use."""
        used = dict.fromkeys((*self.style_layers, *(self.content_layers if self.content_weight else ())))
        return tuple(used)

    @property
    def align(self) -> int:
        return stride_of(deepest(self.layers))

    def grid(self, level: int) -> TileGrid:
        size = self.levels[level]
        return TileGrid.balanced(
            size.height, size.width, self.tile, self.feather, self.halo, self.align, "y" in self.wrap, "x" in self.wrap
        )

    def style_grid(self, level: int, style: int) -> TileGrid:
        """Cuts a style picture for measuring: nothing is blended, every sum is exact, and the target's last bits do not
        depend on how the poster is cut."""
        height, width = self.style_sizes[level][style]
        return TileGrid.balanced(height, width, STYLE_TILE, 0, statistics_halo(self.layers), self.align)

    def measure_box(self, tile: Tile) -> Rect:
        """What measuring a tile has to read: no more than its statistics depend on."""
        exact = tile.core.grown(statistics_halo(self.style_layers)).aligned(self.align)
        return exact.intersection(tile.read) or tile.core

    def uses_lbfgs(self, level: int) -> bool:
        return self.optimizer == "lbfgs" and self.grid(level).alone

    def rounds(self, level: int) -> list[tuple[int, int]]:
        """(first step, steps) of every round of a level. A tile that is the whole level exchanges nothing, not even
        with itself over an edge, so its rounds only bound what a crash can cost."""
        steps = self.levels[level].steps
        alone = self.grid(level).alone
        if self.uses_lbfgs(level):
            per_round = max(1, steps)
        else:
            per_round = 25 if alone else 1 if self.mode == "exact" else self.steps_per_round
        return [(start, min(per_round, steps - start)) for start in range(0, steps, per_round)]

    def measures_every_round(self, level: int) -> bool:
        """Exact mode measures the statistics before each round; otherwise tiles report theirs as they go."""
        return self.mode == "exact" and not self.grid(level).alone


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
