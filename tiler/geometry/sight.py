"""Which tiles see which: a tile's round reads all patches within its read area, so an old one is needed until the last
tile that sees it has had its round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Mapping, Sequence
from functools import lru_cache

from tiler.geometry.tiles import TileGrid

# By tile: whose patches it sees, its own among them.
Sights = Mapping[int, Collection[int]]


@lru_cache(4)
def sights(grid: TileGrid) -> Sights:
    """Of the tiles that are worked on, among each other."""
    own, cols = {tile.index for tile in grid}, range(grid.cols)
    across = [sorted({seen.index % grid.cols for seen, _ in grid.overlapping(grid.tile(col).read)}) for col in cols]
    found = {}
    for row in range(grid.rows):
        first = grid.tile(row * grid.cols)
        down = sorted({seen.index // grid.cols for seen, _ in grid.overlapping(first.read)})
        for col in cols:
            if first.index + col in own:
                seen = (grid.cols * one + other for one in down for other in across[col])
                found[first.index + col] = frozenset(seen) & own
    return found


def round_order(grid: TileGrid, tiles: Collection[int]) -> tuple[list[int], list[int]]:
    """A share of the tiles in the order of a round: those that others see, then the rest; along rows or along columns,
    whichever has fewer patches at once."""
    sees, own = sights(grid), {*tiles}
    shown = {seen for tile, all_seen in sees.items() if tile not in own for seen in all_seen}
    rows = sorted(own)
    both = rows, sorted(rows, key=lambda tile: (tile % grid.cols, tile))
    parted = [([tile for tile in one if tile in shown], [tile for tile in one if tile not in shown]) for one in both]
    inside = within(own, sees)
    return min(parted, key=lambda parts: most_at_once([*parts[0], *parts[1]], inside))


def within(own: Container[int], sees: Sights) -> dict[int, tuple[int, ...]]:
    """What the tiles of a share see of each other."""
    return {
        tile: tuple(sorted(one for one in all_seen if one in own)) for tile, all_seen in sees.items() if tile in own
    }


def most_at_once(tiles: Sequence[int], sees: Sights) -> int:
    """How many patches there are at once, at most, while these tiles have their round in turn: each leaves a new one,
    and an old one goes with the last round that sees it. sees: of no others."""
    waiting = Counter(one for tile in tiles for one in sees[tile])
    there = most = len(tiles)
    for tile in tiles:
        there += 1
        most = max(most, there)
        for one in sees[tile]:
            waiting[one] -= 1
            there -= not waiting[one]
    return most
