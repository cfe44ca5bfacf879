"""What there is to be seen of a job at this moment, tile by tile. Reads only, takes no lock, and a render that goes on
does not notice."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import torch.nn.functional as F

from tiler.engine import place
from tiler.engine.job import Job
from tiler.engine.lock import record_in
from tiler.engine.place import LOCK_FILE
from tiler.engine.store import RenderStore
from tiler.errors import DamageError, StoreError
from tiler.geometry import Rect, TileGrid
from tiler.output.view import View
from tiler.request.identity import load_job

# Of a tile in `Level.tiles`: nothing of it yet; from 0 on, the state that a checkpoint has of it.
NOTHING, WRITTEN = -1, -2
# A level's tiles are told one by one up to so many.
MOST_TOLD = 4096


@dataclass(frozen=True)
class Level:
    """One level as it is. report: what it came to, None while it has not. tiles: by tile, the newest state that a
    checkpoint has of it, NOTHING, or WRITTEN where the finished image has it. whole: (state, slot) of the newest
    checkpoint that has all tiles. losses: [tiles, 2], content's and smoothness's share of the level's loss, of that
    checkpoint."""

    grid: TileGrid
    steps: int
    steps_done: int
    report: dict[str, Any] | None
    tiles: np.ndarray
    whole: tuple[int, int] | None = None
    losses: np.ndarray | None = field(default=None, repr=False)

    @property
    def has_pixels(self) -> bool:
        return self.report is not None or bool((self.tiles != NOTHING).any())

    @property
    def work(self) -> int:
        """Pixels times steps."""
        return self.steps * sum(tile.read.area for tile in self.grid.tiles)

    @property
    def done(self) -> float:
        """Share of the work, 0..1."""
        return 1.0 if self.report is not None else self.steps_done / self.steps if self.steps else 0.0


@dataclass(frozen=True)
class Watched:
    """A job's levels at one moment, coarsest first. Make a new one to see what has changed since."""

    store: RenderStore
    job: Job

    @classmethod
    def of(cls, url: str) -> Watched:
        """Raises StoreError where no job is, and for what a store cannot hold."""
        store = RenderStore.open(place.absolute(url), writable=False)
        return cls(store, load_job(store))

    @cached_property
    def levels(self) -> list[Level]:
        return [self._level(number) for number in range(len(self.job.cut.levels))]

    def _level(self, number: int) -> Level:
        grid, steps, store = self.job.cut.grid(number), self.job.cut.levels[number].steps, self.store
        report = store.level_report(number)
        if report is not None:
            return Level(grid, steps, steps, report, np.full(len(grid), WRITTEN))
        path, tiles, whole, losses = store.state_path(number), np.full(len(grid), NOTHING), None, None
        if store.has(f"{path}/marks"):
            tiles, whole = store.states(path).max(axis=0), store.latest(path)
        if whole is not None and whole[0] and len(grid) <= MOST_TOLD:
            with contextlib.suppress(StoreError):  # the render was faster
                losses = store.read_losses(number, whole[1])
        tiles[sorted(store.written_tiles(number, grid, self.job.look.images[-1]))] = WRITTEN
        done = self.job.cut.steps_after(number, whole[0]) if whole else 0
        return Level(grid, steps, steps if (tiles == WRITTEN).any() else done, None, tiles, whole, losses)

    # Pixels -------------------------------------------------------------------------------------------------------

    def level_for(self, width: int) -> int:
        """The coarsest level that shows the poster at so many pixels of width, or the finest."""
        last = len(self.job.cut.levels) - 1
        return next((k for k, level in enumerate(self.job.cut.levels) if level.width >= width), last)

    def tiles_in(self, level: int, rect: Rect) -> list[int]:
        """Those whose cores meet a part of the level."""
        return [tile.index for tile, _ in self.levels[level].grid.overlapping(rect) if tile.core.intersection(rect)]

    def read(self, level: int, rect: Rect) -> np.ndarray:
        """[3, h, w] float32 in 0..1 of a part of a level as far as it has come: its finished image; where it has none
        its last checkpoint, blended where that is whole; else what the level below shows there, enlarged. Grey where
        nothing is. Raises StoreError when the render has dropped meanwhile what was to be read."""
        now = self.levels[level]
        name = self.job.look.images[-1]
        if now.report is not None:
            return self.store.read_image(level, rect, name).astype(np.float32)
        meets = [now.grid.tile(index) for index in self.tiles_in(level, rect)]
        if all(now.tiles[tile.index] == NOTHING for tile in meets):
            return self._enlarged(level, rect)
        if now.whole is not None:
            found = View(self.store, self.job, level, now.whole).read(rect).astype(np.float32)
        elif all(now.tiles[tile.index] == WRITTEN for tile in meets):
            return self.store.read_image(level, rect, name).astype(np.float32)
        else:
            found = self._enlarged(level, rect)
        found = np.array(found)
        for tile in meets:
            part = tile.core.intersection(rect)
            if part is None or (now.tiles[tile.index] != WRITTEN and now.whole is not None):
                continue
            with contextlib.suppress(DamageError):  # just now being written over
                found[(slice(None), *part.relative_to(rect).slices)] = self._own(level, tile.index, part)
        return found

    def _own(self, level: int, tile: int, part: Rect) -> np.ndarray:
        """What a tile itself has of its core; of no whole checkpoint."""
        now, name = self.levels[level], self.job.look.images[-1]
        if now.tiles[tile] == WRITTEN:
            return self.store.read_image(level, part, name)
        if now.tiles[tile] == NOTHING:
            return self._enlarged(level, part)
        slot = int(self.store.states(self.store.state_path(level))[:, tile].argmax())
        patch = part.relative_to(now.grid.tile(tile).blend)
        return self.store.read_patch(level, slot, tile, patch, "pixels").float().numpy()

    def _enlarged(self, level: int, rect: Rect) -> np.ndarray:
        """What the level below shows, at this one's size: linear, since it only stands in."""
        if level == 0:
            return np.full((3, rect.height, rect.width), 0.5, np.float32)
        size, below = self.job.cut.levels[level], self.job.cut.levels[level - 1]
        down, across = below.height / size.height, below.width / size.width
        part = Rect(
            int(rect.y0 * down), int(rect.x0 * across), -int(-rect.y1 * down // 1), -int(-rect.x1 * across // 1)
        ).clipped(below.height, below.width)
        pixels = torch.from_numpy(self.read(level - 1, part))[None]
        return F.interpolate(pixels, (rect.height, rect.width), mode="bilinear", align_corners=False)[0].numpy()


def writer_of(url: str) -> dict[str, Any] | None:
    """Who writes to a store in a folder, as its lock file says: host, pid, since; None where nobody does, or nobody on
    this machine any more. Opens nothing for writing, and takes no lock."""
    if place.is_remote(url):
        return None
    with contextlib.suppress(ValueError, KeyError, TypeError):
        who = json.loads(record_in(Path(place.absolute(url)) / LOCK_FILE))
        host, pid = str(who["host"])[:80], int(who["pid"])
        if host != socket.gethostname() or psutil.pid_exists(pid):
            return {"host": host, "pid": pid, "since": str(who["since"])[:40]}
    return None
