"""Small stores, one finished and one begun, and what may have been done to them before somebody opens them."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import resource
import shutil
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from here import run_main
from PIL import Image
from serial_pool import Here, StoppedError, render_module

from tiler.engine import workplace
from tiler.rendering import render
from tiler.request.config import RenderConfig

# Of the processor: machines that run tests are busy. What waits, and computes nothing, is stopped later.
SECONDS, BYTES = 10, 2**30
OPTIONS = dict(long_edge=48, min_edge=24, tile=32, halo=16, steps=(2, 4), precision="fp32", threads=1, color="content")
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 7, 2**31, 2**40, 10**18, 10**400, -(2**63), 0.5, 1e-300, 1e308, float("nan"),
    float("inf"), "", "x", "..", "../..", "/", "\0", "\ud800", "\udcff", "\x1b]0;title\x07", "a\nb", "x" * 5000, "NaN",
    [], {}, [[]], [0], [1, 1, 1], [2**20] * 3, [10**9] * 3, ["x"], {"a": 1}, {"name": "numcodecs.pickle"},
    [{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 9}}], [{"name": "os.system"}], "string", "object",
]  # fmt: skip


class Stores:
    """folder: with the pictures, `finished.zarr` and `begun.zarr`, and a folder that nobody may touch."""

    def __init__(self, folder: Path, weights: str) -> None:
        self.folder, self.said = folder, ""
        grain = np.random.default_rng(7).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(grain).save(folder / "content.png")
        Image.fromarray(grain[::-1]).save(folder / "style.png")
        for name, tiles in (("finished", 10**9), ("begun", 3)):
            self._render(name, weights, tiles)
        self.outside = folder / "outside"
        (self.outside / "0").mkdir(parents=True)
        for name in ("precious", "0/precious", "0/zarr.json", "zarr.json"):
            (self.outside / name).write_text("{}")
        self.before = self._listing()

    def _render(self, name: str, weights: str, tiles: int) -> None:
        files = (str(self.folder / one) for one in ("content.png", "style.png", f"{name}.png"))
        with (
            mock.patch.object(render_module(), "Pool", Here),
            mock.patch.object(Here, "tiles", tiles),
            contextlib.suppress(StoppedError),
        ):
            render(RenderConfig(*_listed(files), weights=weights, state="store", **OPTIONS))

    def _listing(self) -> dict[str, bytes | int]:
        """All that is here but for what a command may write."""
        found: dict[str, bytes | int] = {}
        for folder, names, files in os.walk(self.folder):
            names[:] = [name for name in names if not name.startswith("victim")]
            for name in (*names, *files):
                path = Path(folder) / name
                if not name.startswith(("victim", "out.png", "finished.png", "begun.png")):
                    found[str(path.relative_to(self.folder))] = path.read_bytes() if name in files else 0
        return found

    def attack(self, which: str, commands: Iterable[str], seed: int | None) -> list[str]:
        """Copy a store, change it as the seed says (None: not at all), and look what the commands do. What went wrong,
        a line each."""
        chance, victim = random.Random(seed), self.folder / "victim.zarr"
        found = []
        for command in commands:
            _removed(victim)
            shutil.copytree(self.folder / f"{which}.zarr", victim)
            chance.seed(seed)
            count = 0 if seed is None else chance.choice((1, 1, 2, 4))
            done = ", ".join(_change(victim, self.outside, chance) for _ in range(count))
            wrong = self._run(command)
            if wrong:
                found.append(f"seed {seed}, {which}: {done}: {command}: {wrong}")
        if self._listing() != self.before:
            found.append(f"seed {seed}, {which}: {done}: what lies outside was changed")
        return found

    def after(self, which: str, change: Callable[[Path], object], command: str) -> tuple[str, str]:
        """What is wrong with how a command ends on a store that was changed, and what it says."""
        victim = self.folder / "victim.zarr"
        _removed(victim)
        shutil.copytree(self.folder / f"{which}.zarr", victim)
        change(victim)
        wrong = self._run(command)
        return wrong or ("" if self._listing() == self.before else "outside was changed"), self.said

    def _run(self, command: str) -> str:
        words = {"export": ("-o", "out.png", "--quiet"), "resume": ("--quiet",)}.get(command, ())
        workplace._CURRENT.clear()
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        try:
            with (
                contextlib.chdir(self.folder),
                _alarm(),
                mock.patch.object(render_module(), "Pool", Here),
                warnings.catch_warnings(record=True) as complaints,
            ):
                warnings.simplefilter("always", RuntimeWarning)
                done = run_main(command, "victim.zarr", *words)
                gc.collect()  # what nobody waits for says so when it goes
        except BaseException as error:
            return f"{type(error).__name__}: {error}"[:300] + _where(error)
        if complaints:  # which Python would print below the one line
            return f"complains: {complaints[0].message}"
        seconds, self.said = time.process_time() - began, done.stderr + done.stdout
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if done.returncode not in (0, 1, 2):
            return f"code {done.returncode}"
        if done.returncode == 2 and (not done.stderr.startswith("tiler: ") or done.stderr.count("\n") != 1):
            return f"no single line: {done.stderr[:300]!r}"
        if seconds > SECONDS or grown > BYTES:
            return f"{seconds:.1f} s, {grown / 2**20:.0f} MiB more"
        return ""


def _listed(files: Iterable[str]) -> tuple[str, tuple[str], str]:
    content, style, output = files
    return content, (style,), output


def _where(error: BaseException) -> str:
    import traceback

    frames = [one for one in traceback.extract_tb(error.__traceback__) if "tiler" in one.filename]
    return f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def late(*arguments: object) -> None:
        raise TimeoutError(f"hangs for {6 * SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(6 * SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _removed(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    while path.exists():  # a command that was cut short may have a write on its way
        shutil.rmtree(path, ignore_errors=True)


# What may have been done ------------------------------------------------------------------------------------------


def _change(store: Path, outside: Path, chance: random.Random) -> str:
    how = chance.choices((_value, _odd_metadata, _odd_chunk, _odd_place), (12, 2, 3, 3))[0]
    return how(store, outside, chance)


def _value(store: Path, outside: Path, chance: random.Random) -> str:
    """One value of one zarr.json, most often of the job's record."""
    files = sorted(path for path in store.rglob("zarr.json") if path.is_file() and not path.is_symlink())
    file = store / "zarr.json" if chance.random() < 0.5 or not files else chance.choice(files)
    try:
        values = json.loads(file.read_text())
    except (ValueError, OSError, RecursionError):
        return "nothing"
    spot, way = values, []
    while isinstance(spot, dict | list) and spot:
        key = chance.choice(sorted(spot)) if isinstance(spot, dict) else chance.randrange(len(spot))
        way.append(key)
        if not isinstance(spot[key], dict | list) or not spot[key] or chance.random() < 0.25:
            break
        spot = spot[key]
    if not way or not isinstance(spot, dict | list):
        return "nothing"
    new: Any = chance.choice(STRANGE)
    kind = chance.randrange(8)
    if kind == 0:
        del spot[way[-1]]
    elif kind == 1 and isinstance(spot, list):
        spot.extend([spot[way[-1]]] * chance.choice((1, 3, 100)))
    elif kind == 2 and isinstance(spot, dict):
        spot[chance.choice(("x", "consolidated_metadata", "report", "complete", "areas", "deleted"))] = new
    elif kind == 3 and isinstance(spot[way[-1]], int | float):
        spot[way[-1]] = new = spot[way[-1]] * chance.choice((-1, 2, 1000, 2**20, 0.5))
    elif kind == 4:
        for _ in range(chance.choice((3, 60, 900))):
            new = [new]
        spot[way[-1]] = new
    else:
        spot[way[-1]] = new
    file.write_text(json.dumps(values))
    return f"{file.relative_to(store)} {way} ({kind}) = {str(new)[:40]!r}"


