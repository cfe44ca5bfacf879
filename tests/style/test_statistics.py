"""Comparisons of a style's statistics, on numbers that pictures give and on those that they should not."""

import numpy as np
import pytest
import torch

from tiler.style import statistics
from tiler.style.statistics import style_term, transport
from tiler.style.terms import STATISTICS, rows

RICHER = ("moments", "w2")


@pytest.fixture(params=["eigenvectors", "products"])
def way(request, monkeypatch):
    """That of a CPU, and that of a GPU."""
    if request.param == "products":
        monkeypatch.setattr(statistics, "_by_eigenvectors", statistics.by_products)


def taken(features):
    """Normalised sums [1, C + 1, C] of features [C, N]."""
    return torch.cat([features @ features.T / features.shape[1], features.mean(1)[None]])[None]


def drawn(c, cells, seed, spread=0.0):
    """Features whose channels are up to 10^spread apart."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(0, -spread, c, dtype=torch.float64)[:, None]
    mix = torch.randn(c, c, generator=generator, dtype=torch.float64) / c**0.5
    return (mix @ (scales * torch.randn(c, cells, generator=generator, dtype=torch.float64))).relu()


def far(one, other):
    return float((one.double() - other.double()).norm() / other.double().norm())


@pytest.mark.parametrize("statistic", STATISTICS)
def test_errors_are_0_at_the_target_and_about_1_without_features(statistic):
    target = taken(drawn(8, 100, 1))[:, : rows(statistic, 8)]
    (none, slope), (all_of_it, _) = (style_term(statistic, found, target, 1.0) for found in (target, 0 * target))
    assert abs(float(none)) < 1e-12
    assert slope.abs().max() < 1e-12
    assert float(all_of_it) == pytest.approx(2 if statistic == "moments" else 1, rel=0.06)


@pytest.mark.parametrize("statistic", RICHER)
def test_weights_and_scales(statistic):
    """The weight is a factor; how bright both pictures' features are is none."""
    found, target = taken(drawn(6, 80, 1)), taken(drawn(6, 80, 2))
    loss, slope = style_term(statistic, found, target, 1.0)
    for times, factor in ((3.0, 1.0), (1.0, 50.0)):
        scaled = torch.tensor([factor**2] * 6 + [factor], dtype=torch.float64)[:, None]
        other, slopes = style_term(statistic, scaled * found, scaled * target, times)
        assert float(other) == pytest.approx(times * float(loss), rel=1e-9)
        assert far(scaled * slopes, times * slope) < 1e-9


@pytest.mark.parametrize(("c", "cells", "spread"), [(4, 1000, 0), (4, 3, 0), (40, 30, 1), (30, 900, 2), (64, 5000, 3)])
def test_float32_is_enough(c, cells, spread, way):
    """Also where the two are alike and nothing is small, which an iteration that is too steep does not survive."""
    one = drawn(c, cells, 1, spread)
    for other in (drawn(c, cells, 2, spread), one + 0.01 * drawn(c, cells, 3, spread), 5 * one):
        (loss, slope), (rounded, slope32) = (
            style_term("w2", taken(one).to(kind), taken(other).to(kind), 1.0) for kind in (torch.float64, torch.float32)
        )
        assert float(rounded) == pytest.approx(float(loss), rel=1e-3, abs=1e-5)
        unit = torch.linalg.matrix_norm(taken(other)) ** -0.5
        assert float((slope32 - slope).norm() / max(float(slope.norm()), float(unit))) < 3e-3


def test_what_is_transported_arrives(way):
    ours, theirs = (torch.randn(2, 9, 9, generator=torch.Generator().manual_seed(s)).double() for s in (1, 2))
    ours, theirs = (one @ one.mT + 0.1 * torch.eye(9) for one in (ours, theirs))
    found = transport(*map(torch.linalg.cholesky, (ours, theirs)))
    assert torch.equal(found, found.mT)
    assert far(found @ ours @ found, theirs) < 1e-10
    assert torch.linalg.eigvalsh(found).min() > 0


