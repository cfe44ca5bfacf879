"""One tile's optimiser in numbers: the schedule, Adam against torch's own, what a tile foresees, what jitter moves."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tiler.engine import optimize
from tiler.engine.job import Look
from tiler.geometry import Rect
from tiler.style.backbone import Backbone
from tiler.style.grams import GramSums, StyleTarget, Units
from tiler.style.guides import EVERYWHERE, Areas, Guides
from tiler.style.losses import Objective
from tiler.style.terms import Terms
from tiler.style.weights import load_weights

LAYERS = ("relu1_1", "relu3_1")


def test_rates_warm_up_and_then_fall_like_a_cosine() -> None:
    rates = [optimize.step_rate(step, 105, 0.6) for step in range(105)]
    assert rates[:6] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert rates[55] == pytest.approx(0.3)
    assert rates[30] == pytest.approx(0.3 * (1 + math.sqrt(0.5)))
    assert 0 < rates[104] < 2e-4
    assert all(after < before for before, after in pairwise(rates[5:]))


@pytest.mark.parametrize(("steps", "rates"), [(1, [0.8]), (3, [0.8, 0.6, 0.2]), (4, [0.4, 0.8, 0.6, 0.2]),
                                              (8, [0.8 / 3, 1.6 / 3, 0.8])])  # fmt: skip
def test_few_steps_warm_up_for_a_quarter_of_them(steps: int, rates: list[float]) -> None:
    found = [optimize.step_rate(step, steps, 0.8) for step in range(steps)]
    assert found[: len(rates)] == pytest.approx(rates)


class Bowl(optimize.TileProblem):
    """A problem whose gradient is that of sum (x - wanted)^2 * weight, over a part of a tensor."""

    def __init__(self, start: torch.Tensor, wanted: torch.Tensor, weight: torch.Tensor) -> None:
        self.pixels = self.whole = F.pad(start, (2, 2, 2, 2))
        self._blend = self._core = Rect(2, 2, 2 + start.shape[1], 2 + start.shape[2])
        self._objective = Objective(StyleTarget({}, {}, ()), Terms((), (), 1.0, 0.0, 0.0), 1, 1, Areas((), {}))
        self.wanted, self.weight, self.steps = wanted, weight, []

    def slope(self, step: int) -> tuple[torch.Tensor, GramSums, optimize.TileLosses]:
        self.steps.append(step)
        gap = self.state_pixels - self.wanted
        losses = optimize.TileLosses({"relu1_1": (self.weight * gap**2).sum()}, torch.zeros(()), 0.0)
        return 2 * self.weight * gap, GramSums({}, {}), losses

    def loss(self, losses: optimize.TileLosses) -> float:
        return losses.style["relu1_1"]

    style_layers = ("relu1_1",)
    _usual = torch.ones(2, 1, 1, dtype=torch.float64)


def bowl(seed: int = 0, beyond: float = 0.3) -> Bowl:
    generator = torch.Generator().manual_seed(seed)
    start, wanted, weight = torch.rand(3, 3, 5, 4, generator=generator, dtype=torch.float64)
    return Bowl(start, (1 + 2 * beyond) * wanted - beyond, 1 + 9 * weight)


def test_relax_is_torchs_adam_kept_in_range() -> None:
    """Also when it goes on from moments of an earlier round."""
    problem, rates = bowl(), [0.02, 0.05, 0.04, 0.03, 0.2, 0.1]
    free = torch.nn.Parameter(problem.state_pixels.clone())
    own = torch.optim.Adam([free], betas=(0.8, 0.99), eps=1e-8)
    expected = []
    for rate in rates:
        own.param_groups[0]["lr"] = rate
        free.grad = 2 * problem.weight * (free.detach() - problem.wanted)
        expected.append(float((problem.weight * (free.detach() - problem.wanted) ** 2).sum()))
        own.step()
        with torch.no_grad():
            free.clamp_(0, 1)
    first, second = torch.zeros_like(problem.state_pixels), torch.zeros_like(problem.state_pixels)
    seen: list[tuple[int, float]] = []
    for start, some in ((0, rates[:2]), (2, rates[2:])):
        after, _, losses = optimize.relax(
            problem, first, second, start, some, lambda step, losses: seen.append((step, losses.style["relu1_1"]))
        )
    torch.testing.assert_close(after.pixels, free.detach(), rtol=1e-12, atol=1e-12)
    assert (after.pixels.min(), after.pixels.max()) == (0, 1)
    assert after.first is first
    assert after.second is second
    assert [step for step, _ in seen] == problem.steps == [1, 2, 3, 4, 5, 6]
    assert [loss for _, loss in seen] == pytest.approx(expected)
    assert losses().style["relu1_1"] == seen[-1][1]
    assert not problem.whole[:, :2].any()


def test_lbfgs_reaches_the_bottom() -> None:
    problem = bowl(1, beyond=-0.1)
    seen: list[int] = []
    after, _, losses = optimize.relax_lbfgs(problem, 40, lambda step, losses: seen.append(step))
    torch.testing.assert_close(after.pixels, problem.wanted, rtol=0, atol=1e-3)
    assert not after.first.any()
    assert not after.second.any()
    assert seen == list(range(1, 41))
    assert after.pixels.data_ptr() == problem.state_pixels.data_ptr()
    assert losses().style["relu1_1"] < 1e-3


def test_lbfgs_stays_in_range() -> None:
    after, *_ = optimize.relax_lbfgs(bowl(1), 8)
    assert (after.pixels.min(), after.pixels.max()) == (0, 1)


class Tile:
    """A tile of 40 x 56 pixels that reads 48 x 64 of a level of 96 x 128, with a random style to reach."""

    core, blend, read = Rect(0, 8, 32, 40), Rect(0, 4, 36, 44), (48, 64)
    level = (96, 128)

    def __init__(self, weights: str, guides: Guides | None = None, areas: Areas | None = None, **more: object) -> None:
        convs = load_weights(weights)
        self.backbone = Backbone(convs, LAYERS, dtype=torch.float64)
        generator = torch.Generator().manual_seed(7)

        def symmetric(count: int, channels: int) -> torch.Tensor:
            half = torch.rand(count, channels, channels, generator=generator, dtype=torch.float64)
            return half + half.mT

        regions = len(guides.regions) if guides else 1
        sizes = {layer: self.backbone.channels(layer) for layer in LAYERS}
        grams = {layer: symmetric(regions, c) for layer, c in sizes.items()}
        self.total = {layer: symmetric(regions, c) for layer, c in sizes.items()}
        self.reported = {layer: 50 * symmetric(regions, c) for layer, c in sizes.items()}
        self.pixels = torch.rand(3, *self.read, generator=generator, dtype=torch.float64)
        target = StyleTarget(grams, dict.fromkeys(LAYERS, 1.0), (Units(dict.fromkeys(LAYERS, 1.0), (1.0, 1.0)),))
        areas = areas or Areas.everywhere(LAYERS, *self.level)
        objective = Objective(target, Terms(LAYERS, (), 1.3, 0.0, 0.2), *self.level, areas)
        inputs, extent = optimize.Inputs(guides=guides or EVERYWHERE), optimize.Extent(self.core, self.blend)
        exchanged = optimize.Exchanged(self.total, self.reported)
        self.problem = optimize.TileProblem(self.backbone, objective, self.pixels, inputs, extent, exchanged, **more)

    def evaluated(
        self, monkeypatch: pytest.MonkeyPatch, step: int = 0
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor, GramSums, optimize.TileLosses]:
        """The Grams that slopes are taken of, and what the evaluation gives back."""
        seen: dict[str, torch.Tensor] = {}
        real = Objective.style_terms

        def spy(objective: Objective, grams: dict[str, torch.Tensor]) -> object:
            seen.update({layer: gram.clone() for layer, gram in grams.items()})
            return real(objective, grams)

        with monkeypatch.context() as patched:
            patched.setattr(Objective, "style_terms", spy)
            return seen, *self.problem.evaluate(step)


def cells_of(features: torch.Tensor, box: tuple[int, int, int, int]) -> torch.Tensor:
    y0, x0, y1, x1 = box
    return features[:, y0:y1, x0:x1].flatten(1)


def test_a_tile_foresees_the_level_as_if_every_tile_moved_as_it_does(
    small_weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Total + own Gram now - own Gram as it entered the total: each per cell of the core, however small its share."""
    tile = Tile(small_weights)
    seen, gradient, sums, losses = tile.evaluated(monkeypatch)
    features = tile.backbone.forward(tile.pixels)
    for layer, box, count in (("relu1_1", (0, 8, 32, 40), 1024), ("relu3_1", (0, 2, 8, 10), 64)):
        matrix = cells_of(features[layer], box)
        torch.testing.assert_close(sums.sums[layer][0], matrix @ matrix.T, rtol=1e-10, atol=1e-10)
        expected = tile.total[layer][0] + (matrix @ matrix.T - tile.reported[layer][0]) / count
        torch.testing.assert_close(seen[layer][0], expected, rtol=1e-10, atol=1e-10)
    assert gradient.shape == (3, 36, 40)
    assert losses.style.keys() == set(LAYERS)


