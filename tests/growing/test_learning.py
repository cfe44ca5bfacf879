"""Learning: what is stopped goes on to the same numbers, what is wrong is one line, and it does learn."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from here import run_main
from PIL import Image
from small_land import SMALL

from tiler.geometry import Rect
from tiler.growing import land
from tiler.growing.architecture import Numbers
from tiler.growing.land import Colours, Facts
from tiler.growing.learn import Lesson, learn
from tiler.growing.likeness import Likeness
from tiler.growing.matching import mismatch
from tiler.growing.photos import Photos
from tiler.growing.training import Training
from tiler.style.grams import measure_pixels


def numbers(file: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load(file.read_bytes())


def same(one: Path, other: Path) -> bool:
    first, second = numbers(one), numbers(other)
    return {*first} == {*second} and all(torch.equal(first[name], second[name]) for name in first)


class _StoppedError(Exception):
    pass


@pytest.mark.parametrize("kind", ["spatial", "dcgan"])
def test_what_was_stopped_goes_on_to_the_same_numbers(kind: str, photos, tmp_path: Path) -> None:
    small = SMALL if kind == "spatial" else {**SMALL, "patch": 64}

    def lesson(name: str, **more: Any) -> Lesson:
        return Lesson(photos, str(tmp_path / f"{name}.safetensors"), kind, steps=5, **small, **more)

    learn(lesson("whole"))

    def stop(event: dict[str, Any]) -> None:
        if event.get("step") == 4:
            raise _StoppedError

    with contextlib.suppress(_StoppedError):
        learn(lesson("parts", checkpoint_seconds=0.0), stop)
    assert not (tmp_path / "parts.safetensors").exists()
    notes: list[str] = []
    done = learn(lesson("parts"), lambda event: notes.append(event.get("text", "")))
    assert notes[0] == "goes on after 3 steps"
    assert done.steps == 5
    assert same(tmp_path / "whole.safetensors", tmp_path / "parts.safetensors")
    states = [tmp_path / f"{name}.training" / "state.safetensors" for name in ("whole", "parts")]
    assert same(*states)
    assert {path.name for path in states[0].parent.iterdir()} == {"state.safetensors", "sample.png"}


class Told:
    """In place of a look: after so many steps the land is so far from its photos."""

    def __init__(self, *given: Any) -> None:
        self.steps = 0

    def distance(self, generator: torch.nn.Module) -> float:
        return {2: 3.0, 4: 2.0, 5: 2.5, 6: 4.0, 7: 1.9, 8: 1.1, 9: 1.3, 10: 1.5, 12: 1.1}[self.steps]


def test_the_nearest_to_the_photos_is_kept(photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all looks, whatever came of it later; also where training was stopped in between."""
    monkeypatch.setattr("tiler.growing.learn.Likeness", Told)
    monkeypatch.setattr("tiler.growing.learn.LOOKS", 1)
    averages: list[dict[str, torch.Tensor]] = []
    own = Training.look

    def look(self: Training, likeness: Any) -> float:
        likeness.steps = self.steps
        averages.append({name: one.clone() for name, one in self.average.state_dict().items()})
        return own(self, likeness)

    monkeypatch.setattr(Training, "look", look)

    def lesson(name: str, steps: int) -> Lesson:
        return Lesson(photos, str(tmp_path / f"{name}.safetensors"), steps=steps, **SMALL)

    events: list[dict[str, Any]] = []
    done = learn(lesson("whole", 12), events.append)
    assert (done.steps, done.kept_at) == (12, 8)
    looks = [(event["step"], event["distance"], event["kept_at"]) for event in events if event["event"] == "look"]
    assert looks == [(2, 3.0, 2), (4, 2.0, 4), (6, 4.0, 4), (8, 1.1, 8), (10, 1.5, 8), (12, 1.1, 8)]
    kept = numbers(tmp_path / "whole.safetensors")
    assert all(torch.equal(kept[name], averages[3][name]) for name in kept)
    assert land.unpacked((tmp_path / "whole.safetensors").read_bytes(), "")[0].steps == 8
    for steps, at in ((5, 4), (7, 7), (9, 8), (12, 8)):  # what is looked at when it ends is the land's, not the state's
        assert learn(lesson("parts", steps)).kept_at == at
    assert same(tmp_path / "whole.safetensors", tmp_path / "parts.safetensors")
    assert same(*(tmp_path / f"{name}.training" / "state.safetensors" for name in ("whole", "parts")))
    assert learn(lesson("short", 1)).kept_at == 0


