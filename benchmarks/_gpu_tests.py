"""The tests that need a GPU for `benchmarks/gpu.py`, also under CUDA's memory checker."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from _gpu_machine import Asked, Row
from _steps import SkippedError, end_family

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ("what", "tests", "seconds", "test", "said", "ended")
TESTS_AT_ONCE = 12


def with_gpu_tests() -> list[str]:
    """Test files that hold some: other tests' packages may be missing."""
    return [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]


def tests(asked: Asked, rows: list[Row], ends: float) -> Iterator[Row]:
    """How many passed, failed and so on, and a row for each that failed."""
    yield from _run([sys.executable], with_gpu_tests(), asked, asked.folder / "tests.jsonl", ends)


def sanitized(asked: Asked, rows: list[Row], ends: float) -> Iterator[Row]:
    """Every operation under compute-sanitizer, as far as the time goes; before it once without, since what Triton
    compiles is kept."""
    checker = shutil.which("compute-sanitizer")
    if checker is None:
        raise SkippedError("compute-sanitizer is not installed")
    # torch's own allocator hands out parts of large blocks, beyond whose ends the checker sees nothing wrong.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    for what, words in (("plain", []), ("checked", [checker, "--tool", "memcheck", "--error-exitcode", "9"])):
        began, told = time.monotonic(), asked.folder / f"{what}.txt"
        with told.open("w") as file:
            process = subprocess.Popen(
                [*words, sys.executable, str(ROOT / "benchmarks" / "_gpu_ops.py"), asked.device],
                env=environment, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                code = process.wait(timeout=max(0.0, ends - time.monotonic()))
                how = "done" if code == 0 else f"failed: ended with {code}"
            except subprocess.TimeoutExpired:
                end_family(process.pid)
                how = "cut short"
        lines = told.read_text(errors="replace").splitlines()
        found = [line.strip("= ") for line in lines if "ERROR SUMMARY" in line or "Invalid" in line]
        ran = [line for line in lines if not line.startswith("=")]
        row = {"tests": len(ran), "seconds": time.monotonic() - began, "said": (found or ran or [""])[-1]}
        yield {"what": what, **row, "ended": how}


def _run(python: list[str], files: list[str], asked: Asked, reports: Path, ends: float) -> Iterator[Row]:
    """What pytest told until it ended or its time did."""
    at_once = str(min(TESTS_AT_ONCE, len(os.sched_getaffinity(0))))
    words = ["-n", at_once] if importlib.util.find_spec("xdist") and not asked.quick else []
    command = [
        *python, "-m", "pytest", *files, "-c", str(ROOT / "pyproject.toml"), "-m", "gpu", "-q",
        "-o", "addopts=--strict-markers", "-p", "_gpu_reports", "-p", "no:cacheprovider", *words,
    ]  # fmt: skip
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    # What another run of pytest tells its own processes is not for this one.
    others = ("TILER_ALL_TESTS", "PYTEST_")
    told = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    environment = {**told, "PYTHONPATH": path, "GPU_REPORTS": str(reports)}
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        said, _ = process.communicate(timeout=max(0.0, ends - time.monotonic()))
        how = "done" if process.returncode == 0 else f"failed: pytest ended with {process.returncode}"
    except subprocess.TimeoutExpired:
        end_family(process.pid)
        (said, _), how = process.communicate(), "cut short"
    told = [json.loads(line) for line in reports.read_text().splitlines()] if reports.exists() else []
    yield from _summed(told)
    last = (said.decode(errors="replace").strip().splitlines() or [""])[-1]
    yield {"what": "pytest", "tests": len(told), "seconds": time.monotonic() - began, "said": last, "ended": how}


def _summed(told: list[Row]) -> Iterator[Row]:
    outcomes: defaultdict[str, list[float]] = defaultdict(list)
    for one in told:
        outcomes[one["outcome"]].append(one["seconds"])
    for outcome, seconds in outcomes.items():
        yield {"what": outcome, "tests": len(seconds), "seconds": sum(seconds)}
    for one in told:
        if one["outcome"] in ("failed", "error"):
            yield {"what": one["outcome"], "test": one["test"], "said": one["said"][:120], "error": one["error"]}
