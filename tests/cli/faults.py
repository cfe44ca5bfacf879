"""Loaded by Dask into the workers of a test (worker preload): one tile's task fails as FAULT says.

FAULT = "kill|raise:TIMES:TILE_SIZE": as often as TIMES, and only while the job's tiles are at least that large.
FAULT_COUNT: a file that counts across processes.
"""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import Any

from tiler.engine import tasks


def _faulty(task: Any) -> Any:
    kind, times, size = os.environ["FAULT"].split(":")
    count = Path(os.environ["FAULT_COUNT"])

    @functools.wraps(task)
    def run(address: Any, level: int, state: int, start: int, steps: int, index: int) -> dict[str, Any]:
        job = tasks.workplace(address).job
        before = len(count.read_text()) if count.exists() else 0
        if (level, state, index) == (1, 1, 1) and job.tile >= int(size) and before < int(times):
            with open(count, "a") as file:
                file.write("x")
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("injected")
        return task(address, level, state, start, steps, index)

    return run


def dask_setup(worker: Any) -> None:
    tasks.relax_tile = _faulty(tasks.relax_tile)
