"""Regions in the engine: how a poster is cut does not show, whatever the masks, and absent regions cost nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

import kernels
from tiler.engine.store import RenderStore
from tiler.geometry import Rect
from tiler.style.backbone import Backbone
from tiler.style.grams import StyleTarget
from tiler.style.guides import pooled
from tiler.style.weights import load_weights

Render = Callable[..., np.ndarray]
SLOW_FIXTURE = settings(
    phases=(Phase.explicit, Phase.generate),
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@pytest.fixture
def with_masks(pictures_dir: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Options that give boxes of the poster (in 0..1: y0, x0, y1, x1) a style each, the first half of them a mask."""
    style, content = str(pictures_dir / "style.png"), str(pictures_dir / "content.png")

    def options(boxes: list[tuple[float, float, float, float]]) -> dict[str, Any]:
        region, mask, style_mask = [], [], []
        for i, (y0, x0, y1, x1) in enumerate(boxes):
            plane = np.zeros((173, 219), np.uint8)
            plane[round(y0 * 173) : round(y1 * 173) + 1, round(x0 * 219) : round(x1 * 219) + 1] = 255 - 60 * i
            file = tmp_path / f"mask{i}.png"
            Image.fromarray(plane).save(file)
            region.append(f"r{i}={(style, content)[i % 2]}")
            mask.append(f"r{i}={file}")
            if i % 2:
                style_mask.append(f"r{i}={file}")
        return {"region": region, "mask": mask, "style_mask": style_mask}

    return options


FRACTION = st.floats(0, 1)
BOX = st.tuples(FRACTION, FRACTION, FRACTION, FRACTION).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)


