"""How networks learn: what a step looks at, at which rates, when it ends, and what of it is kept."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_land import of_lands

from tiler.geometry import Rect
from tiler.growing import learn, training
from tiler.growing.architecture import Numbers
from tiler.growing.architectures import ARCHITECTURES
from tiler.growing.land import Facts
from tiler.growing.noise import Plane
from tiler.growing.photos import Photos
from tiler.growing.training import Training


def of_photos(*pixels: np.ndarray, kind: str = "spatial", seed: int = 3) -> Training:
    facts = of_lands(kind, *map(str, range(len(pixels))), seed=seed)
    return Training(facts, Photos(facts.lands, pixels))


def test_patches_are_made_at_any_place_in_their_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a patch is a cell, it is that cell."""
    for kind, cell in (("spatial", 16), ("dcgan", 64)):
        boxes: list[Rect] = []

        def numbers(self: Any, noise: Any, box: Rect, boxes: list[Rect] = boxes) -> Numbers:
            boxes.append(box)
            return Numbers(torch.zeros(1, 1, 1, 1), [])

        monkeypatch.setattr(type(ARCHITECTURES[kind]), "numbers", numbers)
        monkeypatch.setattr(training, "Textures", lambda *given: None)
        learned = of_photos(np.zeros((3, 64, 64), np.uint8), kind=kind)
        learned.generator = lambda numbers, box: numbers.cells  # type: ignore[assignment]
        for seed in range(40):
            learned._made(np.random.default_rng(seed), torch.ones(2, 1, 1, 1))
            assert boxes[-2] == boxes[-1]
        assert len(boxes) == 2 * 40
        assert {(box.height, box.width) for box in boxes} == {(64, 64)}
        places = {(box.y0, box.x0) for box in boxes}
        assert {y for y, _ in places} | {x for _, x in places} == (set(range(cell)) if cell == 16 else {0})
        assert cell == 64 or any(y != x for y, x in places)


def test_the_textures_of_many_steps_are_those_of_the_last_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    """At first of all so far; and each land's counts by how much of it there is."""
    monkeypatch.setattr(training, "Textures", lambda *given: None)
    learned, asked = of_photos(*np.zeros((2, 3, 64, 64), np.uint8)), []

    def mismatch(pixels: torch.Tensor, land: int, now: float) -> torch.Tensor:
        asked.append((land, len(pixels), now))
        return torch.tensor(10.0 ** (land + 1))

    textures: Any = SimpleNamespace(mismatch=mismatch)
    made = torch.zeros(3, 3, 64, 64)
    for steps, now in ((0, 1.0), (3, 0.25), (9, 0.1), (10, 0.1), (500, 0.1)):
        learned.steps = steps
        assert float(learned._texture(textures, made, [1, 0, 1])) == pytest.approx(1 / 3 * 10 + 2 / 3 * 100)
        assert asked == [(0, 1, pytest.approx(now)), (1, 2, pytest.approx(now))]
        asked.clear()


