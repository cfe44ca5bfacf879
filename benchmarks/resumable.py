"""What the store costs as a home: `python benchmarks/resumable.py [--long-edge 512] [--tile 256] [--output FILE]`.

Renders the demo's pictures in this one process, task by task, so that nothing overlaps, and takes the time spent
in the store: state written and read back each round, marks, checksums. A render in memory would spend none of it, so
`share` bounds the overhead from above; with workers, a tile's reads and writes run while another tile is computed.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

import _report

from tiler import RenderConfig
from tiler.cli import demo
from tiler.engine.store import RenderStore
from tiler.engine.worker import heard_by

# The package has a function of its name.
rendering = importlib.import_module("tiler.rendering")

COLUMNS = ("long_edge", "tile", "seconds", "store_s", "share")
METHODS = (
    "write_patch", "read_patch", "write_grams", "read_grams", "write_totals", "read_total", "mark", "states",
    "write_loss", "read_loss", "create_state", "tidy_level",
)  # fmt: skip


class Here:
    """What a task came to, as `schedule.Promise`."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def part(self, name: Any) -> Here:
        """An entry of it."""
        return Here(self.value[name])

    def done(self, seconds: float = 0.0) -> bool:
        """It is."""
        return True

    def result(self) -> Any:
        """All of it."""
        return self.value


def _values(argument: Any) -> Any:
    if isinstance(argument, Here):
        return argument.value
    return [_values(one) for one in argument] if isinstance(argument, list) else argument


class HerePool:
    """Runs tasks in this process, one after the other."""

    workers, address, addresses = 1, "here", ("here",)

    def __init__(self, *arguments: Any) -> None:
        self._handler: Callable[[dict[str, Any]], None] = lambda event: None

    def __enter__(self) -> HerePool:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        pass

    def on_report(self, handler: Callable[[dict[str, Any]], None]) -> None:
        """Who hears what tasks report."""
        self._handler = handler

    def grow(self, workers: int) -> None:
        """There are no workers."""

    def gone(self, addresses: Iterable[str]) -> list[str]:
        """None ever is."""
        return []

    def rest(self) -> None:
        """Nothing goes on."""

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """As the real pool's."""
        told = {"dask_worker": self} if "dask_worker" in inspect.signature(function).parameters else {}
        return {"here": function(*arguments, **told)}

    def submit(self, function: Callable[..., Any], *arguments: Any, worker: str | None = None) -> Here:
        """As the real pool's."""
        with heard_by(self._handler):
            return Here(function(*map(_values, arguments)))


def timed(spent: list[float], method: Callable[..., Any]) -> Callable[..., Any]:
    """`method`, adding the seconds it takes to spent[0]; what it calls itself is not counted twice."""

    def call(*arguments: Any, **options: Any) -> Any:
        before, began = spent[0], time.perf_counter()
        try:
            return method(*arguments, **options)
        finally:
            spent[0] = before + time.perf_counter() - began

    return call


def main() -> None:
    """Run, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long-edge", type=int, default=512)
    parser.add_argument("--tile", type=int, default=256, help="largest core in pixels")
    parser.add_argument("--output", type=Path, help="write the rows as JSON to this file")
    options, spent = parser.parse_args(), [0.0]
    rendering.Pool = HerePool
    for name in METHODS:
        setattr(RenderStore, name, timed(spent, getattr(RenderStore, name)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        demo.cut(demo.STYLE_FILE, demo.STYLE_CORNER, folder / "style.png", demo.STYLE_EDGE)
        demo.cut(demo.CONTENT_FILE, demo.CONTENT_CORNER, folder / "content.png", demo.CONTENT_EDGE)
        config = RenderConfig(
            content=str(folder / "content.png"), styles=(str(folder / "style.png"),), output=str(folder / "poster.png"),
            long_edge=options.long_edge, tile=options.tile, state="store",
        )  # fmt: skip
        seconds = _report.once(lambda: rendering.render(config))
    row = {"long_edge": options.long_edge, "tile": options.tile, "seconds": seconds, "store_s": spent[0]}
    where = _report.environment("cpu", ("torch", "zarr", "numpy"))
    _report.publish([{**row, "share": spent[0] / seconds}], COLUMNS, where, options.output)


if __name__ == "__main__":
    main()
