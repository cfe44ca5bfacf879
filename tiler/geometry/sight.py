"""Which tiles see which: a tile's round reads all patches within its read area, so an old one is needed until the last
tile that sees it has had its round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence

from tiler.geometry.tiles import TileGrid

# By tile: whose patches it sees, its own among them.
Sights = Mapping[int, Iterable[int]]


def sights(grid: TileGrid) -> dict[int, frozenset[int]]:
    """Of the tiles that are worked on, among each other."""
    found = {tile.index: {seen.index for seen, _ in grid.overlapping(tile.read)} for tile in grid}
    return {tile: frozenset(seen & found.keys()) for tile, seen in found.items()}


def border_first(tiles: Sequence[int], sees: Sights) -> tuple[list[int], list[int]]:
    """A share of the tiles, parted into those that others see and the rest, each in its order."""
    own = {*tiles}
    shown = {seen for tile, all_seen in sees.items() if tile not in own for seen in all_seen}
    return [tile for tile in tiles if tile in shown], [tile for tile in tiles if tile not in shown]


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
