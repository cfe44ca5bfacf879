"""Tiles in shares: all of them once, nearly even, and sums that do not depend on who holds what."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_tiles import ANY_GRID, holds
from test_wrap import wrapped_grids

from tiler.geometry import Rect, TileGrid
from tiler.geometry.blocks import Node, joined, root, seen, shares, summed

GRIDS = st.one_of(ANY_GRID, wrapped_grids())
# The tree knows rows and columns only.
TABLES = st.builds(lambda rows, cols: TileGrid(16 * rows, 16 * cols, 16, 16), st.integers(1, 40), st.integers(1, 40))
COUNTS = st.integers(1, 40)


def tiles_of(share: tuple[Node, ...], grid: TileGrid) -> list[int]:
    return [index for node in share for index in node.tiles(grid)]


def nodes_of(node: Node) -> list[Node]:
    """The whole tree."""
    halves = node.halves()
    return [node] if halves is None else [node, *nodes_of(halves[0]), *nodes_of(halves[1])]


# The tree ---------------------------------------------------------------------------------------------------------


@given(TABLES)
def test_halves_are_what_a_node_is_cut_into(grid):
    assert list(root(grid).tiles(grid)) == list(range(len(grid)))
    for node in nodes_of(root(grid)):
        tiles, halves = list(node.tiles(grid)), node.halves()
        assert len(node) == len(tiles) == len(set(tiles)) > 0
        if halves is None:
            assert len(node) == 1
            continue
        assert sorted(tiles_of(halves, grid)) == sorted(tiles)
        rows, cols = ({divmod(tile, grid.cols)[axis] for tile in tiles} for axis in (0, 1))
        # Across the longer side, in the middle.
        cut = [{divmod(tile, grid.cols)[len(cols) > len(rows)] for tile in half.tiles(grid)} for half in halves]
        assert not cut[0] & cut[1]
        assert 0 <= len(cut[0]) - len(cut[1]) <= 1


def test_a_tree_written_out():
    grid = TileGrid(3 * 16, 5 * 16, 16, 16)
    first, second = root(grid).halves()
    assert list(first.tiles(grid)) == [0, 1, 2, 5, 6, 7, 10, 11, 12]
    assert list(second.tiles(grid)) == [3, 4, 8, 9, 13, 14]
    assert [list(half.tiles(grid)) for half in second.halves()] == [[3, 4, 8, 9], [13, 14]]


# Shares -----------------------------------------------------------------------------------------------------------


@given(TABLES, COUNTS)
def test_every_tile_is_in_one_share_and_none_is_empty(grid, count):
    found = shares(grid, count)
    assert len(found) == min(count, len(grid))
    assert all(share and tiles_of(share, grid) for share in found)
    assert sorted(tile for share in found for tile in tiles_of(share, grid)) == list(range(len(grid)))


@given(TABLES, COUNTS)
def test_shares_are_of_nodes_of_the_tree(grid, count):
    """So that the sums over them are among those that the tree has."""
    tree = set(nodes_of(root(grid)))
    assert {node for share in shares(grid, count) for node in share} <= tree


@given(TABLES, COUNTS)
def test_shares_are_nearly_even(grid, count):
    """A tenth above the mean at most, or a tile where there are few."""
    sizes = [len(tiles_of(share, grid)) for share in shares(grid, count)]
    mean = len(grid) / len(sizes)
    assert max(sizes) <= max(1.1 * mean, mean + 1)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 10))
def test_powers_of_two_are_shared_evenly_in_one_piece_each(rows, cols, count):
    grid, count = TileGrid(16 << rows, 16 << cols, 16, 16), 2 ** min(count, rows + cols)
    found = shares(grid, count)
    assert [len(share) for share in found] == [1] * count
    assert {len(share[0]) for share in found} == {len(grid) // count}


@given(TABLES, COUNTS, st.integers(1, 9))
def test_shares_depend_on_the_grid_s_rows_and_columns_and_the_count_alone(grid, count, side):
    other = TileGrid(32 * grid.rows, 32 * grid.cols - side, 32, 32, feather=side, halo=16 * side)
    assert shares(grid, count) == shares(other, count) == shares(grid, count)


@given(TABLES, COUNTS)
def test_shares_follow_the_tree(grid, count):
    """Neighbours in it stay together: what a share holds is a stretch of the tree's order."""
    place = {tile: i for i, tile in enumerate(node.row0 * grid.cols + node.col0 for node in leaves(root(grid)))}
    order = [tile for share in shares(grid, count) for node in share for tile in tiles_in_order(node, grid)]
    assert all(place[one] + 1 == place[after] for one, after in pairwise(order))


def leaves(node: Node) -> list[Node]:
    return [one for one in nodes_of(node) if len(one) == 1]


def tiles_in_order(node: Node, grid: TileGrid) -> list[int]:
    return [leaf.row0 * grid.cols + leaf.col0 for leaf in leaves(node)]


# Sums -------------------------------------------------------------------------------------------------------------


