"""The level x round loop. Read `_Render.run` and you know the engine."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tiler import identity, pictures
from tiler.config import RenderConfig
from tiler.engine import tasks
from tiler.engine.job import Job
from tiler.engine.schedule import Pool
from tiler.engine.store import MEASURED, PATCHED, RenderStore
from tiler.errors import TileTooLargeError
from tiler.geometry import Rect
from tiler.resolve import resolve_config
from tiler.style.grams import level_cells
from tiler.version import __version__

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Result:
    """output: the poster's path. store: the job's store. loss: of the finest level. seconds: of this call."""

    output: str
    store: str
    height: int
    width: int
    loss: float
    seconds: float


def render(config: RenderConfig, progress: Progress | None = None, force_new: bool = False) -> Result:
    """Render a poster, or go on with one that was begun with the same configuration.

    progress(event) is called with small dicts, in order and on the calling thread or a thread of the scheduler's; see
    tiler/cli/progress.py for the kinds. Raises TilerError and its subclasses (tiler.errors); finished work stays in
    the store. In a script, call this under `if __name__ == "__main__":`, since workers are processes of their own.
    """
    began = time.monotonic()
    content = pictures.open_picture(config.content)
    styles = [pictures.open_picture(path) for path in config.styles]
    resolved, job = resolve_config(config, content, styles)
    size = job.levels[-1]
    pictures.check_output(config.output, size.height, size.width)
    url = config.store or str(Path(config.output).with_suffix(".zarr"))
    inputs = identity.inputs(config)
    exists = RenderStore.exists(url)
    store = _same_store(url, config, inputs) if exists and not force_new else None
    if store is not None:
        job = Job.from_dict(store.attributes["job"])
    with Pool(config.scheduler, resolved.workers or 1, job.threads, _gpus(job)) as pool:
        if store is None:
            attributes = {"job": job.to_dict(), "config": resolved.to_dict(), "inputs": inputs, "version": __version__}
            store = RenderStore.create(url, attributes, overwrite=force_new)
        run = _Render(resolved, job, store, pool, progress or (lambda event: None))
        run.run(content, styles)
        loss = run.write_poster()
    seconds = time.monotonic() - began
    store.update(seconds=store.attributes.get("seconds", 0) + seconds)
    return Result(config.output, store.url, size.height, size.width, loss, seconds)


def _gpus(job: Job) -> list[str]:
    if job.device != "cuda":
        return []
    import os

    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]


def _same_store(url: str, config: RenderConfig, inputs: dict[str, str]) -> RenderStore:
    store = RenderStore.open(url)
    identity.check_same(url, store.attributes, config, inputs)
    return store


class _Render:
    """One call of `render`: drives the pool through the levels and says how far it is."""

    def __init__(self, config: RenderConfig, job: Job, store: RenderStore, pool: Pool, progress: Progress) -> None:
        self._config, self._job, self._store, self._pool, self._progress = config, job, store, pool, progress
        self._address = tasks.Address(store.url, job.id)

    def run(self, content: pictures.Picture, styles: list[pictures.Picture]) -> None:
        self._announce()
        for level in range(len(self._job.levels)):
            if self._store.level_report(level) is None:
                began = time.monotonic()
                self._prepare(level, content, styles)
                self._measure_styles(level)
                self._finish(level, self._rounds(level), time.monotonic() - began)

    def write_poster(self) -> float:
        """The finest level's image to the output file. Returns that level's loss."""
        last = len(self._job.levels) - 1
        size = self._job.levels[last]
        self._progress({"event": "write", "output": self._config.output})
        metadata = {"Software": f"tiler {__version__}", "Description": json.dumps(self._config.to_dict())}
        self._store.publish(Path(self._config.output).stem, [(one.height, one.width) for one in self._job.levels])
        bands = self._image_bands(last)
        pictures.write_picture(self._config.output, size.height, size.width, bands, metadata=metadata)
        return float((self._store.level_report(last) or {}).get("loss", 0.0))

    def _image_bands(self, level: int) -> Iterator[np.ndarray]:
        size, rows = self._job.levels[level], self._job.grid(level).core_height
        for y in range(0, size.height, rows):
            yield self._store.read_image(level, Rect(y, 0, min(y + rows, size.height), size.width))

    def _announce(self) -> None:
        job = self._job
        levels = [
            {
                "height": level.height,
                "width": level.width,
                "tiles": len(job.grid(level.index)),
                "steps": level.steps,
                "done": self._store.level_report(level.index) is not None,
                "work": level.steps * sum(tile.read.height * tile.read.width for tile in job.grid(level.index)),
            }
            for level in job.levels
        ]
        where = {"output": self._config.output, "store": self._store.url, "workers": self._pool.workers}
        how = {"mode": job.mode, "precision": job.precision, "device": job.device, "tile": job.tile}
        self._progress({"event": "start", "levels": levels, **where, **how})
        self._pool.on_report(self._progress)

    def _prepare(self, level: int, content: pictures.Picture, styles: list[pictures.Picture]) -> None:
        """Pictures at this level's size, and room for the tiles' state."""
        job, store, size = self._job, self._store, self._job.levels[level]
        self._progress({"event": "level", "level": level})
        self._ingest(f"levels/{level}/content", content, size.height, size.width)
        if level == 0 and job.init == "picture":
            self._ingest("init", pictures.open_picture(self._config.init), size.height, size.width)
        channels = dict(job.channels)
        for s, style in enumerate(styles):
            path = f"styles/{level}/{s}"
            self._ingest(f"{path}/picture", style, *job.style_sizes[level][s])
            store.create_statistics(path, len(job.style_grid(level, s)), channels, job.state_dtype)
        self._make_room(level)

    def _make_room(self, level: int) -> None:
        """The arrays of the level's tiles."""
        job, grid, channels = self._job, self._job.grid(level), dict(self._job.channels)
        wanted = {layer: channels[layer] for layer in job.style_layers}
        self._store.create_level(level, grid, job.state_dtype)
        self._store.create_statistics(f"levels/{level}", len(grid), wanted, job.state_dtype)

    def _ingest(self, path: str, picture: pictures.Picture, height: int, width: int) -> None:
        if not self._store.has_picture(path):
            self._store.write_picture(path, height, width, picture.bands(height, width, RenderStore.picture_rows))

    def _measure_styles(self, level: int) -> None:
        for s, (height, width) in enumerate(self._job.style_sizes[level]):
            path, tiles = f"styles/{level}/{s}", len(self._job.style_grid(level, s))
            pending = self._pending(path, MEASURED, 0)
            self._each(tasks.measure_style, ((self._address, level, s, index) for index in pending))
            cells = {layer: level_cells(layer, height, width) for layer in self._job.layers}
            self._each(tasks.add_up, [(self._address, path, 0, tiles, cells)])

    def _pending(self, path: str, phase: int, state: int) -> list[int]:
        """Tiles whose part of `state` is not in the store yet."""
        return [int(index) for index in np.flatnonzero(~self._store.marked(path, phase, state))]

    def _each(self, function: Callable[..., dict[str, Any]], arguments: Iterable[tuple[Any, ...]]) -> None:
        for _ in self._pool.run(function, arguments):
            pass

    def _seed(self, level: int) -> None:
        pending = self._pending(f"levels/{level}", PATCHED, 0)
        self._each(tasks.seed, ((self._address, level, index) for index in pending))

    def _round(self, level: int, state: int, start: int, steps: int) -> None:
        """state -> state + 1. A round that is complete in the store costs one look at its marks."""
        pending = self._pending(f"levels/{level}", PATCHED, state + 1)
        if not pending:
            return
        self._sum_statistics(level, state)
        arguments = ((self._address, level, state, start, steps, index) for index in pending)
        for report in self._pool.run(tasks.relax_tile, arguments):
            self._progress({"event": "tile", "level": level, "round": state, **report})

    def _rounds(self, level: int) -> int:
        """All rounds of a level; the number of its last state. When a tile does not fit into memory, the level starts
        over with tiles of half the size, once."""
        try:
            return self._all_rounds(level)
        except TileTooLargeError:
            self._shrink(level)
            return self._all_rounds(level)

    def _all_rounds(self, level: int) -> int:
        self._seed(level)
        rounds = self._job.rounds(level)
        for state, (start, steps) in enumerate(rounds):
            self._round(level, state, start, steps)
        return len(rounds)

    def _shrink(self, level: int) -> None:
        smaller = max(self._job.align, self._job.tile // 2 // self._job.align * self._job.align)
        self._progress({"event": "shrink", "level": level, "tile": smaller})
        self._job = replace(self._job, tile=smaller, id=uuid.uuid4().hex)
        self._address = tasks.Address(self._store.url, self._job.id)
        self._store.update(job=self._job.to_dict())
        self._store.restart_level(level)
        self._make_room(level)

    def _sum_statistics(self, level: int, state: int) -> None:
        """The whole level's Grams at `state`: measured in exact mode and at the start, else as the tiles reported."""
        path, size, grid = f"levels/{level}", self._job.levels[level], self._job.grid(level)
        if state == 0 or self._job.measures_every_round(level):
            pending = self._pending(path, MEASURED, state)
            self._each(tasks.measure_tile, ((self._address, level, state, index) for index in pending))
        cells = {layer: level_cells(layer, size.height, size.width) for layer in self._job.style_layers}
        self._each(tasks.add_up, [(self._address, path, state, len(grid), cells)])

    def _finish(self, level: int, state: int, seconds: float) -> None:
        """Composite the level's image, record what it came to, and drop its working arrays."""
        report: dict[str, Any] = {"seconds": seconds, "rounds": state}
        if state:
            self._sum_statistics(level, state)
            [losses] = self._pool.run(tasks.grade, [(self._address, level, state)])
            report.update(losses)
        arguments = ((self._address, level, state, tile.index) for tile in self._job.grid(level))
        self._each(tasks.finish_tile, arguments)
        self._store.finish_level(level, report)
        self._progress({"event": "level done", "level": level, **report})
