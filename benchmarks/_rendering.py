"""One render from the shell, watched: its events, what the GPU did meanwhile, and what both come to."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, cast

import _sample
from _steps import end_family

ROOT = Path(__file__).resolve().parent.parent
Event = dict[str, Any]
SMI_EVERY = 200  # milliseconds


@dataclass
class Run:
    """began, ended: time.time(). code: of the process, None where it was killed here. said: on standard error.
    gpu: samples (when, % of the time in which a kernel ran, MB in use)."""

    began: float = 0.0
    ended: float = 0.0
    code: int | None = None
    said: str = ""
    events: list[Event] = field(default_factory=list)
    gpu: list[tuple[float, float, float]] = field(default_factory=list)
    peaks: _sample.Peaks = field(default_factory=_sample.Peaks)

    def of(self, kind: str, **wanted: Any) -> list[Event]:
        """Events of a kind that hold these values."""
        return [e for e in self.events if e["event"] == kind and all(e.get(k) == v for k, v in wanted.items())]

    @property
    def how(self) -> str:
        """`done`, or what ended it."""
        if self.code is None:
            return "cut short"
        return "done" if self.code == 0 else f"failed with {self.code}: {(self.said.strip().splitlines() or [''])[-1]}"


@functools.cache
def known_options() -> frozenset[str]:
    """Options that `tiler render` has."""
    command = [sys.executable, "-m", "tiler", "render", "--help"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return frozenset(word.strip(",") for word in said.split() if word.startswith("--"))


def options(**wanted: object) -> list[str]:
    """Words for those of these options that `tiler render` knows and that are not None."""
    said = {f"--{name.replace('_', '-')}": value for name, value in wanted.items() if value is not None}
    return [word for name, value in said.items() if name in known_options() for word in (name, str(value))]


def run(
    arguments: Sequence[str],
    ends: float,
    on_event: Callable[[Event, int], None] = lambda event, pid: None,
    folders: Sequence[Path] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Run:
    """Run `tiler ARGUMENTS --log-json`, until it ends or time.monotonic() passes `ends`; then all of it is killed.

    on_event(event, pid): called with each as it comes; it may kill. folders: whose size on the disk is watched.
    """
    done = Run(began=time.time())
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", "tiler", *arguments, "--log-json"],
        env={**os.environ, **environment, "PYTHONPATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = cast(IO[str], process.stdout), cast(IO[str], process.stderr)
    listener = threading.Thread(target=lambda: setattr(done, "said", err.read()))
    late = threading.Timer(max(0.0, ends - time.monotonic()), end_family, [process.pid])
    for thread in (listener, late):
        thread.start()
    with _sample.watching(process.pid, folders, done.peaks), smi_samples(done.gpu):
        for line in out:
            with contextlib.suppress(json.JSONDecodeError):  # a line that was cut off by a kill
                done.events.append(json.loads(line))
                on_event(done.events[-1], process.pid)
        code = process.wait()
    late.cancel()
    listener.join()
    done.ended, done.code = time.time(), None if code < 0 else code
    return done


@contextlib.contextmanager
def smi_samples(into: list[tuple[float, float, float]]) -> Iterator[None]:
    """Add what nvidia-smi says of the first GPU to `into`, within the block; nothing where it is missing."""
    if shutil.which("nvidia-smi") is None:
        yield
        return
    query = ["--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-i", "0"]
    command = ["nvidia-smi", *query, "-lms", str(SMI_EVERY)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def listen() -> None:
        for line in process.stdout or ():
            with contextlib.suppress(ValueError):  # it says so where a card does not tell
                busy, used = (float(word) for word in line.split(","))
                into.append((time.time(), busy, used))

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        yield
    finally:
        process.kill()
        process.wait()
        listener.join()


def figures(done: Run, flops_a_pixel: float | None = None, rate: float | None = None) -> dict[str, Any]:
    """What a render came to, as far as it came; seconds, MB. share: of wall time, in which steps ran, as the workers
    timed them. flops_a_pixel: of a step; rate: TFLOP/s that the card has."""
    row: dict[str, Any] = {"seconds": done.ended - done.began, "ended": done.how}
    row |= {"host_mb": done.peaks.sum_bytes / 1e6, "disk_mb": done.peaks.disk_bytes / 1e6}
    row |= _gpu(done, done.began, done.ended)
    levels, plans, starts = done.of("level"), done.of("plan"), done.of("start")
    if plans:
        row["planned_gpu_mb"] = plans[0].get("gpu_bytes", 0) / 1e6
    if not (levels and starts):
        return row
    stepping = sum(_stepping(done.of("tile")))
    row |= {"start_s": levels[0]["time"] - done.began, "steps_s": stepping, "share": stepping / row["seconds"]}
    row |= {"workers": starts[0]["workers"], "tile": starts[0]["tile"], "level": len(levels)}
    ended = [(event["time"], done.of("level done", level=event["level"])) for event in levels]
    row["levels_s"] = [finished[0]["time"] - began for began, finished in ended if finished]
    row |= _level(done, starts[0]["levels"], levels[-1], flops_a_pixel, rate)
    writes, ends = done.of("write"), done.of("done")
    if writes and ends:
        row["write_s"] = ends[0]["time"] - writes[0]["time"]
    return row


def _level(
    done: Run, levels: list[Event], last: Event, flops_a_pixel: float | None, rate: float | None
) -> dict[str, Any]:
    """Of the finest level that was begun: wall time, share of it in steps, one step on its read areas."""
    about, tiles = levels[last["level"]], done.of("tile", level=last["level"])
    finished = done.of("level done", level=last["level"])
    until = finished[0]["time"] if finished else done.ended
    wall, stepping = until - last["time"], _stepping(tiles)
    row: dict[str, Any] = {"level_px": max(about["height"], about["width"]), "level_s": wall}
    row |= {"level_share": sum(stepping) / wall if wall else None, "tiles": about["tiles"], "tile_rounds": len(tiles)}
    row |= {f"level_{name}": value for name, value in _gpu(done, last["time"], until).items()}
    steps = sum(event["steps"] for event in tiles)
    if not steps or not sum(stepping):
        return row
    row["step_ms"] = statistics.median(1e3 * s / event["steps"] for s, event in zip(stepping, tiles, strict=True))
    row["tile_round_s"] = statistics.median(event["seconds"] for event in tiles)
    read = about["work"] / max(1, about["steps"] * about["tiles"])
    row["read_px"] = round(read**0.5)
    if flops_a_pixel:
        row["tflops"] = flops_a_pixel * read * steps / sum(stepping) / 1e12
        row["rate_share"] = row["tflops"] / rate if rate else None
    return row


def _stepping(tiles: list[Event]) -> list[float]:
    return [event.get("stepping", 0.0) for event in tiles]


def _gpu(done: Run, since: float, until: float) -> dict[str, Any]:
    """Mean of what nvidia-smi calls utilisation, in %, and the most memory, less what others held before."""
    busy = [one[1] for one in done.gpu if since <= one[0] <= until]
    used = [one[2] * 2**20 / 1e6 for one in done.gpu if since <= one[0] <= until]
    if not busy:
        return {}
    return {"gpu_busy": statistics.mean(busy), "gpu_mb": max(used) - done.gpu[0][2] * 2**20 / 1e6}