FLAT = torch.full((7, 50), 0.3, dtype=torch.float64)
ODD = {
    "a flat style": (drawn(7, 50, 1), FLAT),
    "a flat picture": (FLAT, drawn(7, 50, 1)),
    "both flat": (FLAT, 2 * FLAT),
    "few cells": (drawn(7, 2, 1), drawn(7, 3, 2)),
    "one cell": (drawn(7, 1, 1), drawn(7, 50, 1)),
    "dead channels": (drawn(7, 50, 1) * torch.tensor([1, 0, 1, 0, 1, 1, 0])[:, None], drawn(7, 50, 2)),
    "a region that is not there": (0 * FLAT, drawn(7, 50, 1)),
    "a dead layer": (drawn(7, 50, 1), 0 * FLAT),
    "nothing at all": (0 * FLAT, 0 * FLAT),
    "far too bright": (1e3 * drawn(7, 50, 1), drawn(7, 50, 2)),
    "far too dark": (1e-3 * drawn(7, 50, 1), drawn(7, 50, 2)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("statistic", RICHER)
@pytest.mark.parametrize("odd", ODD)
def test_what_has_no_variance_gives_numbers(odd, statistic, dtype, way):
    found, target = (taken(features).to(dtype) for features in ODD[odd])
    loss, slope = style_term(statistic, found, target, 1.0)
    assert loss.isfinite().all()
    assert slope.isfinite().all()
    assert float(loss) > -1e-5
    # A step along it does not lead away.
    assert float((slope[:, :7] * (found - target)[:, :7]).sum() + (slope[:, 7] * (found - target)[:, 7]).sum()) >= -1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("off", [1e-4, 0.1, 3.0])
def test_what_is_foreseen_and_no_covariance_gives_numbers(off, dtype, way):
    """A tile's changes, taken for the whole level's, may take more variance than there is."""
    found, target = taken(drawn(7, 50, 1)), taken(drawn(7, 60, 2))
    found[:, :7] -= off * torch.linalg.matrix_norm(target[:, :7]) * torch.eye(7)
    loss, slope = style_term("w2", found.to(dtype), target.to(dtype), 1.0)
    assert loss.isfinite().all()
    assert slope.isfinite().all()
    assert slope[:, :7].diagonal(0, 1, 2).sum() < 0  # more variance is wanted


def test_regions_are_compared_one_by_one():
    pairs = [(taken(drawn(5, 40, seed)), taken(drawn(5, 40, seed + 9))) for seed in (1, 2, 3)]
    for statistic in RICHER:
        loss, slope = style_term(statistic, *(torch.cat(part) for part in zip(*pairs, strict=True)), 2.0)
        for region, (found, target) in enumerate(pairs):
            alone, own = style_term(statistic, found, target, 2.0)
            assert float(loss[region]) == pytest.approx(float(alone), rel=1e-12)
            assert far(slope[region], own[0]) < 1e-12


def test_what_rounding_leaves_beyond_1_does_not_grow():
    at = np.array([1 + 1e-6])
    for constant, linear, square in statistics._polynomials(1e-7):
        at = at * (constant + linear * at**2 + square * at**4)
    assert abs(at - 1) < 1e-6


@pytest.mark.parametrize("error", [1e-7, 1e-13])
def test_polynomials_lead_to_1_and_never_beyond(error):
    at = np.concatenate([np.geomspace(statistics.LEAST, 1, 4000), [statistics.LEAST, 1]])
    for constant, linear, square in statistics._polynomials(error):
        at = at * (constant + linear * at**2 + square * at**4)
        assert at.max() < 1 + 1e-12
        assert at.min() > 0
    assert 1 - at.min() < max(2 * error, 1e-12)
    assert len(statistics._polynomials(error)) <= 12


def test_one_channel_by_hand():
    """G = 5 and mu = 1 where A = 4 and m = 1.5 are wanted; variances with a thousandth of A more."""
    found, target = (torch.tensor([[[power], [mean]]], dtype=torch.float64) for power, mean in ((5, 1), (4, 1.5)))
    ours, theirs = (5 - 1 + 0.004) ** 0.5, (4 - 2.25 + 0.004) ** 0.5
    moved, wider = -0.5, ours - theirs
    for statistic, more in (("moments", 1), ("w2", 0)):
        loss, slope = style_term(statistic, found, target, 0.5)
        assert loss.tolist() == [pytest.approx(0.5 * (more / 16 + (moved**2 + wider**2) / 4))]
        along = wider / ours
        expected = [[0.5 * (more * 2 / 16 + along / 4)], [0.5 * (2 * moved - 2 * along * 1) / 4]]
        assert slope[0].tolist() == [pytest.approx(row) for row in expected]
    loss, slope = style_term("gram", found[:, :1], target[:, :1], 0.5)
    assert (loss.tolist(), slope.tolist()) == ([0.5 / 16], [[[0.5 * 2 / 16]]])


def test_one_channel_is_carried_to_the_other_by_its_deviation(way):
    ours, theirs = (torch.tensor([[[one]]], dtype=torch.float64) for one in (2.0, 6.0))
    assert transport(ours, theirs).item() == pytest.approx(3, rel=1e-9)


def test_both_sides_are_blurred_by_as_much_as_it_takes():
    """A hundredth is enough for 0.5, a hundred times that for -0.5; for -3 it takes what both come to, 3 and 4."""
    ours = torch.tensor([0.5, -0.5, -3.0], dtype=torch.float64)
    both = torch.stack([ours, torch.full_like(ours, 4.0)])[..., None, None]
    found, factors = statistics._blurred(both, torch.full((3,), 0.01, dtype=torch.float64))
    assert found.flatten().tolist() == pytest.approx([0.51, 0.5, 4.01, 4.01, 5.0, 11.01])
    assert factors.flatten().tolist() == pytest.approx([one**0.5 for one in (0.51, 0.5, 4.01, 4.01, 5.0, 11.01)])
