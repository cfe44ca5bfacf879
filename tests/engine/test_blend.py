import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from whole_windows import defined_window, enlarging_matrix

from tiler.engine import blend
from tiler.geometry import Rect, TileGrid

RNG = np.random.default_rng(2)


def composite(grid, rect, read, dtype=None):
    return blend.composite(grid, rect, lambda tile, part: torch.from_numpy(read(tile, part)), dtype).numpy()


def repeated(rect, size, read):
    return blend.repeated(rect, size, lambda part: torch.from_numpy(read(part))).numpy()


def upscale(rect, size, source_size, read, wrap=(False, False)):
    return blend.upscale(rect, size, source_size, lambda part: torch.from_numpy(read(part)), wrap).numpy()


def noise(rect, width, seed):
    return blend.noise(rect, width, seed).numpy()


def summed(grid, rect, read):
    """What composite means: every tile's patch times its window, added in tile order."""
    total = 0
    for tile, part in grid.overlapping(rect):
        patch = read(tile, part)
        weighed = np.zeros((len(patch), rect.height, rect.width), patch.dtype)
        weighed[:, *part.relative_to(rect).slices] = patch * defined_window(grid, tile, part).astype(patch.dtype)
        total = total + weighed
    return total


GRIDS = [
    TileGrid(64, 48, 32, 16, feather=8),
    TileGrid(65, 33, 32, 16, feather=7),
    TileGrid(50, 50, 16, 16, feather=0),
    TileGrid(1, 100, 16, 16, feather=8),
    TileGrid(40, 30, 64, 64, feather=16),
]
TORI = [
    TileGrid(64, 48, 32, 16, feather=8, wrap_y=True, wrap_x=True),
    TileGrid(50, 80, 16, 32, feather=7, wrap_x=True),
    TileGrid(32, 45, 64, 64, feather=16, wrap_y=True),
]


def rects(height, width):
    def box(corners):
        (y0, y1), (x0, x1) = (sorted(pair) for pair in corners)
        return Rect(y0, x0, y1 + 1, x1 + 1)

    edges = [st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)) for size in (height, width)]
    return st.tuples(*edges).map(box)


def cut_from(image):
    return lambda tile, part: image[:, *part.slices].copy()


def whole(grid):
    return Rect(0, 0, grid.height, grid.width)


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 3e-7), (np.float64, 1e-15)])
@pytest.mark.parametrize("grid", GRIDS)
def test_tiles_of_one_image_give_it_back(grid, dtype, bound):
    image = RNG.random((9, grid.height, grid.width)).astype(dtype)
    found = composite(grid, whole(grid), cut_from(image))
    assert found.dtype == dtype
    assert found.shape == image.shape
    assert np.abs(found - image).max() < bound


@pytest.mark.parametrize("grid", GRIDS)
@given(st.data())
def test_bytes_do_not_depend_on_the_rect_asked_for(grid, data):
    patches = [RNG.random((3, tile.blend.height, tile.blend.width), np.float32) for tile in grid]

    def read(tile, part):
        return patches[tile.index][:, *part.relative_to(tile.blend).slices]

    rect = data.draw(rects(grid.height, grid.width))
    np.testing.assert_array_equal(composite(grid, rect, read), composite(grid, whole(grid), read)[:, *rect.slices])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(st.data())
def test_a_composite_is_the_sum_of_patches_times_windows(dtype, data):
    grid = data.draw(st.sampled_from([*GRIDS, *TORI]))
    patches = [RNG.random((2, tile.blend.height, tile.blend.width)).astype(dtype) for tile in grid]

    def read(tile, part):
        return patches[tile.index][:, *part.relative_to(tile.blend).slices]

    rect = data.draw(rects(grid.height, grid.width))
    np.testing.assert_array_equal(composite(grid, rect, read), summed(grid, rect, read), strict=True)


