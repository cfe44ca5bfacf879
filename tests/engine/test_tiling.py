"""The engine's promise: how a poster is cut, and in which order tiles run, does not show."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from shallow import SHALLOW

from tiler.engine.store import RenderStore
from tiler.errors import TileTooLargeError
from tiler.request import identity

Render = Callable[..., np.ndarray]
SLOW_FIXTURE = settings(
    phases=(Phase.explicit, Phase.generate),  # a failing render takes too long to shrink
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@SLOW_FIXTURE
@given(
    edge=st.integers(33, 190),
    across=st.integers(2, 6),
    feather=st.integers(0, 8),
    pooling=st.sampled_from(["avg", "max"]),
)
def test_exact_steps_equal_the_untiled_optimiser(
    render_serially: Render, edge: int, across: int, feather: int, pooling: str
) -> None:
    tile = -(-edge // (16 * across)) * 16
    options = {"mode": "exact", "long_edge": edge, "levels": 1, "steps": (1,), "pooling": pooling, "init": "noise"}
    whole = render_serially(tile=1024, **options)
    tiled = render_serially(tile=tile, feather=feather, **options)
    assert np.abs(whole - tiled).max() < 1e-9


@pytest.mark.parametrize("statistics", ["moments", "w2"])
def test_exact_steps_equal_the_untiled_optimiser_for_all_statistics(render_serially: Render, statistics: str) -> None:
    options = {"mode": "exact", "long_edge": 70, "levels": 1, "steps": (1,), "init": "noise", "statistics": statistics}
    whole, tiled = render_serially(tile=1024, **options), render_serially(tile=32, feather=4, **options)
    assert np.abs(whole - tiled).max() < 1e-9
    assert np.abs(whole - render_serially(tile=1024, **{**options, "statistics": "gram"})).max() > 1e-4


def test_exact_mode_stays_exact_over_levels_and_steps(render_serially: Render) -> None:
    options = {"mode": "exact", "long_edge": 120, "levels": 2, "steps": (4, 3), "min_edge": 32}
    whole, tiled = render_serially(tile=1024, **options), render_serially(tile=32, **options)
    assert np.abs(whole - tiled).max() < 1e-7
    assert np.abs(whole - render_serially(tile=1024, **{**options, "steps": (4, 2)})).max() > 1e-3


@pytest.mark.parametrize(("mode", "how"), [("fast", {"wrap": "xy", "statistics": "w2"}), ("exact", {})])
def test_who_holds_the_tiles_and_where_does_not_change_a_byte(render_serially: Render, mode: str, how: dict) -> None:
    options = {"mode": mode, "long_edge": 96, "levels": 2, "steps": (1, 3), "tile": 48, "steps_per_round": 1, **how}
    options |= {"precision": "fp32", "color": "content", **SHALLOW}
    expected = render_serially(**options)
    for blocks, home in ((1, "store"), (2, "device"), (3, "host"), (4, "store"), (4, "device")):
        found = render_serially(blocks, state=home, **options)
        np.testing.assert_array_equal(found, expected, err_msg=f"{blocks}, {home}")


def test_fast_mode_on_one_tile_is_the_untiled_optimiser(render_serially: Render) -> None:
    options = {"long_edge": 90, "levels": 1, "steps": (6,), "tile": 1024}
    assert np.abs(render_serially(mode="fast", **options) - render_serially(mode="exact", **options)).max() < 1e-12


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (7, 9), (3, 200)])
def test_tiny_and_extreme_sizes_render(
    render_serially: Render, size: tuple[int, int], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiler.request.resolve

    monkeypatch.setattr(tiler.request.resolve, "poster_size", lambda config, content: size)
    image = render_serially(long_edge=max(size), steps=(2,), tile=32)
    assert image.shape == (3, *size)
    assert np.isfinite(image).all()


def test_a_tile_that_does_not_fit_is_halved_and_the_level_redone(
    render_serially: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiler.engine import optimize

    monkeypatch.setattr(sys.modules["tiler.levels"], "_SMALLEST_CUT", 16)
    options = {"mode": "exact", "long_edge": 64, "levels": 2, "steps": (2, 2), "min_edge": 32}
    expected = render_serially(tile=32, **options)
    real = optimize.relax

    def relax(problem, *arguments, **more):
        if problem.pixels.shape[2] > 32 and problem.state_pixels.shape[2] > 32:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return real(problem, *arguments, **more)

    monkeypatch.setattr(optimize, "relax", relax)
    assert np.abs(render_serially(tile=64, **options) - expected).max() < 1e-9


def test_a_tile_that_does_not_fit_when_halved_either_ends_the_render(
    render_serially: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiler.engine import optimize

    def relax(*arguments, **more):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(sys.modules["tiler.levels"], "_SMALLEST_CUT", 16)
    monkeypatch.setattr(optimize, "relax", relax)
    with pytest.raises(TileTooLargeError):
        render_serially(long_edge=64, levels=1, steps=(1,), tile=64)
    job = identity.load_job(RenderStore.open(str(tmp_path / "1.zarr"), writable=False))
    assert job.cut.grid(0).core_width == 32


@pytest.mark.parametrize("color", ["content", "luminance", "match", "grey"])
def test_colours_do_not_show_the_tiles(render_serially: Render, color: str) -> None:
    options = {"mode": "exact", "long_edge": 80, "levels": 2, "steps": (3, 2), "min_edge": 40, "color": color}
    whole, tiled = render_serially(tile=1024, **options), render_serially(tile=32, **options)
    assert np.abs(whole - tiled).max() < 1e-7
    assert np.abs(whole - render_serially(tile=1024, **{**options, "color": "style"})).max() > 1e-3


@pytest.mark.parametrize("style_scale", [1.0, 0.6])
def test_how_styles_are_cut_does_not_show(
    render_serially: Render, style_scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Styles larger than their tiles, upright ones of odd sizes: their statistics are those of the whole picture."""
    options = {"mode": "exact", "long_edge": 120, "levels": 1, "steps": (1,), "style_scale": style_scale}
    whole = render_serially(tile=1024, **options)
    monkeypatch.setattr("tiler.engine.job.STYLE_TILE", 32)
    assert np.abs(whole - render_serially(tile=1024, **options)).max() < 1e-9


def test_the_reported_loss_has_every_term(render_serially: Render, last_report) -> None:
    weights = {"style_weight": 0.7, "content_weight": 0.3, "tv_weight": 0.2}
    options = {"mode": "exact", "long_edge": 64, "levels": 1, "steps": (2,), "tile": 32}
    render_serially(**options, **weights)
    found = last_report()
    assert min(found["style"], found["content"], found["tv"]) > 1e-4
    assert found["loss"] == pytest.approx(0.7 * found["style"] + found["content"] + found["tv"], rel=1e-9)
    assert found["style"] == pytest.approx(sum(found["layers"].values()) / len(found["layers"]))
