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
        out, err = process.communicate(timeout=900)
    finally:
        process.kill()
    assert process.returncode == 0, out[-6000:] + err[-3000:]
    return out


@pytest.mark.parametrize("name", ["interpreted.py", "interpreted_trunk.py"])
def test_interpreted(name: str) -> None:
    options = ("-q", "-o", "addopts=", "-p", "no:cacheprovider")
    out = finish(start("-m", "pytest", *options, str(HERE / name), TRITON_INTERPRET="1", OMP_NUM_THREADS="1"))
    assert re.search(r"^\d+ passed in", out, re.MULTILINE), out[-2000:]


@pytest.mark.timeout(1000)  # on a busy machine
@pytest.mark.parametrize(
    "parts", [(["80", "89"], ["90", "100", "120"]), pytest.param((["twin", "89"],), marks=pytest.mark.slow)], ids=str
)
def test_compiles_without_spills(parts: tuple[list[str], ...], tmp_path: Path) -> None:
    """86 is assembled from the PTX of 89, which is compared with its own: of one job of each kernel, or of all."""
    running = [start(str(HERE / "aot.py"), *part, TRITON_CACHE_DIR=str(tmp_path / part[-1])) for part in parts]
    reports: list[dict[str, Any]] = [report for one in running for report in json.loads(finish(one))]
    compared = {report["kernel"].split(" ")[0]: report["same"] for report in reports if "same" in report}
    assert len(compared) == 9
    assert set(compared.values()) == {True}, compared
    known = {name for part in parts for name in part if name.isdecimal()}
    assert {report["arch"] for report in reports} == {86, *map(int, known)} <= set(SHARED_BYTES)
    if len(parts) > 1:
        assert {report["arch"] for report in reports} == set(SHARED_BYTES)
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
