import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tiles import ANY_GRID
from whole_windows import defined_window, enlarging_matrix, feather_window

from tiler.geometry import Rect, TileGrid


def window_sum(grid):
    total = np.zeros((grid.height, grid.width))
    for tile in grid:
        total[tile.blend.slices] += feather_window(grid, tile)
    return total


@given(ANY_GRID)
def test_windows_sum_to_one_everywhere(grid):
    assert np.abs(window_sum(grid) - 1).max() < 1e-12


@pytest.mark.parametrize(
    ("height", "width", "core", "feather"),
    [(33, 33, 16, 8), (1, 999, 16, 8), (999, 1, 32, 16), (17, 16, 16, 8), (49, 50, 16, 0), (5, 3, 16, 40)],
)
def test_windows_sum_to_one_at_ragged_ends(height, width, core, feather):
    grid = TileGrid(height, width, core, core, feather)
    assert np.abs(window_sum(grid) - 1).max() < 1e-12


@given(ANY_GRID, st.data())
def test_window_of_a_part_is_a_part_of_the_window(grid, data):
    tile = grid.tile(data.draw(st.integers(0, len(grid) - 1)))
    blend = tile.blend
    y0, y1 = sorted(data.draw(st.tuples(*[st.integers(blend.y0, blend.y1)] * 2)))
    x0, x1 = sorted(data.draw(st.tuples(*[st.integers(blend.x0, blend.x1)] * 2)))
    part = Rect(y0, x0, y1, x1)
    whole = feather_window(grid, tile)
    assert whole.min() >= 0
    np.testing.assert_array_equal(feather_window(grid, tile, part), whole[part.relative_to(blend).slices])


@given(ANY_GRID, st.data())
def test_stretches_put_together_are_the_window_by_its_definition(grid, data):
    tile = grid.tile(data.draw(st.integers(0, len(grid) - 1)))
    np.testing.assert_array_equal(feather_window(grid, tile), defined_window(grid, tile))


def test_ramps_are_linear_and_reach_over_the_whole_overlap():
    grid = TileGrid(1, 64, 32, 32, feather=4)
    left, right = (feather_window(grid, tile)[0] for tile in grid)
    ramp = (np.arange(8) + 0.5) / 8
    np.testing.assert_allclose(right[:8], ramp, atol=1e-7)
    np.testing.assert_allclose(left[-8:], ramp[::-1], atol=1e-7)
    assert (left[:28] == 1).all()
    assert (right[8:] == 1).all()


AXES = st.tuples(st.integers(1, 200), st.integers(1, 200))
UP = st.tuples(st.integers(1, 60), st.integers(0, 140)).map(lambda pair: (pair[0] + pair[1], pair[0]))


@given(AXES)
def test_rows_sum_to_one(axes):
    assert np.abs(enlarging_matrix(*axes).sum(axis=1) - 1).max() < 1e-12


@given(AXES, st.data())
def test_any_cut_gives_the_same_rows(axes, data):
    size = axes[0]
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start + 1, size))
    np.testing.assert_array_equal(enlarging_matrix(*axes, start, stop), enlarging_matrix(*axes)[start:stop])


@given(UP, st.lists(st.floats(-2, 2), min_size=3, max_size=3))
@settings(max_examples=200)
def test_polynomials_up_to_quadratic_come_back_in_the_interior(axes, terms):
    """Keys' kernel reproduces quadratics wherever none of its four taps lies outside the source."""
    size, source_size = axes
    polynomial = np.polynomial.Polynomial(terms)
    centres = (np.arange(size) + 0.5) / size
    source = polynomial((np.arange(source_size) + 0.5) / source_size)
    left = np.floor(centres * source_size - 0.5)
    interior = (left >= 1) & (left + 2 <= source_size - 1)
    error = np.abs(enlarging_matrix(*axes) @ source - polynomial(centres))
    assert error[interior].max(initial=0) < 1e-12 * (1 + np.abs(source).max())


@given(UP)
def test_a_ramp_never_leaves_its_range_by_more_than_the_kernels_negative_lobe(axes):
    source_size, lobe = axes[1], 2 / 27
    source = np.linspace(0, 1, source_size)
    values = enlarging_matrix(*axes) @ source
    step = 1 / max(1, source_size - 1)
    assert values.min() >= -lobe * step - 1e-12
    assert values.max() <= source[-1] + lobe * step + 1e-12


@pytest.mark.parametrize("size", [1, 2, 3, 17, 100])
def test_equal_sizes_give_the_identity(size):
    np.testing.assert_array_equal(enlarging_matrix(size, size), np.eye(size))


@pytest.mark.parametrize(("size", "source_size"), [(9, 1), (16, 8), (31, 7)])
def test_orientation_is_kept(size, source_size):
    rows = enlarging_matrix(size, source_size)
    np.testing.assert_allclose(rows, rows[::-1, ::-1], atol=1e-12)
    centre_of_mass = rows @ np.arange(source_size)
    assert (np.diff(centre_of_mass) >= -1e-12).all()
