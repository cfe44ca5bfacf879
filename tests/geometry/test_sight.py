"""Who sees whom, by pixels that are counted, and how many patches there are at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_blocks import COUNTS, GRIDS, tiles_of

from tiler.geometry import Rect, Tile, TileGrid
from tiler.geometry.blocks import seen, shares
from tiler.geometry.sight import most_at_once, round_order, sights, within
from tiler.geometry.tiles import Part


def _on(grid: TileGrid, rect: Rect) -> np.ndarray:
    """[height, width]: where a rectangle lies, over edges that wrap too."""
    found = np.zeros((grid.height, grid.width), bool)
    found[np.ix_(np.arange(rect.y0, rect.y1) % grid.height, np.arange(rect.x0, rect.x1) % grid.width)] = True
    return found


@given(GRIDS)
def test_a_tile_sees_the_patches_that_its_read_area_meets(grid):
    patches = {tile.index: _on(grid, tile.blend) for tile in grid}
    for tile, found in sights(grid).items():
        read = _on(grid, grid.tile(tile).read)
        assert found == {index for index, patch in patches.items() if (patch & read).any()}
        assert tile in found


def test_only_tiles_that_are_worked_on_see_and_are_seen():
    grid = TileGrid(48, 48, 16, 16, halo=16, part=Part((0, 1, 5), (1.0, 1.0, 1.0)))
    assert sights(grid) == {0: {0, 1}, 1: {0, 1, 5}, 5: {1, 5}}


def _read(tile: Tile) -> Rect:
    return tile.read


@given(GRIDS, COUNTS)
def test_of_a_share_those_come_first_that_others_see(grid, count):
    sees = sights(grid)
    parts = [tiles_of(share, grid) for share in shares(grid, count)]
    for number, own in enumerate(parts):
        others = [tile for i, part in enumerate(parts) if i != number for tile in part]
        border, rest = round_order(grid, own)
        assert {*border} == {*seen(grid, others, {*own}, _read)}
        assert sorted(border + rest) == sorted(own)
        inside = within({*own}, sees)
        columns = sorted(own, key=lambda tile: (tile % grid.cols, tile // grid.cols))
        orders = [[one for part in (border, rest) for one in order if one in part] for order in (sorted(own), columns)]
        assert border + rest in orders
        assert most_at_once(border + rest, inside) == min(most_at_once(order, inside) for order in orders)
        assert {tile: {*one} for tile, one in inside.items()} == {tile: sees[tile] & {*own} for tile in own}


@given(GRIDS, st.randoms())
def test_a_patch_is_there_until_all_who_see_it_had_their_round(grid, random):
    order = [tile.index for tile in grid]
    random.shuffle(order)
    sees = within({*order}, sights(grid))
    most = 0
    for done in range(len(order)):
        begun = {*order[:done]}
        old = {one for tile in order if tile not in begun for one in sees[tile]}
        most = max(most, len(old) + done + 1)
    assert most_at_once(order, sees) == most


@pytest.mark.parametrize(
    ("rows", "cols", "wrap", "most"),
    # A new row and two more; where the level wraps the last row sees the first, and in each the last tile the first.
    [
        (1, 1, False, 2),
        (8, 8, False, 64 + 8 + 2),
        (8, 8, True, 64 + 16 + 3),
        (2, 8, False, 16 + 2 + 2),
        (8, 2, False, 16 + 2 + 2),
    ],
)
def test_there_are_a_row_more_than_tiles_and_not_twice_as_many(rows, cols, wrap, most):
    grid = TileGrid(256 * rows, 256 * cols, 256, 256, 32, 64, 16, wrap, wrap)
    border, order = round_order(grid, range(len(grid)))
    assert not border
    assert most_at_once(order, within({*order}, sights(grid))) == most
