"""Options that are changed while the preview before is still rendered, as a page does it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import _report
import psutil

from tiler.engine.schedule import Pool
from tiler.request.config import RenderConfig
from tiler.studio.bench import Bench
from tiler.studio.folder import Folder
from tiler.studio.previews import Cell, Previewer

_PATIENCE = 600.0

# (long edge of a level, "first" or "finished") -> (seconds, CPU seconds) since a change.
Seen = dict[tuple[int, str], tuple[float, float]]


def previews(folder: Path, config: RenderConfig, edge: int, changes: int) -> list[_report.Row]:
    """Medians over changes of one option, a row for each level up to `edge` px."""
    held = Folder(folder)
    with Bench(held.said, lambda: Pool()) as bench:
        previewer = Previewer(held, bench)
        previewer.ask([Cell("", config)], edge)  # what is loaded once
        _until(lambda: previewer.told()["done"])
        seen = [_change(previewer, config, edge, 0.3 + 0.1 * number) for number in range(changes)]
    rows = []
    for px in sorted({px for px, _ in seen[0]}):
        first, finished = ([one[px, what] for one in seen] for what in ("first", "finished"))
        rows.append(
            {
                "what": "preview",
                "px": px,
                "first_s": _report.quantiles([wall for wall, _ in first])[1],
                "finished_s": _report.quantiles([wall for wall, _ in finished])[1],
                "cpu_s": _report.quantiles([cpu for _, cpu in finished])[1],
                "samples": len(seen),
            }
        )
    return rows


def _change(previewer: Previewer, config: RenderConfig, edge: int, weight: float) -> Seen:
    """From one content weight to another, while the preview with the first is rendered."""
    previewer.ask([Cell("", replace(config, content_weight=weight))], edge)
    _until(lambda: previewer.told()["cells"][0]["version"] > 0)
    began, cpu, found = time.monotonic(), _cpu_seconds(), Seen()
    run = previewer.ask([Cell("", replace(config, content_weight=weight + 0.05))], edge)
    while True:
        told = previewer.told()
        cell = told["cells"][0] if told["run"] == run else {"version": 0}
        if cell["version"]:
            now, px = (time.monotonic() - began, _cpu_seconds() - cpu), max(cell["height"], cell["width"])
            found.setdefault((px, "first"), now)
            if cell["loss"] is not None:
                found.setdefault((px, "finished"), now)
            for before, _ in [*found]:
                if before < px:  # whose end came between two looks
                    found.setdefault((before, "finished"), now)
        if told["done"] and told["run"] == run:
            if told["error"]:
                raise SystemExit(told["error"])
            return found
        if time.monotonic() - began > _PATIENCE:
            raise SystemExit("a preview took longer than ten minutes")
        time.sleep(0.02)


def _until(there: Callable[[], bool]) -> None:
    ends = time.monotonic() + _PATIENCE
    while not there():
        if time.monotonic() > ends:
            raise SystemExit("a preview took longer than ten minutes")
        time.sleep(0.02)


def _cpu_seconds() -> float:
    """Of this process and its workers."""
    me = psutil.Process()
    times = [one.cpu_times() for one in (me, *me.children(recursive=True))]
    return sum(one.user + one.system for one in times)
