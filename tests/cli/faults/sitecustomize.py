"""Imported by every Python process that has this folder on its PYTHONPATH: one tile's task fails as FAULT says.

FAULT = "kill|raise|cuda:TIMES:TILE_SIZE": as often as TIMES, and only while the job's tiles are at least that large.
FAULT_COUNT: a file that counts across processes.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Any

TASKS = "tiler.engine.tasks"


def _faulty(task: Any) -> Any:
    kind, times, size = os.environ["FAULT"].split(":")
    count = Path(os.environ["FAULT_COUNT"])

    @functools.wraps(task)
    def run(address: Any, level: int, state: int, start: int, steps: int, index: int) -> dict[str, Any]:
        job = sys.modules[TASKS].workplace(address).job
        before = len(count.read_text()) if count.exists() else 0
        if (level, state, index) == (1, 1, 1) and job.tile >= int(size) and before < int(times):
            with open(count, "a") as file:
                file.write("x")
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            sys.modules["tiler.engine.schedule"].device_lost = lambda error: "CUDA error" in str(error)
            raise RuntimeError("CUDA error: an illegal memory access was encountered" if kind == "cuda" else "injected")
        return task(address, level, state, start, steps, index)

    return run


class _Finder(importlib.abc.MetaPathFinder):
    """Changes the tasks as soon as they are imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != TASKS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def changed(module: Any) -> None:
            execute(module)
            module.relax_tile = _faulty(module.relax_tile)

        spec.loader.exec_module = changed  # type: ignore[method-assign]
        return spec


if "FAULT" in os.environ:
    sys.meta_path.insert(0, _Finder())