def test_without_colours_channels_move_together_along_what_light_gains(small_weights: str) -> None:
    """The gradient along light, which all three channels have a third of each; and what is equal stays equal."""
    problem = Tile(small_weights).problem
    problem.pixels[:] = problem.pixels[:1].clone()
    slope, _, losses = problem.slope(0)
    problem._objective = replace(problem._objective, grey=True)
    found, _, same = problem.slope(0)
    torch.testing.assert_close(found, slope.mean(0).expand(3, 36, 40), rtol=1e-12, atol=1e-15)
    assert (same.style, same.content) == (losses.style, losses.content)
    assert (slope[0] - slope[1]).abs().max() > 1e-3, "colours had nothing to gain"
    first, second = (torch.zeros(3, 36, 40, dtype=torch.float64) for _ in range(2))
    before = problem.pixels.clone()
    optimize.relax(problem, first, second, 0, [0.02, 0.02])
    assert torch.equal(problem.pixels, problem.pixels[:1].expand_as(before))
    assert (problem.pixels - before).abs().max() > 0.01


def test_a_slope_lacks_the_total_variation_and_nothing_else(small_weights: str) -> None:
    problem = Tile(small_weights).problem
    slope, _, losses = problem.slope(0)
    whole, _, all_losses = problem.evaluate(0)
    gradient, tv = problem._objective.smoothness(problem.pixels, Tile.core, problem._objective.usual(None))
    torch.testing.assert_close(slope + gradient[:, :36, 4:44], whole, rtol=1e-12, atol=1e-12)
    assert (losses.tv, all_losses.tv) == (0, tv)
    assert tv > 0
    assert losses.style == all_losses.style


