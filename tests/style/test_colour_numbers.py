"""Colour statistics and maps, by numbers worked out by hand."""

import numpy as np
import pytest

from tiler.style.colour import (
    GREY,
    ColourMoments,
    colour_match,
    keep_chroma,
    luma_match,
    oklab,
    recolour,
    recolour_as_seen,
    srgb,
    style_map,
    without_white,
)

# Two rows of three pixels.
PIXELS = np.array([[[0.0, 0.5, 1.0], [0.0, 0.0, 0.5]], [[0.2, 0.2, 0.4], [0.4, 0.8, 1.0]], np.full((2, 3), 0.25)])


def _moments(mean, variances, count=8.0):
    """Of channels that do not vary together."""
    mean = np.array(mean)
    return ColourMoments(count, count * mean, count * (np.diag(variances) + np.outer(mean, mean)))


def test_moments_are_sums_of_pixels():
    found = ColourMoments.of([PIXELS[:, :1], PIXELS[:, 1:]])
    assert found.count == 6
    np.testing.assert_allclose(found.first, [2.0, 3.0, 1.5])
    np.testing.assert_allclose(
        found.second, [[1.5, 1.0, 0.5], [1.0, 2.04, 0.75], [0.5, 0.75, 0.375]], rtol=1e-12
    )  # fmt: skip
    np.testing.assert_allclose(found.mean, [1 / 3, 0.5, 0.25])
    np.testing.assert_allclose(found.covariance[0], [0.25 - 1 / 9, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(found.covariance[1, 1], 0.34 - 0.25, rtol=1e-12)


def test_a_pixel_counts_as_much_as_its_guide_says():
    guide = np.array([[1.0, 0.5, 0.0], [0.0, 0.0, 2.0]])
    found = ColourMoments.of([PIXELS[:, :1], PIXELS[:, 1:]], [guide[:1], guide[1:]])
    assert found.count == 3.5
    np.testing.assert_allclose(found.first, [0.25 + 1.0, 0.2 + 0.1 + 2.0, 0.875])
    np.testing.assert_allclose(np.diag(found.second), [0.125 + 0.5, 0.04 + 0.02 + 2.0, 3.5 / 16])
    np.testing.assert_allclose(found.second[0, 1], 0.05 + 1.0)
    np.testing.assert_array_equal(found.second, found.second.T)


def test_a_mixture_counts_by_shares():
    one, two = _moments([0.2, 0.4, 0.6], [0.01, 0.02, 0.03], 10.0), _moments([0.6, 0.4, 0.0], [0.03, 0.02, 0.05], 3.0)
    found = ColourMoments.blended([one, two], [3, 1])
    assert found.count == 4
    np.testing.assert_allclose(found.mean, [0.3, 0.4, 0.45])
    np.testing.assert_allclose(np.diag(found.covariance), [0.015 + 0.03, 0.02, 0.035 + 0.0675])


def test_channels_that_do_not_vary_together_are_stretched_alone():
    """By the root of the variances' ratio, each with the floor."""
    ours, theirs = _moments([0.2, 0.4, 0.6], [0.03, 0.0, 0.02]), _moments([0.5, 0.3, 0.1], [0.15, 0.0, 0.32])
    found = colour_match(ours, theirs, 0.01)
    scales = np.array([2.0, 1.0, 11**0.5])
    np.testing.assert_allclose(found[:, :3], np.diag(scales), atol=1e-12)
    np.testing.assert_allclose(found[:, 3], [0.1, -0.1, 0.1 - 0.6 * 11**0.5])
    np.testing.assert_allclose(colour_match(ours, theirs)[0, 0], (0.1501 / 0.0301) ** 0.5)
    np.testing.assert_allclose(style_map("match", ours, theirs), colour_match(ours, theirs))


def test_a_grey_map_has_the_other_s_luma():
    ours, theirs = _moments([0.2, 0.4, 0.6], [0.01, 0.0, 0.0]), _moments([0.5, 0.3, 0.1], [0.0, 0.04, 0.0])
    scale = ((0.7152**2 * 0.04 + 1e-4) / (0.2126**2 * 0.01 + 1e-4)) ** 0.5
    found = luma_match(ours, theirs)
    np.testing.assert_allclose(found[:, :3], np.tile([0.2126 * scale, 0.7152 * scale, 0.0722 * scale], (3, 1)))
    before, after = 0.04252 + 0.28608 + 0.04332, 0.1063 + 0.21456 + 0.00722
    np.testing.assert_allclose(found[:, 3], [after - scale * before] * 3)
    np.testing.assert_allclose(style_map("luminance", ours, theirs), found)
    np.testing.assert_allclose(GREY @ [0.5, 0.25, 1.0, 9.0], [0.1063 + 0.1788 + 0.0722] * 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_map_decides_as_much_as_its_guide_says(dtype):
    swap = np.array([[0, 1, 0, 0], [1, 0, 0, 0.1], [0, 0, 2.0, 0]])
    half = np.array([[0.5, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 0.5, -1.0]])
    pixels = PIXELS[:, :1].astype(dtype)
    found = recolour(pixels, [swap])
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [[[0.2, 0.2, 0.4]], [[0.1, 0.6, 1.0]], [[0.5] * 3]], rtol=1e-6)
    guides = np.array([[[1.0, 0.25, 0.0]], [[0.0, 0.75, 1.0]]])
    found = recolour(pixels, [swap, half], guides)
    assert found.dtype == dtype
    red, green, blue = found[:, 0]
    np.testing.assert_allclose(red, [0.2, 0.05 + 0.1875, 0.5], rtol=1e-6)
    np.testing.assert_allclose(green, [0.1, 0.15 + 0.075, 0.2], rtol=1e-6)
    np.testing.assert_allclose(blue, [0.5, 0.0, 0.0], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chroma_is_kept_and_luma_yields(dtype):
    """A grey of 0.5 in colours of 0.3 luma; then of white, which the colour has no room for."""
    content = np.array([0.5, 0.25, 0.2]).reshape(3, 1, 1).astype(dtype)
    luma = 0.2126 * 0.5 + 0.7152 * 0.25 + 0.0722 * 0.2
    for grey, moved in ((0.5, 0.5 - luma), (1.0, 0.5), (0.0, -0.2)):
        found = keep_chroma(np.full((3, 1, 1), grey, dtype), content)
        assert found.dtype == dtype
        np.testing.assert_allclose(found[:, 0, 0], np.array([0.5, 0.25, 0.2]) + moved, rtol=1e-5, atol=1e-6)


def test_oklab_of_colours_that_are_known():
    """Ottosson's own examples through sRGB's curve, and both sides of the place where that curve begins."""
    colours = np.array([[1.0, 1, 1], [1, 0, 0], [0, 0, 1], [0.5, 0.5, 0.5]]).T[:, None]
    expected = [[1, 0, 0], [0.627955, 0.224863, 0.125846], [0.452014, -0.032457, -0.311528], [0.598181, 0, 0]]
    np.testing.assert_allclose(oklab(colours)[:, 0].T, expected, atol=3e-5)
    np.testing.assert_allclose(oklab(np.full((3, 1, 1), 0.04))[0, 0, 0], (0.04 / 12.92) ** (1 / 3), rtol=1e-4)
    np.testing.assert_allclose(oklab(np.full((3, 1, 1), 0.05))[0, 0, 0], (0.105 / 1.055) ** 0.8, rtol=1e-4)
    for dtype, close in ((np.float32, 2e-6), (np.float64, 1e-7)):
        pixels = np.random.default_rng(3).random((3, 5, 7)).astype(dtype)
        pixels[:, 0] *= 0.03
        assert oklab(pixels).dtype == srgb(oklab(pixels)).dtype == dtype
        np.testing.assert_allclose(srgb(oklab(pixels)), pixels, rtol=0, atol=close)
    far = srgb(np.array([[[1.5]], [[0.4]], [[-0.4]]]))
    assert ((far >= 0) & (far <= 1)).all()


def test_colours_are_moved_as_they_are_seen():
    lighter = np.column_stack([np.diag([0.5, 1.0, 1.0]), [0.5, 0.0, 0.0]])
    grey = np.diag([1.0, 0.0, 0.0, 0.0])[:3]
    pixels = np.array([[[1.0, 1.0]], [[0.0, 0.0]], [[0.0, 0.0]]], np.float32)
    found = recolour_as_seen(pixels, [lighter, grey], np.array([[[1.0, 0.0]], [[0.0, 1.0]]]))
    assert found.dtype == np.float32
    assert np.ptp(found[:, 0, 1]) < 1e-5
    lab = oklab(found)[:, 0]
    assert lab[:, 1] == pytest.approx([0.627955, 0, 0], abs=1e-4)
    assert oklab(recolour_as_seen(0.5 * pixels, [grey]))[1:].max() < 1e-5


def test_what_is_next_to_transparent_is_a_colour():
    found = without_white(np.full((3, 1, 2), 0.5, np.float32), np.array([[0.75, 1e-9]]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0, 0], [1 / 3] * 3, rtol=1e-6)
    assert found[0, 0, 1] == 0