@SLOW_FIXTURE
@given(
    boxes=st.lists(BOX, min_size=1, max_size=3),
    edge=st.integers(33, 150),
    across=st.integers(2, 6),
    region_edge=st.sampled_from([0.0, 2.0, 10.0]),
)
def test_exact_steps_equal_the_untiled_optimiser(
    render_serially: Render, with_masks, boxes, edge: int, across: int, region_edge: float
) -> None:
    tile = -(-edge // (16 * across)) * 16
    shared = {
        "mode": "exact",
        "long_edge": edge,
        "levels": 1,
        "steps": (1,),
        "init": "noise",
        "region_edge": region_edge,
    }
    options = {**shared, **with_masks(boxes)}
    whole, tiled = render_serially(tile=1024, **options), render_serially(tile=tile, **options)
    assert np.abs(whole - tiled).max() < 1e-9


QUARTERS = [(0.0, 0.0, 0.45, 0.45), (0.55, 0.55, 1.0, 1.0)]


def test_several_steps_levels_and_any_order_of_tiles(render_serially: Render, with_masks) -> None:
    options = {"mode": "exact", "long_edge": 96, "levels": 2, "steps": (3, 3), "min_edge": 32, **with_masks(QUARTERS)}
    whole, tiled = render_serially(tile=1024, **options), render_serially(tile=32, **options)
    assert np.abs(whole - tiled).max() < 1e-7
    assert tiled.tobytes() == render_serially(3, tile=32, **options).tobytes()
    plain = {name: value for name, value in options.items() if name not in ("region", "mask", "style_mask")}
    assert np.abs(whole - render_serially(tile=1024, **plain)).max() > 1e-3


def test_calm_parts_are_regions_as_any(render_serially: Render, with_masks) -> None:
    options = {"mode": "exact", "long_edge": 96, "levels": 2, "steps": (3, 3), "min_edge": 32, "calm": 40}
    options |= with_masks(QUARTERS[:1])
    whole, tiled = render_serially(tile=1024, **options), render_serially(tile=32, **options)
    assert np.abs(whole - tiled).max() < 1e-7
    assert np.abs(whole - render_serially(tile=1024, **{**options, "calm": 0})).max() > 1e-3


def test_fast_mode_on_one_tile_is_the_untiled_optimiser(render_serially: Render, with_masks) -> None:
    sliver = [*QUARTERS, (0.5, 0.5, 0.51, 0.51)]
    options = {"long_edge": 90, "levels": 1, "steps": (6,), "tile": 1024, **with_masks(sliver)}
    assert np.abs(render_serially(mode="fast", **options) - render_serially(mode="exact", **options)).max() < 1e-12


def test_a_region_that_a_tile_does_not_hold_costs_nothing_there(
    render_serially: Render, with_masks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    real = kernels.gram_backward_

    def spy(grad, features, s, scale, guides=None, relu=True):
        counts.append(len(guides))
        return real(grad, features, s, scale, guides, relu)

    monkeypatch.setattr(kernels, "gram_backward_", spy)
    monkeypatch.setattr(RenderStore, "finish_level", lambda *arguments: None)
    corners = [(0.0, 0.0, 0.1, 0.1), (0.9, 0.9, 1.0, 1.0)]
    options = {"long_edge": 160, "levels": 1, "steps": (2,), "tile": 32, "halo": 16, "feather": 0, "region_edge": 0}
    options["state"] = "store"
    render_serially(**options, **with_masks(corners))
    assert set(counts) == {1, 2}, "no tile holds both corners, and most hold none"
    [grams] = (tmp_path / "1.zarr/levels/0").glob("state-*/grams/relu4_1/c")
    tiles = {(path.parts[-4], path.parts[-3]) for path in grams.rglob("*") if path.is_file()}
    held = {region: sum(one == region for _, one in tiles) for region in ("0", "1", "2")}
    assert held["0"] == 20
    assert 1 <= held["1"] <= 4
    assert 1 <= held["2"] <= 4


def test_one_style_in_every_region_is_that_style_everywhere(render_serially: Render, with_masks, last_report) -> None:
    """Guides that cut one style into regions still lead to that style, with each region's own statistics."""
    options = {"long_edge": 64, "levels": 1, "steps": (30,), "content_weight": 0.0}
    guided = with_masks([QUARTERS[0]])
    render_serially(**options, **guided)
    assert last_report()["style"] < 0.2


def test_each_region_is_measured_by_its_own_styles(
    render_serially: Render, with_masks, last_report, small_weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Differences from the content and between neighbours, written out; some tiles hold one region, and some two."""
    targets: list[StyleTarget] = []
    kept: list[np.ndarray] = []
    joined, finish = StyleTarget.joined, RenderStore.finish_level

    def finished(store: RenderStore, *arguments: Any) -> None:
        kept[:] = [
            store.read_picture(f"levels/0/{name}", Rect(0, 0, *start.shape[1:])) for name in ("guides", "content")
        ]
        finish(store, *arguments)

    monkeypatch.setattr(StyleTarget, "joined", lambda *given: targets.append(joined(*given)) or targets[-1])
    weights = {"tv_weight": 0.0, "chroma_weight": 1.5, "light_weight": 0.8, "content_weight": 0.7}
    options = {"long_edge": 96, "levels": 1, "tile": 32, "mode": "exact", **with_masks(QUARTERS), **weights}
    start = render_serially(steps=0, **options)
    monkeypatch.setattr(RenderStore, "finish_level", finished)
    render_serially(steps=1, **options)
    (guides, content), units = kept, targets[-1].units
    rough = np.array([one.roughness for one in units])
    assert len(rough) == 3
    assert min(rough[:, 1].max() / rough[:, 1].min(), rough[:, 0].max() / rough[:, 0].min()) > 1.1
    usual, total = np.einsum("rk,rhw->khw", rough, guides), 0.0
    for after, before in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, :, 1:], np.s_[:, :, :-1])):
        steps, (of_chroma, of_light) = start[after] - start[before], usual[before]
        mean = steps.mean(0)
        bright = 1 + 3 * mean**2 / of_light
        total += 1.5 * np.log1p(((steps - mean) ** 2).sum(0) / of_chroma / bright).sum() / 2
        total += 0.8 * np.log(bright).sum() / 2
    assert last_report()["tv"] == pytest.approx(total / start[0].size, rel=1e-9)
    backbone = Backbone(load_weights(small_weights), ("relu4_2",), dtype=torch.float64)
    theirs, ours = (backbone.forward(torch.from_numpy(one).double())["relu4_2"] for one in (content, start))
    cells = pooled(torch.from_numpy(guides).double(), ("relu4_2",))["relu4_2"]
    energies = [one.energies["relu4_2"] for one in units]
    assert max(energies) > 1.1 * min(energies)
    thinness = sum(plane / energy for plane, energy in zip(cells, energies, strict=True))
    assert last_report()["content"] == pytest.approx(0.7 * float((thinness * (ours - theirs) ** 2).mean()), rel=1e-9)


def test_what_does_not_change_is_read_once(
    render_serially: Render, with_masks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the regions are and how much of a level each has, in exact mode, which measures in every round."""
    from tiler.engine import holding
    from tiler.engine.workplace import Workplace

    seen: Counter[str] = Counter()
    for owner, name in ((Workplace, "level_guides"), (RenderStore, "read_areas")):
        real = getattr(owner, name)

        def counted(self, *what, real=real, name=name):
            seen[name] += name != "read_areas" or what == ("levels/0/guides",)
            return real(self, *what)

        monkeypatch.setattr(owner, name, counted)
    options = {"mode": "exact", "long_edge": 96, "levels": 1, "steps": (4,), "tile": 32, **with_masks(QUARTERS)}
    kept = render_serially(**options)
    # 3 x 3 tiles, each once to be seeded, measured and relaxed; areas by the client too, which asks for them.
    assert seen == {"level_guides": 27, "read_areas": 2}
    monkeypatch.setattr(holding, "INPUTS_BYTES", 0)
    assert render_serially(state="store", **options).tobytes() == kept.tobytes()
    assert seen == {"level_guides": 27 + 9 * (1 + 5 + 4), "read_areas": 4}