@given(TABLES, st.lists(COUNTS, min_size=1, max_size=5), st.integers(0, 2**32))
def test_sums_are_the_same_to_the_last_bit_however_tiles_are_shared(grid, counts, seed):
    random = np.random.default_rng(seed)
    values = random.normal(size=len(grid)) * 10.0 ** random.integers(-9, 9, len(grid))

    def add(one: float, other: float) -> float:
        return one + other

    whole = summed(root(grid), grid, lambda tile: float(values[tile]), add)
    assert whole == pytest.approx(values.sum(), rel=1e-9, abs=1e-12 * np.abs(values).sum())
    for count in counts:
        parts = [
            (node, summed(node, grid, lambda tile: float(values[tile]), add))
            for share in shares(grid, count)
            for node in share
        ]
        random.shuffle(parts)
        assert joined(grid, dict(parts), add) == whole, count


@given(TABLES, COUNTS)
def test_every_tile_is_added_once_in_the_tree_s_order(grid, count):
    """Adding that shows its brackets."""

    def sums(node: Node) -> str:
        return summed(node, grid, str, lambda one, other: f"({one} {other})")

    parts = {node: sums(node) for share in shares(grid, count) for node in share}
    text = joined(grid, parts, lambda one, other: f"({one} {other})")
    assert text == sums(root(grid))
    assert sorted(map(int, text.replace("(", "").replace(")", "").split())) == list(range(len(grid)))


def test_sums_that_lack_a_tile_are_none():
    grid = TileGrid(32, 32, 16, 16)
    first, _ = root(grid).halves()
    with pytest.raises(AssertionError, match="has no sum"):
        joined(grid, {first: 1.0}, lambda one, other: one + other)


# What others see --------------------------------------------------------------------------------------------------


def read_area(tile):
    return tile.read


def blend_area(tile):
    return tile.blend


@given(GRIDS, COUNTS, st.sampled_from([read_area, blend_area]), st.data())
def test_what_is_sent_is_what_others_look_at(grid, count, box, data):
    """Every part of a patch that another block's tile reads lies in what is sent, and nothing is sent for nothing: each
    of the four edges is one that somebody's part has."""
    parts = [tiles_of(share, grid) for share in shares(grid, count)]
    number = data.draw(st.integers(0, len(parts) - 1))
    own, others = set(parts[number]), [tile for i, part in enumerate(parts) if i != number for tile in part]
    sent, looked = seen(grid, others, own, box), {}
    for other in others:
        for tile, part in grid.overlapping(box(grid.tile(other))):
            if tile.index in own:
                looked.setdefault(tile.index, []).append(part.relative_to(tile.blend))
    assert sent.keys() == looked.keys()
    for index, inner in looked.items():
        patch = grid.tile(index).blend
        assert all(holds(sent[index], one) for one in inner)
        assert holds(patch.relative_to(patch), sent[index])
        for edge in ("y0", "x0", "y1", "x1"):
            assert getattr(sent[index], edge) in {getattr(one, edge) for one in inner}


@given(GRIDS, COUNTS)
def test_own_patches_and_what_was_sent_are_all_that_a_block_reads(grid, count):
    """Pixel by pixel, over edges that wrap as well."""
    parts = [tiles_of(share, grid) for share in shares(grid, count)]
    for number, mine in enumerate(parts[:3]):
        sent: dict[int, Rect] = {}
        for other, own in enumerate(parts):
            if other != number:
                sent.update(seen(grid, mine, set(own), read_area))
        here = {tile: np.zeros((grid.tile(tile).blend.height, grid.tile(tile).blend.width), bool) for tile in sent}
        for tile, part in sent.items():
            here[tile][part.slices] = True
        for index in mine[:6]:
            for tile, part in grid.overlapping(grid.tile(index).read):
                if tile.index not in mine:
                    assert here[tile.index][part.relative_to(tile.blend).slices].all()


def test_what_is_seen_written_out():
    """Two tiles side by side, feather 4, halo 16: each sees the other's patch but for what lies too far off."""
    grid = TileGrid(32, 96, 48, 48, feather=4, halo=16, align=16)
    # Tile 1 has its core at 48..96, blends from 44 and reads from 16 (28, aligned); tile 0's patch is 0..52.
    assert seen(grid, [1], {0}, read_area) == {0: Rect(0, 16, 32, 52)}
    assert seen(grid, [1], {0}, blend_area) == {0: Rect(0, 44, 32, 52)}
    assert seen(grid, [0], {1}, read_area) == {1: Rect(0, 0, 32, 36)}
    assert seen(grid, [0], {0}, blend_area) == {0: Rect(0, 0, 32, 52)}
    assert seen(grid, [], {0}, read_area) == seen(grid, [1], set(), read_area) == {}


def test_over_an_edge_that_wraps_both_sides_are_seen():
    grid = TileGrid(32, 96, 48, 48, feather=4, halo=0, align=16, wrap_x=True)
    # Tile 0's patch is -4..52; tile 1 reads 32..112, and 96..112 are 0..16 again, where tile 0 begins at 92.
    assert seen(grid, [1], {0}, blend_area) == {0: Rect(0, 0, 32, 56)}
