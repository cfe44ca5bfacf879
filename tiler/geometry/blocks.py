"""A grid of tiles cut in halves again and again: one binary tree, by which tiles are shared out and sums are added.

The tree depends on the grid alone. Its nodes are rectangles of tiles, so neighbours mostly live together, and a sum
over a node is the sum of its halves': whoever adds up which nodes, the last bits are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

from tiler.geometry.tiles import Rect, Tile, TileGrid

Sum = TypeVar("Sum")
# A share with so much more than the mean is not worth waiting for.
_EVEN = 1.1
_DEEPEST = 12


@dataclass(frozen=True)
class Node:
    """Tiles of the rows row0..row1-1 and the columns col0..col1-1 of a grid."""

    row0: int
    col0: int
    row1: int
    col1: int

    def __len__(self) -> int:
        return (self.row1 - self.row0) * (self.col1 - self.col0)

    def tiles(self, grid: TileGrid) -> Iterator[int]:
        """Indices of those that are worked on, in order."""
        if grid.part is None:
            for row in range(self.row0, self.row1):
                yield from range(row * grid.cols + self.col0, row * grid.cols + self.col1)
        else:
            for index in grid.part.tiles:
                row, col = divmod(index, grid.cols)
                if self.row0 <= row < self.row1 and self.col0 <= col < self.col1:
                    yield index

    def count(self, grid: TileGrid) -> int:
        """How many tiles are worked on."""
        return len(self) if grid.part is None else sum(1 for _ in self.tiles(grid))

    def halves(self) -> tuple[Node, Node] | None:
        """Cut across the longer side, in tiles; None for a single tile."""
        rows, cols = self.row1 - self.row0, self.col1 - self.col0
        if rows == cols == 1:
            return None
        if rows >= cols:
            cut = self.row0 + (rows + 1) // 2
            return Node(self.row0, self.col0, cut, self.col1), Node(cut, self.col0, self.row1, self.col1)
        cut = self.col0 + (cols + 1) // 2
        return Node(self.row0, self.col0, self.row1, cut), Node(self.row0, cut, self.row1, self.col1)

    def worked(self, grid: TileGrid) -> list[Node]:
        """Those of its halves in which tiles are worked on; none for a single tile."""
        return [half for half in self.halves() or () if half.count(grid)]


def root(grid: TileGrid) -> Node:
    """All tiles."""
    return Node(0, 0, grid.rows, grid.cols)


def _at_depth(grid: TileGrid, node: Node, depth: int) -> list[Node]:
    halves = node.worked(grid) if depth else []
    return [found for half in halves for found in _at_depth(grid, half, depth - 1)] if halves else [node]


def shares(grid: TileGrid, count: int) -> list[tuple[Node, ...]]:
    """All tiles in up to `count` shares of nearly as many tiles each, neighbours together; none is empty."""
    count = min(count, len(grid))
    found: list[tuple[Node, ...]] = []
    for depth in range(_DEEPEST):
        nodes = _at_depth(grid, root(grid), depth)
        if len(nodes) < count:
            continue
        found = _in_order(grid, nodes, count)
        most = max(_count(grid, share) for share in found)
        if most <= _EVEN * len(grid) / count or len(nodes) == len(grid):
            break
    return found


def _count(grid: TileGrid, nodes: Sequence[Node]) -> int:
    return sum(node.count(grid) for node in nodes)


def _in_order(grid: TileGrid, nodes: Sequence[Node], count: int) -> list[tuple[Node, ...]]:
    """Neighbours in the tree stay together."""
    left, rest, found = _count(grid, nodes), list(nodes), []
    for others in range(count - 1, -1, -1):
        share, mean = [rest.pop(0)], left / (others + 1)
        while len(rest) > others and _count(grid, share) + rest[0].count(grid) / 2 <= mean:
            share.append(rest.pop(0))
        left -= _count(grid, share)
        found.append(tuple(share) if others else (*share, *rest))
    return found


def summed(node: Node, grid: TileGrid, of_tile: Callable[[int], Sum], add: Callable[[Sum, Sum], Sum]) -> Sum:
    """The sum over a node's tiles that are worked on, in the tree's order."""
    halves = node.worked(grid)
    if not halves:
        return of_tile(node.row0 * grid.cols + node.col0)
    return reduce(add, (summed(half, grid, of_tile, add) for half in halves))


def joined(grid: TileGrid, parts: Mapping[Node, Sum], add: Callable[[Sum, Sum], Sum]) -> Sum:
    """The sum over all tiles from the sums over nodes that cover it once."""

    def of(node: Node) -> Sum:
        if node in parts:
            return parts[node]
        halves = node.worked(grid)
        assert halves, f"{node} has no sum"
        return reduce(add, map(of, halves))

    return of(root(grid))


def seen(grid: TileGrid, others: Sequence[int], own: Container[int], box: Callable[[Tile], Rect]) -> dict[int, Rect]:
    """Of the tiles in `own`: what part of its patch, in the patch's own pixels, the `others` look at. box: how far one
    looks, such as its read area."""
    found: dict[int, Rect] = {}
    for other in others:
        for tile, part in grid.overlapping(box(grid.tile(other))):
            if tile.index in own:
                inner = part.relative_to(tile.blend)
                found[tile.index] = found.get(tile.index, inner).around(inner)
    return found
