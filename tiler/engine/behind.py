"""Checkpoints of a block whose state is in memory, written behind while its rounds go on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tiler.engine.resident import Hold, Resident
from tiler.engine.state import Kept, write_kept
from tiler.engine.workplace import Workplace
from tiler.errors import StateLostError, TilerError
from tiler.geometry import Tile

# Of a tile, while its state is still there to be written: what goes wrong once may not the next time.
_TRIES = 3


class Behind:
    """One at a time."""

    def __init__(self, here: Workplace, level: int) -> None:
        self._here, self._level, self._thread = here, level, ThreadPoolExecutor(1)
        self._done = Future[None]()
        self._asked: tuple[Resident, Sequence[Tile], int, int] | None = None
        self._failed = False
        self._done.set_result(None)

    def begin(self, resident: Resident, tiles: Sequence[Tile], state: int, slot: int) -> None:
        """Write a state into a slot of the store, while its rounds go on."""
        self.settle()
        self._asked = resident, tiles, state, slot
        self._begin(*self._asked)

    def _begin(self, resident: Resident, tiles: Sequence[Tile], state: int, slot: int) -> None:
        holds = resident.hold(state, tiles)
        self._done = self._thread.submit(self._write, list(zip(tiles, holds, strict=True)), state, slot)

    def _write(self, found: Sequence[tuple[Tile, Hold]], state: int, slot: int) -> None:
        here = self._here
        try:
            for tile, kept, hold in [(tile, self._ours(hold), hold) for tile, hold in found]:
                _persist(write_kept, here.store, self._level, slot, state, tile, kept, here.check_run)
                hold.let_go()
        finally:
            for _, hold in found:
                hold.let_go()

    def _ours(self, hold: Hold) -> Kept:
        """On a GPU a copy, which is quickly made; the host's memory is too slow to fill for that to pay there."""
        if self._here.job.device.kind != "cuda":
            return hold.kept
        kept = hold.kept.copied()
        hold.let_go()
        return kept

    def settle(self) -> None:
        """Wait until all is written; raises what went wrong with it. Called again it is written again, or raises the
        same where the state has gone on: a task that fails is repeated, and what is not whole must not pass for a
        checkpoint the second time."""
        if self._failed and self._asked is not None:
            self._failed = False
            with contextlib.suppress(StateLostError):
                self._begin(*self._asked)
        try:
            self._done.result()
        except BaseException:
            self._failed = True
            raise

    def rest(self) -> None:
        """Wait until nothing is being written, however that ended."""
        self._done.exception()


def _persist(write: Callable[..., None], *what: Any) -> None:
    failed = 0
    while True:
        try:
            write(*what)
            return
        except TilerError:
            raise
        except Exception:
            failed += 1
            if failed == _TRIES:
                raise
