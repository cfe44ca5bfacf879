"""Whether all that a store says is complete can be read. Reads only."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from tiler.engine.job import Job
from tiler.engine.store import RenderStore
from tiler.errors import DamageError
from tiler.geometry import Rect
from tiler.request import identity

# Lines for each array.
_SHOWN = 20


def verify(url: str) -> list[str]:
    """One line for each thing that is damaged or missing; a render that goes on computes it again. Raises StoreError
    when there is no job at `url`."""
    store = RenderStore.open(url, writable=False)
    job = identity.load_job(store)
    return [fault for level in range(len(job.cut.levels)) for fault in _Level(store, job, level).faults()]


def remedy(url: str) -> str:
    """How what is damaged in the store at `url` is computed again."""
    if identity.load_job(RenderStore.open(url, writable=False)).cut.touched is not None:
        return "a retouch is made in one go: start over with tiler retouch"
    return f"to compute them again: tiler resume {shlex.quote(url)}"


class _Level:
    def __init__(self, store: RenderStore, job: Job, level: int) -> None:
        self._store, self._job, self._level = store, job, level
        self._found: dict[str, None] = {}
        self._damages: Counter[str] = Counter()

    def faults(self) -> list[str]:
        if not self._finished():
            self._check_pictures()
            self._check_styles()
            self._check_state()
            if self._found and self._finished():
                # By a render that is running, which has dropped what was looked for.
                self._found = {}
        if self._finished():
            self._check_image()
        self._check_picture(f"levels/{self._level}/alpha", self._job.cut.read(self._level))
        return list(self._found)

    def _look(self, read: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return read(*arguments)
        except DamageError as damage:
            self._damages[damage.path] += 1
            if self._damages[damage.path] <= _SHOWN:
                self._found[str(damage)] = None
            return None

    def _is_lost(self, path: str) -> bool:
        """Whether so much of an array is damaged that the rest of it need not be read."""
        lost = self._damages[path] >= _SHOWN
        if lost:
            self._found[
                f"store {self._store.url}: {path}: so much is damaged or missing that the rest was not read"
            ] = None
        return lost

    def _finished(self) -> bool:
        return self._look(self._store.level_report, self._level) is not None

    def _check_image(self) -> None:
        for name in self._job.look.images:
            for tile in self._job.cut.grid(self._level):
                if self._is_lost(f"levels/{self._level}/{name}"):
                    break
                self._look(self._store.read_image, self._level, tile.core, name)

    def _check_pictures(self) -> None:
        job, level = self._job, self._level
        for name in (f"levels/{level}/content", job.guides_path(level), job.protect_path(level)):
            self._check_picture(name, job.cut.read(level))
        if level:
            self._check_picture(f"levels/{level}/coarse", job.cut.read_below(level))
        for s in range(job.styles.count):
            self._check_picture(f"styles/{level}/{s}/picture")
            self._check_picture(job.style_guides_path(level, s))
        if level == 0:
            self._check_picture("init")

    def _check_picture(self, path: str | None, read: list[Rect] | None = None) -> None:
        if path is not None and self._look(self._store.has_picture, path):
            self._look(self._store.read_back, path, read)

    def _check_styles(self) -> None:
        for s in range(self._job.styles.count):
            path = f"styles/{self._level}/{s}"
            if self._look(self._store.has_totals, path, list(self._job.measured)):
                for layer in self._job.measured:
                    self._look(self._store.read_total, path, layer)

    def _check_state(self) -> None:
        path, grid = self._store.state_path(self._level), self._job.cut.grid(self._level)
        if not self._look(self._store.has, f"{path}/marks"):
            return
        self._look(self._store.read_marks, path)
        reported = not self._job.cut.measures_every_round(self._level)
        states = self._store.states(path)
        for slot, index in np.argwhere(states >= 0).tolist():
            tile = grid.tile(index)
            whole = tile.blend.relative_to(tile.blend)
            for kind in ("pixels", "moments"):
                self._look(self._store.read_patch, self._level, slot, index, whole, kind)
            self._look(self._store.read_loss, self._level, slot, index)
            if states[slot, index] > 0 and reported:
                for layer in self._job.terms.style_layers:
                    self._look(self._store.read_grams, path, slot, index, layer)