def test_a_state_that_does_not_say_what_is_kept_is_not_gone_on_with(photos) -> None:
    pictures = Photos.read(photos, 64)
    facts = Facts("spatial", 2, pictures.names, pictures.colours(), 64, 2, 0, pictures.digests, 0, 0.0, {})
    training = Training(facts, pictures)
    training.step()
    state = training.tensors()
    training.load(state, 2)
    del state["seen"]
    for seen in ({}, *({"seen": [*one]} for one in ((1.0,), (-1.0, 1.0), (float("nan"), 1.0), (1.0, 3.0)))):
        said = {name: torch.tensor(values, dtype=torch.float64) for name, values in seen.items()}
        with pytest.raises(ValueError, match="what of it is kept"):
            training.load({**state, **said}, 2)


@pytest.mark.parametrize(("kind", "side", "windows"), [("spatial", 256, 24), ("dcgan", 64, 96)])
def test_what_looks_like_the_photos_is_nearest(
    kind: str, side: int, windows: int, photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each land to its own: their patches, smoothed ones, one colour, and the other land's. A scene is looked at alone,
    since what lies beside it has nothing to do with it."""
    looked = 0

    def counted(*given: Any) -> Any:
        nonlocal looked
        looked += 1
        return measure_pixels(*given)

    monkeypatch.setattr("tiler.growing.likeness.measure_pixels", counted)
    pictures = Photos.read(photos, 64)
    facts = Facts(kind, 2, pictures.names, pictures.colours(), 64, 2, 0, pictures.digests, 0, 0.0, {})
    likeness = Likeness(facts, pictures, "cpu")

    class Grown(torch.nn.Module):
        def __init__(self, change: Callable[[torch.Tensor], torch.Tensor], other: int = 0) -> None:
            super().__init__()
            self.change, self.other, self.rng = change, other, np.random.default_rng(5)

        def forward(self, numbers: Numbers, box: Rect) -> torch.Tensor:
            land = int(numbers.cells[0, -2:, 0, 0].argmax())
            assert (box.height, box.width) == (side, side)
            return facts.colours.units(self.change(pictures.drawn(self.rng, 64, [(land + self.other) % 2])))

    def blurred(pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(pixels, 5, 1, 2, count_include_pad=False)

    own, *others = (
        likeness.distance(one)
        for one in (Grown(torch.clone), Grown(blurred), Grown(lambda one: 0 * one + one.mean()), Grown(torch.clone, 1))
    )
    assert own < 0.1
    assert min(others) > 3 * own
    assert looked == 2 * windows + 4 * windows


@pytest.mark.slow
def test_what_was_killed_goes_on_to_the_same_numbers(photos, tmp_path: Path) -> None:
    def words(name: str) -> list[str]:
        return ["learn", *photos, "-o", str(tmp_path / f"{name}.safetensors"), "--steps", "60", "--channels", "2",
                "--patch", "64", "--batch", "2", "--threads", "1", "--checkpoint-seconds", "0"]  # fmt: skip

    state = tmp_path / "killed.training" / "state.safetensors"
    process = subprocess.Popen([sys.executable, "-m", "tiler", *words("killed")], stderr=subprocess.DEVNULL)
    while not state.exists():
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for name in ("killed", "whole"):
        subprocess.run([sys.executable, "-m", "tiler", *words(name)], check=True, capture_output=True)
    assert same(tmp_path / "killed.safetensors", tmp_path / "whole.safetensors")


def test_it_learns_from_both(tmp_path: Path) -> None:
    """The generator from what patches look like, the discriminator from what it is shown; and the average follows."""
    rng = np.random.default_rng(0)
    blocks = np.where(rng.random((20, 20, 1)) < 0.5, (200, 40, 40), (40, 40, 200)).repeat(8, 0).repeat(8, 1)
    Image.fromarray(blocks.astype(np.uint8)).save(tmp_path / "blocks.png")
    photos = Photos.read([str(tmp_path / "blocks.png")], 64)
    facts = Facts("spatial", 4, photos.names, photos.colours(), 64, 2, 0, photos.digests, 0, 0.0, {})
    training = Training(facts, photos)
    before = {name: tensor.clone() for name, tensor in training.tensors().items()}
    losses = np.array([training.step() for _ in range(15)])
    assert losses[-3:, 1].mean() < 0.7 * losses[:2, 1].mean()
    after = training.tensors()
    for part in ("generator/", "average/", "discriminator/"):
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(part))


def test_every_step_draws_other_patches(photos) -> None:
    drawn: list[torch.Tensor] = []

    class Watched(Photos):
        def drawn(self, *arguments: Any) -> torch.Tensor:
            drawn.append(super().drawn(*arguments))
            return drawn[-1]

    watched = Watched(**vars(Photos.read(photos, 64)))
    facts = Facts("spatial", 2, watched.names, watched.colours(), 64, 2, 0, watched.digests, 0, 0.0, {})
    training = Training(facts, watched)
    for _ in range(3):
        training.step()
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(drawn, 2))


def test_a_land_that_looks_like_another_is_told(photos) -> None:
    """Both lands are there, each in the other's place: patches of all of them together would say nothing."""
    pictures = Photos.read(photos, 64)
    facts = Facts(
        "spatial", 2, pictures.names, pictures.colours(), 64, 2, 0, pictures.digests, 0, 0.0, {},
    )  # fmt: skip
    training = Training(facts, pictures)
    made = facts.colours.units(pictures.drawn(np.random.default_rng(0), 64, [0, 1]))
    right, wrong = (float(training._mismatch(made, lands, np.random.default_rng(1))) for lands in ([0, 1], [1, 0]))
    assert right < 1
    assert wrong > 10 * right


def test_patches_are_told_apart_by_their_grain_and_their_colours() -> None:
    """At every scale: finer, coarser, and other ones are all farther than another part of the same."""
    rng = np.random.default_rng(0)

    def texture(scale: int, shift: float = 0.0) -> torch.Tensor:
        noise = torch.from_numpy(rng.normal(size=(6, 3, 128 // scale, 128 // scale)).astype(np.float32))
        return torch.nn.functional.interpolate(noise, size=128, mode="bilinear") + shift

    real = texture(4)
    same = float(mismatch(texture(4), real, rng))
    assert same < 0.1
    for other in (texture(1), texture(2), texture(8), texture(16), texture(4, 0.5), 0 * real, real * 2):
        assert float(mismatch(other, real, rng)) > 2 * same


def test_colours_are_even_in_their_own_units() -> None:
    rng = np.random.default_rng(0)
    pixels = (0.4 + np.array([[0.1, 0.02, 0], [0.08, -0.03, 0.01], [0, 0.05, 0.03]]) @ rng.normal(size=(3, 4000))).clip(
        0, 1
    )
    colours = Colours.of(pixels)
    image = torch.from_numpy(pixels.reshape(1, 3, 40, 100).astype(np.float32))
    units = colours.units(image)
    assert (torch.cov(units[0].flatten(1)) - torch.eye(3)).abs().max() < 0.02
    assert (colours.pixels(units) - image).abs().max() < 1e-5
    assert np.isfinite(Colours.of(np.full((3, 50), 0.2)).axes).all()


BAD = {
    "no photo": (["-o", "x.safetensors"], ["PHOTO... is missing"]),
    "a photo that is not there": (["none.png", "-o", "x.safetensors"], ["none.png"]),
    "too small": (["sea.png", "-o", "x.safetensors", "--patch", "65"], ["sea.png", "72 x 64", "--patch 65"]),
    "twice": (["sea.png", "sea.png", "-o", "x.safetensors"], ["a name of its own"]),
    "another format": (["sea.png", "-o", "x.pt"], ["x.pt", ".safetensors"]),
    "over a photo": (["sea.png", "-o", "sea.safetensors"], ["sea.safetensors", "no land"]),
    "no folder": (["sea.png", "-o", "none/x.safetensors"], ["none"]),
    "no architecture": (["sea.png", "-o", "x.safetensors", "--architecture", "vae"], ["architecture = vae", "dcgan"]),
    "a patch of dcgan's": (["sea.png", "-o", "x.safetensors", "--architecture", "dcgan", "--patch", "96"], ["64"]),
    "no minutes": (["sea.png", "-o", "x.safetensors", "--minutes", "-1"], ["minutes = -1"]),
    "no number": (["sea.png", "-o", "x.safetensors", "--minutes", "nan"], ["minutes = nan"]),
    "no steps": (["sea.png", "-o", "x.safetensors", "--steps", "0"], ["steps = 0"]),
    "no device": (["sea.png", "-o", "x.safetensors", "--device", "tpu"], ["device = tpu"]),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_wishes_are_one_line(case: str, photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, words = BAD[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sea.png").write_bytes(Path(photos[0]).read_bytes())
    (tmp_path / "sea.safetensors").write_bytes(b"mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
    done = run_main("learn", *said)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_another_training_is_not_gone_on_with(photos, tmp_path: Path) -> None:
    words = ["learn", photos[0], "-o", str(tmp_path / "x.safetensors"), "--steps", "1", "--channels", "2", "--patch",
             "64", "--batch", "2", "--threads", "1", "--quiet"]  # fmt: skip
    assert run_main(*words).returncode == 0
    done = run_main(*words, "--seed", "4")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "other seed" in done.stderr
    assert run_main(*words, "--seed", "4", "--force-new").returncode == 0
    state = tmp_path / "x.training" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    done = run_main(*words, "--seed", "4")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert "state.safetensors" in done.stderr
