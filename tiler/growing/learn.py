"""From photos to a land: training that can be stopped at any moment, and goes on to the same numbers."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tiler.engine.host import cores
from tiler.engine.lock import sole_writer
from tiler.errors import ConfigError, LandError, OutputError, RenderError
from tiler.geometry import Rect
from tiler.growing import land
from tiler.growing.architectures import ARCHITECTURES
from tiler.growing.land import SUFFIX, Facts
from tiler.growing.likeness import Likeness
from tiler.growing.noise import Plane
from tiler.growing.photos import Photos
from tiler.growing.training import Training
from tiler.pictures import write_picture
from tiler.pictures.outputs import check_folder
from tiler.version import __version__

Progress = Callable[[dict[str, Any]], None]
MINUTES = 15.0
# Steps after which a land is looked at, for each of its lands; a look takes as long as a dozen steps.
LOOKS = 500
# What the training's folder holds; whoever goes on from it must have been begun alike.
_STATE, _SAMPLE, _SAMPLE_EDGE = "state" + SUFFIX, "sample.png", 256
_SAME = ("architecture", "channels", "lands", "patch", "batch", "seed", "photos")
_RANGES = {
    "minutes": (0.0, 1e5), "steps": (1, 10**8), "channels": (1, land.MOST_CHANNELS), "patch": (64, 1024),
    "batch": (1, 1024), "seed": (0, 2**63 - 1), "threads": (1, 1024), "checkpoint_seconds": (0.0, 86400.0),
}  # fmt: skip


@dataclass(frozen=True)
class Lesson:
    """What is to be learned. photos: pictures, each of which is a kind of land, called like its file. output: the land.
    minutes: of training in all, also over several runs; steps: how many in all, in place of minutes. channels,
    patch (px), batch: default by the architecture. Raises ConfigError."""

    photos: tuple[str, ...]
    output: str
    architecture: str = "spatial"
    minutes: float = MINUTES
    steps: int | None = None
    channels: int | None = None
    patch: int | None = None
    batch: int | None = None
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name, known in (("architecture", (*ARCHITECTURES,)), ("device", ("auto", "cpu", "cuda"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} = {getattr(self, name)}; allowed: {', '.join(known)}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not (low <= value <= high and math.isfinite(value)):
                raise ConfigError(f"{name} = {value}; allowed: {low} to {high}")
        kind = ARCHITECTURES[self.architecture]
        for name in ("channels", "patch", "batch"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(kind, name))
        if kind.patch == kind.cell != self.patch:
            raise ConfigError(f"patch = {self.patch}; allowed with architecture {kind.name}: {kind.patch}")
        if not self.photos:
            raise ConfigError("PHOTO... is missing: tiler learn PHOTO... -o LAND.safetensors")

    @property
    def folder(self) -> Path:
        """Where the training's state lies, beside the land."""
        return Path(self.output).with_suffix(".training")


@dataclass(frozen=True)
class Learned:
    """output: the land. steps, seconds: of training in all. kept_at: after how many of these steps the land was as it
    is kept, nearest to the photos; 0 where it was not looked at, and is as it was at last."""

    output: str
    steps: int
    seconds: float
    kept_at: int


def learn(lesson: Lesson, progress: Progress | None = None, force_new: bool = False) -> Learned:
    """Train a land, or go on with one that was begun alike. The folder OUTPUT.training keeps the state, which is all
    that going on needs, and a sample.

    On a CPU, and with as many threads, a training that was killed comes to the same numbers as one that was not.
    force_new: whatever training is there is begun anew. progress(event) is called with small dicts: `note` (text),
    `status` (text), `learn` (step, seconds, losses), `look` (step, distance: see `tiler.growing.likeness`; kept_at),
    `write`. Raises TilerError.
    """
    tell = progress or (lambda event: None)
    _check_places(lesson)
    device = _device(lesson.device)
    assert lesson.patch is not None
    assert lesson.batch is not None
    assert lesson.channels is not None
    photos = Photos.read(lesson.photos, lesson.patch)
    threads = lesson.threads or cores()
    versions = {"tiler": __version__, "torch": torch.__version__, "device": device, "threads": f"{threads}"}
    facts = Facts(
        lesson.architecture, lesson.channels, photos.names, photos.colours(), lesson.patch, lesson.batch, lesson.seed,
        photos.digests, 0, 0.0, versions,
    )  # fmt: skip
    with sole_writer(str(lesson.folder)) as held, _threads(threads):
        for note in held.notes:
            tell({"event": "note", "text": note})
        run = _Run(lesson, Training(facts, photos, device), tell)
        if not force_new:
            run.go_on()
        run.train()
        return Learned(lesson.output, run.training.steps, run.seconds, run.training.kept_at)


