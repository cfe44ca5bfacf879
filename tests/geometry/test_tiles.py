import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiler.geometry import Rect, TileGrid

ALIGN = st.sampled_from([1, 2, 4, 8, 16])
# Squarish, thin and one-pixel levels alike.
SIZE = st.one_of(
    st.tuples(st.integers(1, 150), st.integers(1, 150)),
    st.tuples(st.integers(1, 3), st.integers(1, 2000)),
    st.tuples(st.integers(1, 2000), st.integers(1, 3)),
)


@st.composite
def grids(draw):
    (height, width), align = draw(SIZE), draw(ALIGN)
    cores = [align * draw(st.integers(1, 200 // align)) for _ in range(2)]
    cores = [max(core, size // 12 // align * align) for core, size in zip(cores, (height, width), strict=True)]
    limits = [core // 2 for core, size in zip(cores, (height, width), strict=True) if core < size]
    feather = draw(st.integers(0, min([40, *limits])))
    return TileGrid(height, width, *cores, feather, draw(st.integers(0, 80)), align)


@st.composite
def balanced_grids(draw):
    (height, width), align = draw(SIZE), draw(ALIGN)
    tile = align * draw(st.integers(1, 128 // align))
    tile = max(tile, max(height, width) // 20 // align * align)
    return tile, TileGrid.balanced(height, width, tile, draw(st.integers(0, 40)), draw(st.integers(0, 80)), align)


ANY_GRID = st.one_of(grids(), balanced_grids().map(lambda pair: pair[1]))


def holds(outer: Rect, inner: Rect) -> bool:
    return outer.y0 <= inner.y0 and outer.x0 <= inner.x0 and outer.y1 >= inner.y1 and outer.x1 >= inner.x1


@given(ANY_GRID)
def test_cores_cover_every_pixel_once(grid):
    seen = np.zeros((grid.height, grid.width), int)
    for tile in grid:
        seen[tile.core.slices] += 1
    assert (seen == 1).all()
    assert len(grid) == grid.rows * grid.cols == len(grid.tiles)


@given(ANY_GRID)
def test_no_band_crosses_a_core_line(grid):
    assert 1 <= grid.band_height <= min(grid.core_height, grid.height)
    assert all(tile.core.y0 % grid.band_height == 0 for tile in grid)


@given(ANY_GRID)
def test_tiles_nest_and_are_aligned(grid):
    for tile in grid:
        core, blend, read = tile.core, tile.blend, tile.read
        assert core.y0 % grid.align == core.x0 % grid.align == 0
        assert holds(read, blend)
        assert holds(blend, core)
        assert holds(Rect(0, 0, grid.height, grid.width), read)
        for start, end, inner_start, inner_end, blended, size in (
            (read.y0, read.y1, blend.y0, blend.y1, (core.y0, core.y1), grid.height),
            (read.x0, read.x1, blend.x0, blend.x1, (core.x0, core.x1), grid.width),
        ):
            assert start % grid.align == 0
            assert end % grid.align == 0 or end == size
            assert inner_start == max(0, blended[0] - grid.feather)
            assert inner_end == min(size, blended[1] + grid.feather)
            # No less context than asked for, and no more than alignment needs.
            assert start == 0 or 0 <= inner_start - grid.halo - start < grid.align
            assert end == size or 0 <= end - inner_end - grid.halo < grid.align


@given(ANY_GRID)
def test_patches_fit_the_shape_that_the_store_gives_them(grid):
    height, width = grid.patch_shape
    assert max(tile.blend.height for tile in grid) <= height
    assert max(tile.blend.width for tile in grid) <= width


@given(ANY_GRID)
def test_the_largest_read_area_is_one_that_a_tile_has(grid):
    height, width = grid.read_shape
    assert height * width == max(tile.read.area for tile in grid)


@given(ANY_GRID)
def test_tile_order_is_row_by_row(grid):
    for index, tile in enumerate(grid):
        assert tile == grid.tile(index)
        row, col = divmod(index, grid.cols)
        assert tile.index == index
        assert (tile.core.y0, tile.core.x0) == (row * grid.core_height, col * grid.core_width)


@given(balanced_grids())
def test_balanced_cores_are_small_enough_few_and_alike(pair):
    tile, grid = pair
    for core, count, size in ((grid.core_height, grid.rows, grid.height), (grid.core_width, grid.cols, grid.width)):
        assert core <= tile
        assert count <= -(-size // tile)
        assert core - grid.align < -(-size // -(-size // tile))


def meeting(grid, rect):
    """What `overlapping` should yield, from a look at every tile."""
    found = []
    for tile in grid:
        y0, x0 = max(rect.y0, tile.blend.y0), max(rect.x0, tile.blend.x0)
        y1, x1 = min(rect.y1, tile.blend.y1), min(rect.x1, tile.blend.x1)
        if y0 < y1 and x0 < x1:
            found.append((tile, Rect(y0, x0, y1, x1)))
    return found


@given(ANY_GRID, st.data())
def test_overlapping_yields_exactly_the_tiles_whose_blend_meets_the_rect(grid, data):
    y0, y1 = sorted(data.draw(st.tuples(*[st.integers(0, grid.height)] * 2)))
    x0, x1 = sorted(data.draw(st.tuples(*[st.integers(0, grid.width)] * 2)))
    rect = Rect(y0, x0, y1, x1)
    assert list(grid.overlapping(rect)) == meeting(grid, rect)


@pytest.mark.parametrize("feather", [0, 1, 7, 8])
@pytest.mark.parametrize("size", [(50, 1), (1, 50), (33, 33)])
def test_overlapping_is_right_at_every_single_pixel(size, feather):
    grid = TileGrid(*size, 16, 16, feather)
    for y in range(size[0]):
        for x in range(size[1]):
            rect = Rect(y, x, y + 1, x + 1)
            assert list(grid.overlapping(rect)) == meeting(grid, rect)


def test_the_last_row_and_column_may_be_smaller():
    grid = TileGrid(50, 33, 32, 16, feather=8, halo=5, align=16)
    assert [(tile.core.height, tile.core.width) for tile in grid] == [(32, 16)] * 2 + [(32, 1)] + [(18, 16)] * 2 + [
        (18, 1)
    ]
    assert grid.tile(4).blend == Rect(24, 8, 50, 33)
    assert grid.tile(4).read == Rect(16, 0, 50, 33)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((100, 100, 40, 48), "core_height = 40"),
        ((100, 100, 48, 40), "core_width = 40"),
        ((100, 100, 0, 48), "core_height = 0"),
        ((100, 100, -16, 48), "core_height = -16"),
        ((100, 100, 16, 16, 9), "feather = 9"),
        ((100, 10, 16, 16, 9), "feather = 9"),
        ((100, 100, 16, 16, -1), "feather = -1"),
        ((100, 100, 16, 16, 0, -1), "halo = -1"),
    ],
)
def test_grids_that_make_no_sense_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named) as error:
        TileGrid(*arguments)
    assert "allowed" in str(error.value)


@pytest.mark.parametrize("index", [-1, 4])
def test_tiles_outside_the_grid_are_refused(index):
    with pytest.raises(IndexError):
        TileGrid(20, 20, 16, 16).tile(index)


RECTS = st.builds(lambda y, x, h, w: Rect(y, x, y + h, x + w), *[st.integers(-50, 50)] * 2, *[st.integers(0, 60)] * 2)


@given(RECTS, st.sampled_from([1, 2, 4, 8, 16]))
def test_aligned_is_the_smallest_box_that_holds(rect, to):
    box = rect.aligned(to)
    assert holds(box, rect)
    assert all(edge % to == 0 for edge in (box.y0, box.x0, box.y1, box.x1))
    assert max(rect.y0 - box.y0, rect.x0 - box.x0, box.y1 - rect.y1, box.x1 - rect.x1) < to


@given(RECTS, RECTS)
def test_intersection_holds_the_common_pixels(one, other):
    def pixels(rect):
        return {(y, x) for y in range(rect.y0, rect.y1) for x in range(rect.x0, rect.x1)}

    both = one.intersection(other)
    assert (pixels(both) if both else set()) == pixels(one) & pixels(other)


def test_strided_rounds_up_as_ceil_mode_pooling_does():
    assert Rect(0, 16, 33, 48).strided(16) == Rect(0, 1, 3, 3)


def test_rects_cannot_end_before_they_start():
    with pytest.raises(ValueError, match="ends before it starts"):
        Rect(0, 5, 3, 4)


def test_tiles_neither_overlap_nor_wrap_unless_that_is_said():
    grid = TileGrid(64, 48, 32, 16)
    assert [(tile.core, tile.blend, tile.read) for tile in grid] == [(tile.core,) * 3 for tile in grid]
    assert (grid.align, grid.wrap_y, grid.wrap_x) == (16, False, False)
    made = TileGrid.balanced(64, 48, 32, 4, 8)
    assert (made.core_height, made.core_width) == (32, 32)
    assert (made.feather, made.halo, made.align, made.wrap_y, made.wrap_x) == (4, 8, 16, False, False)
