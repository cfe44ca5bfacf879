"""A long measurement keeps what it has, whatever becomes of its steps, and leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import _steps
import psutil
import pytest
import steps_of_all_kinds as kinds

HERE = Path(__file__).parent


def carried_out(run: Any, left: float = 100, rows: Any = ()) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Its rows, and the one about the step."""
    *found, end = _steps.carry_out(kinds.step(run), "asked", rows, left)
    assert end["what"] == "step"
    assert end["seconds"] >= 0
    return found, end


def assert_ended(pids: list[int]) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        left = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
        if not left:
            return
        time.sleep(0.05)
    raise AssertionError(f"still running: {left}")


def test_rows_come_with_their_steps_name() -> None:
    found, end = carried_out(kinds.well, rows=[{}, {}])
    assert found == [{"step": "well", "asked": "asked", "before": 2}, {"step": "well", "more": 2}]
    assert end["ended"] == "done"


def test_a_step_that_fails_says_so_after_its_rows() -> None:
    found, end = carried_out(kinds.wrong)
    assert found == [{"step": "wrong", "first": 1}]
    assert end["ended"] == "failed: ValueError: and why"
    assert "in wrong" in end["error"]


def test_a_step_whose_process_dies_says_so_after_its_rows() -> None:
    found, end = carried_out(kinds.gone)
    assert found == [{"step": "gone", "first": 1}]
    assert end["ended"] == "failed: its process ended with 3"


def test_a_step_that_cannot_be_is_skipped_with_a_word() -> None:
    assert carried_out(kinds.missing)[1]["ended"] == "skipped: nothing is here"


def test_a_step_is_not_begun_when_too_little_time_is_left() -> None:
    found, end = carried_out(kinds.well, left=_steps.GRACE + 0.5)
    assert not found
    assert end["ended"].startswith("skipped: ")


def test_a_step_is_ended_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_steps, "GRACE", 0.1)
    began = time.monotonic()
    found, end = carried_out(kinds.stuck, left=3)
    assert end["ended"] == "cut short after 3 s"
    assert time.monotonic() - began < 60
    for row in found:  # none, where three seconds were not enough to begin
        assert_ended(row["pids"])


def test_nothing_outlives_a_measurement_that_stops() -> None:
    going = _steps.carry_out(kinds.step(kinds.stuck), None, [], 100)
    pids = next(going)["pids"]
    assert all(psutil.pid_exists(pid) for pid in pids)
    going.close()
    assert_ended(pids)


def test_nothing_outlives_a_measurement_that_is_killed() -> None:
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1] / "benchmarks")])
    command = [sys.executable, str(HERE / "steps_of_all_kinds.py")]
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        pids = [int(word) for word in running.stdout.readline().split()]
        assert len(pids) == 2
        running.send_signal(signal.SIGKILL)
    assert_ended(pids)
