"""What Ctrl-C and SIGTERM do to a render."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 10.0
Progress = Callable[[dict[str, Any]], None]


@contextlib.contextmanager
def stoppable(progress: Progress) -> Iterator[Progress]:
    """A block that Ctrl-C and SIGTERM end: they say what to type to go on, then leave with 128 + the signal's number.

    Yields the progress function to use, which learns the store's name from the events. While the block unwinds, ten
    seconds at most, further signals change nothing.
    """
    store: list[str] = []

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "start":
            store[:] = [event["store"]]
        progress(event)

    def stop(number: int, frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        goes_on = f"go on with: tiler resume {shlex.quote(store[0])}" if store else "nothing was begun"
        # A handler may run within a print, and Python's streams are not re-entrant.
        os.write(2, f"\ntiler: stopped; {goes_on}\n".encode())
        # The exception may strike anywhere, even within a library's lock that the unwinding needs. Workers end with
        # this process.
        watchdog = threading.Timer(_PATIENCE, os._exit, (128 + number,))
        watchdog.daemon = True
        watchdog.start()
        raise SystemExit(128 + number)

    before = {each: signal.signal(each, stop) for each in _SIGNALS}
    try:
        yield watch
    finally:
        if signal.getsignal(signal.SIGINT) is stop:  # else on its way out, which does not end here
            for each, handler in before.items():
                signal.signal(each, handler)
