"""Steps that go well or not, as a measurement's processes import them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from _steps import SkippedError, Step, carry_out


def well(asked: Any, rows: list[dict[str, Any]], ends: float) -> Iterator[dict[str, Any]]:
    yield {"asked": asked, "before": len(rows)}
    yield {"more": 2}


def wrong(asked: Any, rows: list[dict[str, Any]], ends: float) -> Iterator[dict[str, Any]]:
    yield {"first": 1}
    raise ValueError("one line\nand why")


def gone(asked: Any, rows: list[dict[str, Any]], ends: float) -> Iterator[dict[str, Any]]:
    yield {"first": 1}
    os._exit(3)


def missing(asked: Any, rows: list[dict[str, Any]], ends: float) -> Iterator[dict[str, Any]]:
    raise SkippedError("nothing is here")
    yield {}


def stuck(asked: Any, rows: list[dict[str, Any]], ends: float) -> Iterator[dict[str, Any]]:
    """With a grandchild whose parent is gone."""
    shell = "sleep 600 >/dev/null & echo $!"
    said = subprocess.run(["sh", "-c", shell], stdout=subprocess.PIPE, text=True, check=True).stdout
    yield {"pids": [os.getpid(), int(said)]}
    time.sleep(600)


def step(run: Any, limit: float = 100.0, least: float = 1.0) -> Step:
    return Step(run.__name__, run, limit, least, ())


if __name__ == "__main__":
    for row in carry_out(step(stuck), None, [], 100):
        print(*row["pids"], flush=True)
