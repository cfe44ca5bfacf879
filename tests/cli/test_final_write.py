"""A signal at whatever moment of the final write of a folder, by `render` as by `export`: the old output or the new one
is there, whole, and nothing lies about."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL)
TESTS = Path(__file__).parent.parent
OUTPUTS = {"tiles": ("tiles",), "a.zarr": ("a.zarr",), "a.dzi": ("a.dzi", "a.html", "a_files")}
JOB = ("--store=job.zarr", "--long-edge=300", "--levels=2", "--min-edge=64", "--steps=0", "--threads=1", "--quiet")


class Commands:
    """In a folder with a finished job."""

    def __init__(self, folder: Path, weights: str) -> None:
        self.folder, program = folder, Path(__file__).with_name("forked_commands.py")
        self._process = subprocess.Popen(
            [sys.executable, program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "fuzz"), *sys.path])},
        )
        grain = np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        for name in ("content.png", "style.png"):
            Image.fromarray(grain).resize((300, 225)).save(folder / name)
        done = self("render", "content.png", "style.png", "-o", "first.png", "--weights", weights, *JOB)
        assert done["code"] == 0, self.said

    def __call__(self, *words: str, number: int = 0, after: str = "w", pause: float = 0.0) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        said = str(self.folder.parent / "said")
        wish = {"words": words, "folder": str(self.folder), "said": said, "signal": number}
        print(json.dumps({**wish, "after": after, "pause": pause}), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    @property
    def said(self) -> str:
        return (self.folder.parent / "said").read_text()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory, small_weights: str) -> Iterator[Commands]:
    folder = tmp_path_factory.mktemp("final") / "here"
    folder.mkdir()
    commands = Commands(folder, small_weights)
    yield commands
    commands.close()


def contents(folder: Path, name: str) -> dict[str, bytes]:
    """All that an output is, as a reader sees it."""
    found: dict[str, bytes] = {}
    for part in OUTPUTS[name]:
        files = (folder / part).rglob("*") if (folder / part).is_dir() else [folder / part]
        found.update({str(file.relative_to(folder)): file.read_bytes() for file in files if file.is_file()})
    return found


def words_for(command: str, name: str) -> tuple[str, ...]:
    where = ("--tiles", name) if name == "tiles" else ("-o", name)
    if command == "export":
        return "export", "job.zarr", *where, "--quiet"
    return "resume", "job.zarr", *(where if name != "tiles" else ("-o", "b.png", *where)), "--quiet"


def clear(folder: Path, name: str) -> None:
    for part in OUTPUTS[name]:
        place = folder / part
        shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink(missing_ok=True)


def lying_about(folder: Path) -> set[str]:
    return {one for one in os.listdir(folder) if one.startswith(".tiler-")}


def struck(commands: Commands, command: str, name: str, count: int, seed: int) -> Counter[str]:
    """How often what was there after a signal: the old output is a smaller level's."""
    folder, dice, seen = commands.folder, random.Random(seed), Counter[str]()
    words = words_for(command, name)
    clear(folder, name)
    assert commands(*words_for("export", name), "--level=0")["code"] == 0, commands.said
    old, kept = contents(folder, name), folder.parent / "old"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    for part in OUTPUTS[name]:
        (shutil.copytree if (folder / part).is_dir() else shutil.copy2)(folder / part, kept / part)
    took = commands(*words)
    assert took["code"] == 0, commands.said
    new = contents(folder, name)
    assert old != new
    for turn in range(count):
        clear(folder, name)
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        killed = lying_about(folder)  # what a kill left is for the next that comes so far
        number, late = dice.choice(SIGNALS), dice.random() < 0.5
        longest = took["end"] - (took["names"] if late else 0)
        pause = dice.uniform(0, longest)
        done = commands(*words, number=number, after="n" if late else "w", pause=pause)
        what = f"seed {seed}, turn {turn}, {words}, {signal.Signals(number).name}: {done}, {commands.said}"
        found = contents(folder, name)
        assert found in (old, new), what
        seen["new" if found == new else "old"] += 1
        ended = (0, -number) if number == signal.SIGKILL else (0, 128 + number, -number)
        assert done["code"] in ended, what
        seen["struck" if done["code"] else "too late"] += 1
        if number != signal.SIGKILL:
            assert lying_about(folder) <= killed, what
        if done["code"] == 128 + number:
            assert commands.said.strip().startswith("tiler: stopped"), what
            assert len(commands.said.strip().splitlines()) == 1, what
    assert commands(*words)["code"] == 0, commands.said
    assert contents(folder, name) == new
    assert lying_about(folder) == set()
    return seen


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("command", ["render", "export"])
def test_some_signals(commands: Commands, command: str, name: str) -> None:
    struck(commands, command, name, 1, random.SystemRandom().randrange(10**6))


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("command", ["render", "export"])
def test_two_hundred_signals(commands: Commands, command: str, name: str) -> None:
    seed = int(os.environ.get("TILER_SEED", random.SystemRandom().randrange(10**6)))
    seen = struck(commands, command, name, 200, seed)
    print(f"{command}, {name}: seed {seed}: {dict(seen)}", flush=True)
    assert min(seen["old"], seen["new"], seen["struck"]) > 10