class _Run:
    """seconds: of training, those of earlier runs included."""

    def __init__(self, lesson: Lesson, training: Training, tell: Progress) -> None:
        self.lesson, self.training, self._tell = lesson, training, tell
        self.seconds = 0.0
        self._likeness: Likeness | None = None
        self._state = lesson.folder / _STATE

    def go_on(self) -> None:
        """From the state that is there, if any. Raises LandError and ConfigError."""
        if not os.path.lexists(self._state):
            return
        facts, tensors = land.unpacked(land.read(str(self._state)), str(self._state))
        mine = self.training.facts
        other = next((name for name in _SAME if getattr(facts, name) != getattr(mine, name)), None)
        if other:
            raise ConfigError(
                f"-o {self.lesson.output}: {self.lesson.folder} holds the training of a land with other {other}; "
                "choose another name, or --force-new"
            )
        try:
            self.training.load(tensors, facts.steps)
        except ValueError as error:
            raise LandError(f"{self._state}: cannot be gone on with: {error}; --force-new starts over") from None
        self.seconds = facts.seconds
        self._tell({"event": "note", "text": f"goes on after {facts.steps} steps"})
        for key, value in mine.versions.items():
            if facts.versions.get(key) != value:
                text = f"goes on with {key} {value} (before: {facts.versions.get(key)}): not quite to the same numbers"
                self._tell({"event": "note", "text": text})

    def train(self) -> None:
        """Until it has learned for as long as was asked. Raises RenderError."""
        kept = time.monotonic()
        while not self._enough():
            began = time.monotonic()
            try:
                losses = self.training.step()
            except FloatingPointError as error:
                raise RenderError(f"{error}; the state before is kept; another --seed, or fewer --channels") from None
            if self._to_look():
                self._look()
            self.seconds += time.monotonic() - began
            self._tell({"event": "learn", "step": self.training.steps, "seconds": self.seconds, **losses._asdict()})
            self._tell({"event": "status", "text": f"{self._how_far()}, losses {losses[0]:.3f} {losses[1]:.3f}"})
            if time.monotonic() - kept >= self.lesson.checkpoint_seconds:
                self._keep()
                kept = time.monotonic()
        self._keep()
        training = self.training
        if training.kept_at and not self._to_look():
            self._look()  # the state is written: who goes on has looked at the same steps as who never stopped
        self._tell({"event": "write", "output": self.lesson.output})
        facts = replace(self._facts(), steps=training.kept_at or training.steps)
        land.write(Path(self.lesson.output), facts, training.best.state_dict())

    def _to_look(self) -> bool:
        return self.training.steps % (LOOKS * len(self.training.facts.lands)) == 0

    def _look(self) -> None:
        training = self.training
        if self._likeness is None:
            self._likeness = Likeness(training.facts, training.photos, training.device)
        distance = training.look(self._likeness)
        self._tell({"event": "look", "step": training.steps, "distance": distance, "kept_at": training.kept_at})

    def _enough(self) -> bool:
        steps = self.lesson.steps
        return self.training.steps >= steps if steps else self.seconds >= 60 * self.lesson.minutes

    def _how_far(self) -> str:
        steps, minutes = self.lesson.steps, self.seconds / 60
        return f"step {self.training.steps}" + (
            f" of {steps}" if steps else f", {minutes:.1f} of {self.lesson.minutes:g} min"
        )

    def _facts(self) -> Facts:
        return replace(self.training.facts, steps=self.training.steps, seconds=round(self.seconds, 3))

    def _keep(self) -> None:
        land.write(self._state, self._facts(), self.training.tensors())
        with contextlib.suppress(OutputError):  # the state is what counts
            self._sample(self.lesson.folder / _SAMPLE)

    def _sample(self, path: Path) -> None:
        """What it would grow now, each land for itself, from left to right."""
        facts, box = self.training.facts, Rect(0, 0, _SAMPLE_EDGE, _SAMPLE_EDGE)
        plane, best = Plane(facts.seed), self.training.best
        numbers = facts.kind.numbers(plane, box).to(self.training.device)
        shown = []
        with torch.no_grad():
            for shares in torch.eye(len(facts.lands), device=self.training.device):
                units = best(numbers.of(shares[None, :, None, None]), box)
                shown.append(facts.colours.pixels(units)[0].cpu())
        picture = torch.cat(shown, 2).numpy()
        write_picture(path, picture.shape[1], picture.shape[2], [picture])


def _check_places(lesson: Lesson) -> None:
    """Raise TilerError where the land cannot be written, or would replace what is none."""
    path = Path(lesson.output)
    if path.suffix != SUFFIX:
        raise OutputError(f"{path}: unknown format; allowed: {SUFFIX}")
    for photo in lesson.photos:
        if os.path.realpath(photo) == os.path.realpath(path):
            raise OutputError(f"{path}: would replace one of the photos")
    check_folder(path)
    if os.path.lexists(path):
        try:
            land.unpacked(land.read(str(path)), str(path))
        except LandError:
            raise OutputError(f"{path}: is there, and no land; it would not be replaced") from None


def _device(asked: str) -> str:
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ConfigError("device = cuda: there is no GPU that torch can use; allowed here: auto, cpu")
    return "cuda" if there and asked != "cpu" else "cpu"


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
