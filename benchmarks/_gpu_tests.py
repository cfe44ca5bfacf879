"""The tests that need a GPU for `benchmarks/gpu.py`, also under CUDA's memory checker."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
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
    """Those of the operations under compute-sanitizer, as far as the time goes. Its own findings fail the run."""
    checker = shutil.which("compute-sanitizer")
    if checker is None:
        raise SkippedError("compute-sanitizer is not installed")
    log = asked.folder / "sanitizer"  # of each process
    words = ["--tool", "memcheck", "--target-processes", "all", "--error-exitcode", "9", "--log-file", f"{log}.%p"]
    # torch's own allocator hands out parts of large blocks, beyond whose ends the checker sees nothing wrong.
    os.environ["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1"
    files = [name for name in with_gpu_tests() if Path(name).parent.name == "kernels"]
    yield from _run([checker, *words, sys.executable], files, asked, asked.folder / "sanitized.jsonl", ends)
    said = Counter[str]()
    for one in asked.folder.glob("sanitizer.*"):
        said.update(line.strip("= ") for line in one.read_text().splitlines() if _finding(line))
    for line, times in said.most_common(20):
        yield {"what": "sanitizer", "said": line, "tests": times}


def _finding(line: str) -> bool:
    return "ERROR SUMMARY" in line or "Invalid" in line


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
