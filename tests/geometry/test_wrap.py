"""Levels that continue at the opposite edge: a torus, or a cylinder."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_tiles import holds
from whole_windows import defined_window, enlarging_matrix, feather_window

from tiler.geometry import Rect, TileGrid


@st.composite
def wrapped_grids(draw):
    """Grids that wrap along at least one axis; halos may reach round several times."""
    align, wrap = draw(st.sampled_from([1, 4, 16])), draw(st.sampled_from([(True, False), (False, True), (True, True)]))
    size = [align * draw(st.integers(1, 96 // align)) if w else draw(st.integers(1, 100)) for w in wrap]
    tile = align * draw(st.integers(1, 128 // align))
    tile = max(tile, max(size) // 8 // align * align)
    feather, halo = draw(st.integers(0, 40)), draw(st.integers(0, 200))
    return TileGrid.balanced(*size, tile, feather, halo, align, *wrap)


RECTS = st.builds(
    lambda y, x, h, w: Rect(y, x, y + h, x + w), *[st.integers(-300, 300)] * 2, *[st.integers(1, 200)] * 2
)


def indices(rect, grid):
    """Rows and columns of the level that `rect` stands for, for numpy's ix_."""
    return np.ix_(np.arange(rect.y0, rect.y1) % grid.height, np.arange(rect.x0, rect.x1) % grid.width)


@given(wrapped_grids())
def test_cores_cover_every_pixel_once_and_windows_sum_to_one(grid):
    seen, total = np.zeros((2, grid.height, grid.width))
    for tile in grid:
        seen[tile.core.slices] += 1
        window = feather_window(grid, tile)
        np.testing.assert_array_equal(window, defined_window(grid, tile))
        np.add.at(total, indices(tile.blend, grid), window)
    assert (seen == 1).all()
    assert np.abs(total - 1).max() < 1e-12


@given(wrapped_grids())
def test_tiles_reach_over_edges_that_wrap_and_over_no_others(grid):
    for tile in grid:
        assert holds(tile.read, tile.blend)
        assert holds(tile.blend, tile.core)
        for inner, read, size, wrap in (
            ((tile.core.y0, tile.core.y1), (tile.read.y0, tile.read.y1), grid.height, grid.wrap_y),
            ((tile.core.x0, tile.core.x1), (tile.read.x0, tile.read.x1), grid.width, grid.wrap_x),
        ):
            margins = inner[0] - read[0], read[1] - inner[1]
            if wrap:
                assert read[0] % grid.align == read[1] % grid.align == 0
                assert all(0 <= m - grid.halo - grid.feather < grid.align for m in margins)
            else:
                assert read[0] >= 0
                assert read[1] <= size


@given(wrapped_grids())
def test_patches_fit_the_shape_that_the_store_gives_them(grid):
    height, width = grid.patch_shape
    assert all(tile.blend.height <= height and tile.blend.width <= width for tile in grid)


def meeting(grid, rect):
    """What `overlapping` should yield, from a look at every tile at every turn."""
    turns = [
        range(-n, n + 1) if wrap else (0,)
        for n, wrap in ((800 // grid.height, grid.wrap_y), (800 // grid.width, grid.wrap_x))
    ]
    found = []
    for tile in grid:
        for down in turns[0]:
            for right in turns[1]:
                there = tile.shifted(down * grid.height, right * grid.width)
                part = there.blend.intersection(rect)
                if part:
                    found.append((there, part))
    return found


@given(wrapped_grids().filter(lambda grid: min(grid.height, grid.width) >= 16), RECTS)
def test_overlapping_yields_every_appearance_of_every_tile(grid, rect):
    assert list(grid.overlapping(rect)) == meeting(grid, rect)


@given(wrapped_grids(), RECTS, st.integers(-2, 2), st.integers(-2, 2))
def test_a_turn_of_the_level_changes_nothing(grid, rect, down, right):
    down, right = down * grid.height * grid.wrap_y, right * grid.width * grid.wrap_x
    here, there = grid.overlapping(rect), grid.overlapping(rect.shifted(down, right))
    for (tile, part), (moved_tile, moved_part) in zip(here, there, strict=True):
        assert (moved_tile, moved_part) == (tile.shifted(down, right), part.shifted(down, right))
        np.testing.assert_array_equal(
            feather_window(grid, tile, part), feather_window(grid, moved_tile, moved_part), strict=True
        )


@given(st.integers(1, 90), st.integers(1, 90), RECTS)
def test_pieces_put_together_are_the_box_of_the_repeated_plane(height, width, rect):
    plane = np.arange(height * width).reshape(height, width)
    found = np.full((rect.height, rect.width), -1)
    for inside, there in rect.pieces(height, width):
        assert (found[there.slices] == -1).all()
        found[there.slices] = plane[inside.slices]
    np.testing.assert_array_equal(found, plane[indices(rect, TileGrid(height, width, 128, 128))])


def periodic(size, source_size, start=0, stop=None):
    return enlarging_matrix(size, source_size, start, stop, wrap=True)


@given(st.integers(1, 12), st.integers(1, 20), st.integers(1, 19))
def test_upscaling_a_rolled_axis_rolls_the_result(factor, source_size, by):
    rows = periodic(factor * source_size, source_size)
    np.testing.assert_allclose(np.roll(rows, (factor * by, by), (0, 1)), rows, rtol=0, atol=1e-12)
    assert np.abs(rows.sum(axis=1) - 1).max() < 1e-12


@given(st.integers(1, 150), st.integers(1, 150), st.data())
def test_any_cut_of_an_axis_that_wraps_gives_the_same_rows(size, source_size, data):
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    np.testing.assert_array_equal(
        periodic(size, source_size, start, stop), periodic(size, source_size)[start:stop], strict=True
    )


def test_upscaling_leaves_no_edge_where_the_axis_wraps():
    wave = np.sin(2 * np.pi * (np.arange(32) + 0.5) / 32)
    fine = np.sin(2 * np.pi * (np.arange(64) + 0.5) / 64)
    assert np.abs(periodic(64, 32) @ wave - fine).max() < 1e-3


def test_sizes_that_would_cut_a_feature_cell_in_two_are_refused():
    with pytest.raises(ValueError, match="width = 40 wraps, allowed: multiples of 16"):
        TileGrid(48, 40, 64, 64, wrap_x=True)
    TileGrid(40, 48, 64, 64, wrap_x=True)


def test_a_feather_may_not_meet_itself_inside_the_last_core():
    with pytest.raises(ValueError, match="feather = 9"):
        TileGrid(48, 48, 32, 64, feather=9, wrap_y=True)
    assert TileGrid.balanced(48, 48, 32, 16, 0, wrap_y=True).feather == 8