def _odd_metadata(store: Path, outside: Path, chance: random.Random) -> str:
    files = sorted(path for path in store.rglob("zarr.json") if path.is_file())
    if not files:
        return "nothing"
    file = chance.choice(files)
    data = file.read_bytes()
    cut = chance.randrange(len(data) + 1)
    odd = {
        "cut": data[:cut], "empty": b"", "list": b"[]", "null": b"null", "deep": b'{"a":' * 50_000,
        "deeper": b"[" * 10**6, "digits": b"1" * 10**5, "flipped": data[:cut] + os.urandom(3) + data[cut + 3 :],
        "old": b'{"zarr_format": 2}', "huge": None,
    }  # fmt: skip
    what = chance.choice(sorted(odd))
    file.write_bytes(odd[what] if odd[what] is not None else data)
    if what == "huge":
        os.truncate(file, 5 * 2**30)
    return f"{file.relative_to(store)} {what}"


def _odd_chunk(store: Path, outside: Path, chance: random.Random) -> str:
    chunks = sorted(path for path in store.rglob("*") if path.is_file() and path.name.isdigit())
    if not chunks:
        return "nothing"
    chunk, other = chance.choice(chunks), chance.choice(chunks)
    data, what = chunk.read_bytes(), chance.choice(("cut", "flip", "huge", "gone", "other", "claims"))
    if what == "huge":
        os.truncate(chunk, 5 * 2**30)
    elif what == "gone":
        chunk.unlink()
    elif what == "other":
        chunk.write_bytes(other.read_bytes())
    elif what == "claims":
        chunk.write_bytes(data[:4] + (2**31 - 2**20).to_bytes(4, "little") + data[8:])
    else:
        at = chance.randrange(len(data))
        chunk.write_bytes(data[:at] + (b"" if what == "cut" else bytes([data[at] ^ 8]) + data[at + 1 :]))
    return f"{chunk.relative_to(store)} {what}"


def _odd_place(store: Path, outside: Path, chance: random.Random) -> str:
    """A file or a folder becomes what it should not be."""
    places = sorted(path for path in store.rglob("*") if not path.is_symlink())
    place = chance.choice(places)
    what = chance.choice(("link", "root", "zero", "fifo", "socket", "folder", "file", "loop", "gone"))
    _removed(place)
    if what in ("link", "root", "zero", "loop"):
        place.symlink_to({"link": outside, "root": "/", "zero": "/dev/zero", "loop": place.name}[what])
    elif what == "fifo":
        os.mkfifo(place)
    elif what == "socket":
        with contextlib.chdir(place.parent), socket.socket(socket.AF_UNIX) as one:
            one.bind(place.name)
    elif what == "folder":
        place.mkdir()
    elif what == "file":
        place.write_bytes(b"x")
    return f"{place.relative_to(store)} becomes {what}"
