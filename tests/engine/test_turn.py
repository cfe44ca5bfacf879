"""One round of one tile, of parts that write down what they are given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tiler.engine import finite, optimize, turn
from tiler.engine.optimize import TileLosses
from tiler.engine.turn import Done, Given, Round, Turns
from tiler.geometry import TileGrid

GRID = TileGrid(50, 90, 32, 32, feather=4, halo=8)
TILE = GRID.tile(4)
NOW = Round(3, 10, 2, {"relu1_1": torch.full((3, 2, 2), 7.0), "relu3_1": torch.full((3, 2, 2), 9.0)})
LOSSES = TileLosses({"relu1_1": 1.0, "relu3_1": 4.0}, 5.0, 6.0)
LEVEL = 1


class Site:
    """What a round asks for, in the order in which it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lbfgs: bool = False, graphs: Any = None) -> None:
        self.asked: list[Any] = []
        self.events: list[dict[str, Any]] = []
        self.problem: Any = None
        levels = [SimpleNamespace(steps=8, peak_rate=0.5), SimpleNamespace(steps=40, peak_rate=0.25)]
        cut = SimpleNamespace(uses_lbfgs=lambda level: lbfgs and level == LEVEL, levels=levels)
        job = SimpleNamespace(
            cut=cut,
            styles=SimpleNamespace(regions=("a", "b", "c")),
            look=SimpleNamespace(shift=lambda level, step: (level, step)),
        )
        self.here: Any = SimpleNamespace(
            job=job,
            backbones={"bf16": "short", "fp32": "long"},
            graphs=graphs,
            shaped=lambda shape: self.asked.append(("shaped", tuple(shape))),
            objective=lambda level: f"objective of {level}",
        )
        self.inputs: Any = SimpleNamespace(of=self._inputs)
        monkeypatch.setattr(optimize, "TileProblem", self._problem)
        monkeypatch.setattr(optimize, "relax", self._relax)
        monkeypatch.setattr(optimize, "relax_lbfgs", self._relax_lbfgs)
        self.turns = Turns(self.here, LEVEL, self.inputs, self._read, self._reported, self.events.append)

    def _read(self, state: int, rect: Any, kind: str) -> torch.Tensor:
        self.asked.append((kind, state, rect))
        channels = 3 if kind == "pixels" else 6
        return torch.arange(channels * rect.height * rect.width).reshape(channels, rect.height, rect.width).float()

    def _reported(self, tile: Any, layer: str, regions: tuple[int, ...]) -> torch.Tensor:
        return torch.tensor([tile.index, len(layer), *regions])

    def _inputs(self, tile: Any, raw: Any, precision: str) -> Any:
        self.asked.append(("inputs", tile.index, raw, precision))
        return SimpleNamespace(guides=SimpleNamespace(regions=(0, 2)))

    def _problem(self, *given: Any) -> Any:
        self.problem = SimpleNamespace(given=given, pixels=given[2])
        return self.problem

    def _relax(self, problem: Any, first: Any, second: Any, start: int, rates: list[float], *rest: Any) -> Any:
        on_step, begin = rest
        self.asked.append(("relax", first.clone(), second.clone(), start, rates, begin))
        first += 100
        on_step(start + 1, LOSSES)
        return self._made(problem)

    def _relax_lbfgs(self, problem: Any, steps: int, on_step: Any) -> Any:
        self.asked.append(("lbfgs", steps))
        on_step(2, LOSSES)
        return self._made(problem)

    def _made(self, problem: Any) -> Any:
        return SimpleNamespace(pixels=problem.pixels * 2), SimpleNamespace(sums={"relu1_1": "sums"}), lambda: LOSSES

    def given(self) -> Given:
        found = self.turns.given(NOW, TILE, "raw")  # type: ignore[arg-type]
        self.asked.clear()
        return found


def test_a_round_starts_from_pixels_of_all_that_a_tile_sees_and_moments_of_what_it_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site(monkeypatch)
    monkeypatch.setattr(turn, "time", SimpleNamespace(perf_counter=lambda: float(len(site.asked))))
    found = site.turns.given(NOW, TILE, "raw")  # type: ignore[arg-type]
    assert site.asked == [("pixels", 3, TILE.read), ("moments", 3, TILE.blend)]
    assert (found.pixels.shape[1:], found.moments.shape[1:]) == ((34, 64), (22, 40))
    assert (found.pixels.shape[0], found.moments.shape[0], found.raw, found.began, found.used) == (
        3, 6, "raw", 0.0, False,
    )  # fmt: skip


@pytest.mark.parametrize("graphs", [None, SimpleNamespace(begin="graphs")])
def test_updates_are_counted_by_the_level_and_scaled_by_the_try(monkeypatch: pytest.MonkeyPatch, graphs: Any) -> None:
    """Steps 11 and 12 of 40: past a warm-up of five, on the cosine."""
    site = Site(monkeypatch, graphs=graphs)
    given = site.given()
    before = given.moments.clone()
    found = site.turns._relax(NOW, TILE, given, "fp32", 0.1)
    shaped, inputs, (kind, first, second, start, rates, begin) = site.asked
    assert (shaped, inputs) == (("shaped", (3, 34, 64)), ("inputs", 4, "raw", "fp32"))
    assert (kind, start, begin) == ("relax", 10, "graphs" if graphs else optimize.Directly)
    torch.testing.assert_close((first, second), (before[:3], before[3:]))
    assert rates == pytest.approx([0.1 * optimize.step_rate(step, 40, 0.25) for step in (10, 11)])
    assert rates[0] == pytest.approx(0.1 * 0.25 * 0.950484, rel=1e-5)
    torch.testing.assert_close(found.moments, torch.cat([before[:3] + 100, before[3:]]))
    torch.testing.assert_close(found.pixels, given.pixels * 2)
    assert found.steps.seconds > 0
    assert (found.sums, found.regions, found.losses) == ({"relu1_1": "sums"}, (0, 2), LOSSES)
    assert site.events == [
        {"event": "step", "level": 1, "round": 3, "tile": 4, "step": 11, "style": 2.5, "content": 5.0, "tv": 6.0}
    ]


