"""Fast mode with the real backbone: statistics that are a round old must not make tiles overshoot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tiler.engine.optimize import TileProblem

OPTIONS = {
    "weights": "bundled",
    "precision": "fp32",
    "threads": 1,
    "levels": 1,
    "long_edge": 96,
    # Of the deeper ones a step takes four times as long, and naive steps overshoot less.
    "style_layers": ("relu1_1", "relu2_1", "relu3_1"),
    "content_layers": ("relu2_2",),
    "steps": (20,),
    "learning_rate": 0.05,
    "steps_per_round": 10,
    "style_scale": 1.3,
}


@pytest.fixture
def style_loss(render_serially: Callable[..., np.ndarray], last_report) -> Callable[..., float]:
    def run(**options) -> float:
        render_serially(**{**OPTIONS, **options})
        return last_report()["style"]

    return run


def test_fast_mode_follows_the_untiled_optimiser_and_naive_feedback_does_not(style_loss, monkeypatch) -> None:
    untiled = style_loss(tile=1024)
    fast = style_loss(tile=48)
    monkeypatch.setattr(TileProblem, "feedback", 1 / 4)
    naive = style_loss(tile=48)
    assert fast < 1.2 * untiled
    assert naive > 5 * fast
