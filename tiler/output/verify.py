"""Whether all that a store says is complete can be read. Reads only."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from tiler.engine.job import Job
from tiler.engine.store import MEASURED, PATCHED, RenderStore
from tiler.errors import DamageError
from tiler.request import identity

# Lines for each array.
_SHOWN = 20


def verify(url: str) -> list[str]:
    """One line for each thing that is damaged or missing; a render that goes on computes it again. Raises StoreError
    when there is no job at `url`."""
    store = RenderStore.open(url, writable=False)
    job = identity.load_job(store)
    return [fault for level in range(len(job.levels)) for fault in _Level(store, job, level).faults()]


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
        self._check_picture(f"levels/{self._level}/alpha")
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
        for name in self._job.images:
            for tile in self._job.grid(self._level):
                if self._is_lost(f"levels/{self._level}/{name}"):
                    break
                self._look(self._store.read_image, self._level, tile.core, name)

    def _check_pictures(self) -> None:
        job, level = self._job, self._level
        paths = [f"levels/{level}/content", f"levels/{level}/coarse", job.guides_path(level), job.protect_path(level)]
        for s in range(len(job.style_shares)):
            paths += [f"styles/{level}/{s}/picture", job.style_guides_path(level, s)]
        for path in (*filter(None, paths), *(["init"] if level == 0 else [])):
            self._check_picture(path)

    def _check_picture(self, path: str) -> None:
        if self._look(self._store.has_picture, path):
            self._look(lambda: deque(self._store.picture_bands(path), 0))

    def _check_styles(self) -> None:
        for s in range(len(self._job.style_shares)):
            path = f"styles/{self._level}/{s}"
            for slot, tile in np.argwhere(self._marks(path, MEASURED) >= 0).tolist():
                self._check_grams(path, slot, tile, self._job.layers)

    def _check_state(self) -> None:
        path, grid = self._store.state_path(self._level), self._job.grid(self._level)
        patched, measured = self._marks(path, PATCHED), self._marks(path, MEASURED)
        reported = not self._job.measures_every_round(self._level)
        newest = int(patched.max(initial=-1))
        if newest > 0:  # totals are complete as soon as a tile has gone on from them
            self._check_totals(path, (newest - 1) % 2, self._job.style_layers)
            for s in range(len(self._job.style_shares)):
                self._check_totals(f"styles/{self._level}/{s}", 0, self._job.layers)
        for slot, index in np.argwhere(patched >= 0).tolist():
            tile, state = grid.tile(index), patched[slot, index]
            for kind in ("pixels", "moments"):
                self._look(self._store.read_patch, self._level, slot, tile, tile.blend, kind)
            if state > 0:
                self._look(self._store.read_loss, self._level, slot, index)
            if measured[slot, index] == state or (state > 0 and reported):
                self._check_grams(path, slot, index, self._job.style_layers)

    def _marks(self, path: str, phase: int) -> np.ndarray:
        if not self._look(self._store.has, f"{path}/marks"):
            return np.empty((0, 0), int)
        self._look(self._store.read_marks, path, phase)
        return self._store.states(path, phase)

    def _check_grams(self, path: str, slot: int, tile: int, layers: tuple[str, ...]) -> None:
        for layer in layers:
            self._look(self._store.read_grams, path, slot, tile, layer)

    def _check_totals(self, path: str, slot: int, layers: tuple[str, ...]) -> None:
        for layer in layers:
            self._look(self._store.read_total, path, slot, layer)
