"""How many workers ran does not show, and tiles do not show, with the real backbone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import LocalCluster
from here import run_main
from PIL import Image


@pytest.fixture(scope="module")
def two_processes() -> Iterator[str]:
    """The address of two workers that are processes of their own."""
    options = dict(n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0", silence_logs=50, memory_limit=0)
    with LocalCluster(protocol="tcp", host="127.0.0.1", **options) as running:
        yield running.scheduler_address


@pytest.mark.parametrize(("mode", "statistics"), [("fast", "gram"), ("exact", "w2")])
def test_one_and_two_workers_write_the_same_bytes(
    cluster: str, two_processes: str, inputs: Path, mode: str, statistics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    options = ("--long-edge", "64", "--steps", "1,2", "--tile", "32", "--min-edge", "32", "--mode", mode)
    options += ("--statistics", statistics)
    for workers, address in (("1", cluster), ("2", two_processes)):
        done = run_main(
            *("render", "content.png", "style.png", "-o", f"{workers}.png", "--log-json", *options),
            *("--scheduler", address, "--threads", "1"),
        )
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert {"level", "tile", "done"} <= {event["event"] for event in events}
        assert not [event for event in events if event["event"] in ("retry", "note")]
    one, two = (np.asarray(Image.open(inputs / f"{workers}.png")) for workers in "12")
    assert one.std() > 10
    assert np.array_equal(one, two)
    assert (inputs / "1.png").read_bytes() == (inputs / "2.png").read_bytes()


def _psnr(here, inputs: Path, edge: str, steps: str, tile: str) -> float:
    options = ("--long-edge", edge, "--levels", "1", "--steps", steps, "--mode", "exact", "--precision", "fp32")
    for name, size in (("whole", edge), ("tiled", tile)):
        done = here(*("render", "content.png", "style.png", "-o", f"{name}.tif", "--quiet", *options, "--tile", size))
        assert done.returncode == 0, done.stderr
    whole, tiled = (np.asarray(Image.open(inputs / f"{name}.tif"), np.float64) / 255 for name in ("whole", "tiled"))
    return float(-10 * np.log10(max(np.mean((whole - tiled) ** 2), 1e-12)))


def test_exact_mode_hides_the_tiles(here, inputs: Path) -> None:
    assert _psnr(here, inputs, edge="80", steps="2", tile="48") >= 50


@pytest.mark.slow
def test_exact_mode_hides_the_tiles_at_512(here, inputs: Path) -> None:
    assert _psnr(here, inputs, edge="512", steps="10", tile="256") >= 50
