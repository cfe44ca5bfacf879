"""The measurement of a GPU, where there is none: its parts on the CPU, and all of it at sizes that say nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import _gpu_machine
import _gpu_posters
import _gpu_step
import _gpu_tests
import _rendering
import gpu
import pytest

ROOT = Path(__file__).parents[2]
SOME_TESTS = """
import pytest
pytestmark = pytest.mark.MARK
def test_well(): pass
def test_wrong(): assert 1 == 2, "numbers"
@pytest.fixture
def broken(): raise OSError("no fixture")
def test_broken(broken): pass
@pytest.mark.skip
def test_left_out(): pass
"""


@pytest.fixture
def asked(tmp_path: Path) -> _gpu_machine.Asked:
    return _gpu_machine.Asked("cpu", True, tmp_path)


def test_steps_are_compared_with_the_rate_of_the_same_run(asked: _gpu_machine.Asked) -> None:
    rates = list(_gpu_machine.rates(asked, [], 0))
    assert [row["what"] for row in rates] == ["matrix product bf16", "matrix product fp32", "copy, read and written"]
    for row in _gpu_step.steps(asked, rates, 0):
        assert row["tflops"] / rates[1]["tflops"] == pytest.approx(row["share"])
        assert row["tflops"] * 1e12 == pytest.approx(_flops(asked) * row["px"] ** 2 / row["median_ms"] * 1e3)


def _flops(asked: _gpu_machine.Asked) -> float:
    return _gpu_step.flops_a_pixel(_gpu_step._convs(asked))


def test_a_step_of_vgg19_takes_1_4446_million_operations_a_pixel() -> None:
    """Half of them forward: 2 x 9 x (channels in) x (channels out), per cell of 13 layers up to relu5_1."""
    assert _gpu_step.flops_a_pixel(_gpu_step.load_weights("bundled")) == 1_444_608


def test_a_profile_accounts_for_all_of_the_step(asked: _gpu_machine.Asked) -> None:
    rows = {row["what"]: row for row in _gpu_step.profiled(asked, [], 0)}
    whole, style = rows.pop("all"), rows.pop("style terms, of these")
    assert sum(row["ms"] for row in rows.values()) == pytest.approx(whole["ms"])
    assert 0 < style["ms"] < whole["ms"]


def test_what_became_of_each_test_is_told(asked: _gpu_machine.Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    path = asked.folder / "test_some.py"
    path.write_text(SOME_TESTS.replace("MARK", "gpu"))
    monkeypatch.setattr(_gpu_tests, "with_gpu_tests", lambda: [str(path)])
    *rows, last = _gpu_tests.tests(asked, [], time.monotonic() + 150)
    assert {row["what"]: row["tests"] for row in rows if "tests" in row} == {
        "passed": 1, "failed": 1, "error": 1, "skipped": 1
    }  # fmt: skip
    told = {row["test"].partition("::")[2]: row["said"] for row in rows if "test" in row}
    assert told == {"test_wrong": "AssertionError: numbers", "test_broken": "OSError: no fixture"}
    assert last["tests"] == 4
    assert last["ended"] == "failed: pytest ended with 1"


def test_gpu_tests_are_found_where_they_are() -> None:
    found = _gpu_tests.with_gpu_tests()
    assert str(ROOT / "tests/kernels/test_cuda.py") in found
    assert __file__ not in found


def test_the_gpu_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what its driver's program says of it."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '37, 1000'\necho '[N/A], [N/A]'\necho '63, 1100'\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    done = _rendering.Run(began=time.time())
    with _rendering.smi_samples(done.gpu):
        until = time.monotonic() + 20
        while len(done.gpu) < 2 and time.monotonic() < until:
            time.sleep(0.01)
    done.ended, done.code = time.time(), 0
    found = _rendering.figures(done)
    assert found["gpu_busy"] == 50
    assert found["gpu_mb"] == pytest.approx(100 * 2**20 / 1e6)


def test_figures_of_a_render_that_was_cut_short_are_those_it_came_to() -> None:
    about = {"height": 20, "width": 30, "tiles": 2, "steps": 4, "work": 4 * 2 * 500}
    tile = {"event": "tile", "level": 1, "tile": 0, "steps": 2, "seconds": 2.0, "stepping": 1.0}
    events: list[dict[str, Any]] = [
        {"time": 13.0, "event": "start", "levels": [{**about, "work": 1}, about], "workers": 1, "tile": 32},
        {"time": 14.0, "event": "level", "level": 0},
        {**tile, "time": 15.0, "level": 0, "stepping": 0.5},
        {"time": 16.0, "event": "level done", "level": 0},
        {"time": 16.0, "event": "level", "level": 1},
        {**tile, "time": 18.0},
        {**tile, "time": 20.0, "tile": 1, "stepping": 3.0},
    ]
    found = _rendering.figures(_rendering.Run(10.0, 24.0, None, "", events), flops_a_pixel=1e10, rate=20.0)
    assert found["ended"] == "cut short"
    assert (found["start_s"], found["seconds"], found["steps_s"], found["level_s"]) == (4.0, 14.0, 4.5, 8.0)
    assert found["levels_s"] == [2.0]
    assert (found["share"], found["level_share"]) == (4.5 / 14, 0.5)
    assert (found["step_ms"], found["tile_rounds"], found["level_px"]) == (1000.0, 2, 30)
    assert (found["tflops"], found["rate_share"]) == (pytest.approx(1e10 * 500 * 4 / 4e12), pytest.approx(0.25))


def test_the_file_is_whole_after_every_row(tmp_path: Path) -> None:
    at = tmp_path / "new" / "gpu.json"
    measurement = gpu.Measurement(_gpu_machine.Asked("cpu", True, tmp_path), at)
    environment = dict.fromkeys(("device", "cpu", "load", "time"), "x") | {"versions": {"torch": "2"}}
    for count, row in enumerate([environment, {"ended": "failed: no", "step": "tests"}, {"same": False}], 1):
        measurement.add({"step": "environment", "run": "r", "mode": "m", **row})
        written = json.loads(at.read_text())
        assert len(written) == count
        assert {one["versions"]["torch"] for one in written} == {"2"}
    assert measurement.troubles() == ["tests: failed: no", "bytes differ: r, m"]


def test_an_option_is_used_where_the_command_line_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rendering, "known_options", lambda: frozenset({"--state"}))
    assert _rendering.options(state="host", checkpoint_seconds=1) == ["--state", "host"]


def test_a_changed_option_is_seen_before_its_preview_is_done(asked: _gpu_machine.Asked) -> None:
    [row] = _gpu_posters.changed(asked, [], 0)
    assert row["px"] == 128
    assert 0 < row["first_s"] <= row["finished_s"]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_all_of_it_runs_on_a_cpu(tmp_path: Path) -> None:
    at = tmp_path / "gpu.json"
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--quick", "--output", str(at)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(at.read_text())
    ends = {row["step"]: row["ended"] for row in rows if row.get("what") == "step"}
    assert list(ends) == [step.name for step in gpu.STEPS]
    assert all(how == "done" or how.startswith("skipped: ") for how in ends.values()), ends
    same = [row["same"] for row in rows if row["step"] == "bytes" and "run" in row]
    assert len(same) >= 4
    assert all(same)
    [gone_on] = [row["gone_on_at"] for row in rows if row.get("run") == "killed, gone on"]
    assert gone_on
    [poster] = [row for row in rows if row.get("what") == "poster"]
    assert 0 < poster["share"] < poster["level_share"] < 1
