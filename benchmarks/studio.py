"""How soon a change is seen, and what looking costs: `python benchmarks/studio.py [--changes 3] [--output FILE]`.

preview: options of the demo's pictures are changed while the preview before is still rendered, as a page does it; from
the change to the first picture of each level, and to its end. watch: a render with a small backbone, whose state lives
in the store so that tiles change all the time, is looked at by a process of its own as by a page that shows all of it;
`share` is what that process takes of the machine's processors meanwhile, and bounds how much slower the render gets.
Rows say the machine's load: on one that does something else, cpu_s says more than the seconds do.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

import _inputs
import _report
import psutil

from tiler import RenderConfig
from tiler.cli import demo
from tiler.engine.schedule import Pool, cores
from tiler.errors import StoreError
from tiler.rendering import render
from tiler.studio.bench import Bench
from tiler.studio.folder import Folder
from tiler.studio.previews import Cell, Previewer

COLUMNS = ("what", "px", "first_s", "finished_s", "cpu_s", "seconds", "watch_cpu_s", "versions_seen", "share")
_EDGE, _PATIENCE = 256, 600.0


def previews(folder: Path, changes: int) -> list[_report.Row]:
    """Medians over changes of one option."""
    demo.cut(demo.STYLE_FILE, demo.STYLE_CORNER, folder / "style.png", demo.STYLE_EDGE)
    demo.cut(demo.CONTENT_FILE, demo.CONTENT_CORNER, folder / "content.png", demo.CONTENT_EDGE)
    config = RenderConfig(
        content=str(folder / "content.png"), styles=(str(folder / "style.png"),), output="preview.png", long_edge=4096
    )
    seen: list[dict[tuple[int, str], tuple[float, float]]] = []
    held = Folder(folder)
    with Bench(held.said, lambda: Pool()) as bench:
        previewer = Previewer(held, bench)
        previewer.ask([Cell("", config)], 128)  # what is loaded once
        _until(lambda: previewer.told()["done"])
        for number in range(changes):
            previewer.ask([Cell("", replace(config, content_weight=0.3 + 0.1 * number))], _EDGE)
            _until(lambda: previewer.told()["cells"][0]["version"] > 0)  # is rendered when it is changed again
            seen.append(_change(previewer, replace(config, content_weight=0.35 + 0.1 * number)))
    rows = []
    for level, edge in enumerate((128, 256)):
        first = [one[level, "first"] for one in seen]
        finished = [one[level, "finished"] for one in seen]
        rows.append(
            {
                "what": "preview",
                "px": edge,
                "first_s": _report.quantiles([wall for wall, _ in first])[1],
                "finished_s": _report.quantiles([wall for wall, _ in finished])[1],
                "cpu_s": _report.quantiles([cpu for _, cpu in finished])[1],
                "samples": len(seen),
            }
        )
    return rows


def _change(previewer: Previewer, config: RenderConfig) -> dict[tuple[int, str], tuple[float, float]]:
    """(level, "first" or "finished") -> (seconds, CPU seconds) since the change."""
    began, cpu, found = time.monotonic(), _cpu_seconds(), {}
    run = previewer.ask([Cell("", config)], _EDGE)
    ends = began + _PATIENCE
    while time.monotonic() < ends:
        told = previewer.told()
        cell = told["cells"][0] if told["run"] == run else {"version": 0}
        if cell["version"]:
            now = time.monotonic() - began, _cpu_seconds() - cpu
            found.setdefault((cell["level"], "first"), now)
            if cell["loss"] is not None:
                found.setdefault((cell["level"], "finished"), now)
            if cell["level"] > 0:  # whose end came between two looks
                found.setdefault((0, "finished"), now)
        if told["done"] and told["run"] == run:
            return found
        time.sleep(0.02)
    raise SystemExit("a preview took longer than ten minutes")


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


def watching(folder: Path, long_edge: int) -> list[_report.Row]:
    """One render that is looked at."""
    _inputs.tiny_backbone(folder / "tiny.safetensors")
    for name, seed in (("content.jpg", 1), ("style.jpg", 2)):
        _inputs.picture(folder / name, 1024, seed)
    config = RenderConfig(
        content=str(folder / "content.jpg"), styles=(str(folder / "style.jpg"),), output=str(folder / "poster.png"),
        weights=str(folder / "tiny.safetensors"), long_edge=long_edge, tile=512, state="store", steps=(20,),
    )  # fmt: skip
    context = multiprocessing.get_context("spawn")
    over, (mine, theirs) = context.Event(), context.Pipe()
    watcher = context.Process(target=_watch, args=(str(folder / "poster.zarr"), over, theirs))
    watcher.start()
    mine.recv()  # it is there, and has loaded what it needs
    seconds = _report.once(lambda: render(config))
    over.set()
    told = mine.recv()
    watcher.join()
    share = told["watch_cpu_s"] / (seconds * cores())
    return [{"what": "watch", "px": long_edge, "seconds": seconds, **told, "share": share}]


def _watch(url: str, over: Event, answer: Any) -> None:
    """What a page on a screen of 1280 x 720 px asks for."""
    from tiler.studio.watching import TILE, Watch

    answer.send("ready")
    watch, version, marks = None, 0, {}
    began, count = time.process_time(), 0
    while not over.wait(1.0):
        try:
            watch = watch or Watch(url)
            state = watch.state()
        except StoreError:  # not begun
            continue
        if state["version"] == version or state["zoom"] < 0:
            continue
        version, count = state["version"], count + 1
        zoom = min(state["zoom"], math.ceil(math.log2(max(state["width"], state["height"]))) - 1)
        zoom = min(zoom, 11)
        across = min(5, -(-(2**zoom) // TILE))
        for place in [(x, y) for x in range(across) for y in range(across)]:
            try:
                marks[zoom, place], _ = watch.tile(zoom, *place, marks.get((zoom, place), ""))
            except Exception as error:
                if type(error).__name__ != "HTTPException":
                    raise
    answer.send({"watch_cpu_s": time.process_time() - began, "versions_seen": count})


def main() -> None:
    """Run, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=3, help="of an option, for the preview; 0 leaves it out")
    parser.add_argument("--watch", type=int, default=2048, metavar="PX", help="long edge; 0 leaves it out")
    parser.add_argument("--output", type=Path, help="write the rows as JSON to this file")
    options, rows = parser.parse_args(), []
    where = _report.environment("cpu", ("torch", "zarr", "starlette", "uvicorn"))
    with tempfile.TemporaryDirectory() as name:
        for part, count in ((previews, options.changes), (watching, options.watch)):
            if count:
                folder = Path(name) / part.__name__
                folder.mkdir()
                rows += part(folder, count)
    where["load_after"] = round(os.getloadavg()[0], 2)
    _report.publish(rows, COLUMNS, where, options.output)


if __name__ == "__main__":
    main()
