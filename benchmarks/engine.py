"""What the engine takes beside the steps: `python benchmarks/engine.py [--device cuda] [--quick] [--real]`.

Renders with a tiny random backbone, whose steps are cheap, so that what is measured is the rest: pixels, moments and
statistics on their way between the store and the device, seeding, compositing, the poster's file.

`alone`: every task in this one process, one after the other, so nothing overlaps: seconds of a call, processor seconds
(of all threads; less moved by other programs), bytes read and written by this process. `steps` and `outside` split
`relax_tile`, a tile-round. `workers`: the render as it is, with workers of its own, where a tile is read or written
while another is computed; share: of the finest level's wall time, how much of it steps run. --real: this with the real
backbone, too.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

import _report
import numpy as np
from _inputs import picture, tiny_backbone
from resumable import Here, HerePool

from tiler import RenderConfig
from tiler.engine.address import Block
from tiler.geometry import level_sizes

# The package has a function of its name.
rendering = importlib.import_module("tiler.rendering")

COLUMNS = (
    "backbone", "run", "what", "samples", "median_s", "q25_s", "q75_s", "cpu_s", "read_mb", "written_mb", "share",
)  # fmt: skip
PACKAGES = ("torch", "triton", "zarr", "numcodecs", "distributed", "numpy", "pyvips")
STYLE_EDGE = 512


def moved_bytes() -> tuple[int, int]:
    """What this process has read from and written to files so far, the page cache's share included."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"]), int(lines["wchar"])


class TimedPool(HerePool):
    """Runs tasks here and keeps what each took."""

    calls: dict[tuple[str, int], list[_report.Row]]
    ended = 0.0

    def submit(self, function: Callable[..., Any], *arguments: Any, worker: str | None = None) -> Here:
        """As the real pool's."""
        before, cpu, began = moved_bytes(), time.process_time(), time.perf_counter()
        made = super().submit(function, *arguments)
        row: _report.Row = {"s": time.perf_counter() - began, "cpu": time.process_time() - cpu}
        row["read"], row["written"] = (now - then for now, then in zip(moved_bytes(), before, strict=True))
        level = next(
            (one if isinstance(one, int) else one.level for one in arguments if isinstance(one, int | Block)), -1
        )
        self.calls[function.__name__, level].append(row)
        if function.__name__ == "advance":
            type(self).ended = time.perf_counter()
        return made


def alone(config: RenderConfig, last: int) -> list[_report.Row]:
    """Rows of every kind of task on level `last`, of its tile-rounds, and of the way from the last step to the file."""
    TimedPool.calls, told = defaultdict(list), list[dict[str, Any]]()
    original, rendering.Pool = rendering.Pool, TimedPool
    try:
        rendering.render(config, told.append, force_new=True)
    finally:
        rendering.Pool = original
    ended, rows = time.perf_counter(), []
    tiles = [event for event in told if event["event"] == "tile" and event["level"] == last]
    for (what, level), calls in TimedPool.calls.items():
        if level == last:
            moved = {f"{way}_mb": float(np.median([call[way] for call in calls])) / 1e6 for way in ("read", "written")}
            cpu = float(np.median([call["cpu"] for call in calls]))
            rows.append({"what": what, **_report.timing([call["s"] for call in calls]), "cpu_s": cpu, **moved})
    rounds = TimedPool.calls["advance", last]
    moved = {f"{way}_mb": sum(call[way] for call in rounds) / 1e6 / len(tiles) for way in ("read", "written")}
    whole, stepping = sum(call["s"] for call in rounds), [event["stepping"] for event in tiles]
    later = [event["seconds"] - event["stepping"] for event in tiles if event["round"]]
    rows += [
        {"what": "tile-round: steps", **_report.timing(stepping)},
        {"what": "tile-round: outside of steps, first", **_report.timing(
            [event["seconds"] - event["stepping"] for event in tiles if not event["round"]])},
        {"what": "tile-round: outside of steps, later", **_report.timing(later)},
        {"what": "tile-round: all of the level's rounds", **_report.timing([whole / len(tiles)]), **moved,
         "share": sum(stepping) / whole},
        {"what": "last step to file", **_report.timing([ended - TimedPool.ended])},
    ]  # fmt: skip
    return [{"run": f"alone, {config.state}", **row} for row in rows]


