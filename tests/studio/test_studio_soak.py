"""Kill a studio, what renders for it, or both, again and again while it works through a queue: another studio in the
folder goes on, no job is lost, and the posters are those of `tiler render`. That none is rendered twice at once is
proved in tests/cli/test_queue_soak.py, by what those who render tell."""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

import tiler

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))

from processes import Running

SMALL = dict(long_edge=96, tile=32, min_edge=48)
KINDS = (dict(steps=(8, 8)), dict(steps=(6, 9), mode="exact"))
AskAt = Callable[[str], Any]


class _Studio:
    """One studio of a folder after the other. client_of(address): see `conftest.Client`."""

    def __init__(self, root: Path, client_of: AskAt) -> None:
        self._root, self._client_of, self._count = root, client_of, 0
        self.run: Running | None = None

    def begin(self) -> None:
        self._count += 1
        log = self._root.parent / f"studio-{self._count}"
        log.mkdir()
        self.run = Running(log, "studio", str(self._root), "--port", "0")
        deadline = time.monotonic() + 60
        while "?token=" not in (said := (log / "stdout.txt").read_text()):
            assert time.monotonic() < deadline, self.run.stderr
            assert self.run.process.poll() is None, self.run.stderr
            time.sleep(0.05)
        self._at = self._client_of(next(word for word in said.split() if "?token=" in word)).let_in()

    def ask(self, method: str, path: str, said: Any = None) -> Any:
        body = None if said is None else json.dumps(said).encode()
        status, _, found = self._at.ask(method, path, body, Origin=self._at.origin, Content_Type="application/json")
        assert status in (200, 201), (status, found[:300])
        return json.loads(found)

    def kill(self, dice: random.Random) -> str:
        """What was killed: the studio, a process that renders for it, or all that is its."""
        assert self.run is not None
        below = self.run.descendants()
        turns = [one for one in below if {"queue", "take"} <= {*_words(one)}]
        me, whom = [one for one in self.run.family if one.pid == self.run.process.pid], "studio"
        if turns:
            whom = dice.choice(("studio", "renderer", "everything"))
        self.run.kill({"studio": me, "renderer": turns[:1], "everything": [*below, *me]}[whom])
        if whom != "renderer":
            self.run.end(20)
            assert self.run.leftovers(30) == []  # what rendered for it has ended by itself
            self.run = None
        return whom


def _words(process: psutil.Process) -> list[str]:
    """None of one that has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _said(options: dict[str, Any]) -> dict[str, Any]:
    """As a page says them."""
    return {name: ",".join(map(str, one)) if isinstance(one, tuple) else str(one) for name, one in options.items()}


def _soak(root: Path, studio: _Studio, jobs: int, kills: int, seed: int) -> Counter[str]:
    dice, counts, done, round_ = random.Random(seed), Counter[str](), 0, 0
    pictures = {"content": str(root / "content.png"), "styles": (str(root / "style.png"),)}
    expected = []
    for number, kind in enumerate(KINDS):
        plain = root.parent / f"plain-{number}.png"
        tiler.render(tiler.RenderConfig(**pictures, output=str(plain), **SMALL, **kind))
        expected.append(plain.read_bytes())
    wanted = dict[str, bytes]()
    while done < kills:
        for number in range(jobs):
            name, kind = f"{round_}-{number}", number % len(KINDS)
            values = {"content": "content.png", "styles": ["style.png"], **_said({**SMALL, **KINDS[kind]})}
            made = studio.ask("POST", "/api/queue", {"values": values, "name": name, "format": ".png"})
            wanted[made["name"]] = expected[kind]
        round_ += 1
        deadline = time.monotonic() + 900
        while True:
            assert time.monotonic() < deadline, f"seed {seed}"
            told = studio.ask("GET", "/api/queue")
            states = {job["name"]: job["state"] for job in told["jobs"]}
            assert states.keys() == wanted.keys(), f"seed {seed}"
            assert told["trouble"] == "", f"seed {seed}"
            if {*states.values()} == {"done"}:
                break
            for job in told["jobs"]:
                if "times in a row" in job["reason"]:  # so often was it killed before it came any further
                    studio.ask("POST", f"/api/queue/{job['name']}/resume")
                    counts["given up"] += 1
                else:
                    assert job["state"] != "failed", f"seed {seed}: {job['reason']}"
            time.sleep(dice.uniform(0, 5))
            if done < kills:
                counts[studio.kill(dice)] += 1
                done += 1
                print(f"seed {seed}: kill {done}: {dict(counts)}", flush=True)
                if studio.run is None:
                    studio.begin()
                studio.ask("POST", "/api/work/on")
    for name, poster in wanted.items():
        assert (root / "posters" / f"{name}.png").read_bytes() == poster, f"seed {seed}: {name}"
    counts["posters"] = len(wanted)
    return counts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A studio's folder with two pictures."""
    found = tmp_path / "studio"
    found.mkdir()
    for name, seed in (("content", 1), ("style", 2)):
        coarse = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((128, 96), Image.Resampling.BICUBIC).save(found / f"{name}.png")
    return found


@pytest.fixture
def studio(root: Path, client_of: AskAt) -> Iterator[_Studio]:
    found = _Studio(root, client_of)
    found.begin()
    yield found
    if found.run is not None:
        found.run.kill([*found.run.descendants(), *found.run.family])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_kills_of_a_studio(root: Path, studio: _Studio) -> None:
    counts = _soak(root, studio, 2, 3, random.SystemRandom().randrange(10**6))
    assert counts["posters"] >= 2


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thirty_kills_of_a_studio(root: Path, studio: _Studio) -> None:
    print(_soak(root, studio, 4, 30, random.SystemRandom().randrange(10**6)))
