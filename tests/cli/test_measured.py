"""What benchmarks/gpu.py makes of a render's events, of a real one."""

from __future__ import annotations

import importlib
import math
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_a_renders_time_is_told_apart(here, events, small_weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Last, since one of them is called as a package of ours.
    monkeypatch.setattr(sys, "path", [*sys.path, str(BENCHMARKS)])
    rendering = importlib.import_module("_rendering")
    began = time.time()
    done = here(
        "render", "content.png", "style.png", "-o", "poster.tif",
        "--long-edge=120", "--min-edge=60", "--tile=64", "--steps=2",
        "--steps-per-round", "1", "--weights", small_weights, "--log-json",
    )  # fmt: skip
    run = rendering.Run(began, time.time(), done.returncode, done.stderr, events(done.stdout))
    found = rendering.figures(run, flops_a_pixel=1e6, rate=1.0)
    assert found["ended"] == "done"
    assert 0 < found["steps_s"] < found["seconds"]
    assert 0 < found["level_share"] < 1
    assert found["level_s"] + found["write_s"] + found["start_s"] < found["seconds"]
    last = run.of("start")[0]["levels"][-1]
    assert (found["level_px"], found["tiles"], found["tile_rounds"]) == (120, last["tiles"], 2 * last["tiles"])
    assert 0 < found["step_ms"] / 1e3 <= found["tile_round_s"]
    assert 64 < found["read_px"] <= 120
    assert math.isclose(found["rate_share"], found["tflops"])
