"""What lies in a queue's folder: job files, and beside them small marks, each written in one step.

    NAME.toml                   a job: a job file as `tiler render --job` reads it, places relative to the folder
    NAME.zarr                   its store
    .queue/order.json           names in their order; who is not named there comes last, by name
    .queue/NAME.mark.json       state: paused, stopped, failed or done; reason; job: of which text of the job file
    .queue/NAME.progress.json   what is said of a job while it is rendered: share, seconds, pid of who renders
    .queue/NAME.plan.json       what `plan` found
    .queue/edit, .queue/at-...  locks: of who adds or moves jobs; of a machine or a cluster that a runner works with

Whoever may write there may say what it likes: what is read is of the right type and size, or as if it was not there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tiler.engine.folder import Folder
from tiler.engine.lease import Lease
from tiler.engine.lock import Hold, sole_writer
from tiler.errors import StoreError, StoreInUseError
from tiler.request.jobfile import MOST_BYTES

JOB, STORE = ".toml", ".zarr"
PAUSED, STOPPED, FAILED, DONE = "paused", "stopped", "failed", "done"
STATE, PROGRESS, PLAN = "mark", "progress", "plan"
KEPT, _ORDER = ".queue", ".queue/order.json"
_LONGEST_NAME, _MOST_MARK, _MOST_ORDER = 160, 2**14, 2**22
_PATIENCE, _LOOK_EVERY = 5.0, 0.02


class Marks:
    """Raises StoreError for links, which are not followed, and where something cannot be written."""

    def __init__(self, folder: str | Path) -> None:
        if "://" in str(folder):
            raise StoreError(f"queue {folder}: is an address; allowed: a folder")
        self.folder = Path(folder).absolute()
        self._in = Folder(self.folder, "queue")

    # Job files -------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Of all jobs, in their order."""
        listed = [name for name in self._listed() if name.endswith(JOB) and not name.startswith(".")]
        with _clearly(self.folder):
            folders = self._in.folders(listed)
        found = {name.removesuffix(JOB) for name in {*listed} - folders}
        known = [name for name in self._order() if name in found]
        return [*known, *sorted(found - {*known})]

    def _listed(self) -> list[str]:
        if os.path.lexists(self.folder) and not self.folder.is_dir():
            raise StoreError(f"queue {self.folder}: is no folder; allowed: a folder, or a name where nothing is yet")
        with _clearly(self.folder):
            return self._in.names()

    def is_free(self, name: str) -> bool:
        """Whether a new job may be called so."""
        return not any(os.path.lexists(self.folder / (name + end)) for end in (JOB, STORE))

    def text(self, name: str) -> bytes | None:
        """Of a job file; None where there is none."""
        if len(os.fsencode(name)) > _LONGEST_NAME:
            raise StoreError(f"queue {self.folder}: {name[:40]}...: a name of up to {_LONGEST_NAME} bytes is allowed")
        with _clearly(self.folder):
            return self._in.read(name + JOB, MOST_BYTES + 1)

    def make(self) -> None:
        with _clearly(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)

    def write_text(self, name: str, text: bytes) -> None:
        with _clearly(self.folder):
            self._in.write(name + JOB, text)

    def store(self, name: str) -> str:
        """Where a job's state lives. Raises StoreError where that is a link."""
        with _clearly(self.folder):
            self._in.names(name + STORE)
        return str(self.folder / (name + STORE))

    def remove(self, name: str, store: bool) -> None:
        """The job file first: without it there is no job any more."""
        with _clearly(self.folder):
            for key in (name + JOB, *([name + STORE] if store else [])):
                self._in.delete(key)
        self.forget(name)

    def forget(self, name: str) -> None:
        """All marks of a job; of one that is gone some may be left."""
        for kind in (STATE, PROGRESS, PLAN):
            self.drop(name, kind)

    # Order -----------------------------------------------------------------------------------------------------------

    def _order(self) -> list[str]:
        found = self._json(_ORDER, _MOST_ORDER)
        return list(dict.fromkeys(name for name in found if isinstance(name, str))) if isinstance(found, list) else []

    def set_order(self, names: Sequence[str]) -> None:
        with _clearly(self.folder):
            self._in.write(_ORDER, json.dumps(list(names)).encode())

    # Marks -----------------------------------------------------------------------------------------------------------

    def read(self, name: str, kind: str) -> dict[str, Any]:
        """Texts of up to 1000 characters and finite numbers."""
        found = self._json(f"{KEPT}/{name}.{kind}.json", _MOST_MARK)
        items = found.items() if isinstance(found, dict) else ()
        values = {key: value[:1000] if isinstance(value, str) else value for key, value in items}
        return {key: value for key, value in values.items() if isinstance(value, str) or _is_number(value)}

    def write(self, name: str, kind: str, **values: str | float | None) -> None:
        with _clearly(self.folder):
            self._in.write(f"{KEPT}/{name}.{kind}.json", json.dumps(values).encode())

    def drop(self, name: str, kind: str) -> None:
        with _clearly(self.folder):
            try:
                self._in.delete(f"{KEPT}/{name}.{kind}.json")
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:  # a name that no mark can have
                    raise

    def set_state(self, name: str, state: str, reason: str = "", text: bytes = b"") -> None:
        """text: of the job file for which that holds, should it be changed."""
        self.write(name, STATE, state=state, reason=reason[:1000], job=digest(text))

    def _json(self, key: str, most: int) -> Any:
        try:
            data = self._in.read(key, most + 1)
            return json.loads(data) if data and len(data) <= most else None
        except (StoreError, OSError, ValueError, RecursionError):
            return None

    # Locks -----------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def editing(self, patience: float = _PATIENCE) -> Iterator[None]:
        """The order, names and states of jobs are this process's to change. Waits for others, up to `patience` seconds.
        Raises StoreError then."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(held_soon(self._lock("edit"), patience))
            except StoreInUseError as error:
                raise StoreError(f"queue {self.folder}: {_who(error)} is changing it; try again") from None
            yield

    @contextlib.contextmanager
    def at(self, scheduler: str | None) -> Iterator[None]:
        """The one runner of this queue on this machine or on a cluster. Raises StoreError where another is."""
        where = socket.gethostname() if scheduler is None else scheduler
        try:
            with sole_writer(self._lock(f"at-{hashlib.sha256(where.encode()).hexdigest()[:16]}")):
                yield
        except StoreInUseError as error:
            raise StoreError(f"queue {self.folder}: {_who(error)} works through it on {where} already") from None

    def check_there(self) -> None:
        """Raise StoreError where the folder is gone: a lock in it, too, would make it anew."""
        if not self.folder.is_dir():
            raise StoreError(f"queue {self.folder}: is not there; if it was moved, go on with it there")

    def _lock(self, name: str) -> str:
        self.check_there()
        with _clearly(self.folder):
            self._in.names(f"{KEPT}/{name}")  # no link on the way
        return str(self.folder / KEPT / name)


@contextlib.contextmanager
def held_soon(url: str, patience: float) -> Iterator[Hold | Lease]:
    """`sole_writer`, tried for some seconds. Raises StoreInUseError then."""
    deadline = time.monotonic() + patience
    with contextlib.ExitStack() as stack:
        while True:
            try:
                hold = stack.enter_context(sole_writer(url))
                break
            except StoreInUseError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_EVERY)
        yield hold


def _who(error: StoreInUseError) -> str:
    return str(error).partition("in use by ")[2].partition(";")[0]


def digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # of whole numbers beyond all floats
        return False


@contextlib.contextmanager
def _clearly(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"queue {folder}: {error.filename or ''}: {error.strerror or error}") from None
