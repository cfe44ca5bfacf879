from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiler.style.colour import (
    ColourMoments,
    colour_match,
    keep_chroma,
    luma_match,
    recolour,
    style_map,
    without_white,
)

RNG = np.random.default_rng(11)
MIX_A = np.array([[0.12, 0.04, 0.0], [0.06, 0.10, 0.02], [0.0, 0.04, 0.08]])
MIX_B = np.array([[0.10, -0.04, 0.02], [0.0, 0.06, 0.04], [0.04, 0.0, 0.12]])


def picture(mix, mean, height=80, width=60):
    """Colours that stay well inside 0..1, with the given mean and correlated channels."""
    noise = RNG.uniform(-1.7, 1.7, (3, height * width))
    return (mix @ noise + np.array(mean)[:, None]).reshape(3, height, width)


def statistics(pixels):
    flat = pixels.reshape(3, -1)
    return flat.mean(1), np.cov(flat, bias=True)


@given(st.lists(st.integers(0, 80), max_size=4))
def test_moments_add_over_bands(cuts):
    pixels = picture(MIX_A, (0.5, 0.4, 0.6))
    edges = [0, *sorted(cuts), 80]
    bands = [pixels[:, a:b].astype(np.float32) for a, b in pairwise(edges)]
    moments = ColourMoments.of(bands)
    mean, covariance = statistics(pixels.astype(np.float32).astype(np.float64))
    assert moments.count == 80 * 60
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, covariance, atol=1e-12)


