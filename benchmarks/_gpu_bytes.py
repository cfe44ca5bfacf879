"""That the same bytes come out on this device, for `benchmarks/gpu.py`: one worker, two, killed and gone on with, and
wherever the state is kept."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _rendering
import psutil
from _gpu_machine import Asked, Row
from _gpu_posters import backbone_words
from _inputs import picture
from _steps import end_family

from tiler.engine.graphs import VARIABLE

COLUMNS = ("run", "mode", "same", "sha256", "seconds", "tile_rounds", "gone_on_at", "ended")
EDGE, QUICK_EDGE = 768, 192
# Cores that a render beside others needs, so that they do not only wait for each other.
CORES_EACH = 2
# Seconds for one of these renders: one that hangs must not take the others' time.
PATIENCE, QUICK_PATIENCE = 60, 150


@dataclass(frozen=True)
class Variant:
    """A render that should give the same bytes as the others of its mode. ended: what is killed in its midst.
    environment: of its processes, beside what they have."""

    name: str
    mode: str = "fast"
    words: tuple[str, ...] = ()
    ended: Callable[[int], None] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Kill:
    """Ends something once the finest level is under way: with its second round, or half of its steps."""

    ended: Callable[[int], None]
    done: bool = False
    levels: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, event: dict[str, Any], pid: int) -> None:
        with self.lock:
            if event["event"] == "start":
                self.levels = event["levels"]
            if self.done or not self.levels or event.get("level") != len(self.levels) - 1:
                return
            half = event["event"] == "step" and event["step"] > self.levels[-1]["steps"] / 2
            if half or (event["event"] == "tile" and event["round"] >= 1):
                self.done = True
                self.ended(pid)


def end_worker(pid: int) -> None:
    """SIGKILL for the render's largest child: the worker."""
    with contextlib.suppress(psutil.NoSuchProcess, ValueError):
        max(psutil.Process(pid).children(recursive=True), key=lambda one: one.memory_info().rss).kill()


def variants(quick: bool) -> list[Variant]:
    """The first of each mode is what the others are compared with."""
    states = [name for name in ("device", "host", "store") if "--state" in _rendering.known_options()]
    exact = [Variant("1 worker", "exact"), Variant("killed, gone on", "exact", ended=end_family)]
    return [
        Variant("1 worker"),
        Variant("killed, gone on", ended=end_family),
        Variant("2 workers", words=("--workers", "2")),
        Variant("worker killed", ended=end_worker),
        Variant("without graphs", environment={VARIABLE: "off"}),
        *([] if quick else exact),
        *(Variant(f"state {name}", words=("--state", name)) for name in states),
    ]


def same_bytes(asked: Asked, rows: list[Row], ends: float) -> Iterator[Row]:
    """A row for each variant, as it ends."""
    edge = QUICK_EDGE if asked.quick else EDGE
    picture(asked.folder / "bytes-content.png", edge, 1)
    picture(asked.folder / "bytes-style.png", edge // 2, 2)
    wanted, first = variants(asked.quick), dict[str, str]()
    places = max(1, min(len(wanted), len(os.sched_getaffinity(0)) // (1 if asked.quick else CORES_EACH)))
    with ThreadPoolExecutor(places) as pool:
        waiting = {pool.submit(_variant, asked, one, number, ends): one for number, one in enumerate(wanted)}
        held: list[Row] = []
        for future in as_completed(waiting):
            row = future.result()
            if waiting[future].name == wanted[0].name and row["ended"] == "done":
                first[row["mode"]] = row["sha256"]
            held.append(row)
            for one in [each for each in held if each["mode"] in first]:
                held.remove(one)
                yield {**one, "same": one["sha256"] == first[one["mode"]] if one["ended"] == "done" else None}
        yield from held


def _variant(asked: Asked, variant: Variant, number: int, ends: float) -> Row:
    folder = asked.folder / f"bytes-{number}"
    folder.mkdir()
    kill = Kill(variant.ended) if variant.ended else None
    command = _command(asked, variant, folder)
    patience = QUICK_PATIENCE if asked.quick else PATIENCE
    ended = min(ends, time.monotonic() + patience)
    heard = kill or (lambda event, pid: None)
    runs = [_rendering.run(command, ended, heard, environment=variant.environment)]
    if kill and variant.ended is end_family and kill.done:
        runs.append(_rendering.run(command, min(ends, time.monotonic() + patience)))
    rounds = [event for one in runs for event in one.of("tile")]
    row: Row = {"run": variant.name, "mode": variant.mode, "tile_rounds": len(rounds), "same": None}
    row["seconds"] = sum(one.ended - one.began for one in runs)
    again = runs[1].of("tile") if len(runs) > 1 else []
    row["gone_on_at"] = f"level {again[0]['level'] + 1}, round {again[0]['round'] + 1}" if again else None
    missed = kill and not kill.done and runs[-1].how == "done"
    row["ended"] = "failed: it ended before it could be killed" if missed else runs[-1].how
    if row["ended"] == "cut short" and time.monotonic() < ends:
        row["ended"] = f"failed: not done after {patience} s"
    row["sha256"] = _digest(folder / "poster.tif") if runs[-1].code == 0 else None
    return {**row, "error": runs[-1].said if runs[-1].code else None}


def _command(asked: Asked, variant: Variant, folder: Path) -> list[str]:
    """Small, yet with several tiles and rounds; a checkpoint as often as may be."""
    edge, tile = (QUICK_EDGE, 64) if asked.quick else (EDGE, 256)
    steps = "4" if asked.quick else "30,20,16"
    pictures = [str(asked.folder / f"bytes-{role}.png") for role in ("content", "style")]
    return [
        "render", *pictures, "-o", str(folder / "poster.tif"), "--long-edge", str(edge), "--tile", str(tile),
        "--steps", steps, "--steps-per-round", "2", "--mode", variant.mode, "--device", asked.device,
        "--threads", "1", *backbone_words(asked), *variant.words, *_rendering.options(checkpoint_seconds=1),
    ]  # fmt: skip


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
