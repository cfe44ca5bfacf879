"""What is protected in the engine: how a poster is cut does not show, and the layout stays where it is asked to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tiler.pictures import read_picture
from tiler.style.backbone import Backbone
from tiler.style.weights import load_weights

Render = Callable[..., np.ndarray]
EXACT = {"mode": "exact", "long_edge": 96, "levels": 2, "steps": (3, 3), "min_edge": 32}


@pytest.fixture
def mask(tmp_path: Path) -> str:
    """White in the left half with a soft edge; of the content's shape and half its size."""
    plane = np.clip((60 - np.arange(110)) * 25, 0, 255).astype(np.uint8)
    Image.fromarray(np.tile(plane, (87, 1))).save(tmp_path / "mask.png")
    return str(tmp_path / "mask.png")


@pytest.mark.parametrize(("wrap", "edge"), [("none", 96), ("xy", 64)])
def test_how_it_is_cut_does_not_show(render_serially: Render, mask: str, wrap: str, edge: int) -> None:
    options = {**EXACT, "long_edge": edge, "wrap": wrap, "content_layers": ("relu4_2", "relu2_2")}
    whole, tiled = (render_serially(tile=tile, protect=mask, **options) for tile in (1024, 32))
    assert np.abs(whole - tiled).max() < 1e-7
    assert np.abs(whole - render_serially(tile=1024, **options)).max() > 1e-3


def test_without_strength_it_is_as_if_nothing_were_protected(render_serially: Render, mask: str) -> None:
    plain = render_serially(tile=32, **EXACT)
    assert plain.tobytes() == render_serially(tile=32, protect=mask, protect_strength=0, **EXACT).tobytes()


def test_levels_start_with_the_contents_detail_where_it_is_protected(render_serially: Render, mask: str) -> None:
    unoptimised = {**EXACT, "steps": (0, 0), "tile": 32}
    plain, kept, everywhere = (
        render_serially(**unoptimised, **options) for options in ({}, {"protect": mask}, {"keep_detail": True})
    )
    np.testing.assert_array_equal(kept[:, :, 64:], plain[:, :, 64:])
    np.testing.assert_allclose(kept[:, :, :40], everywhere[:, :, :40], atol=1e-9)
    assert np.abs(everywhere - plain)[:, :, :40].max() > 0.01


def test_features_stay_the_contents_where_they_are_protected(
    render_serially: Render, mask: str, pictures_dir: Path, small_weights: str
) -> None:
    options = {"long_edge": 96, "levels": 1, "steps": (25,), "content_layers": ("relu1_2",), "learning_rate": 0.05}
    backbone = Backbone(load_weights(small_weights), ("relu1_2",), dtype=torch.float64)

    def apart(strength: float) -> np.ndarray:
        image = render_serially(protect=mask, protect_strength=strength, **options)
        content = read_picture(pictures_dir / "content.png", *image.shape[1:])
        ours, theirs = (backbone.forward(torch.tensor(one, dtype=torch.float64))["relu1_2"] for one in (image, content))
        return (ours - theirs).square().mean((0, 1)).numpy()

    plain, kept = apart(0), apart(1000)
    assert kept[:40].mean() < 0.1 * plain[:40].mean()
    assert kept[64:].mean() > 0.7 * plain[64:].mean()
