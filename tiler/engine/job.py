"""A job: everything a task must know, fully decided. It is stored with the state, and tasks read it from there."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from tiler.engine.cut import LONGEST_SIDE, Cut
from tiler.engine.plain import typed
from tiler.geometry import Rect, Tile, TileGrid
from tiler.style.layers import LAYERS, deepest, statistics_halo, stride_of
from tiler.style.terms import ROUGHNESS, Terms, rows

STYLE_TILE = 512
# What a store says is looked through by whoever opens it, tile by tile.
MOST_TILES, MOST_STYLES = 2**21, 1024
Rules = Iterator[tuple[bool, str]]


@dataclass(frozen=True)
class Styles:
    """Whose look, and where. sizes[level][style]: (height, width) of the style picture at that level. layer_weights
    [style]: a factor to its share at each style layer. regions: their names; guided: whether guides say where they are,
    or the only one is everywhere. owners, masked: of each style, the region it belongs to and whether a mask says what
    part of it counts."""

    sizes: tuple[tuple[tuple[int, int], ...], ...]
    shares: tuple[float, ...]
    layer_weights: tuple[tuple[float, ...], ...]
    owners: tuple[int, ...]
    masked: tuple[bool, ...]
    regions: tuple[str, ...]
    guided: bool

    def rules(self) -> Rules:
        """Whether it holds, and what does not."""
        yield 0 < self.count <= MOST_STYLES, "its styles are none, or too many"
        yield all(len(sizes) == self.count for sizes in self.sizes), "its styles do not fit"
        by_style = (self.layer_weights, self.owners, self.masked)
        yield {*map(len, by_style)} == {self.count}, "its styles do not fit"
        yield {*self.owners} == {*range(len(self.regions))}, "its regions do not fit its styles"
        yield self.guided or len(self.regions) == 1, "its regions are nowhere"
        sides = [side for sizes in self.sizes for size in sizes for side in size]
        yield all(0 < side <= LONGEST_SIDE for side in sides), f"its pictures are not 1 to {LONGEST_SIDE} pixels a side"

    @property
    def count(self) -> int:
        return len(self.shares)

    def of(self, region: int) -> list[int]:
        """The styles of a region."""
        return [style for style, owner in enumerate(self.owners) if owner == region]


@dataclass(frozen=True)
class Network:
    """The backbone. weights_sha256: of the numbers that `weights` must name wherever they are loaded. channels: (layer,
    number of features) of every layer in use."""

    weights: str
    weights_sha256: str
    channels: tuple[tuple[str, int], ...]
    pooling: str

    def rules(self) -> Rules:
        """Whether it holds, and what does not."""
        yield {*dict(self.channels)} <= {*LAYERS}, "its layers are unknown"
        yield all(0 < count <= 4096 for _, count in self.channels), "its channels are too many"
        yield self.pooling in ("avg", "max"), "its pooling is unknown"


@dataclass(frozen=True)
class Look:
    """What levels start from and show, beside what is minimised. init: content, noise or picture. keep_detail: a level
    starts with the detail that the content has and the level before had not; without it, where the content is protected
    only. jitter: the backbone's cells are moved by up to so many pixels, anew at each step. transfer: style, or color
    alone: the content in its styles' colours is the poster then."""

    init: str
    seed: int
    color: str
    keep_detail: bool
    jitter: int
    transfer: str = "style"

    def rules(self) -> Rules:
        """Whether it holds, and what does not."""
        yield self.color in ("style", "grey", "content", "luminance", "match"), "its color is unknown"
        yield self.init in ("content", "noise", "picture"), "its init is unknown"
        yield self.transfer in ("style", "color"), "its transfer is unknown"
        yield 0 <= self.jitter <= 64 and 0 <= self.seed < 2**63, "its jitter or seed is out of range"

    @property
    def keeps_chroma(self) -> bool:
        """Whether finished levels get the content's chroma."""
        return self.color in ("content", "luminance")

    @property
    def grey(self) -> bool:
        """Whether what is optimised has no colours."""
        return self.color in ("grey", "luminance")

    @property
    def images(self) -> tuple[str, ...]:
        """What is kept of a finished level: the image that the next one starts from; last, what is shown."""
        return ("image", "poster") if self.keeps_chroma else ("image",)

    def shift(self, level: int, step: int) -> tuple[int, int]:
        """(rows, columns) that the backbone's cells are moved by at a step, the same for all tiles."""
        random = np.random.Generator(np.random.Philox(key=[self.seed, level], counter=[step, 0, 0, 0]))
        down, right = random.integers(0, self.jitter + 1, 2).tolist()
        return down, right


