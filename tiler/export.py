"""From a level in the store to a file: the one path that pixels take, for `render` at its end and for `tiler export`.

Pixels come in bands from top to bottom and pass through stages; the file gets its name only when it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tiler import identity, pictures
from tiler.config import RenderConfig
from tiler.engine.store import RenderStore
from tiler.engine.view import View
from tiler.errors import LevelMovedError
from tiler.version import __version__

# stage(band [C, rows, width] in 0..1, its first row) -> band of the same rows and width; C may change.
Stage = Callable[[np.ndarray, int], np.ndarray]

_ATTEMPTS = 5


@dataclass(frozen=True)
class Exported:
    """level: 0 = coarsest. steps: optimiser steps of that level that the file shows."""

    output: str
    level: int
    height: int
    width: int
    steps: int


def export(url: str, output: str, level: int | None = None, **options: Any) -> Exported:
    """Write a level of the job in the store at `url` to `output`, at any time, also while the job is being rendered.

    level: 0 = coarsest; default: the finest that is finished. An unfinished level is shown as all its tiles last had
    it. options: fields of RenderConfig that say how the file is written; default: as the job was started with, but a
    coarser level has fewer dots per inch, and so the poster's size on paper.
    Raises TilerError; an existing file stays as it was then.
    """
    store = RenderStore.open(url, writable=False)
    job = identity.load_job(store)
    stored = RenderConfig.from_dict(store.attributes["config"], f"store {url}")
    for attempt in range(_ATTEMPTS):
        view = View.of(store, job, level)
        dpi = stored.dpi and max(1.0, stored.dpi * view.width / job.levels[-1].width)
        try:
            return write_view(view, replace(stored, **{"output": output, "dpi": dpi, **options}))
        except LevelMovedError:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("not reached")


def check_files(config: RenderConfig, height: int, width: int) -> None:
    """Raise OutputError if a poster of this size could not be written where and as `config` says."""
    pictures.check_output(config.output, height, width)


def write_view(view: View, config: RenderConfig) -> Exported:
    """Write what a view shows to `config.output`."""
    check_files(config, view.height, view.width)
    settings = identity.settings(RenderConfig.from_dict(view.store.attributes["config"]))
    metadata = {"Software": f"tiler {__version__}", "Description": json.dumps(settings)}
    bands = staged(view.bands(), stages(view))
    pictures.write_picture(config.output, view.height, view.width, bands, metadata=metadata, dpi=config.dpi)
    return Exported(config.output, view.level, view.height, view.width, view.steps)


def stages(view: View) -> list[Stage]:
    """What is done to a level's pixels on their way out, in this order."""
    return []


def staged(bands: Iterable[np.ndarray], stages: Sequence[Stage]) -> Iterator[np.ndarray]:
    """Every band through every stage."""
    y = 0
    for band in bands:
        rows = band.shape[1]
        for stage in stages:
            band = stage(band, y)
        yield band
        y += rows
