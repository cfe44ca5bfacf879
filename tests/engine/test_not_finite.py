"""What overflows or turns into nonsense is done again in fp32, then with smaller steps, then given up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tiler.engine import optimize
from tiler.engine.workplace import Workplace
from tiler.errors import NotFiniteError

SMALL = dict(long_edge=48, levels=1, steps=2, tile=32, feather=8, halo=16)


@pytest.mark.parametrize("how", [{}, {"wrap": "x", "levels": 2}, {"color": "luminance"}])
def test_what_overflows_in_fp16_is_done_in_fp32(render_serially, small_weights: str, tmp_path: Path, how: dict) -> None:
    """Weights whose features leave fp16's range: the same picture as in fp32 from the start."""
    state = load_file(small_weights)
    for name in ("features.0.weight", "features.0.bias"):
        state[name] = state[name] * 1e6
    save_file(state, tmp_path / "loud.safetensors")
    options = {**SMALL, **how, "weights": str(tmp_path / "loud.safetensors")}
    half, single = (render_serially(precision=precision, **options) for precision in ("fp16", "fp32"))
    assert np.isfinite(half).all()
    np.testing.assert_array_equal(half, single)


def test_weights_that_are_not_numbers_end_in_one_line(render_serially, small_weights: str, tmp_path: Path) -> None:
    state = load_file(small_weights)
    state["features.10.weight"] = state["features.10.weight"] * 1e38
    save_file(state, tmp_path / "huge.safetensors")
    with pytest.raises(NotFiniteError, match=r"styles/0/0, tile 0: the statistics of relu3_1 are not finite in fp32"):
        render_serially(precision="fp32", **dict(SMALL, weights=str(tmp_path / "huge.safetensors")))


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("bearable", [1.0, 0.1, 0.0])
def test_smaller_steps_then_the_end(render_serially, monkeypatch, bearable: float, ahead: int) -> None:
    """Steps above a limit end in NaN: a tenth of them is taken, the same at every try; beyond that the render stops.
    ahead: tiles that were begun meanwhile."""
    whole, rates = optimize.relax, []

    def relax(problem, first, second, start, steps, on_step, begin):
        peak = optimize.step_rate(start, 2, 0.02)
        rates.append(round(max(steps) / peak, 6))
        state, sums, losses = whole(problem, first, second, start, steps, on_step, begin)
        if max(steps) > bearable * peak * 1.000001:
            state = replace(state, pixels=torch.full_like(state.pixels, torch.nan))
        return state, sums, losses

    monkeypatch.setattr(optimize, "relax", relax)
    monkeypatch.setattr(Workplace, "ahead", property(lambda self: ahead, lambda self, found: None), raising=False)
    if not bearable:
        with pytest.raises(NotFiniteError, match=r"level 1, tile 0, steps 1 to 2: not finite, even in fp32 .*: pixels"):
            render_serially(precision="fp32", mode="fast", **SMALL)
        return
    once, twice = (render_serially(precision="fp32", mode="fast", **SMALL) for _ in range(2))
    np.testing.assert_array_equal(once, twice)
    assert min(rates) == pytest.approx(bearable, rel=1e-3)
