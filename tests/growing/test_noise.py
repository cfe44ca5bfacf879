"""Noise is a function of place and seed: the published numbers, the same from every box, and even between nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiler.geometry import Rect
from tiler.growing.noise import Drawn, Path, Plane, philox, uniform

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


def node(seed: int, stream: int, row: int, column: int, channels: int, channel: int) -> float:
    """Of a plane, by the words of one counter: eight numbers of 16 bits, the lower half of each word first."""
    number = column * channels + channel
    words = tuple(np.array([word]) for word in (number // 8, row, stream, 0))
    word = int(philox(words, (seed % 2**32, seed // 2**32))[number % 8 // 2, 0])
    return 3**0.5 * (((word >> 16 * (number % 2)) % 2**16 + 0.5) / 2**15 - 1)


def test_a_plane_is_the_same_in_every_version() -> None:
    """Who grows a land again finds the picture that was there."""
    box = Rect(-3, -5, 4, 6)
    found = Plane(5 * 2**32 + 3).nodes(2, box, 3, 1)
    wanted = [[[node(5 * 2**32 + 3, 2, y, x, 3, c) for x in range(-5, 6)] for y in range(-3, 4)] for c in range(3)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(("period", "count"), [(None, None), (37, 2), (41, 3), (5, 1)])
def test_slow_numbers_pass_from_node_to_node(period: int | None, count: int | None) -> None:
    """As many nodes along a period as come nearest to their spacing, at least one."""

    def place(cell: int) -> tuple[int, int, float]:
        if period is None or count is None:
            return cell // 16, cell // 16 + 1, cell % 16 / 16
        before, rest = divmod(cell * count, period)
        return before % count, (before + 1) % count, rest / period

    found = Plane(9, (None, period)).slow(4, Rect(-20, -7, 3, 50), 2, 16)
    for y, x, channel in [(-20, -7, 0), (-16, 0, 1), (-5, 11, 0), (2, 49, 1), (-1, 36, 0), (0, 41, 1)]:
        (top, bottom, down), right = (y // 16, y // 16 + 1, y % 16 / 16), place(x)
        across = [
            (node(9, 4, row, right[0], 2, channel) * (1 - right[2]) + node(9, 4, row, right[1], 2, channel) * right[2])
            / np.hypot(1 - right[2], right[2])
            for row in (top, bottom)
        ]
        wanted = (across[0] * (1 - down) + across[1] * down) / np.hypot(1 - down, down)
        assert found[channel, y + 20, x + 7] == pytest.approx(wanted, abs=1e-5)


def test_uniform_numbers_lie_evenly_about_nothing() -> None:
    found = uniform(np.array([0, 2**15 - 1, 2**15, 2**16 - 1], np.uint16)).astype(np.float64) / 3**0.5
    np.testing.assert_allclose(found, [2**-16 - 1, -(2**-16), 2**-16, 1 - 2**-16], rtol=1e-6)


def test_a_quarter_of_the_way_is_nearer_to_where_it_began() -> None:
    start, end, box = Plane(1), Plane(2), Rect(0, 0, 3, 5)
    for numbers in (lambda plane: plane.nodes(1, box, 2, 1), lambda plane: plane.slow(1, box, 2, 4)):
        wanted = (0.75 * numbers(start) + 0.25 * numbers(end)) / (0.75**2 + 0.25**2) ** 0.5
        np.testing.assert_allclose(numbers(Path(start, end, 0.25)), wanted, rtol=1e-5, atol=1e-6)
