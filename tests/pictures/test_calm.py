"""Which part of a picture is calm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiler import pictures
from tiler.pictures import calm


def picture(folder: Path, light: np.ndarray) -> pictures.Picture:
    file = folder / "picture.png"
    Image.fromarray(np.rint(light * 255).astype(np.uint8)).save(file)
    return pictures.open_picture(str(file))


def noise(height: int, width: int, strength: float) -> np.ndarray:
    return 0.5 + strength * (np.random.default_rng(3).random((height, width)) - 0.5)


def test_what_changes_more_is_told_from_what_changes_less(tmp_path: Path) -> None:
    light = np.concatenate([noise(150, 128, strength) for strength in (0.6, 0.0, 0.2, 0.05)], 1)
    changes = calm.changes(picture(tmp_path, light))
    assert changes.shape == (150, 512)
    wild, flat, rough, fine = (changes[75, 128 * n + 64] for n in range(4))
    assert flat == 0 < fine < rough < wild
    # Uniform noise of strength s has variance s^2 / 12; steps of the logarithm are a fiftieth.
    assert wild - rough == pytest.approx(50 * np.log(9), abs=15)


def test_a_small_picture_is_taken_as_it_is(tmp_path: Path) -> None:
    light = noise(60, 180, 0.5)
    light[:, :90] = 0.5
    changes = calm.changes(picture(tmp_path, light))
    assert changes.shape == (60, 180)
    assert changes[:, :60].max() == 0 < changes[:, 90:].min()


@pytest.mark.parametrize(("wrap", "touched"), [("none", (False, False)), ("x", (True, False)), ("y", (False, True))])
def test_what_goes_on_at_its_opposite_edge_is_seen_there(tmp_path: Path, wrap: str, touched: tuple[bool, bool]) -> None:
    light = np.full((300, 512), 0.5)
    light[150:, 256:] = noise(150, 256, 1.0)  # touches the right edge and the lower one
    changes = calm.changes(picture(tmp_path, light), wrap)
    assert (changes[225, 0] > 0, changes[0, 384] > 0) == touched


def test_the_calmest_part_is_as_large_as_asked_for_or_as_what_is_alike() -> None:
    changes, ones = np.array([[0, 1, 2], [3, 4, 5]]), np.ones((2, 3))
    part, share = calm.calmest(changes, ones, 0.5)
    assert part.tolist() == [[True, True, True], [False, False, False]]
    assert share == 0.5
    part, share = calm.calmest(changes, ones, 0.51)
    assert part.sum() == 4
    assert share == pytest.approx(4 / 6)
    part, share = calm.calmest(np.array([[7, 1, 1], [1, 1, 9]]), ones, 0.1)
    assert part.tolist() == [[False, True, True], [True, True, False]]
    assert share == pytest.approx(4 / 6)


def test_what_does_not_count_makes_no_part_larger() -> None:
    changes, counts = np.array([[0, 1, 2], [3, 4, 5]]), np.array([[0, 0, 0.5], [1, 2, 0.5]])
    part, share = calm.calmest(changes, counts, 0.2)
    assert part.tolist() == [[True, True, True], [True, False, False]]
    assert share == pytest.approx(1.5 / 4)


def test_an_edge_is_as_wide_as_asked_for() -> None:
    plane = np.zeros((5, 300))
    plane[:, 150:] = 1
    assert calm.softened(plane, 0).tolist() == plane.tolist()
    soft = calm.softened(plane, 60)
    assert soft.dtype == np.float32
    assert soft[2, 149] + soft[2, 150] == pytest.approx(1, abs=1e-6)
    rising = np.flatnonzero((soft[2] > 0.02) & (soft[2] < 0.98))
    assert 40 <= len(rising) <= 60
    assert soft[2, 0] == 0
    assert soft[2, 299] == pytest.approx(1)
    assert calm.softened(plane, 60, "x")[2, 0] == pytest.approx(soft[2, 149], abs=1e-6)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_a_plane_is_read_in_bands_of_any_size(rows: int) -> None:
    plane = np.arange(12, dtype=np.float32).reshape(3, 4) / 11
    assert np.array_equal(np.concatenate(list(calm.plane_bands(plane, 3, 4, rows))), plane)
    large = np.concatenate(list(calm.plane_bands(plane, 9, 20, rows)))
    assert large.shape == (9, 20)
    # Pixel centres lie on pixel centres.
    assert large[1::3, 2::5] == pytest.approx(plane, abs=1e-5)
    small = np.concatenate(list(calm.plane_bands(plane, 1, 1, rows)))
    assert small == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("times", "far"), [(4.8, False), (5.2, True)])
def test_a_fifth_of_the_contrast_is_far_calmer(times: float, far: bool) -> None:
    """Steps of variance, fifty to a factor of e: contrast is its root."""
    changes = np.full((10, 10), 40.0)
    changes[:, 3:] = 40 + 100 * np.log(times)
    ones = np.ones((10, 10))
    assert calm.stands_out(changes, ones, 0.3) == far
    assert not calm.stands_out(changes, ones, 0.9), "the calm part's median is the rest's"
    ones[:, :2] = 0.4
    assert not calm.stands_out(changes, ones, 0.3), "what counts for less than half is not looked at"
    assert not calm.stands_out(changes, ones * 0, 0.3)