@pytest.mark.parametrize("rect", [Rect(0, 0, 24, 24), Rect(0, 0, 64, 64)])
def test_short_patches_are_widened_exactly(rect):
    grid = TileGrid(64, 64, 32, 32, feather=8)
    patches = [torch.rand(6, tile.blend.height, tile.blend.width).bfloat16() for tile in grid]

    def read(tile, part):
        return patches[tile.index][:, *part.relative_to(tile.blend).slices]

    found = blend.composite(grid, rect, read, torch.float32)
    expected = blend.composite(grid, rect, lambda tile, part: read(tile, part).float())
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_pixels_of_one_tile_alone_keep_their_very_bits():
    grid = TileGrid(64, 64, 32, 32, feather=8)
    found = composite(grid, whole(grid), lambda tile, part: np.full((1, part.height, part.width), -0.0))
    assert np.signbit(found[0, :24, :24]).all()


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("grid", GRIDS)
def test_constant_patches_stay_constant_over_seams(grid, value):
    found = composite(grid, whole(grid), lambda tile, part: np.full((3, part.height, part.width), value, np.float32))
    assert np.abs(found - value).max() <= 2e-7


def test_unlike_patches_cross_over_gradually():
    grid = TileGrid(1, 64, 32, 32, feather=8)
    found = composite(grid, whole(grid), lambda tile, part: np.full((1, 1, part.width), float(tile.index)))
    steps = np.diff(found[0, 0])
    assert (found[0, 0, :24] == 0).all()
    assert (found[0, 0, 40:] == 1).all()
    assert steps.min() >= 0
    assert steps.max() <= 1 / 16 + 1e-7


def test_pixels_of_one_tile_alone_come_through_unchanged():
    grid = TileGrid(64, 64, 32, 32, feather=8)
    image = RNG.random((3, 64, 64), np.float32)
    rect = Rect(0, 0, 24, 24)
    np.testing.assert_array_equal(composite(grid, rect, cut_from(image)), image[:, *rect.slices])


def test_every_tile_that_meets_the_rect_is_read_once_and_no_other():
    grid, asked = TileGrid(64, 64, 16, 16, feather=4), []

    def read(tile, part):
        asked.append(tile.index)
        return np.zeros((3, part.height, part.width))

    composite(grid, Rect(17, 18, 27, 30), read)
    # Cores begin every 16 pixels and blend areas reach 4 farther: rows 0 and 1, columns 0, 1 and 2.
    assert asked == [0, 1, 2, 4, 5, 6]


def enlarged(source, size, rect=None):
    read_rects = []

    def read(box):
        read_rects.append(box)
        return source[:, *box.slices]

    found = upscale(rect or Rect(0, 0, *size), size, source.shape[1:], read)
    assert all(min(box.y0, box.x0) >= 0 for box in read_rects)
    assert all(box.y1 <= source.shape[1] and box.x1 <= source.shape[2] for box in read_rects)
    return found


SIZES = [((20, 30), (40, 60)), ((13, 7), (27, 13)), ((1, 9), (1, 17)), ((90, 61), (250, 122))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("source_size", "size"), SIZES)
@given(st.data())
def test_upscale_does_not_depend_on_the_cut(source_size, size, dtype, data):
    source = RNG.random((data.draw(st.integers(1, 3)), *source_size)).astype(dtype)
    rect = data.draw(rects(*size))
    np.testing.assert_array_equal(enlarged(source, size, rect), enlarged(source, size)[:, *rect.slices], strict=True)


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 4e-7), (np.float64, 2e-15)])
@pytest.mark.parametrize(("source_size", "size"), SIZES)
def test_upscale_weighs_four_by_four_pixels(source_size, size, dtype, bound):
    source = RNG.random((3, *source_size)).astype(dtype)
    rows, cols = (enlarging_matrix(*axis) for axis in zip(size, source_size, strict=True))
    expected = np.clip(rows @ source.astype(np.float64) @ cols.T, 0, 1)
    np.testing.assert_allclose(enlarged(source, size), expected, rtol=0, atol=bound)


def test_upscale_reads_no_more_than_it_needs():
    asked = []

    def read(box):
        asked.append(box)
        return np.zeros((3, box.height, box.width), np.float32)

    upscale(Rect(100, 200, 116, 232), (400, 400), (200, 200), read)
    assert asked == [Rect(48, 98, 60, 118)]


def test_upscale_keeps_smooth_pictures_and_their_type():
    y, x = np.mgrid[0:20, 0:30]
    fine_y, fine_x = (np.mgrid[0:40, 0:60] + 0.5) / 2 - 0.5
    source = np.stack([0.2 + 0.02 * y, 0.1 + 0.02 * x, 0.5 + 0 * x]).astype(np.float32)
    expected = np.stack([0.2 + 0.02 * fine_y, 0.1 + 0.02 * fine_x, 0.5 + 0 * fine_x])
    found = enlarged(source, (40, 60))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 4:-4, 4:-4], expected[:, 4:-4, 4:-4], atol=2e-7)


