"""A pytest plugin (`-p _gpu_reports`): a JSON line for every test, as it ends, to the file that GPU_REPORTS names."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest


def _tell(test: str, outcome: str, seconds: float, report: Any) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # the process that started this one hears of it, and tells
        return
    said = str(report.longrepr) if outcome not in ("passed", "skipped") else ""
    crash = getattr(getattr(report.longrepr, "reprcrash", None), "message", said)
    row = {"test": test, "outcome": outcome, "seconds": seconds, "said": (crash.strip().splitlines() or [""])[0]}
    with open(os.environ["GPU_REPORTS"], "a") as file:
        file.write(json.dumps({**row, "error": said}) + "\n")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test's own outcome, or whatever went wrong around it."""
    if report.when == "call" or report.outcome != "passed":
        outcome = "error" if report.failed and report.when != "call" else report.outcome
        _tell(report.nodeid, outcome, report.duration, report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot even be read."""
    if report.failed:
        _tell(report.nodeid, "error", 0.0, report)
