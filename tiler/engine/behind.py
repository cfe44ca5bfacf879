"""Checkpoints of a block whose state is in memory, written behind while its rounds go on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tiler.engine.state import Resident, write_kept
from tiler.engine.workplace import Workplace
from tiler.geometry import Tile


class Behind:
    """One at a time."""

    def __init__(self, here: Workplace, level: int) -> None:
        self._here, self._level, self._thread = here, level, ThreadPoolExecutor(1)
        self._state, self._done, self._copied = -1, Future[None](), threading.Event()
        self._asked: tuple[Resident, Sequence[Tile], int, int, threading.Event] | None = None
        self._failed = False
        self._done.set_result(None)
        self._copied.set()

    def begin(self, resident: Resident, tiles: Sequence[Tile], state: int, slot: int) -> None:
        """Write a state into a slot of the store. On a GPU it is copied first, which is quick; the host's memory is too
        slow to fill for that to pay there."""
        self.settle()
        self._state, self._copied = state, threading.Event()
        self._asked = resident, tiles, state, slot, self._copied
        self._done = self._thread.submit(self._write, *self._asked)

    def _write(self, resident: Resident, tiles: Sequence[Tile], state: int, slot: int, copied: threading.Event) -> None:
        try:
            found = [(tile, resident.kept(state, tile)) for tile in tiles]
            if self._here.job.device.kind == "cuda":
                found = [(tile, kept.copied()) for tile, kept in found]
                copied.set()
            for tile, kept in found:
                write_kept(self._here.store, self._level, slot, state, tile, kept, self._here.check_run)
        finally:
            copied.set()

    def make_way(self, state: int) -> None:
        """Wait as long as a state that is about to be put would take the place of the one that is being written."""
        if self._state == state - 2:
            self._copied.wait()

    def settle(self) -> None:
        """Wait until all is written; raises what went wrong with it. Called again it is written again: a task that
        fails is repeated, and what is not whole must not pass for a checkpoint the second time."""
        if self._failed and self._asked is not None:
            self._done = self._thread.submit(self._write, *self._asked)
        self._failed = True
        self._done.result()
        self._failed = False

    def rest(self) -> None:
        """Wait until nothing is being written, however that ended."""
        self._done.exception()
