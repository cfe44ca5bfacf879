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
    def area(self) -> int:
        return self.height * self.width

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

    def shifted(self, down: int, right: int) -> Rect:
        return Rect(self.y0 + down, self.x0 + right, self.y1 + down, self.x1 + right)

    def relative_to(self, other: Rect) -> Rect:
        """The same box, counted from `other`'s first pixel."""
        return self.shifted(-other.y0, -other.x0)

    def strided(self, stride: int) -> Rect:
        """The feature cells of a layer with this stride: edges rounded up, as ceil-mode pooling does. None, where a box
        that is smaller than a cell begins within one."""
        return Rect(*(-(-edge // stride) for edge in (self.y0, self.x0, self.y1, self.x1)))

    def intersection(self, other: Rect) -> Rect | None:
        y0, x0 = max(self.y0, other.y0), max(self.x0, other.x0)
        y1, x1 = min(self.y1, other.y1), min(self.x1, other.x1)
        return Rect(y0, x0, y1, x1) if y0 < y1 and x0 < x1 else None

    def around(self, other: Rect) -> Rect:
        """The smallest box that holds both."""
        y0, x0, y1, x1 = min(self.y0, other.y0), min(self.x0, other.x0), max(self.y1, other.y1), max(self.x1, other.x1)
        return Rect(y0, x0, y1, x1)

    def pieces(self, height: int, width: int) -> Iterator[tuple[Rect, Rect]]:
        """Cut this box of a plane that repeats every height x width pixels into parts that lie in 0..height, 0..width:
        (the part there, where it belongs counted from this box's first pixel)."""
        page = Rect(0, 0, height, width)
        for down in range(self.y0 // height, -(-self.y1 // height)):
            for right in range(self.x0 // width, -(-self.x1 // width)):
                part = page.shifted(down * height, right * width).intersection(self)
                if part:
                    yield part.shifted(-down * height, -right * width), part.relative_to(self)


@dataclass(frozen=True)
class Tile:
    """One unit of work: `core` (owned) lies in `blend` (core + feather), which lies in `read` (blend + halo). Cores lie
    on the level; on an axis that wraps, `blend` and `read` may reach beyond it, and go on at the opposite edge."""

    index: int
    core: Rect
    blend: Rect
    read: Rect

    def shifted(self, down: int, right: int) -> Tile:
        moved = (rect.shifted(down, right) for rect in (self.core, self.blend, self.read))
        return Tile(self.index, *moved)


@dataclass(frozen=True)
class Part:
    """Some tiles of a level, in order, and how many times the statistics of each count where the level's are estimated
    from theirs."""

    tiles: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class TileGrid:
    """Cores of (core_height, core_width) pixels cover height x width exactly once; only the last row and column may be
    smaller. `align` is the backbone's stride: cores start, and reads start, on its multiples, so that every tile sees
    the same feature cells that the whole image has.

    wrap_y, wrap_x: the level continues at the opposite edge, so that the first and the last row (column) of tiles are
    neighbours; a tile that is alone on such an axis is its own. Its size is then a multiple of `align`.

    part: the tiles that are worked on, where these are not all: what is asked of the grid one by one, such as who
    overlaps whom, is asked of all; it counts and lists those of the part.
    """

    height: int
    width: int
    core_height: int
    core_width: int
    feather: int = 0
    halo: int = 0
    align: int = 16
    wrap_y: bool = False
    wrap_x: bool = False
    part: Part | None = None

    def __post_init__(self) -> None:
        for name, core, size, wrap in (
            ("height", self.core_height, self.height, self.wrap_y),
            ("width", self.core_width, self.width, self.wrap_x),
        ):
            if core < 1 or (core % self.align and core < size):
                raise ValueError(f"core_{name} = {core}, allowed: positive multiples of {self.align}")
            if wrap and size % self.align:
                raise ValueError(f"{name} = {size} wraps, allowed: multiples of {self.align}")
            for most in _feather_limits(core, size, wrap):
                if self.feather > most:
                    raise ValueError(f"feather = {self.feather}, allowed: 0 to half a core ({most})")
        if self.feather < 0 or self.halo < 0:
            raise ValueError(f"feather = {self.feather}, halo = {self.halo}, allowed: 0 or more")

    @classmethod
    def balanced(
        cls,
        height: int,
        width: int,
        tile: int,
        feather: int,
        halo: int,
        align: int = 16,
        wrap_y: bool = False,
        wrap_x: bool = False,
    ) -> TileGrid:
        """As few tiles as cores of at most `tile` pixels need, of nearly equal size."""

        def core(size: int) -> int:
            per_tile = -(-size // -(-size // tile))
            return -(-per_tile // align) * align

        core_height, core_width = core(height), core(width)
        limits = *_feather_limits(core_height, height, wrap_y), *_feather_limits(core_width, width, wrap_x)
        feather = min([feather, *limits])
        return cls(height, width, core_height, core_width, feather, halo, align, wrap_y, wrap_x)

    @property
    def rows(self) -> int:
        return -(-self.height // self.core_height)

    @property
    def cols(self) -> int:
        return -(-self.width // self.core_width)

    @property
    def places(self) -> int:
        """Of all tiles, worked on or not: their indices are below it."""
        return self.rows * self.cols

    def __len__(self) -> int:
        return self.places if self.part is None else len(self.part.tiles)

    @cached_property
    def _weights(self) -> dict[int, float]:
        return {} if self.part is None else dict(zip(self.part.tiles, self.part.weights, strict=True))

    def __contains__(self, index: object) -> bool:
        """Whether a tile is worked on."""
        return self.part is None or index in self._weights

    def weight(self, index: int) -> float:
        """How many times a tile's statistics count."""
        return 1.0 if self.part is None else self._weights[index]

    @property
    def alone(self) -> bool:
        """Whether one tile is the whole level and nobody's neighbour, not even its own."""
        return self.places == 1 and not (self.wrap_y or self.wrap_x)

    @property
    def patch_shape(self) -> tuple[int, int]:
        """(height, width) of the largest blend area."""
        rows, columns = self._first_of_each
        return max(tile.blend.height for tile in rows), max(tile.blend.width for tile in columns)

    @property
    def read_shape(self) -> tuple[int, int]:
        """(height, width) of the largest read area."""
        rows, columns = self._first_of_each
        return max(tile.read.height for tile in rows), max(tile.read.width for tile in columns)

    @property
    def _first_of_each(self) -> tuple[Iterator[Tile], Iterator[Tile]]:
        """A tile of each row and one of each column, which have all heights and widths that there are."""
        return (self.tile(row * self.cols) for row in range(self.rows)), map(self.tile, range(self.cols))

    def clipped(self, rect: Rect) -> Rect:
        """`rect` without what lies beyond the edges that do not wrap."""
        y0, y1 = (rect.y0, rect.y1) if self.wrap_y else (max(0, rect.y0), min(self.height, rect.y1))
        x0, x1 = (rect.x0, rect.x1) if self.wrap_x else (max(0, rect.x0), min(self.width, rect.x1))
        return Rect(y0, x0, y1, x1)

    @property
    def band_height(self) -> int:
        """Rows of a band as wide as the level: an eighth of a core's where that is a whole number, so that no band
        crosses the line between two cores."""
        rows = self.core_height
        return min(self.height, rows // 8 if rows % 8 == 0 else rows)

    def tile(self, index: int) -> Tile:
        if not 0 <= index < self.places:
            raise IndexError(f"tile {index} of {self.places}")
        row, col = divmod(index, self.cols)
        y0, x0 = row * self.core_height, col * self.core_width
        core = Rect(y0, x0, y0 + self.core_height, x0 + self.core_width).clipped(self.height, self.width)
        blend = self.clipped(core.grown(self.feather))
        read = self.clipped(blend.grown(self.halo).aligned(self.align))
        return Tile(index, core, blend, read)

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        return tuple(map(self.tile, range(self.places) if self.part is None else self.part.tiles))

    def __iter__(self) -> Iterator[Tile]:
        return iter(self.tiles)

    def overlapping(self, rect: Rect) -> Iterator[tuple[Tile, Rect]]:
        """Tiles whose blend area meets `rect`, each with the part that meets it, in tile order. On axes that wrap, a
        tile comes as often as it meets `rect`, moved by as many turns of the level as it takes."""
        reach = rect.grown(self.feather)
        rows = _cores_meeting(reach.y0, reach.y1, self.core_height, self.height, self.wrap_y)
        cols = list(_cores_meeting(reach.x0, reach.x1, self.core_width, self.width, self.wrap_x))
        for index, down, right in sorted((r * self.cols + c, down, right) for r, down in rows for c, right in cols):
            tile = self.tile(index).shifted(down, right)
            part = tile.blend.intersection(rect)
            if part:
                yield tile, part


def _feather_limits(core: int, size: int, wrap: bool) -> list[int]:
    """Half of every length of core that has a neighbour on both sides of its axis."""
    last = size - (-(-size // core) - 1) * core
    return [min(core, last) // 2] if wrap else [core // 2] if core < size else []


def _cores_meeting(start: int, stop: int, core: int, size: int, wrap: bool) -> Iterator[tuple[int, int]]:
    """(number along the axis, pixels it is moved by) of the cores that meet start..stop."""
    for turn in range(start // size, -(-stop // size)) if wrap else (0,):
        first, end = max(0, start - turn * size), min(size, stop - turn * size)
        for number in range(first // core, -(-end // core)):
            yield number, turn * size
