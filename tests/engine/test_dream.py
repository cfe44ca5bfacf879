"""Dreaming: tiles agree, whatever the grid's jitter, and detail comes back at every level."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiler.errors import ConfigError
from tiler.request.config import RenderConfig

Render = Callable[..., np.ndarray]
DREAM = {
    "style_weight": 0.0,
    "content_weight": 0.0,
    "dream_weight": 1.0,
    "style_layers": ("relu3_1",),
    "dream_layer": "relu3_2",
    "long_edge": 90,
    "levels": 2,
    "min_edge": 32,
    "mode": "exact",
}


@pytest.mark.parametrize("options", [{}, {"jitter": 13}, {"dream_channel": 3, "keep_detail": True}])
def test_tiled_dreams_equal_untiled_ones(render_serially: Render, options: dict) -> None:
    asked = {**DREAM, **options, "steps": (3, 2)}
    whole, tiled = render_serially(tile=1024, **asked), render_serially(tile=32, **asked)
    assert np.abs(whole - tiled).max() < 1e-7
    assert np.abs(whole - render_serially(tile=1024, **{**asked, "steps": (3, 0)})).max() > 1e-3


def test_a_level_may_be_smaller_than_a_cell_of_the_grid(render_serially: Render) -> None:
    """No cell begins in it at some steps, as the grid moves."""
    tiny = {"long_edge": 64, "min_edge": 8, "levels": 4, "jitter": 16, "steps": (12, 1, 1, 1)}
    deep = {**DREAM, **tiny, "dream_layer": "relu4_2", "style_layers": ("relu4_1",), "style_weight": 1.0}
    found = render_serially(**deep)
    assert np.isfinite(found).all()
    assert found.std() > 0.01


def test_jitter_moves_the_grid_and_follows_the_seed(render_serially: Render) -> None:
    asked = {**DREAM, "steps": (3, 2), "jitter": 13}
    one, again, other = (render_serially(seed=seed, **asked) for seed in (1, 1, 2))
    assert one.tobytes() == again.tobytes()
    assert np.abs(one - other).max() > 1e-3


def test_detail_that_the_level_before_had_not_comes_back(render_serially: Render, pictures_dir: Path) -> None:
    asked = {**DREAM, "long_edge": 64, "steps": (0, 0)}
    size = render_serially(**asked).shape[:0:-1]
    content = np.asarray(Image.open(pictures_dir / "content.png").resize(size, Image.Resampling.LANCZOS)) / 255
    edges = [
        np.diff(image, 2).ravel() for image in (render_serially(keep_detail=True, **asked), render_serially(**asked))
    ]
    true = np.diff(content.transpose(2, 0, 1), 2).ravel()
    kept, lost = (np.corrcoef(true, edge)[0, 1] for edge in edges)
    assert kept > lost


@pytest.mark.parametrize("other", [{"content_weight": 0.1}, {"optimizer": "lbfgs"}])
def test_jitter_refuses_what_lies_on_the_grid(other: dict) -> None:
    with pytest.raises(ConfigError, match="jitter = 4"):
        RenderConfig("a.png", ("b.png",), "c.png", jitter=4, dream_weight=1, **{"content_weight": 0, **other})