def test_jitter_moves_the_cells_and_not_the_tile(small_weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backbone sees the read area with its border repeated above and to the left, and the core where it then lies;
    the gradient comes back for the pixels that the tile may change."""
    asked: list[int] = []

    def shift(step: int) -> tuple[int, int]:
        asked.append(step)
        return 5, 3

    tile = Tile(small_weights, shift=shift)
    seen, gradient, sums, losses = tile.evaluated(monkeypatch, 9)
    assert asked == [9]
    moved = F.pad(tile.pixels[None], (3, 0, 5, 0), "replicate")[0]
    features = tile.backbone.forward(moved)
    for layer, box in (("relu1_1", (5, 11, 37, 43)), ("relu3_1", (2, 3, 10, 11))):
        matrix = cells_of(features[layer], box)
        torch.testing.assert_close(sums.sums[layer][0], matrix @ matrix.T, rtol=1e-10, atol=1e-10)
    slopes = tile.problem._objective.style_terms(seen)[1]
    plain, _ = tile.problem._objective.features_gradient(features, slopes, {}, tile.core)
    smooth, tv = tile.problem._objective.smoothness(tile.pixels, tile.core, tile.problem._objective.usual(None))
    expected = (plain[:, 5:, 3:] + smooth)[:, 0:36, 4:44]
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)
    assert float(losses.tv) == pytest.approx(float(tv))


def test_a_sliver_of_a_region_counts_by_its_sum(small_weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions of 0.25 cells in the core: of a level's 50 it counts as one cell, of a level's 0.5 as that half."""
    planes = {
        layer: torch.zeros(3, 48 // n, 64 // n, dtype=torch.float64) for layer, n in (("relu1_1", 1), ("relu3_1", 4))
    }
    for plane in planes.values():
        plane[0] = 1
        plane[1, 3, 4] = plane[2, 5, 6] = 0.25
    weights = dict.fromkeys(LAYERS, (5000.0, 50.0, 0.5))
    tile = Tile(small_weights, Guides((0, 1, 2), planes), Areas((0.9, 0.06, 0.04), weights))
    for layer, cells in (("relu1_1", 1024.0), ("relu3_1", 64.0)):
        assert tile.problem._weights[layer].flatten().tolist() == [cells, 1.0, 0.5]
        reported = tile.reported[layer] / torch.tensor([cells, 1.0, 0.5])[:, None, None]
        torch.testing.assert_close(tile.problem._reported[layer], reported)


def test_the_value_of_the_objective_is_the_sum_of_its_terms(small_weights: str) -> None:
    losses = optimize.TileLosses({"relu1_1": 0.5, "relu3_1": 0.25}, 0.07, 0.01)
    assert Tile(small_weights).problem.loss(losses) == pytest.approx(1.3 * 0.375 + 0.08)


def test_content_features_are_those_of_the_layers_asked_for(small_weights: str) -> None:
    tile = Tile(small_weights)
    assert optimize.content_features(tile.backbone, tile.pixels, ()) == {}
    found = optimize.content_features(tile.backbone, tile.pixels, ("relu1_1", "relu2_2"))
    assert {layer: tuple(one.shape[1:]) for layer, one in found.items()} == {"relu1_1": (48, 64), "relu2_2": (24, 32)}


def test_jitter_is_new_at_every_step_and_level_and_within_its_bounds() -> None:
    look = Look("noise", 4, "style", False, jitter=3)
    moves = {(level, step): look.shift(level, step) for level in range(3) for step in range(200)}
    assert moves == {key: look.shift(*key) for key in moves}
    assert {down for down, _ in moves.values()} == {right for _, right in moves.values()} == {0, 1, 2, 3}
    assert {*moves.values()} == {(down, right) for down in range(4) for right in range(4)}
    for level in (0, 1):
        same = sum(moves[level, step] == moves[level + 1, step] for step in range(200))
        assert same < 40, "levels move alike"
    other = replace(look, seed=5)
    assert sum(moves[0, step] == other.shift(0, step) for step in range(200)) < 40
    assert {replace(look, jitter=0).shift(0, step) for step in range(9)} == {(0, 0)}


def test_lbfgs_is_torchs_own_kept_in_range() -> None:
    """Beyond the steps that it looks back on, too; what is told of a step is what it started from."""
    problem, told = bowl(2, beyond=0.05), list[float]()
    free = torch.nn.Parameter(problem.state_pixels.clone())
    own, expected = torch.optim.LBFGS([free], lr=1, max_iter=1, history_size=20), list[float]()

    def closure() -> float:
        free.grad = 2 * problem.weight * (free.detach() - problem.wanted)
        expected.append(float((problem.weight * (free.detach() - problem.wanted) ** 2).sum()))
        return expected[-1] * 20

    for _ in range(26):
        own.step(closure)
        with torch.no_grad():
            free.clamp_(0, 1)
    after, _, losses = optimize.relax_lbfgs(problem, 26, lambda step, losses: told.append(losses.style["relu1_1"]))
    torch.testing.assert_close(after.pixels, free.detach(), rtol=1e-9, atol=1e-12)
    assert told == pytest.approx(expected, rel=1e-9)
    assert losses().style["relu1_1"] == told[-1]


def test_what_a_gpu_told_is_told_once_the_losses_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimize, "on_cpu", lambda tensor: False)
    problem, seen = bowl(), list[tuple[int, float]]()
    moments = torch.zeros_like(problem.state_pixels), torch.zeros_like(problem.state_pixels)
    *_, losses = optimize.relax(
        problem, *moments, 7, [0.1, 0.2, 0.1], lambda step, losses: seen.append((step, losses.style["relu1_1"]))
    )
    assert seen == []
    last = losses()
    assert [step for step, _ in seen] == problem.steps == [8, 9, 10]
    assert last.style["relu1_1"] == seen[-1][1] < seen[0][1]
    assert losses() is last
    assert len(seen) == 3


def test_paces_are_rates_and_moments_by_how_long_they_have_gathered() -> None:
    found = optimize.paces(2, [0.5, 0.25], torch.zeros(1, dtype=torch.float64))
    expected = [[0.5 / (1 - 0.512), 1 - 0.99**3], [0.25 / (1 - 0.4096), 1 - 0.99**4]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


def test_losses_are_packed_layer_by_layer_and_then_content_and_variation() -> None:
    row = optimize.TileLosses({"b": torch.tensor(1.0), "a": torch.tensor(2.0)}, torch.tensor(3.0), torch.tensor(4.0))
    assert row.packed().tolist() == [1, 2, 3, 4]
    assert optimize.TileLosses.unpacked(("b", "a"), [1, 2, 3, 4]) == optimize.TileLosses({"b": 1, "a": 2}, 3, 4)
    with pytest.raises(ValueError, match="zip"):
        optimize.TileLosses.unpacked(("a",), [1, 2, 3, 4])


def inputs() -> optimize.Inputs:
    """Of 2, 3, 4, 5 and 6 numbers of 4 bytes."""
    guides = Guides((1,), {"e": torch.ones(1, 2, 2)})
    return optimize.Inputs(
        {"a": torch.ones(2)}, {"b": torch.ones(3)}, guides, {"all": torch.ones(5)}, {"all": torch.ones(6)}
    )


def test_what_a_tile_sees_is_cloned_and_counted_in_full() -> None:
    given = inputs()
    assert {name: [*part] for name, part in given.parts.items()} == {
        "content": ["a"], "content weights": ["b"], "lines": ["all"], "guides": ["e"], "usual": ["all"],
    }  # fmt: skip
    assert given.held_bytes == 4 * (2 + 3 + 4 + 5 + 6)
    assert optimize.Inputs().held_bytes == 0
    copy = given.cloned()
    assert copy.guides.regions == (1,)
    for name, part in given.parts.items():
        for layer, tensor in part.items():
            mine = copy.parts[name][layer]
            assert torch.equal(mine, tensor)
            assert mine.data_ptr() != tensor.data_ptr()
    assert optimize.Inputs().cloned().parts["guides"] == {}


def test_problems_are_of_a_kind_where_one_can_take_the_other_s_place(small_weights: str) -> None:
    tile = Tile(small_weights)
    problem = tile.problem
    copy = problem.apart(lambda step: (step, 2))
    assert copy.shift(3) == (3, 2)
    assert problem.shift(3) == (0, 0)
    assert copy.kind == problem.kind
    theirs, mine = copy.tensors(), problem.tensors()
    assert theirs.keys() == mine.keys()
    assert {"pixels", *(f"{part} {layer}" for part in ("total", "weights", "reported") for layer in LAYERS)} == {*mine}
    for name, tensor in mine.items():
        assert torch.equal(theirs[name], tensor)
        assert theirs[name].data_ptr() != tensor.data_ptr()
    for name, value in (
        ("_core", Rect(0, 8, 32, 39)), ("_blend", Rect(0, 4, 36, 43)), ("feedback", 0.5),
        ("pixels", tile.pixels.float()), ("pixels", tile.pixels[:, 1:]),
        ("_inputs", inputs()), ("_backbone", object()), ("_of_level", object()),
    ):  # fmt: skip
        other = problem.apart(problem.shift)
        setattr(other, name, value)
        assert other.kind != problem.kind, name


def test_a_tile_s_extent_is_in_the_pixels_that_it_reads() -> None:
    tile = SimpleNamespace(core=Rect(32, 64, 48, 96), blend=Rect(28, 60, 52, 100), read=Rect(16, 32, 64, 112))
    assert optimize.Extent.of(tile) == optimize.Extent(Rect(16, 32, 32, 64), Rect(12, 28, 36, 68))  # type: ignore[arg-type]


def test_updates_that_are_made_directly_give_the_last_one_s_sums() -> None:
    problem = bowl()
    sums, given = [GramSums({}, {}), GramSums({}, {})], list[object]()
    losses = optimize.TileLosses({"a": torch.tensor(1.0)}, torch.tensor(2.0), torch.tensor(3.0))
    problem.update = lambda *arguments: given.append(arguments) or (sums[len(given) - 1], losses)  # type: ignore[method-assign]
    updates = optimize.Directly(problem, "first", "second")  # type: ignore[arg-type]
    pace = torch.ones(2)
    assert updates.update(5, pace).tolist() == [1, 2, 3]
    assert updates.end() is sums[0]
    updates.update(6, pace)
    assert updates.end() is sums[1]
    assert given == [(5, pace, "first", "second"), (6, pace, "first", "second")]
