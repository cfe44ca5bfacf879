"""A part of a poster as large as it will be: which tiles of each level are worth their while, and how much of the level
each stands for. Integers, and weights made of them.

The part's own tiles are there on every level, with all that they read of the level before. Beside them stands a sample
of the others, the same spots on every level, so that on each level a spot begins with what it came to on the one
before. From these tiles a level's statistics are estimated (as in stratified sampling: the part's own are known, the
sample stands for the rest by its area).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice

from tiler.geometry.tiles import Part, Rect, TileGrid

# Spots of the sample: with 10 a square of 768 px takes less than 5 % of the work of a poster of 16384 px.
SAMPLE = 10
# A level of whose tiles so much would be wanted is rendered as a whole.
_MOST = 0.5
# Steps of Roberts' R2 sequence (2018), which fills a square more evenly than chance: powers of 1 / plastic number.
_STEP_Y, _STEP_X = 0.7548776662466927, 0.5698402909980532
# Pixels around what is read of the level before: what cubic interpolation reaches for.
_TAPS = 2


def parts(grids: Sequence[TileGrid], crop: Rect) -> list[Part | None]:
    """For each level, coarsest first, what of it is rendered; None: all. grids: of the levels, in tiles as a part has
    them. crop: of the finest level. Whole levels come first, the coarsest among them."""
    own = _own(grids, crop)
    whole = max(k for k, grid in enumerate(grids) if k == 0 or len(own[k]) + SAMPLE > _MOST * len(grid))
    found: list[Part | None] = [None] * len(grids)
    spots: list[tuple[float, float]] = []
    for k in range(whole + 1, len(grids)):
        spots = spots or list(_spots(grids[k], own[k]))
        sample = {_tile_at(grids[k], spot) for spot in spots} - own[k]
        found[k] = _weighted(grids[k], own[k], sample)
    return found


def _own(grids: Sequence[TileGrid], crop: Rect) -> list[set[int]]:
    """Of each level the tiles that show in the crop, or in what the crop's tiles of the next level read."""
    found: list[set[int]] = [set() for _ in grids]
    for k in range(len(grids) - 1, -1, -1):
        tiles = [tile for tile, _ in grids[k].overlapping(crop)]
        found[k] = {tile.index for tile in tiles}
        read = tiles[0].read
        for tile in tiles[1:]:
            read = read.around(tile.read)
        if k:
            crop = below(read, grids[k], grids[k - 1])
    return found


def below(rect: Rect, grid: TileGrid, before: TileGrid) -> Rect:
    """What of the level before is looked at for `rect` of a level that begins with it, enlarged."""
    y0, y1 = rect.y0 * before.height // grid.height, -(-rect.y1 * before.height // grid.height)
    x0, x1 = rect.x0 * before.width // grid.width, -(-rect.x1 * before.width // grid.width)
    return before.clipped(Rect(y0, x0, y1, x1).grown(_TAPS))


def _spots(grid: TileGrid, own: set[int]) -> Iterator[tuple[float, float]]:
    """(down, across) as shares of the level, each in a tile of its own that is none of the `own`."""
    taken = set(own)
    for number in islice(count(1), 64 * SAMPLE):
        spot = (0.5 + number * _STEP_Y) % 1, (0.5 + number * _STEP_X) % 1
        tile = _tile_at(grid, spot)
        if tile not in taken:
            taken.add(tile)
            yield spot
        if len(taken) == len(own) + SAMPLE:
            return


def _tile_at(grid: TileGrid, spot: tuple[float, float]) -> int:
    row, col = int(spot[0] * grid.height) // grid.core_height, int(spot[1] * grid.width) // grid.core_width
    return row * grid.cols + col


def _weighted(grid: TileGrid, own: set[int], sample: set[int]) -> Part:
    """Together the weighted cores are as large as the level."""
    areas = {index: grid.tile(index).core.area for index in own | sample}
    known = sum(areas[index] for index in own) if sample else 0
    stands_for = sample or own
    weight = (grid.height * grid.width - known) / sum(areas[index] for index in stands_for)
    tiles = sorted(areas)
    return Part(tuple(tiles), tuple(weight if index in stands_for else 1.0 for index in tiles))
