"""Bands are read and rounded by one thread while those before them are compressed by others."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

# Bands that wait at most: as many as bridge the time in which the store is read, in the pieces of some MB that come.
_WAITING = 16


@contextmanager
def read_ahead(bands: Iterable[np.ndarray], waiting: int = _WAITING) -> Iterator[Iterator[np.ndarray]]:
    """`bands` in their order, iterated by a thread of its own that is at most `waiting` of them ahead.

    Whatever `bands` raises comes out unchanged, after the bands before it. The thread has ended, and `bands` is closed,
    when the block is left, however it is left.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue()
    room, left = threading.Semaphore(waiting), threading.Event()

    def read() -> None:
        iterator = iter(bands)
        try:
            while room.acquire() and not left.is_set():
                ready.put(("band", next(iterator)))
        except StopIteration:
            ready.put(("end", None))
        except BaseException as error:
            ready.put(("error", error))
        finally:
            close = getattr(iterator, "close", None)
            if close:
                close()

    def arriving() -> Iterator[np.ndarray]:
        while True:
            kind, value = ready.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            room.release()
            yield value

    reader = threading.Thread(target=read, daemon=True, name="tiler-ahead")
    reader.start()
    try:
        yield arriving()
    finally:
        left.set()
        room.release()
        reader.join()
