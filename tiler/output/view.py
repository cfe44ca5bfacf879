"""Looking at a job: any level's image, finished or as far as it has come. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiler.engine.job import Job
from tiler.engine.store import RenderStore
from tiler.errors import LevelMovedError, StoreError
from tiler.geometry import Rect, Tile
from tiler.style.colour import keep_chroma

if TYPE_CHECKING:
    import torch


def latest_state(store: RenderStore, job: Job, level: int) -> tuple[int, int] | None:
    """(state, slot) of the newest checkpoint of a level; None where there is none."""
    path, grid = store.state_path(level), job.cut.grid(level)
    return store.latest(path, grid) if store.has(f"{path}/marks") else None


@dataclass(frozen=True)
class View:
    """A level as it is now. state: None for the finished image, else (the number of the rounds that it shows, the slot
    of the store that it is in)."""

    store: RenderStore
    job: Job
    level: int
    state: tuple[int, int] | None

    @classmethod
    def of(cls, store: RenderStore, job: Job, level: int | None = None) -> View:
        """level: default the finest that is finished, or the coarsest where none is.

        Raises StoreError when there is no such level, or nothing to be seen of it yet.
        """
        count = len(job.cut.levels)
        if level is None:
            level = max((k for k in range(count) if store.level_report(k) is not None), default=0)
        if not isinstance(level, int) or not 0 <= level < count:
            raise StoreError(f"store {store.url}: level = {level!r}; allowed: 0 (coarsest) to {count - 1}")
        if store.level_report(level) is not None:
            return cls(store, job, level, None)
        state = latest_state(store, job, level)
        if state is None:
            raise StoreError(f"store {store.url}: level {level} has not begun; see tiler info")
        return cls(store, job, level, state)

    @property
    def box(self) -> Rect:
        """What is to be seen of the level."""
        return self.job.cut.box(self.level)

    @property
    def height(self) -> int:
        return self.box.height

    @property
    def width(self) -> int:
        return self.box.width

    @property
    def band_height(self) -> int:
        """Rows of each of `bands`, but for the last."""
        return self.job.cut.grid(self.level).band_height

    @property
    def steps(self) -> int:
        """Optimiser steps that the view shows."""
        steps = self.job.cut.levels[self.level].steps
        return steps if self.state is None else self.job.cut.steps_after(self.level, self.state[0])

    def read(self, rect: Rect) -> np.ndarray:
        """[3, h, w] in 0..1, of a part of the level."""
        if self.state is None:
            return self.store.read_image(self.level, rect, self.job.look.images[-1])
        from tiler.engine.blend import composite  # torch, which a finished level does without

        slot = self.state[1]

        def read(tile: Tile, part: Rect) -> torch.Tensor:
            return self.store.read_patch(self.level, slot, tile.index, part.relative_to(tile.blend), "pixels")

        pixels = composite(self.job.cut.grid(self.level), rect, read).numpy()
        if not self.job.look.keeps_chroma:
            return pixels
        return keep_chroma(pixels, self.store.read_picture(f"levels/{self.level}/content", rect))

    def bands(self) -> Iterator[np.ndarray]:
        """What is to be seen, from top to bottom: [3, rows, width].

        Raises LevelMovedError at the end when a render that is going on has overwritten or dropped the state meanwhile,
        so that what was yielded may be a mixture.
        """
        rows = self.band_height
        try:
            for y in range(0, self.height, rows):
                band = Rect(y, 0, min(y + rows, self.height), self.width)
                yield self.read(band.shifted(self.box.y0, self.box.x0))
        except StoreError:
            if not self._stands():
                raise self._moved() from None
            raise
        if not self._stands():
            raise self._moved()

    def _stands(self) -> bool:
        # As soon as the next checkpoint is whole, the one after it may be written over this one.
        return self.state is None or latest_state(self.store, self.job, self.level) == self.state

    def _moved(self) -> LevelMovedError:
        return LevelMovedError(
            f"store {self.store.url}: level {self.level} goes on faster than it can be read; try a finished level"
        )
