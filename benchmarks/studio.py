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
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

import _inputs
import _report
from _previews import previews

from tiler import RenderConfig
from tiler.cli import demo
from tiler.engine.host import cores
from tiler.errors import StoreError
from tiler.rendering import render

COLUMNS = ("what", "px", "first_s", "finished_s", "cpu_s", "seconds", "watch_cpu_s", "versions_seen", "share")
_EDGE = 256


def _demo(folder: Path, changes: int) -> list[_report.Row]:
    demo.cut(demo.STYLE_FILE, demo.STYLE_CORNER, folder / "style.png", demo.STYLE_EDGE)
    demo.cut(demo.CONTENT_FILE, demo.CONTENT_CORNER, folder / "content.png", demo.CONTENT_EDGE)
    styles = (str(folder / "style.png"),)
    config = RenderConfig(content=str(folder / "content.png"), styles=styles, output="preview.png", long_edge=4096)
    return previews(folder, config, _EDGE, changes)


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
        for part, count in ((_demo, options.changes), (watching, options.watch)):
            if count:
                folder = Path(name) / part.__name__.strip("_")
                folder.mkdir()
                rows += part(folder, count)
    where["load_after"] = round(os.getloadavg()[0], 2)
    _report.publish(rows, COLUMNS, where, options.output)


if __name__ == "__main__":
    main()
