"""The Triton kernels without a GPU: run in the interpreter, and compiled ahead of time for every generation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kernels

pytest.importorskip("triton")
HERE = Path(__file__).parent
ROOT = Path(kernels.__file__).parent.parent
# Bytes of shared memory that a program may have.
SHARED_BYTES = {80: 166912, 86: 101376, 89: 101376, 90: 232448, 100: 232448, 120: 101376}


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """A Python of its own: whether Triton interprets or compiles is settled when it is first imported."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TRITON_", "TILER_"))}
    inherited["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=inherited | environment, text=True, stdout=pipe, stderr=pipe, cwd=ROOT)


def finish(process: subprocess.Popen[str]) -> str:
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, out[-6000:] + err[-3000:]
    return out


@pytest.mark.parametrize("name", ["interpreted.py", "interpreted_trunk.py"])
def test_interpreted(name: str) -> None:
    options = ("-q", "-o", "addopts=", "-p", "no:cacheprovider")
    out = finish(start("-m", "pytest", *options, str(HERE / name), TRITON_INTERPRET="1", OMP_NUM_THREADS="1"))
    assert re.search(r"^\d+ passed in", out, re.MULTILINE), out[-2000:]


# 86 has the cuts, the shared memory and the instructions of 89.
SPLITS = [(["80", "89"], ["90", "100", "120"]), pytest.param((["86"],), marks=pytest.mark.slow)]


def test_every_generation_is_compiled_for() -> None:
    found = {name for split in (SPLITS[0], *SPLITS[1].values) for part in split for name in part}
    assert found == set(map(str, SHARED_BYTES))


@pytest.mark.parametrize("split", SPLITS, ids=["all", "86"])
def test_compiles_without_spills(split: tuple[list[str], ...], tmp_path: Path) -> None:
    file = str(HERE / "aot.py")
    parts = [start(file, *part, TRITON_CACHE_DIR=str(tmp_path / part[0])) for part in split]
    reports: list[dict[str, Any]] = [report for part in parts for report in json.loads(finish(part))]
    assert {report["arch"] for report in reports} == {int(name) for part in split for name in part}
    for report in reports:
        assert 16 <= report["REG"] <= 255, report
        assert report["STACK"] == report["LOCAL"] == 0, report
        assert report["fresh"], f"{report}: the compiler has joined two products into one chain of additions"
        shared = report["dynamic_shared"] + report["SHARED"]
        assert shared <= SHARED_BYTES[report["arch"]], report
        assert shared or report["kernel"].startswith("pool"), report


def test_a_spill_would_be_seen(tmp_path: Path) -> None:
    (report,) = json.loads(finish(start(str(HERE / "aot.py"), "spill", "90", TRITON_CACHE_DIR=str(tmp_path))))
    assert report["STACK"] > 0
