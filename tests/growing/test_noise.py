"""Noise is a function of place and seed: the published numbers, the same from every box, and even between nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiler.geometry import Rect
from tiler.growing.noise import Drawn, Path, Plane, philox

PI = 0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0
PLACES = st.integers(-(2**20), 2**20)


@pytest.mark.parametrize(
    ("counter", "key", "block"),
    [
        ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (PI[:4], PI[4:], (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ],
)
def test_philox_gives_the_numbers_that_its_authors_publish(counter, key, block) -> None:
    words = tuple(np.array([word], np.uint64) for word in counter)
    assert philox(words, key)[:, 0].tolist() == list(block)


@settings(max_examples=30, deadline=None)
@given(y=PLACES, x=PLACES, height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 2**63 - 1),
       channels=st.sampled_from([1, 3, 16]), period=st.sampled_from([None, 5, 33]))  # fmt: skip
def test_a_box_has_the_numbers_of_every_box_around_it(y, x, height, width, seed, channels, period) -> None:
    plane = Plane(seed, (None, period))
    box, around = Rect(y, x, y + height, x + width), Rect(y - 3, x - 7, y + height + 5, x + width + 2)
    inner = (slice(None), *box.relative_to(around).slices)
    whole, part = (plane.nodes(2, one, channels, 4) for one in (around, box))
    assert np.array_equal(whole[inner], part)
    whole, part = (plane.slow(3, one, channels, 16) for one in (around, box))
    assert np.array_equal(whole[inner], part)


def test_streams_seeds_and_places_are_independent_and_even() -> None:
    box = Rect(-40, -60, 60, 40)
    found = [Plane(seed).nodes(stream, box, 1, 1)[0] for seed in (0, 1, 2**32) for stream in (0, 1)]
    found += [found[0].T.copy(), np.roll(found[0], 1, 0), np.roll(found[0], 1, 1)]
    between = np.corrcoef([one.ravel() for one in found])
    assert np.abs(between - np.eye(len(found))).max() < 0.06
    assert np.abs(np.mean(found, (1, 2))).max() < 0.06
    assert np.abs(np.std(found, (1, 2)) - 1).max() < 0.03


@pytest.mark.parametrize("of", ["plane", "drawn", "path"])
def test_slow_numbers_have_one_variance_at_every_cell(of: str) -> None:
    planes = {"plane": Plane, "drawn": lambda seed: Drawn(np.random.default_rng(seed)),
              "path": lambda seed: Path(Plane(seed), Plane(seed + 10**6), 0.3)}  # fmt: skip
    found = np.concatenate([planes[of](seed).slow(1, Rect(0, 0, 8, 8), 60, 4) for seed in range(60)])
    assert np.abs(found.std(0) - 1).max() < 0.08
    assert np.abs(np.diff(found, axis=2)).mean() < 0.6  # of independent numbers 1.1


@pytest.mark.parametrize("period", [5, 16, 37])
def test_a_plane_with_a_period_repeats(period: int) -> None:
    plane = Plane(4, (period, None))
    box = Rect(-3, 2, 9, 11)
    for moved in (box.shifted(period, 0), box.shifted(-2 * period, 0)):
        assert np.array_equal(plane.slow(1, box, 3, 16), plane.slow(1, moved, 3, 16))
    there = Rect(box.y0 + 4 * period, box.x0, box.y1 + 4 * period, box.x1)
    assert np.array_equal(plane.nodes(1, box, 3, 4), plane.nodes(1, there, 3, 4))
