"""What a style's neighbouring pixels differ by, against numbers counted by hand."""

import numpy as np
import pytest
import torch
from small_vgg import random_pixels

from tiler.geometry import Rect, TileGrid
from tiler.style.roughness import roughness_sums, spread, usual


def by_hand(pixels, weights):
    """[2], sums over all pixels of what each adds, one by one."""
    chroma = light = 0.0
    _, height, width = pixels.shape
    for y in range(height):
        for x in range(width):
            for other in ((y + 1, x), (y, x + 1)):
                if other[0] < height and other[1] < width:
                    d = [float(pixels[c, *other] - pixels[c, y, x]) for c in range(3)]
                    mean = sum(d) / 3
                    light += float(weights[y, x]) * 3 * mean**2 / 2
                    chroma += float(weights[y, x]) * sum((one - mean) ** 2 for one in d) / 2
    return [chroma, light]


@pytest.mark.parametrize("size", [(7, 5), (1, 6), (6, 1), (1, 1)])
def test_squares_of_what_neighbours_differ_by(size):
    pixels, guide = random_pixels(*size, seed=1), random_pixels(*size, seed=2)[:1]
    whole = Rect(0, 0, *size)
    assert roughness_sums(pixels, whole, None).flatten().tolist() == pytest.approx(by_hand(pixels, guide[0] * 0 + 1))
    assert roughness_sums(pixels, whole, guide).flatten().tolist() == pytest.approx(by_hand(pixels, guide[0]))


def test_tiles_add_up_to_the_whole():
    pixels, guide = random_pixels(40, 56, seed=1), random_pixels(40, 56, seed=2)[:1]
    total = torch.zeros(1, 1, 2, dtype=torch.float64)
    for tile in TileGrid.balanced(40, 56, 16, 0, 8, 8):
        part = (slice(None), *tile.read.slices)
        total += roughness_sums(pixels[part], tile.core.relative_to(tile.read), guide[part])
    torch.testing.assert_close(total, roughness_sums(pixels, Rect(0, 0, 40, 56), guide))


def test_grey_has_light_alone_and_colours_of_one_brightness_have_none():
    grey = random_pixels(9, 8, seed=3)[:1].expand(3, -1, -1)
    chroma, light = roughness_sums(grey, Rect(0, 0, 9, 8), None).flatten().tolist()
    assert chroma == pytest.approx(0, abs=1e-12)
    assert light > 1
    red = random_pixels(9, 8, seed=3)[:1] / 2
    chroma, light = roughness_sums(torch.cat([red, -red / 2, -red / 2]), Rect(0, 0, 9, 8), None).flatten().tolist()
    assert light == pytest.approx(0, abs=1e-12)
    assert chroma > 0.1


def test_no_unit_is_below_a_step_of_eight_bits():
    assert usual(np.array([[[0.0, 0.0]]])) == pytest.approx((1 / 255**2, 1 / 255**2))
    assert usual(np.array([[[0.25, 0.5]]])) == (0.25, 0.5)


def test_a_pixel_has_the_unit_of_its_region_and_between_two_their_mean():
    roughness = torch.tensor([[0.25, 0.5], [0.75, 0.25]])
    planes = torch.tensor([[[1.0, 0.0, 0.5]], [[0.0, 1.0, 0.5]]])
    assert spread(roughness, planes).tolist() == [[[0.25, 0.75, 0.5]], [[0.5, 0.25, 0.375]]]
    assert spread(roughness[:1], None).tolist() == [[[0.25]], [[0.5]]]
    assert spread(roughness, planes * 0).flatten().tolist() == pytest.approx([1 / 255**2] * 6)
