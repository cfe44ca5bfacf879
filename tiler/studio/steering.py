"""What a page that watches a render may do to it, where that was asked for: end it, and keep what there is."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import psutil
from starlette.requests import Request

from tiler.engine import place
from tiler.engine.lock import holder_of
from tiler.engine.place import LOCK_FILE
from tiler.errors import StoreError
from tiler.output.export import export
from tiler.output.watched import Watched, writer_of


@dataclass(frozen=True)
class Steered:
    """See `watching.Steering`: of the one store at `url`, to a file that the user named."""

    url: str
    output: str

    def stop(self, request: Request) -> None:
        stop_writer(self.url)

    def keep(self, request: Request) -> str:
        kept(self.url, self.output)
        return self.output


def stop_writer(url: str) -> None:
    """Have the process end that renders into the store at `url`, as Ctrl-C does. What a lock file says of a process is
    believed only where that process has the file open. Raises StoreError where there is none on this machine."""
    found = place.absolute(url)
    writer = None if place.is_remote(found) else writer_of(found)
    lock = os.path.realpath(Path(found) / LOCK_FILE)
    if writer is not None and holder_of(Path(found)) is not None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(writer["pid"])
            if any(os.path.realpath(one.path) == lock for one in process.open_files()):
                process.send_signal(signal.SIGTERM)
                return
    raise StoreError(f"store {url}: no process of this machine that could be stopped renders it")


def kept(url: str, output: str) -> None:
    """Write the finest level that has come far enough to be seen as a whole. Raises TilerError."""
    now = Watched.of(url)
    seen = [k for k, level in enumerate(now.levels) if level.report is not None or (level.whole and level.steps_done)]
    if not seen:
        raise StoreError(f"store {url}: nothing is to be seen of it yet")
    export(url, output, seen[-1])