def test_blended_counts_shares_and_not_pixels():
    one, two = picture(MIX_A, (0.3, 0.4, 0.5), 10, 10), picture(MIX_B, (0.6, 0.5, 0.4), 90, 70)
    blend = ColourMoments.blended([ColourMoments.of([one]), ColourMoments.of([two])], [3, 1])
    (mean_one, cov_one), (mean_two, cov_two) = statistics(one), statistics(two)
    mean = 0.75 * mean_one + 0.25 * mean_two
    second = 0.75 * (cov_one + np.outer(mean_one, mean_one)) + 0.25 * (cov_two + np.outer(mean_two, mean_two))
    np.testing.assert_allclose(blend.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(blend.covariance, second - np.outer(mean, mean), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_match_gives_the_targets_mean_and_covariance(dtype):
    source, target = picture(MIX_A, (0.5, 0.4, 0.6)), picture(MIX_B, (0.45, 0.55, 0.5))
    source = source.astype(dtype)
    matrix = colour_match(ColourMoments.of([source]), ColourMoments.of([target]))
    matched = recolour(source, [matrix])
    assert matched.dtype == dtype
    assert 0 < matched.min() < matched.max() < 1
    (mean, covariance), (wanted_mean, wanted_covariance) = statistics(matched.astype(np.float64)), statistics(target)
    np.testing.assert_allclose(mean, wanted_mean, atol=1e-6)
    np.testing.assert_allclose(covariance, wanted_covariance, atol=1e-3)
    assert np.abs(statistics(source)[1] - wanted_covariance).max() > 5e-3, "nothing to match"
    # All that is missing is the floor under both variances.
    floor = 1e-4 * (np.eye(3) - matrix[:, :3] @ matrix[:, :3].T)
    np.testing.assert_allclose(covariance, wanted_covariance + floor, atol=1e-6)


def test_a_picture_matched_to_itself_stays():
    moments = ColourMoments.of([picture(MIX_A, (0.5, 0.4, 0.6))])
    np.testing.assert_allclose(colour_match(moments, moments), np.eye(3, 4), atol=1e-9)


def test_the_map_moves_colours_least():
    """A symmetric positive matrix is what sets this map apart from all others with the same result."""
    source, target = picture(MIX_A, (0.5, 0.4, 0.6)), picture(MIX_B, (0.45, 0.55, 0.5))
    matrix = colour_match(ColourMoments.of([source]), ColourMoments.of([target]))[:, :3]
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    assert np.linalg.eigvalsh(matrix).min() > 0


FLAT = np.full((3, 20, 20), 0.3)
GREY = np.repeat(RNG.uniform(0.2, 0.8, (1, 20, 20)), 3, axis=0)
COLOUR = picture(MIX_B, (0.45, 0.55, 0.5))


def test_a_flat_picture_becomes_the_targets_mean():
    matched = recolour(FLAT, [colour_match(ColourMoments.of([FLAT]), ColourMoments.of([COLOUR]))])
    np.testing.assert_allclose(matched, np.broadcast_to(statistics(COLOUR)[0][:, None, None], FLAT.shape), atol=1e-6)


def test_a_flat_picture_with_a_little_noise_is_not_blown_up():
    noisy = FLAT + RNG.normal(0, 1e-3, FLAT.shape)
    matched = recolour(noisy, [colour_match(ColourMoments.of([noisy]), ColourMoments.of([COLOUR]))])
    # The floor counts as a spread of 0.01, so that noise of 0.001 takes on a tenth of the target's spread, not all.
    assert matched.std(axis=(1, 2)).max() < 0.11 * np.linalg.eigvalsh(statistics(COLOUR)[1]).max() ** 0.5


@pytest.mark.parametrize("source", [FLAT, GREY, COLOUR], ids=["flat", "grey", "colour"])
@pytest.mark.parametrize("target", [FLAT, GREY], ids=["flat", "grey"])
def test_grey_and_flat_targets_are_taken_over(source, target):
    matched = recolour(source, [colour_match(ColourMoments.of([source]), ColourMoments.of([target]))])
    assert np.isfinite(matched).all()
    np.testing.assert_allclose(statistics(matched)[0], statistics(target)[0], atol=0.02)
    # What is left of the source's colours has the floor's size: a hundredth of the range.
    spread = (matched - matched.mean(axis=0)).std()
    assert spread < 0.012


def test_a_grey_source_does_not_turn_to_noise():
    matched = recolour(GREY, [colour_match(ColourMoments.of([GREY]), ColourMoments.of([COLOUR]))])
    order = np.argsort(GREY[0].ravel())
    along = matched.sum(axis=0).ravel()[order]
    assert (np.diff(along) >= -1e-9).all()


def test_results_stay_in_range():
    matrix = np.column_stack([5 * np.eye(3), [-2, -2, -2]])
    matched = recolour(COLOUR, [matrix])
    assert (matched.min(), matched.max()) == (0, 1)


LUMA = np.array([0.2126, 0.7152, 0.0722])


def test_luma_takes_the_targets_mean_and_variance_and_nothing_else():
    style, content = picture(MIX_A, (0.5, 0.4, 0.6)), picture(MIX_B, (0.45, 0.55, 0.5))
    matched = recolour(style, [luma_match(ColourMoments.of([style]), ColourMoments.of([content]))])
    assert np.ptp(matched, axis=0).max() < 1e-12, "not grey"
    ours, theirs, before = matched[0], np.tensordot(LUMA, content, 1), np.tensordot(LUMA, style, 1)
    assert 0 < ours.min() < ours.max() < 1
    assert ours.mean() == pytest.approx(theirs.mean(), abs=1e-6)
    assert ours.var() == pytest.approx(theirs.var(), abs=1e-3)
    assert ours.std() == pytest.approx(theirs.std(), rel=0.02)
    assert abs(before.mean() - theirs.mean()) > 0.01, "nothing to match"
    assert np.corrcoef(ours.ravel(), before.ravel())[0, 1] > 1 - 1e-9


def test_a_style_is_matched_to_the_content_by_covariance():
    style, content = picture(MIX_A, (0.5, 0.4, 0.6)), picture(MIX_B, (0.45, 0.55, 0.5))
    matched = recolour(style, [style_map("match", ColourMoments.of([style]), ColourMoments.of([content]))])
    (mean, covariance), (wanted_mean, wanted) = statistics(matched), statistics(content)
    np.testing.assert_allclose(mean, wanted_mean, atol=1e-6)
    np.testing.assert_allclose(covariance, wanted, atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chroma_is_the_contents_and_luma_the_posters(dtype):
    poster, content = RNG.random((3, 60, 70)).astype(dtype), RNG.random((3, 60, 70)).astype(dtype)
    found = keep_chroma(poster, content)
    assert found.dtype == dtype
    assert 0 <= found.min() <= found.max() <= 1
    # Every chroma, of whatever standard, is a function of these two.
    for a, b in ((0, 1), (2, 1)):
        np.testing.assert_allclose(found[a] - found[b], content[a] - content[b], atol=3e-7)
    luma, wanted = np.tensordot(LUMA, found, 1), np.tensordot(LUMA, poster, 1)
    possible = np.abs(luma - wanted) < 1e-6
    assert possible.mean() > 0.2
    # Where the luma had to yield, the pixel lies on the border of the range.
    at_border = (found.min(axis=0) < 1e-6) | (found.max(axis=0) > 1 - 1e-6)
    assert at_border[~possible].all()


def test_chroma_of_a_grey_content_leaves_the_luma_alone():
    poster = RNG.random((3, 20, 20))
    found = keep_chroma(poster, GREY)
    np.testing.assert_allclose(found, np.tile(np.tensordot(LUMA, poster, 1), (3, 1, 1)), atol=1e-12)


def test_what_is_shown_on_white_is_known_again():
    """A fifth of red at half the opacity is 0.6 on white; what is opaque is as it is; of what cannot be seen nothing
    is known but that it is a colour."""
    shown, alpha = np.array([[[0.6, 0.2, 1.0]]] * 3), np.array([[0.5, 1.0, 0.0]])
    found = without_white(shown, alpha)
    np.testing.assert_allclose(found[:, 0, :2], [[0.2, 0.2]] * 3, rtol=1e-12)
    assert ((found >= 0) & (found <= 1)).all()