def with_workers(config: RenderConfig, last: int) -> list[_report.Row]:
    """Rows of the render as it is."""
    seen: list[tuple[float, dict[str, Any]]] = []
    began = time.perf_counter()
    rendering.render(config, lambda event: seen.append((time.perf_counter(), event)), force_new=True)
    ended = time.perf_counter()
    tiles = [(at, event) for at, event in seen if event["event"] == "tile" and event["level"] == last]
    [start] = [at for at, event in seen if event["event"] == "level" and event["level"] == last]
    [stop] = [at for at, event in seen if event["event"] == "level done" and event["level"] == last]
    steps = [event["stepping"] for _, event in tiles]
    first = min(at - event["seconds"] for at, event in tiles)
    rounds = tiles[-1][0] - first
    rows = [
        {"what": "relax_tile", **_report.timing([event["seconds"] for _, event in tiles])},
        {"what": "steps", **_report.timing(steps)},
        {"what": "outside", **_report.timing([(rounds - sum(steps)) / len(steps)])},
        {"what": "rounds of the level", **_report.timing([rounds]), "share": sum(steps) / rounds},
        {"what": "level", **_report.timing([stop - start]), "share": sum(steps) / (stop - start)},
        {"what": "start to plan", **_report.timing([seen[0][0] - began])},
        {"what": "last step to file", **_report.timing([ended - tiles[-1][0]])},
        {"what": "render", **_report.timing([ended - began])},
    ]
    return [{"run": f"workers, {config.state}", **row} for row in rows]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long-edge", type=int, default=4096)
    parser.add_argument("--tile", type=int, default=1024, help="largest core in pixels")
    parser.add_argument("--steps", type=int, default=4, help="of the finest level, two a round; the others have none")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--suffix", default=".tif", help="the poster's format")
    parser.add_argument("--real", action="store_true", help="the real backbone, too")
    parser.add_argument("--quick", action="store_true", help="256 px in tiles of 64: whether it runs at all")
    parser.add_argument("--output", type=Path, help="write the rows as JSON to this file")
    options = parser.parse_args(arguments)
    if options.quick:
        options.long_edge, options.tile, options.steps = 256, 64, 4
    return options


def main() -> None:
    """Run, print the table, write the JSON."""
    options, rows = parse(), []
    where = _report.environment(options.device, PACKAGES)
    asked = {name: getattr(options, name) for name in ("long_edge", "tile", "steps", "precision")}
    last = len(level_sizes(options.long_edge, options.long_edge, 128)) - 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny_backbone(folder / "tiny.safetensors")
        picture(folder / "content.jpg", options.long_edge, 1)
        picture(folder / "style.jpg", STYLE_EDGE, 2)
        config = RenderConfig(
            content=str(folder / "content.jpg"), styles=(str(folder / "style.jpg"),),
            output=str(folder / f"poster{options.suffix}"), long_edge=options.long_edge, tile=options.tile,
            steps=(0,) * last + (options.steps,), steps_per_round=2, device=options.device, precision=options.precision,
            weights=str(folder / "tiny.safetensors"),
        )  # fmt: skip
        for home in ("store", "device"):
            there = replace(config, state=home)
            rows += [{"backbone": "tiny", **row} for run in (alone, with_workers) for row in run(there, last)]
        if options.real:
            real = replace(config, weights="bundled")
            rows += [{"backbone": "real", **row} for row in with_workers(real, last)]
    _report.publish([{**asked, **row} for row in rows], COLUMNS, where, options.output)


if __name__ == "__main__":
    main()
