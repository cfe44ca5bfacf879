"""Run a command and watch what it and its children take: memory of all processes, and disk below some folders."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

MEMORY_EVERY, DISK_EVERY = 0.1, 0.5


@dataclass
class Peaks:
    """sum_bytes: largest sum over the processes of proportional set sizes, in which pages that n processes share count
    1/n in each. largest_bytes: largest resident set of a single process. disk_bytes: largest sum of blocks in use
    below the watched folders. by_process: peak of each process's resident set, by what it is. events: that --log-json
    printed."""

    seconds: float = 0.0
    sum_bytes: int = 0
    largest_bytes: int = 0
    disk_bytes: int = 0
    by_process: dict[str, int] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)


def run(arguments: Sequence[str], folders: Sequence[Path] = (), **environment: str) -> Peaks:
    """Run `python -m tiler ARGUMENTS` in a process of its own. Raises SystemExit when it fails."""
    began, peaks = time.perf_counter(), Peaks()
    command = [sys.executable, "-m", "tiler", *arguments]
    kinds: dict[str, Any] = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen(command, env={**os.environ, **environment}, **kinds)
    with watching(process.pid, folders, peaks):
        printed, said = process.communicate()
    peaks.events = [json.loads(line) for line in printed.splitlines()] if "--log-json" in arguments else []
    peaks.seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: ended with {process.returncode}: {said}")
    return peaks


@contextlib.contextmanager
def watching(pid: int, folders: Sequence[Path], peaks: Peaks) -> Iterator[None]:
    """Look at a process, its children and these folders again and again within the block, and keep what is most."""
    ended = threading.Event()
    looks = (
        (MEMORY_EVERY, lambda: _memory(psutil.Process(pid), peaks)),
        (DISK_EVERY, lambda: _disk(folders, peaks)),
    )
    watchers = [threading.Thread(target=_watch, args=(ended, *look)) for look in looks]
    for watcher in watchers:
        watcher.start()
    try:
        yield
    finally:
        ended.set()
        for watcher in watchers:
            watcher.join()


def _watch(ended: threading.Event, every: float, look: Callable[[], None]) -> None:
    """Call `look` every so many seconds, or less often where a look takes more than a tenth of the time."""
    while True:
        began = time.perf_counter()
        with contextlib.suppress(psutil.Error, OSError):  # the process ended between two questions
            look()
        if ended.wait(max(every, 9 * (time.perf_counter() - began))):
            return


def _memory(root: psutil.Process, peaks: Peaks) -> None:
    total = 0
    for number, process in enumerate([root, *root.children(recursive=True)]):
        try:
            resident, proportional = _sizes(process.pid)
        except OSError:
            continue
        total += proportional
        peaks.largest_bytes = max(peaks.largest_bytes, resident)
        name = "client" if number == 0 else _role(process)
        peaks.by_process[name] = max(peaks.by_process.get(name, 0), resident)
    peaks.sum_bytes = max(peaks.sum_bytes, total)


def _sizes(pid: int) -> tuple[int, int]:
    """(resident, proportional) bytes of a process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
    return found["Rss"], found["Pss"]


def _role(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    return "resource tracker" if "resource_tracker" in words else f"worker {process.pid}"


def _disk(folders: Sequence[Path], peaks: Peaks) -> None:
    peaks.disk_bytes = max(peaks.disk_bytes, sum(used_bytes(folder) for folder in folders))


def used_bytes(folder: Path) -> int:
    """Blocks that the files below `folder` take on the disk."""
    total, waiting = 0, [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue  # dropped while we looked
    return total
