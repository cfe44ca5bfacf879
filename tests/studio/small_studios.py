"""A studio whose backbone is small, and that starts no process."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from serial_pool import Here, render_module
from starlette.applications import Starlette

from tiler.queue.turn import Ending, take
from tiler.request.config import RenderConfig
from tiler.studio.answers import application
from tiler.studio.bench import Bench
from tiler.studio.folder import Folder
from tiler.studio.posters import Posters
from tiler.studio.studio import Studio

WEIGHTS = "small.safetensors"
SMALL: dict[str, Any] = dict(
    levels=2, steps=(2, 2), min_edge=16, long_edge=96, tile=48, feather=4, halo=8, steps_per_round=1, threads=1,
    precision="fp32", device="cpu", style_layers=("relu1_1", "relu2_1"), content_layers=("relu2_2",),
)  # fmt: skip


def small(config: RenderConfig, folder: Path, **more: Any) -> RenderConfig:
    return dataclasses.replace(config, **{**SMALL, "weights": str(folder / WEIGHTS), **more})


class Turn:
    """As `turn.Child`, in a thread of this process. pace(event, over): waits for what it likes, or until it is over."""

    pace: Callable[[dict[str, Any], threading.Event], None] = staticmethod(lambda event, over: None)

    def __init__(self, folder: Path, name: str, said: Mapping[str, Any], within: Path | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self._ending: Ending | None = None
        self._over = threading.Event()
        work = partial(render_module().render, pool=Here(), cancelled=self._over.is_set)

        def run() -> None:
            more = {**said, "state": "store", "checkpoint_seconds": 0}
            self._ending = take(folder, name, more, lambda event: type(self).pace(event, self._over), work, within)

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def poll(self) -> Ending | None:
        return self._ending

    def stop(self) -> None:
        self._over.set()


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Starlette]:
    """The studio of a folder, whatever was there before."""
    held = Folder(folder, most=2**20)
    with Posters(held) as posters, Bench(held.said, Here) as bench, Bench(held.said, Here, stay=False) as second:
        yield application("studio.html", Studio(held, posters, bench, second).routes())
