"""Whoever asked for a render may not want it any more: it ends at once, its workers stay, and nothing is lost."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tiler
from tiler.geometry import Rect
from tiler.output.watched import Watched
from tiler.rendering import render
from tiler.request.asked import Asked
from tiler.series.preview import beginning


@pytest.fixture
def config(inputs: Path, small_weights: str) -> tiler.RenderConfig:
    names = dict(content=str(inputs / "content.png"), styles=(str(inputs / "style.png"),))
    how: dict[str, Any] = dict(long_edge=64, min_edge=32, threads=1, precision="fp32", weights=small_weights)
    return tiler.RenderConfig(**names, output=str(inputs / "p.png"), steps=(30, 5), **how)


def test_a_cancelled_render_goes_on_to_the_same_bytes(config: Any, inputs: Path, cluster: str) -> None:
    seen: list[float] = []

    def progress(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] >= 3:
            seen.append(time.monotonic())

    with tiler.Pool(cluster) as pool:
        with pytest.raises(tiler.CancelledError, match="cancelled"):
            render(_long(config), progress, pool=pool, cancelled=lambda: bool(seen))
        assert time.monotonic() - seen[0] < 5  # of the minutes that it would have taken
        count = len(seen)
        time.sleep(0.5)
        assert len(seen) == count, "its worker goes on"
        assert not (inputs / "p.png").exists()
        render(config, pool=pool, force_new=True)
        fresh = (inputs / "p.png").read_bytes()
        (inputs / "p.png").unlink()
        again = iter([False] * 3 + [True] * 99)
        with pytest.raises(tiler.CancelledError):
            render(config, pool=pool, force_new=True, cancelled=lambda: next(again))
        render(config, pool=pool)
        assert (inputs / "p.png").read_bytes() == fresh


def test_a_cluster_that_renders_for_somebody_else_is_left_alone(inputs: Path, cluster: str, here: Any) -> None:
    before = sorted(inputs.iterdir())
    with tiler.Pool(cluster):
        for command in (["render", "content.png", "style.png", "-o", "p.png"], ["plan", "content.png", "style.png"]):
            more = () if command[0] == "render" else ("--scheduler", cluster)
            done = here(*command, "--long-edge", "64", *more)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith(f"tiler: --scheduler {cluster}: in use by process ")
            assert done.stderr.count("\n") == 1
            assert sorted(inputs.iterdir()) == before


def _long(config: tiler.RenderConfig) -> tiler.RenderConfig:
    return replace(config, steps=(100_000, 5))


def test_a_preview_is_the_poster_s_beginning(config: Any, inputs: Path, cluster: str) -> None:
    """Level by level, coarse ones first and before they are finished; the poster's own, to the last bit."""
    shown: list[tiler.Preview] = []
    before = {path.name for path in inputs.iterdir()}
    with tiler.Pool(cluster) as pool:
        last = tiler.preview(config, edge=32, on_level=shown.append, pool=pool)
        assert shown[-1] is last
        assert {path.name for path in inputs.iterdir()} == before
        assert [(one.level, one.levels, one.of) for one in shown] == [(0, 1, 30)] * len(shown)
        assert last.finished
        render(config, pool=pool)
        coarse = Watched.of(str(inputs / "p.zarr")).read(0, Rect(0, 0, 24, 32))
        assert np.array_equal(last.pixels, np.rint(coarse * 255).transpose(1, 2, 0))
        kept = inputs / "kept"
        kept.mkdir()
        tiler.preview(config, folder=kept, pool=pool)
        assert np.array_equal(np.asarray(Image.open(kept / "preview.png")), np.asarray(Image.open(inputs / "p.png")))
        events: list[str] = []
        tiler.preview(config, folder=kept, pool=pool, progress=lambda event: events.append(event["event"]))
        assert "level" not in events
        assert last._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("said", "edge", "size", "levels"),
    [
        ({"long_edge": 1000}, 512, (375, 500), 2),
        ({"long_edge": 1000}, 10, (188, 250), 1),
        ({"long_edge": None, "size": "400x100"}, 512, (100, 400), 2),
        ({"long_edge": None, "size": "800x200"}, 400, (100, 400), 2),
    ],
)
def test_it_has_the_poster_s_levels(config: Any, inputs: Path, said: Any, edge: int, size: Any, levels: int) -> None:
    poster = replace(config, min_edge=128, steps=None, **said)
    cut = Asked.of(beginning(poster, edge, inputs)).job.cut
    assert ((cut.last.height, cut.last.width), len(cut.levels)) == (size, levels)
    assert cut.levels == Asked.of(poster).job.cut.levels[:levels]
