"""A job: everything a task must know, fully decided. It is stored with the state, and tasks read it from there."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tiler.engine.plain import typed
from tiler.geometry import Level, Rect, Tile, TileGrid
from tiler.style.backbone import LAYERS, deepest, statistics_halo, stride_of

STYLE_TILE = 512
LONGEST_SIDE = 2**20
# What a store says is looked through by whoever opens it, tile by tile.
MOST_TILES, MOST_LEVELS, MOST_STYLES, MOST_STEPS = 2**21, 24, 1024, 10**6


@dataclass(frozen=True)
class Job:
    """levels: coarsest first. style_sizes[level][style]: (height, width) of the style picture at that level.
    regions: their names; guided: whether guides say where they are, or the only one is everywhere.
    style_regions, style_masked: of each style, the region it belongs to and whether a mask says what part of it counts.
    style_layer_weights[style]: a factor to its share at each style layer.
    protect_strength: how much more the content weighs where it is to be kept; 0: nothing says where.
    precision: fp32, bf16, fp16 or fp64, the backbone's number type. init: content, noise or picture.
    dream_layer: what is amplified, None: nothing. jitter: the backbone's cells are moved by up to so many pixels,
    anew at each step. keep_detail: a level starts with the detail that the content has and the level before had not;
    without it, where the content is protected only.
    wrap: the axes along which levels continue at the opposite edge: none, x, y or xy.
    weights_sha256: of the numbers that `weights` must name wherever they are loaded.
    channels: (layer, number of features) of every layer in use."""

    id: str
    levels: tuple[Level, ...]
    style_sizes: tuple[tuple[tuple[int, int], ...], ...]
    style_shares: tuple[float, ...]
    style_layer_weights: tuple[tuple[float, ...], ...]
    style_regions: tuple[int, ...]
    style_masked: tuple[bool, ...]
    regions: tuple[str, ...]
    guided: bool
    style_layers: tuple[str, ...]
    content_layers: tuple[str, ...]
    style_weight: float
    content_weight: float
    protect_strength: float
    tv_weight: float
    chroma_weight: float
    dream_layer: str | None
    dream_channel: int | None
    dream_weight: float
    jitter: int
    keep_detail: bool
    init: str
    seed: int
    color: str
    optimizer: str
    weights: str
    weights_sha256: str
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
    def from_dict(cls, values: Any) -> Job:
        """The inverse of to_dict after a trip through JSON. Raises ValueError, also for what no render writes."""
        job: Job = typed(values, cls, "job")
        job.check()
        return job

    def check(self) -> None:
        """Raise ValueError where the parts do not fit each other, or are more than can be handled."""
        for allowed, what in itertools.chain(self._rules(), self._cut_rules()):
            if not allowed:
                raise ValueError(f"job: {what}")

    def _rules(self) -> Iterator[tuple[bool, str]]:
        """Whether it holds, and what does not."""
        # It becomes part of a path in the store.
        yield bool(re.fullmatch("[0-9a-f]{32}", self.id)), "its id is none"
        yield 0 < len(self.levels) == len(self.style_sizes), "its levels do not fit its styles"
        yield len(self.levels) <= MOST_LEVELS and len(self.style_shares) <= MOST_STYLES, "its parts are too many"
        yield all(level.index == i for i, level in enumerate(self.levels)), "its levels are out of order"
        yield all(len(sizes) == len(self.style_shares) > 0 for sizes in self.style_sizes), "its styles do not fit"
        by_style = (self.style_layer_weights, self.style_regions, self.style_masked)
        yield {*map(len, by_style)} == {len(self.style_shares)}, "its styles do not fit"
        yield {*self.style_regions} == {*range(len(self.regions))}, "its regions do not fit its styles"
        yield self.guided or len(self.regions) == 1, "its regions are nowhere"
        layers = {*map(len, self.style_layer_weights)}
        yield layers == {len(self.style_layers)}, "its weights do not fit its layers"
        sides = [side for level in self.levels for side in (level.height, level.width)]
        sides += [side for sizes in self.style_sizes for size in sizes for side in size]
        yield all(0 < side <= LONGEST_SIDE for side in sides), f"its pictures are not 1 to {LONGEST_SIDE} pixels a side"
        yield {*self.style_layers, *self.content_layers, *dict(self.channels)} <= {*LAYERS}, "its layers are unknown"
        yield bool(self.style_layers) and {*self.layers} <= {*dict(self.channels)}, "its layers do not fit its channels"
        yield all(0 < count <= 4096 for _, count in self.channels), "its channels are too many"
        yield 16 <= self.tile <= 2**16 and 0 <= self.feather <= 4096 and 0 <= self.halo <= 4096, "its tiles are no size"
        yield self.steps_per_round > 0 and 0 < self.threads <= 1024, "its counts are out of range"
        yield self.protect_strength >= 0, "its content weighs less than nothing"
        yield self.precision in ("fp32", "bf16", "fp16", "fp64"), "its precision is unknown"
        yield self.mode in ("fast", "exact") and self.device in ("cpu", "cuda"), "its mode or device is unknown"
        yield self.wrap in ("none", "x", "y", "xy") and self.pooling in ("avg", "max"), "its wrap or pooling is unknown"
        yield self.color in ("style", "content", "luminance", "match"), "its color is unknown"
        yield self.init in ("content", "noise", "picture"), "its init is unknown"
        yield self.optimizer in ("adam", "lbfgs"), "its optimizer is unknown"
        yield 0 <= self.jitter <= 64 and 0 <= self.seed < 2**63, "its jitter or seed is out of range"
        yield self.dream_layer is None or self.dream_layer in dict(self.channels), "its dream's layer is unknown"
        yield self.dream_channel is None or 0 <= self.dream_channel < 4096, "its dream's channel is unknown"
        yield all(level.steps <= MOST_STEPS for level in self.levels), f"its steps are more than {MOST_STEPS} a level"

    def _cut_rules(self) -> Iterator[tuple[bool, str]]:
        """Of what the others must hold for first."""
        wraps = ((axis, size) for level in self.levels for axis, size in (("y", level.height), ("x", level.width)))
        meets = all(axis not in self.wrap or size % self.align == 0 for axis, size in wraps)
        yield meets, f"its edges that meet are no multiples of {self.align}"
        levels, styles = range(len(self.levels)), range(len(self.style_shares))
        tiles = sum(len(self.grid(level)) for level in levels)
        tiles += sum(len(self.style_grid(level, style)) for level in levels for style in styles)
        yield tiles <= MOST_TILES, f"it has {tiles} tiles; allowed: up to {MOST_TILES}, so larger ones"

    @property
    def keeps_chroma(self) -> bool:
        """Whether finished levels get the content's chroma."""
        return self.color in ("content", "luminance")

    @property
    def adds_detail(self) -> bool:
        """Whether levels start with detail of the content that the level before had not: all, or what is protected."""
        return self.keep_detail or self.protect_strength > 0

    def needs_pictures(self, level: int) -> bool:
        """Without steps a level is only enlarged from the one before; the coarsest starts from the pictures."""
        return level == 0 or self.levels[level].steps > 0 or self.keeps_chroma or self.adds_detail

    @property
    def images(self) -> tuple[str, ...]:
        """What is kept of a finished level: the image that the next one starts from; last, what is shown."""
        return ("image", "poster") if self.keeps_chroma else ("image",)

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
        content = self.content_layers if self.content_weight else ()
        return tuple(dict.fromkeys((*self.style_layers, *content, *((self.dream_layer,) if self.dream_layer else ()))))

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

    def guides_path(self, level: int) -> str | None:
        """Where the store keeps a level's guides; None: its one region is everywhere."""
        return f"levels/{level}/guides" if self.guided else None

    def protect_path(self, level: int) -> str | None:
        """Where the store keeps what is to be kept of a level's content; None: all of it weighs the same."""
        return f"levels/{level}/protect" if self.protect_strength else None

    def style_guides_path(self, level: int, style: int) -> str | None:
        """Where the store keeps what part of a style counts; None: all of it."""
        return f"styles/{level}/{style}/guides" if self.style_masked[style] else None

    def styles_of(self, region: int) -> list[int]:
        return [style for style, owner in enumerate(self.style_regions) if owner == region]

    def shift(self, level: int, step: int) -> tuple[int, int]:
        """(rows, columns) that the backbone's cells are moved by at a step, the same for all tiles."""
        random = np.random.Generator(np.random.Philox(key=[self.seed, level], counter=[step, 0, 0, 0]))
        down, right = random.integers(0, self.jitter + 1, 2).tolist()
        return down, right

    def uses_lbfgs(self, level: int) -> bool:
        return self.optimizer == "lbfgs" and self.grid(level).alone

    def steps_after(self, level: int, rounds: int) -> int:
        """How many of a level's steps are done after so many of its rounds."""
        return min(self.levels[level].steps, rounds * self._per_round(level))

    def _per_round(self, level: int) -> int:
        if self.uses_lbfgs(level):
            return max(1, self.levels[level].steps)
        return 25 if self.grid(level).alone else 1 if self.mode == "exact" else self.steps_per_round

    def rounds(self, level: int) -> list[tuple[int, int]]:
        """(first step, steps) of every round of a level. A tile that is the whole level exchanges nothing, not even
        with itself over an edge, so its rounds only bound what a crash can cost."""
        steps, per_round = self.levels[level].steps, self._per_round(level)
        return [(start, min(per_round, steps - start)) for start in range(0, steps, per_round)]

    def measures_every_round(self, level: int) -> bool:
        """Exact mode measures the statistics before each round; otherwise tiles report theirs as they go."""
        return self.mode == "exact" and not self.grid(level).alone
