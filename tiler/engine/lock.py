"""One writer per store. Readers need no lock: whatever is in a store was written before its mark."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import filelock
import psutil

from tiler.engine import place
from tiler.engine.holder import identity, in_use
from tiler.engine.lease import Lease
from tiler.engine.place import LOCK_FILE
from tiler.errors import StoreError

_RECORD_BYTES = 1024
# What Windows has not is not needed there: no pipe lies in a folder, and few may make links.
_LOOK = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class Hold:
    """What a process has that may write. notes: what the user should know of how safe it is."""

    notes: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise StoreError when another process may have taken over. Cheap: to be called before every write."""


@contextlib.contextmanager
def sole_writer(url: str) -> Iterator[Hold | Lease]:
    """Hold the store at `url` for this process, whether it exists already or not.

    A folder is held by a lock of the operating system's, which ends with the process; where the file system has none,
    by the lock file's being there, which is recognised when its process has died on this machine. An object store is
    held by a lease: see tiler.engine.lease. Raises StoreError, naming the holder, when another process has it.
    """
    with Lease.held(url) if place.is_remote(url) else _locked(Path(url)) as hold:
        yield hold


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[Hold]:
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path, hold = folder / LOCK_FILE, Hold()
    there = os.path.lexists(path)
    lock = filelock.FileLock(path, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        hold.notes = _acquired(lock, folder)
    except BaseException as error:
        if isinstance(error, OSError) and not isinstance(error, filelock.Timeout) and not there:
            with contextlib.suppress(OSError):
                path.unlink()
        _remove(made)
        if isinstance(error, filelock.Timeout):
            raise in_use(str(folder), record_in(path)) from None
        if isinstance(error, OSError):
            raise StoreError(f"store {folder}: cannot be written: {error.strerror or error}") from None
        raise
    try:
        if not isinstance(lock, filelock.SoftFileLock):  # whose own record is how a dead holder is recognised
            with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
                path.write_text(json.dumps(identity()))
        yield hold
    finally:
        if not isinstance(lock, filelock.SoftFileLock):
            with contextlib.suppress(OSError):
                path.unlink()
        lock.release()
        _remove(made)


def _acquired(lock: filelock.BaseFileLock, folder: Path) -> tuple[str, ...]:
    with warnings.catch_warnings():  # that there is no flock, which is said by a note
        warnings.simplefilter("ignore")
        lock.acquire()
    if not isinstance(lock, filelock.SoftFileLock):
        return ()
    return (
        f"store {folder}: this file system has no locks; a render that is killed on another machine leaves "
        f"{LOCK_FILE} behind, which is then to be deleted by hand",
    )


def holder_of(folder: Path) -> str | None:
    """What the process has left, if anything, that holds the store in `folder` at this moment; None: nobody does.

    Reads only. Where the file system has no locks, one that died on another machine counts as a holder."""
    try:
        file = os.open(folder / LOCK_FILE, _LOOK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        record = _record(file)
        return record if _is_locked(file, record) else None
    finally:
        os.close(file)


def _record(file: int) -> str:
    with contextlib.suppress(OSError):  # Windows lets nobody read what is locked
        return os.read(file, _RECORD_BYTES).decode(errors="replace")
    return ""


def _is_locked(file: int, record: str) -> bool:
    try:
        import fcntl
    except ImportError:
        return _is_locked_on_windows(file)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # and let go again as the file is closed
    except BlockingIOError:
        return True
    except OSError:
        pid, host, *_ = [*record.splitlines(), "", ""]
        return not (host == socket.gethostname() and pid.isdecimal() and not psutil.pid_exists(int(pid)))
    return False


def _is_locked_on_windows(file: int) -> bool:
    """By the one byte that filelock locks there."""
    import msvcrt

    try:
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    except OSError:
        return True
    os.lseek(file, 0, os.SEEK_SET)
    msvcrt.locking(file, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    return False


def _remove(folders: list[Path]) -> None:
    for one in folders:
        with contextlib.suppress(OSError):  # holds a store by now
            one.rmdir()


def record_in(path: Path) -> str:
    """What the holder left in the lock file, if it is one."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        file = os.open(path, _LOOK)
        try:
            if stat.S_ISREG(os.fstat(file).st_mode):
                return os.read(file, _RECORD_BYTES).decode()
        finally:
            os.close(file)
    return ""