def test_patches_of_each_land_are_compared_with_four_times_as_many_of_its_photo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "Textures", lambda *given: None)
    photos = [np.full((3, 64, 64), 51 * (land + 1), np.uint8) for land in range(3)]
    learned, asked = of_photos(*photos), []

    def mismatch(made: torch.Tensor, real: torch.Tensor, rng: object, patches: int) -> torch.Tensor:
        asked.append((made[:, 0, 0, 0].tolist(), tuple(real.shape), patches))
        # Of colours whose mean is (0.5, 0.25, 0.125), in units of 1.
        torch.testing.assert_close(real[0, :, 0, 0], 0.2 * (made[0, 0, 0, 0] // 10) - torch.tensor([0.5, 0.25, 0.125]))
        return made[0, 0, 0, 0]

    monkeypatch.setattr(training, "mismatch", mismatch)
    made = torch.tensor([30.0, 10.0, 31.0, 32.0]).view(4, 1, 1, 1).expand(4, 3, 64, 64)
    found = learned._mismatch(made, [2, 0, 2, 2], np.random.default_rng(0))
    assert asked == [([10.0], (4, 3, 64, 64), 1024), ([30.0, 31.0, 32.0], (12, 3, 64, 64), 1024)]
    assert float(found) == pytest.approx(1 / 4 * 10 + 3 / 4 * 30)


def test_networks_learn_at_their_own_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "Textures", lambda *given: None)
    for kind, rates, betas in (("spatial", (1e-3, 4e-4), (0.5, 0.99)), ("dcgan", (2e-4, 2e-4), (0.5, 0.999))):
        learned = of_photos(np.zeros((3, 64, 64), np.uint8), kind=kind)
        for part, rate in zip(("generator", "discriminator"), rates, strict=True):
            (group,) = learned.optimisers[part].param_groups
            assert (group["lr"], group["betas"]) == (rate, betas)
            assert group["params"] == [*getattr(learned, part).parameters()]


def test_first_weights_are_the_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was drawn before; and nothing of what is drawn later is theirs."""
    monkeypatch.setattr(training, "Textures", lambda *given: None)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, same, other = (of_photos(np.zeros((3, 64, 64), np.uint8), seed=seed) for seed in (2**63 - 1, 2**63 - 1, 5))
    assert torch.equal(torch.random.get_rng_state(), before)
    for part in ("generator", "discriminator", "average", "kept"):
        first, second, third = (next(getattr(run, part).parameters()) for run in (one, same, other))
        assert torch.equal(first, second)
        assert not torch.equal(first, third)
    assert torch.equal(next(one.average.parameters()), next(one.generator.parameters()))
    assert (one.best is one.average, one.average.training, one.kept_at) == (True, False, 0)


def test_what_is_as_near_as_what_is_kept_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "Textures", lambda *given: None)
    learned = of_photos(np.zeros((3, 64, 64), np.uint8))
    for steps, distance, kept_at in ((3, 2.0, 3), (5, 2.0, 3), (7, 1.5, 7), (9, 1.6, 7)):
        learned.steps = steps
        told: Any = SimpleNamespace(distance=lambda average, distance=distance: distance)
        assert learned.look(told) == distance
        assert learned.kept_at == kept_at
        assert learned.best is learned.kept


def test_a_state_after_a_step_at_least(photos) -> None:
    pictures = Photos.read(photos[:1], 64)
    facts = Facts("dcgan", 2, pictures.names, pictures.colours(), 64, 2, 0, pictures.digests, 0, 0.0, {})
    first = Training(facts, pictures)
    first.step()
    for seen in ([0.0, 0.0], [0.0, 1.0], [1.5, 1.0], [math.inf, 0.0]):
        again = Training(facts, pictures)
        again.load({**first.tensors(), "seen": torch.tensor(seen, dtype=torch.float64)}, 1)
        assert (again._distance, again.kept_at, again.steps) == (*seen, 1)
    with pytest.raises(ValueError, match=r"^steps are 0$"):
        again.load(first.tensors(), 0)
    for seen in ([-0.1, 0.0], [0.0, -1.0], [0.0, 2.0], [0.0, 1.0, 0.0]):
        with pytest.raises(ValueError, match="what of it is kept"):
            again.load({**first.tensors(), "seen": torch.tensor(seen, dtype=torch.float64)}, 1)
    for name, wrong in (("step", torch.ones(1)), ("exp_avg", torch.ones(2)), ("exp_avg_sq", None)):
        state = {**first.tensors(), f"adam/generator/0/{name}": wrong}
        words = f"^the optimiser's {name} of parameter 0 is missing, or of another shape$"
        with pytest.raises(ValueError, match=words):
            again.load({key: one for key, one in state.items() if one is not None}, 1)


def running(lands: int, done: int, seconds: float, **asked: Any) -> Any:
    lesson = learn.Lesson(("a.png",), "x.safetensors", **asked)
    run = learn._Run(lesson, SimpleNamespace(facts=of_lands("spatial", *map(str, range(lands))), steps=done), print)  # type: ignore[arg-type]
    run.seconds = seconds
    return run


def test_it_learns_for_as_many_steps_or_minutes_as_were_asked() -> None:
    assert [running(1, steps, 1e9, steps=3)._enough() for steps in (2, 3, 4)] == [False, True, True]
    assert [running(1, 10, seconds, minutes=2.0)._enough() for seconds in (119.9, 120.0)] == [False, True]
    assert [running(1, 10, seconds)._enough() for seconds in (899.9, 900.0)] == [False, True]
    assert running(1, 7, 90.0, minutes=2.0)._how_far() == "step 7, 1.5 of 2 min"
    assert running(1, 7, 90.0, steps=9)._how_far() == "step 7 of 9"
    assert running(1, 7, 1.23456)._facts().seconds == 1.235


@pytest.mark.parametrize("lands", [1, 3])
def test_a_land_is_looked_at_every_500_steps_for_each_of_its_kinds(lands: int) -> None:
    at = [steps for steps in range(1, 3200) if running(lands, steps, 0.0)._to_look()]
    assert at == [*range(500 * lands, 3200, 500 * lands)]


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with contextlib.suppress(KeyError), learn._threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before


def test_a_sample_shows_what_each_land_is_now(tmp_path: Path) -> None:
    """Side by side, of the first pixels of the seed's plane."""
    run, seen = running(3, 1, 0.0), []

    def best(numbers: Numbers, box: Rect) -> torch.Tensor:
        assert torch.equal(numbers.cells[:, :-3], ARCHITECTURES["spatial"].numbers(Plane(3), box).cells)
        seen.append(box)
        shown = torch.full((1, 3, box.height, box.width), 0.1)
        return shown * (1 + numbers.cells[0, -3:, 0, 0].argmax())

    run.training.best, run.training.device = best, "cpu"
    run._sample(tmp_path / "sample.png")
    found = np.asarray(Image.open(tmp_path / "sample.png"))
    assert found.shape == (256, 768, 3)
    assert seen == [Rect(0, 0, 256, 256)] * 3
    for land in range(3):
        wanted = [round(255 * (middle + 0.1 * (land + 1))) for middle in (0.5, 0.25, 0.125)]
        assert (np.abs(found[:, 256 * land : 256 * land + 256].astype(int) - wanted) <= 1).all()
