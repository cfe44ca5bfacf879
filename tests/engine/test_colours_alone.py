"""Colours alone are transferred: the content with the mean and the spread of its style's colours, as they are seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serial_pool import Here, render_module

from tiler.engine import colours
from tiler.errors import ConfigError
from tiler.pictures import read_picture
from tiler.request.config import RenderConfig
from tiler.series.preview import preview
from tiler.style.colour import oklab, srgb

Render = Callable[..., np.ndarray]
# (red, green, blue) and (L, a, b) as Ottosson gives them.
KNOWN = {
    (1.0, 1.0, 1.0): (1.0, 0.0, 0.0),
    (1.0, 0.0, 0.0): (0.62796, 0.22486, 0.12585),
    (0.0, 0.0, 1.0): (0.45201, -0.03246, -0.31153),
    (0.5, 0.5, 0.5): (0.59818, 0.0, 0.0),
}


@pytest.mark.parametrize("rgb", KNOWN)
def test_oklab_is_ottosson_s_and_comes_back(rgb: tuple[float, float, float]) -> None:
    found = oklab(np.array(rgb)[:, None, None])
    np.testing.assert_allclose(found[:, 0, 0], KNOWN[rgb], atol=2e-4)
    np.testing.assert_allclose(srgb(found)[:, 0, 0], rgb, atol=1e-6)


def moments(pixels: np.ndarray, where: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviations in Oklab of pixels [3, h, w]."""
    lab = oklab(pixels.astype(np.float64)).reshape(3, -1)
    lab = lab if where is None else lab[:, where.reshape(-1)]
    return lab.mean(1), lab.std(1)


@pytest.fixture
def soft(tmp_path: Path) -> dict[str, Any]:
    """Pictures whose colours stay inside when they are changed for each other's."""
    for name, mean, spread, seed in (("map", (0.45, 0.5, 0.55), 0.06, 1), ("photo", (0.55, 0.5, 0.4), 0.09, 2)):
        noise = np.random.default_rng(seed).normal(0, spread, (90, 120, 3)) + mean
        Image.fromarray(np.rint(noise.clip(0.02, 0.98) * 255).astype(np.uint8)).save(tmp_path / f"{name}.png")
    return dict(content=str(tmp_path / "map.png"), styles=(str(tmp_path / "photo.png"),), transfer="color")


def test_mean_and_spread_are_the_style_s_and_order_the_content_s(render_serially: Render, soft: dict[str, Any]) -> None:
    found = render_serially(**soft, size="120x90")
    style, content = read_picture(soft["styles"][0]), read_picture(soft["content"])
    for mine, theirs, tolerance in zip(moments(found), moments(style), (0.001, 0.002), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=tolerance)
    assert np.abs(moments(content)[0] - moments(style)[0]).max() > 0.02
    assert np.corrcoef(oklab(found)[0].ravel(), oklab(content)[0].ravel())[0, 1] > 0.95


def test_tiles_and_workers_do_not_show(render_serially: Render, soft: dict[str, Any]) -> None:
    whole = render_serially(**soft, size="120x90")
    np.testing.assert_array_equal(render_serially(2, **soft, size="120x90", tile=48), whole)


def test_a_part_of_a_large_picture_s_pixels_suffices(
    render_serially: Render, soft: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = render_serially(**soft, size="120x90")
    monkeypatch.setattr(colours, "_ENOUGH", 2000)
    found = render_serially(**soft, size="120x90")
    assert 0 < np.abs(found - whole).max() < 0.05


def test_each_region_has_its_own_colours(render_serially: Render, soft: dict[str, Any], tmp_path: Path) -> None:
    left = np.zeros((90, 120), np.uint8)
    left[:, :60] = 255
    Image.fromarray(left).save(tmp_path / "left.png")
    red = np.random.default_rng(3).normal((0.7, 0.3, 0.3), 0.05, (50, 50, 3)).clip(0, 1)
    Image.fromarray(np.rint(red * 255).astype(np.uint8)).save(tmp_path / "red.png")
    region = dict(region=(f"west={tmp_path}/red.png",), mask=(f"west={tmp_path}/left.png",), region_edge=0)
    found = render_serially(**soft, **region, size="120x90")
    for where, style in ((left > 0, tmp_path / "red.png"), (left == 0, soft["styles"][0])):
        np.testing.assert_allclose(moments(found, where)[0], moments(read_picture(style))[0], atol=0.004)


def test_what_is_transparent_does_not_count_and_edges_have_no_fringe(
    small_weights: str, soft: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_module(), "Pool", Here)
    alpha = np.full((90, 120), 255, np.uint8)
    alpha[:, :50], alpha[:, 50:60] = 0, 100
    rgba = np.dstack([np.asarray(Image.open(soft["content"])), alpha])
    rgba[:, :50] = 0
    config = dict(
        output=str(tmp_path / "p.png"), size="120x90", weights=small_weights, device="cpu", bits=16, threads=1
    )
    render_module().render(RenderConfig(**{**soft, **config, "content": rgba}))
    found = read_picture(tmp_path / "p.png", channels="rgba")
    np.testing.assert_allclose(found[3], alpha / 255, atol=1e-4)
    shown = moments(found[:3], alpha > 0)
    np.testing.assert_allclose(shown[0], moments(read_picture(soft["styles"][0]))[0], atol=0.004)
    edge, inside = moments(found[:3], alpha == 100), moments(found[:3], alpha == 255)
    np.testing.assert_allclose(edge[0], inside[0], atol=0.02)


def test_a_preview_is_small(
    small_weights: str, soft: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_module(), "Pool", Here)
    config = RenderConfig(
        **soft, output=str(tmp_path / "p.png"), long_edge=1000, weights=small_weights, device="cpu", threads=1
    )
    seen = preview(config, edge=40)
    assert (seen.levels, seen.pixels.shape) == (1, (30, 40, 3))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(color="match"), "color = match: with transfer color, which takes no steps, allowed: style"),
        (dict(init="noise"), "init = noise: with transfer color"),
        (dict(lines=1), "lines = 1.0: with transfer color, which takes no steps, allowed: 0.0"),
        (dict(protect="x.png"), "protect = x.png: with transfer color, which takes no steps, allowed: none"),
        (dict(at="0.5,0.5"), "at = 0.5,0.5: with transfer color"),
        (dict(steps=5), r"steps = \[5\]: with transfer color, which takes none, allowed: 0"),
        (dict(levels=2), "levels = 2: with transfer color, which is done at once, allowed: 1"),
        (dict(content=None, content_weight=0, init="noise"), "allowed: with a content"),
    ],
)
def test_what_has_no_meaning_then_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RenderConfig(**{**dict(content="a.png", styles=("b.png",), output="c.png", transfer="color"), **options})
