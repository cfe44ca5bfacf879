"""Rectangles, and the grid of overlapping tiles that covers a level. Order is always (y, x)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Rect:
    """Half-open box of pixels: rows y0..y1-1, columns x0..x1-1."""

    y0: int
    x0: int
    y1: int
    x1: int

    def __post_init__(self) -> None:
        if self.y1 < self.y0 or self.x1 < self.x0:
            raise ValueError(f"{self} ends before it starts")

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grown(self, by: int) -> Rect:
        return Rect(self.y0 - by, self.x0 - by, self.y1 + by, self.x1 + by)

    def clipped(self, height: int, width: int) -> Rect:
        return Rect(max(0, self.y0), max(0, self.x0), min(height, self.y1), min(width, self.x1))

    def aligned(self, to: int) -> Rect:
        """The smallest box with all edges on multiples of `to` that holds this one."""
        return Rect(self.y0 // to * to, self.x0 // to * to, -(-self.y1 // to) * to, -(-self.x1 // to) * to)

    def relative_to(self, other: Rect) -> Rect:
        """The same box, counted from `other`'s first pixel."""
        return Rect(self.y0 - other.y0, self.x0 - other.x0, self.y1 - other.y0, self.x1 - other.x0)

    def strided(self, stride: int) -> Rect:
        """The feature cells of a layer with this stride: edges rounded up, as ceil-mode pooling does."""
        return Rect(*(-(-edge // stride) for edge in (self.y0, self.x0, self.y1, self.x1)))

    def intersection(self, other: Rect) -> Rect | None:
        y0, x0 = max(self.y0, other.y0), max(self.x0, other.x0)
        y1, x1 = min(self.y1, other.y1), min(self.x1, other.x1)
        return Rect(y0, x0, y1, x1) if y0 < y1 and x0 < x1 else None


@dataclass(frozen=True)
class Tile:
    """One unit of work: `core` (owned) lies in `blend` (core + feather), which lies in `read` (blend + halo)."""

    index: int
    row: int
    col: int
    core: Rect
    blend: Rect
    read: Rect


@dataclass(frozen=True)
class TileGrid:
    """Cores of (core_height, core_width) pixels cover height x width exactly once; only the last row and column may be
    smaller. `align` is the backbone's stride: cores start, and reads start, on its multiples, so that every tile sees
    the same feature cells that the whole image has.
    """

    height: int
    width: int
    core_height: int
    core_width: int
    feather: int = 0
    halo: int = 0
    align: int = 16

    def __post_init__(self) -> None:
        for name, core, size in (("height", self.core_height, self.height), ("width", self.core_width, self.width)):
            if core < 1 or (core % self.align and core < size):
                raise ValueError(f"core_{name} = {core}, allowed: positive multiples of {self.align}")
            if core < size and 2 * self.feather > core:
                raise ValueError(f"feather = {self.feather}, allowed: 0 to half a core ({core // 2})")
        if self.feather < 0 or self.halo < 0:
            raise ValueError(f"feather = {self.feather}, halo = {self.halo}, allowed: 0 or more")

    @classmethod
    def balanced(cls, height: int, width: int, tile: int, feather: int, halo: int, align: int = 16) -> TileGrid:
        """As few tiles as cores of at most `tile` pixels need, of nearly equal size."""

        def core(size: int) -> int:
            per_tile = -(-size // -(-size // tile))
            return -(-per_tile // align) * align

        core_height, core_width = core(height), core(width)
        tiled = [c for c, size in ((core_height, height), (core_width, width)) if c < size]
        return cls(height, width, core_height, core_width, min([feather, *(c // 2 for c in tiled)]), halo, align)

    @property
    def rows(self) -> int:
        return -(-self.height // self.core_height)

    @property
    def cols(self) -> int:
        return -(-self.width // self.core_width)

    def __len__(self) -> int:
        return self.rows * self.cols

    @property
    def patch_shape(self) -> tuple[int, int]:
        """(height, width) that holds any tile's blend area."""
        return (
            min(self.height, self.core_height + 2 * self.feather),
            min(self.width, self.core_width + 2 * self.feather),
        )

    def tile(self, index: int) -> Tile:
        if not 0 <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        row, col = divmod(index, self.cols)
        y0, x0 = row * self.core_height, col * self.core_width
        core = Rect(y0, x0, y0 + self.core_height, x0 + self.core_width).clipped(self.height, self.width)
        blend = core.grown(self.feather).clipped(self.height, self.width)
        read = blend.grown(self.halo).aligned(self.align).clipped(self.height, self.width)
        return Tile(index, row, col, core, blend, read)

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        return tuple(self.tile(i) for i in range(len(self)))

    def __iter__(self) -> Iterator[Tile]:
        return iter(self.tiles)

    def overlapping(self, rect: Rect) -> Iterator[tuple[Tile, Rect]]:
        """Tiles whose blend area meets `rect`, each with the part that meets it, in tile order."""
        reach = rect.grown(self.feather).clipped(self.height, self.width)
        for row in range(reach.y0 // self.core_height, -(-reach.y1 // self.core_height)):
            for col in range(reach.x0 // self.core_width, -(-reach.x1 // self.core_width)):
                tile = self.tile(row * self.cols + col)
                part = tile.blend.intersection(rect)
                if part:
                    yield tile, part