def test_a_tile_is_told_what_the_level_came_to_in_its_regions_and_what_it_said_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site(monkeypatch)
    total = {"relu1_1": torch.arange(3.0).reshape(3, 1, 1), "relu3_1": torch.arange(3.0).reshape(3, 1, 1) + 10}
    given = site.given()
    site.turns._relax(Round(3, 10, 2, total), TILE, given, "bf16", 1.0)
    backbone, objective, pixels, inputs, extent, exchanged, shift = site.problem.given
    assert (backbone, objective, inputs.guides.regions) == ("short", "objective of 1", (0, 2))
    assert pixels is given.pixels
    assert extent == optimize.Extent(TILE.core.relative_to(TILE.read), TILE.blend.relative_to(TILE.read))
    assert {layer: sums.flatten().tolist() for layer, sums in exchanged.total.items()} == {
        "relu1_1": [0, 2], "relu3_1": [10, 12],
    }  # fmt: skip
    assert {layer: sums.tolist() for layer, sums in exchanged.reported.items()} == {
        "relu1_1": [4, 7, 0, 2], "relu3_1": [4, 7, 0, 2],
    }  # fmt: skip
    assert shift(5) == (1, 5)


def test_lbfgs_leaves_no_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, lbfgs=True)
    given = site.given()
    found = site.turns._relax(NOW, TILE, given, "fp32", 1.0)
    assert site.asked[2:] == [("lbfgs", 2)]
    torch.testing.assert_close(found.moments, torch.zeros(6, 22, 40))
    assert given.moments.any()
    assert site.events[0]["step"] == 2


def test_a_try_that_failed_is_followed_by_one_from_the_state_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the first has changed in place; in the next precision, then with a tenth of the step."""
    site, tried = Site(monkeypatch), list[Any]()
    given = site.given()

    def relax(now: Round, tile: Any, start: Given, precision: str, scale: float) -> Any:
        tried.append((precision, scale, start is given, start.raw, now.state, tile.index))
        wrong = "" if len(tried) == 3 else "pixels"
        return SimpleNamespace(not_finite=lambda: wrong, losses=LOSSES, number=len(tried))

    monkeypatch.setattr(site.turns, "_relax", relax)
    begun = site.turns.begin(NOW, TILE, given)
    assert (begun.began, given.used, site.asked) == (given.began, True, [])
    done = site.turns.end(TILE, begun)
    assert (done.relaxed.number, done.began) == (3, given.began)  # type: ignore[attr-defined]
    assert tried == [
        ("bf16", 1.0, True, "raw", 3, 4),
        ("fp32", 1.0, False, "raw", 3, 4),
        ("fp32", 0.1, False, "raw", 3, 4),
    ]
    assert [one[0] for one in site.asked] == ["pixels", "moments"] * 2
    assert [event["text"].partition(":")[0] for event in site.events] == ["level 2, tile 4, steps 11 to 12"] * 2


def test_a_tile_s_seconds_begin_where_the_one_before_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or where it began itself, if that was later."""
    site, clock = Site(monkeypatch), iter((17.0, 20.0, 40.0))
    monkeypatch.setattr(turn, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    for began, stepping in ((10.0, 1.5), (12.0, 2.5), (31.0, 3.5)):
        relaxed: Any = SimpleNamespace(losses=LOSSES, steps=SimpleNamespace(seconds=stepping))
        site.turns.tell(NOW, TILE, Done(relaxed, began))
    assert [(event.pop("seconds"), event.pop("stepping")) for event in site.events] == [(7, 1.5), (3, 2.5), (9, 3.5)]
    assert (
        site.events
        == [{"event": "tile", "level": 1, "round": 3, "tile": 4, "steps": 2, "style": 2.5, "content": 5.0, "tv": 6.0}]
        * 3
    )


@pytest.mark.parametrize("with_grams", [False, True])
def test_what_is_kept_of_a_round_has_statistics_where_they_are_those_of_the_last_step(with_grams: bool) -> None:
    relaxed: Any = SimpleNamespace(pixels="p", moments="m", sums={"relu1_1": "s"}, regions=(1, 2), losses=LOSSES)
    found = Done(relaxed, 0.0).kept(with_grams)
    assert (found.pixels, found.moments, found.regions, found.losses) == ("p", "m", (1, 2), (5.0, 6.0))
    assert found.grams == ({"relu1_1": "s"} if with_grams else {})


def test_relaxed_tiles_are_those_of_the_engine() -> None:
    """What stands for them above has the same parts."""
    pixels, moments = torch.rand(3, 4, 6), torch.rand(6, 4, 6)
    span = finite.Span(pixels.device)
    found = finite.Relaxed(pixels, moments, {}, (0,), lambda: LOSSES, span)
    assert (found.not_finite(), found.steps, found.losses) == ("", span, LOSSES)
    for wrong, value in ((pixels, torch.inf), (moments, -torch.inf)):
        before, wrong[1, 2, 3] = wrong[1, 2, 3].clone(), value
        name = "pixels" if wrong is pixels else "moments"
        assert finite.Relaxed(pixels, moments, {}, (0,), lambda: LOSSES, span).not_finite() == name
        wrong[1, 2, 3] = before
    lost = TileLosses({"relu1_1": 1.0}, torch.nan, 1.0)
    assert finite.Relaxed(pixels, moments, {}, (0,), lambda: lost, span).not_finite() == "loss"
