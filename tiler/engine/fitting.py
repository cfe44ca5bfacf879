"""Telling what does not fit into memory from other errors."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from tiler.engine import faults
from tiler.engine.place import first_line
from tiler.errors import DeviceLostError, TileTooLargeError
from tiler.geometry import Rect


@contextlib.contextmanager
def must_fit(rect: Rect) -> Iterator[None]:
    """An allocator's failure as TileTooLargeError, a GPU that is lost as DeviceLostError. Errors keep their frames
    until the pool lets go of them."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if faults.device_lost(error):
            why = first_line(error)
            raise DeviceLostError(f"worker {socket.gethostname()}: its GPU is lost to it: {why}") from None
        if not faults.out_of_memory(error):
            raise
        raise TileTooLargeError(
            f"a tile of {rect.height} x {rect.width} pixels does not fit into the memory that is free; the store keeps "
            "what is done; free some, or take fewer --workers"
        ) from None
