"""What a job's own arithmetic comes to, in known numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tiler.engine.job import Job
from tiler.engine.optimize import step_rate
from tiler.request.config import RenderConfig
from tiler.request.resolve import resolve_config
from tiler.style.layers import LAYERS, NAMES
from tiler.style.terms import Terms
from tiler.style.trunk import Trunk

TRUNK = Trunk({f"relu{name}": 64 for name in NAMES}, "0" * 64)


@pytest.fixture
def job_of() -> Callable[..., Job]:
    def make(content: tuple[int, int] = (600, 400), style: tuple[int, int] = (700, 1100), **values: object) -> Job:
        config = RenderConfig("a.png", ("b.png",), "c.png", device="cpu", **values)  # type: ignore[arg-type]
        pictures = [
            SimpleNamespace(path="p", height=h, width=w, file_size=(h, w), in_part=False) for h, w in (content, style)
        ]
        return resolve_config(config, pictures[0], pictures[1:], trunk=TRUNK)[1]  # type: ignore[arg-type]

    return make


def test_the_warm_up_is_linear_and_the_end_nearly_none() -> None:
    rates = [step_rate(step, 20, 0.06) for step in range(20)]
    assert rates[:6] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    assert rates[5:] == pytest.approx([0.03 * (1 + math.cos(math.pi * k / 15)) for k in range(15)])
    assert rates[12] == pytest.approx(0.0331359, rel=1e-5)
    assert rates[-1] == pytest.approx(0.00065557, rel=1e-4)
    # A quarter of a short level's steps.
    assert [step_rate(step, 4, 1.0) for step in range(4)] == pytest.approx([0.5, 1.0, 0.75, 0.25])
    assert step_rate(0, 1, 1.0) == 1.0


def test_style_tiles_are_measured_with_all_that_their_statistics_see(job_of: Callable[..., Job]) -> None:
    job = job_of(long_edge=1100, levels=1)
    assert job.styles.sizes == (((700, 1100),),)
    grid = job.style_grid(0, 0)
    assert grid.halo == 70  # of relu5_1, in pixels; tiles are read in whole cells of 16
    assert grid.feather == 0
    assert len(grid) == 2 * 3
    inner = grid.tile(0)
    assert inner.read.y1 - inner.core.y1 == inner.read.x1 - inner.core.x1 == 80


def test_every_step_and_every_level_has_a_jitter_of_its_own(job_of: Callable[..., Job]) -> None:
    job = job_of(long_edge=600, jitter=16, content_weight=0, seed=3)
    shifts = {(level, step): job.look.shift(level, step) for level in range(3) for step in range(1, 30)}
    for level in range(3):
        seen = [shifts[level, step] for step in range(1, 30)]
        assert len(set(seen)) > 20
        assert {down for down, _ in seen} <= set(range(17))
        assert max(max(pair) for pair in seen) == 16
    assert [shifts[0, step] for step in range(1, 30)] != [shifts[1, step] for step in range(1, 30)]
    assert job.look.shift(0, 1) == job_of(long_edge=600, jitter=16, content_weight=0, seed=3).look.shift(0, 1)
    assert [job.look.shift(0, s) for s in range(9)] != [
        job_of(jitter=16, content_weight=0, seed=4).look.shift(0, s) for s in range(9)
    ]
    assert job_of(jitter=0).look.shift(1, 1) == (0, 0)


def test_rounds(job_of: Callable[..., Job]) -> None:
    job = job_of(long_edge=600, levels=1, steps=5, tile=256)
    assert job.cut.rounds(0) == [(0, 2), (2, 2), (4, 1)]
    assert job_of(long_edge=600, levels=1, steps=3, tile=256, mode="exact").cut.rounds(0) == [(0, 1), (1, 1), (2, 1)]
    assert job_of(long_edge=100, levels=1, steps=60).cut.rounds(0) == [(0, 25), (25, 25), (50, 10)]
    assert job_of(long_edge=100, levels=1, steps=60, optimizer="lbfgs").cut.rounds(0) == [(0, 60)]


def test_seeds_and_jitter_are_those_that_can_be_asked_for(job_of: Callable[..., Job]) -> None:
    look = job_of().look
    for right in ({"seed": 0, "jitter": 64}, {"seed": 2**63 - 1, "jitter": 0}):
        assert [what for holds, what in replace(look, **right).rules() if not holds] == []
    for wrong in ({"seed": -1}, {"seed": 2**63}, {"jitter": -1}, {"jitter": 65}):
        said = [what for holds, what in replace(look, **wrong).rules() if not holds]
        assert said == ["its jitter or seed is out of range"]


def test_any_layers_may_be_asked_for_and_no_others() -> None:
    every = Terms(LAYERS, LAYERS, 1.0, 1.0, 0.0)
    assert [what for holds, what in every.rules() if not holds] == []
    for wrong in (replace(every, style_layers=("relu9_1",)), replace(every, content_layers=("relu9_1",))):
        assert [what for holds, what in wrong.rules() if not holds] == ["its layers are unknown"]


def test_no_crop_and_no_change_takes_long_to_look_through(job_of: Callable[..., Job]) -> None:
    """Whoever opens a store looks through the tiles that these name."""
    cut = job_of().cut
    last = cut.last
    wide = replace(cut, levels=(*cut.levels[:-1], replace(last, height=2**20, width=2**20)))
    nothing: tuple[tuple[int, int, int, int], ...] = ()
    whole = (0, 0, last.height, last.width)
    for wrong, what in (
        (replace(wide, crop=(0, 0, 16385, 16)), "its crop is larger than 16384 pixels"),
        (replace(cut, touched=(*(nothing for _ in cut.levels[1:]), (whole, whole))), "its changes overlap"),
    ):
        assert [said for holds, said in wrong.rules() if not holds] == [what]
    right = (
        replace(wide, crop=(0, 0, 16384, 16)),
        replace(cut, touched=(*(nothing for _ in cut.levels[1:]), (whole,))),
    )
    assert [said for one in right for holds, said in one.rules() if not holds] == []