def test_upscale_stays_in_range():
    source = np.zeros((3, 8, 8), np.float32)
    source[:, 4:] = 1
    found = enlarged(source, (32, 32))
    assert (found.min(), found.max()) == (0, 1)


@given(rects(40, 50), st.sampled_from([0, 1, 2**63 - 1]))
def test_noise_does_not_depend_on_the_cut(rect, seed):
    field = noise(Rect(0, 0, 40, 50), 50, seed)
    np.testing.assert_array_equal(noise(rect, 50, seed), field[:, *rect.slices])


def test_noise_is_reproducible_and_seeds_differ():
    rect = Rect(0, 0, 100, 80)
    field = noise(rect, 80, 7)
    np.testing.assert_array_equal(field, noise(rect, 80, 7))
    assert (field != noise(rect, 80, 8)).mean() > 0.99
    assert field.dtype == np.float32
    assert field.shape == (3, 100, 80)


def test_noise_is_uniform_grey_and_without_stripes():
    field = noise(Rect(0, 0, 100, 80), 80, 7).astype(np.float64)
    assert 0.4 <= field.min() < 0.401
    assert 0.599 < field.max() <= 0.6
    deviation = 0.2 / 12**0.5
    assert field.mean() == pytest.approx(0.5, abs=5 * deviation / field.size**0.5)
    assert field.std() == pytest.approx(deviation, rel=0.02)
    for axis in (0, 1, 2):
        pairs = np.corrcoef(field.take(range(field.shape[axis] - 1), axis).ravel(),
                            field.take(range(1, field.shape[axis]), axis).ravel())  # fmt: skip
        assert abs(pairs[0, 1]) < 5 / field.size**0.5


FAR = st.builds(lambda y, x, h, w: Rect(y, x, y + h, x + w), *[st.integers(-99, 99)] * 2, *[st.integers(1, 150)] * 2)


@pytest.mark.parametrize("grid", TORI)
@given(st.data())
def test_tiles_that_wrap_give_their_image_back_wherever_it_is_asked_for(grid, data):
    """Bytes, too, are the same at every turn, whatever the patches hold."""
    patches = [RNG.random((3, tile.blend.height, tile.blend.width)) for tile in grid]
    image, size = RNG.random((3, grid.height, grid.width)), (grid.height, grid.width)
    rect = data.draw(FAR)
    if not grid.wrap_y:
        rect = Rect(3, rect.x0, 41, rect.x1)
    if not grid.wrap_x:
        rect = Rect(rect.y0, 3, rect.y1, 41)

    def read(tile, part):
        return patches[tile.index][:, *part.relative_to(tile.blend).slices]

    def cut(tile, part):
        return repeated(part, size, lambda box: image[:, *box.slices])

    blended = composite(grid, whole(grid), read)
    again = repeated(rect, size, lambda box: blended[:, *box.slices])
    np.testing.assert_array_equal(composite(grid, rect, read), again, strict=True)
    expected = np.take(np.take(image, range(rect.y0, rect.y1), 1, mode="wrap"), range(rect.x0, rect.x1), 2, mode="wrap")
    np.testing.assert_allclose(composite(grid, rect, cut), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("wrap", [(True, True), (True, False), (False, True)])
@given(st.data())
def test_upscale_over_the_edge_is_upscale_of_the_rolled_image(wrap, data):
    source = RNG.random((3, 12, 10))
    down, right = (data.draw(st.integers(0, 9)) * on for on in wrap)

    def enlarge(image, rect):
        def read(box):
            return repeated(box, (12, 10), lambda part: image[:, *part.slices])

        return upscale(rect, (24, 20), (12, 10), read, wrap)

    everything, rect = Rect(0, 0, 24, 20), data.draw(rects(24, 20))
    expected = enlarge(source, everything)
    rolled = enlarge(np.roll(source, (down, right), (1, 2)), everything)
    np.testing.assert_allclose(rolled, np.roll(expected, (2 * down, 2 * right), (1, 2)), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(enlarge(source, rect), expected[:, *rect.slices], strict=True)