@dataclass(frozen=True)
class Device:
    """Where and how it is computed. kind: cpu, cuda or mps. precision: fp32, bf16, fp16 or fp64, the backbone's number
    type. threads: of a worker, on the CPU."""

    kind: str
    precision: str
    threads: int

    def rules(self) -> Rules:
        """Whether it holds, and what does not."""
        yield self.kind in ("cpu", "cuda", "mps"), "its device is unknown"
        yield self.precision in ("fp32", "bf16", "fp16", "fp64"), "its precision is unknown"
        yield 0 < self.threads <= 1024, "its counts are out of range"

    @property
    def state_dtype(self) -> str:
        """numpy name of the type of pixels, moments and statistics, which the backbone's precision does not lower."""
        return "float64" if self.precision == "fp64" else "float32"


@dataclass(frozen=True)
class Job:
    """id: of this cut of it. terms: what is minimised."""

    id: str
    terms: Terms
    styles: Styles
    network: Network
    look: Look
    cut: Cut
    device: Device

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
        parts = (self.terms, self.styles, self.network, self.look, self.cut, self.device)
        for allowed, what in itertools.chain(*(part.rules() for part in parts), self._rules()):
            if not allowed:
                raise ValueError(f"job: {what}")

    def _rules(self) -> Rules:
        """Of what the parts must hold for first."""
        # It becomes part of a path in the store.
        yield bool(re.fullmatch("[0-9a-f]{32}", self.id)), "its id is none"
        yield len(self.cut.levels) == len(self.styles.sizes), "its levels do not fit its styles"
        layers = {*map(len, self.styles.layer_weights)}
        yield layers == {len(self.terms.style_layers)}, "its weights do not fit its layers"
        yield {*self.terms.layers} <= {*dict(self.network.channels)}, "its layers do not fit its channels"
        yield self.cut.align == stride_of(deepest(self.terms.layers)), "its cells do not fit its layers"
        levels, styles = range(len(self.cut.levels)), range(self.styles.count)
        tiles = sum(len(self.cut.grid(level)) for level in levels)
        tiles += sum(len(self.style_grid(level, style)) for level in levels for style in styles)
        yield tiles <= MOST_TILES, f"it has {tiles} tiles; allowed: up to {MOST_TILES}, so larger ones"

    def with_tile(self, tile: int) -> Job:
        """The same in tiles of another size."""
        return replace(self, cut=replace(self.cut, tile=tile))

    @property
    def adds_detail(self) -> bool:
        """Whether levels start with detail of the content that the level before had not: all, or what is protected."""
        return self.look.keep_detail or self.terms.protect_strength > 0

    def needs_pictures(self, level: int) -> bool:
        """Without steps a level is only enlarged from the one before; the coarsest starts from the pictures."""
        return level == 0 or self.cut.levels[level].steps > 0 or self.look.keeps_chroma or self.adds_detail

    @property
    def moment_dtype(self) -> str:
        """Of Adam's moments in the store. Exact mode rounds nothing that the untiled optimiser would not."""
        kind = self.device.state_dtype
        return "bfloat16" if self.cut.mode == "fast" and kind == "float32" else kind

    @property
    def sums(self) -> dict[str, tuple[int, int]]:
        """Shape of what is summed of a region, of each layer in use."""
        return {layer: (rows(self.terms.statistics, count), count) for layer, count in self.network.channels}

    @property
    def measured(self) -> dict[str, tuple[int, int]]:
        """The same of all that is measured of a style, in the layers' order: the first says that all are there."""
        return {**{layer: self.sums[layer] for layer in self.terms.layers}, ROUGHNESS: (1, 2)}

    @property
    def style_sums(self) -> dict[str, tuple[int, int]]:
        """The same of the layers that are compared with the style's."""
        return {layer: shape for layer, shape in self.sums.items() if layer in self.terms.style_layers}

    def style_grid(self, level: int, style: int) -> TileGrid:
        """Cuts a style picture for measuring: nothing is blended, every sum is exact, and the target's last bits do not
        depend on how the poster is cut."""
        height, width = self.styles.sizes[level][style]
        return TileGrid.balanced(height, width, STYLE_TILE, 0, statistics_halo(self.terms.layers), self.cut.align)

    def measure_box(self, tile: Tile) -> Rect:
        """What measuring a tile has to read: no more than its statistics depend on."""
        exact = tile.core.grown(statistics_halo(self.terms.style_layers)).aligned(self.cut.align)
        return exact.intersection(tile.read) or tile.core

    def guides_path(self, level: int) -> str | None:
        """Where the store keeps a level's guides; None: its one region is everywhere."""
        return f"levels/{level}/guides" if self.styles.guided else None

    def protect_path(self, level: int) -> str | None:
        """Where the store keeps what is to be kept of a level's content; None: all of it weighs the same."""
        return f"levels/{level}/protect" if self.terms.protect_strength else None

    def style_guides_path(self, level: int, style: int) -> str | None:
        """Where the store keeps what part of a style counts; None: all of it."""
        return f"styles/{level}/{style}/guides" if self.styles.masked[style] else None
