"""Imported by every Python process that has this folder on its PYTHONPATH: one tile's round fails as FAULT says.

FAULT = "kill|cuda:TIMES:TILE_SIZE": as often as TIMES, and only while the job's tiles are at least that large.
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

TURN = "tiler.engine.turn"


def _faulty(begin: Any) -> Any:
    kind, times, size = os.environ["FAULT"].split(":")
    count = Path(os.environ["FAULT_COUNT"])

    @functools.wraps(begin)
    def run(self: Any, now: Any, tile: Any, given: Any) -> Any:
        before = len(count.read_text()) if count.exists() else 0
        here = (self._level, now.state, tile.index) == (1, 1, 1)
        if here and self._here.job.cut.tile >= int(size) and before < int(times):
            with open(count, "a") as file:
                file.write("x")
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            sys.modules["tiler.engine.worker"].device_lost = lambda error: "CUDA error" in str(error)
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return begin(self, now, tile, given)

    return run


class _Finder(importlib.abc.MetaPathFinder):
    """Changes it as soon as it is imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != TURN:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def changed(module: Any) -> None:
            execute(module)
            module.Turns.begin = _faulty(module.Turns.begin)

        spec.loader.exec_module = changed  # type: ignore[method-assign]
        return spec


if "FAULT" in os.environ:
    sys.meta_path.insert(0, _Finder())
