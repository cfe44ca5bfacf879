"""One writer per store. Readers need no lock: whatever is in a store was written before its mark."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from tiler.engine import place
from tiler.engine.place import LOCK_FILE
from tiler.errors import StoreError

# Of a lease, in seconds. Nobody's clock is compared with another's: who finds a lease waits for a beat.
BEAT, EXPIRY = 5.0, 20.0


@contextlib.contextmanager
def sole_writer(url: str) -> Iterator[None]:
    """Hold the store at `url` for this process, whether it exists already or not.

    A folder is held by a lock of the operating system's, which ends with the process. An object store is held by a
    lease that is renewed every BEAT seconds; one that a dead process left is taken over after EXPIRY seconds. Such
    stores have no lock that can be taken in one stroke, so two processes that start within one request's time may both
    get it. Raises StoreError, naming the holder, when another process has it.
    """
    with _leased(url) if place.is_remote(url) else _locked(Path(url)):
        yield


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path, timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise _in_use(str(folder), path.read_text()) from None
    except OSError as error:
        raise StoreError(f"store {folder}: cannot be written: {error.strerror}") from None
    try:
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
            path.write_text(_identity())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
        for one in made:
            with contextlib.suppress(OSError):  # holds a store by now
                one.rmdir()


@contextlib.contextmanager
def _leased(url: str) -> Iterator[None]:
    store, since, ended = place.connect(url), _now(), threading.Event()
    with place.remote_errors(url):
        _wait_for_expiry(store, url)
        store.put(LOCK_FILE, _identity(0, since).encode())

    def renew() -> None:
        beat = 0
        while not ended.wait(BEAT):
            beat += 1
            with contextlib.suppress(Exception):  # the next beat may get through
                store.put(LOCK_FILE, _identity(beat, since).encode())

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(Exception):  # it expires anyway
            store.delete(LOCK_FILE)


def _wait_for_expiry(store: Any, url: str) -> None:
    """Return when nobody holds the lease; raise StoreError when its holder shows to be alive."""
    first, deadline = _holder(store), time.monotonic() + EXPIRY
    while first and time.monotonic() < deadline:
        time.sleep(BEAT / 5)
        now = _holder(store)
        if now and now != first:
            raise _in_use(url, now)
        first = now


def _holder(store: Any) -> str:
    try:
        return bytes(store.get(LOCK_FILE).bytes()).decode()
    except FileNotFoundError:  # obstore's own is one
        return ""


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _identity(beat: int = 0, since: str | None = None) -> str:
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": since or _now(), "beat": beat})


def _in_use(url: str, holder: str) -> StoreError:
    try:
        who = json.loads(holder)
        name = f"process {who['pid']} on {who['host']} since {who['since']}"
    except (ValueError, KeyError, TypeError):
        name = "another process"
    return StoreError(f"store {url}: in use by {name}; wait until it ends, or stop it")
