"""Putting a finished output in its place: whoever looks, and whenever the process ends, finds the old or the new."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

from tiler.errors import OutputError
from tiler.pictures.held import same_bytes
from tiler.pictures.ours import check_ours, is_marked, remove_ours, write_list

_SCRATCH = re.compile(r"\.tiler-[0-9a-f]{12}\.part")
_PATIENCE, _LOOK_EVERY = 3.0, 0.02
_HERE = -100  # AT_FDCWD
_SWAP = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
# Else nobody can hold a folder: what killed processes left is then left to its owner.
_OPENS_FOLDERS = hasattr(os, "O_DIRECTORY")
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


def settled(path: str | os.PathLike[str]) -> Path:
    """Where what is written to `path` ends: a link stays, and what it points to is replaced."""
    path = Path(path)
    return Path(os.path.realpath(path)) if path.is_symlink() and not is_passing(path) else path


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, hence on its file system, that is removed afterwards; for nobody else to look into.

    Those that killed processes left there are removed, too: whoever uses one holds a lock on it.
    """
    sweep(path.parent)
    while True:
        folder = path.parent / f".tiler-{token_hex(6)}.part"
        descriptor = -1
        try:
            os.mkdir(folder, 0o700)
            descriptor = os.open(folder, os.O_RDONLY) if _OPENS_FOLDERS else -1
            if not _lock(descriptor):  # somebody is about to sweep it away
                continue
            yield _plain_name(folder, descriptor)
            return
        finally:
            try:
                _discard_all(folder)
            except BaseException:  # a signal struck just here, which no other does any more
                _discard_all(folder)
                raise
            finally:
                if descriptor >= 0:
                    os.close(descriptor)


@contextmanager
def new_file(path: str | os.PathLike[str], suffix: str = "") -> Iterator[Path]:
    """The name under which to write a file that takes `path`'s place, and its mode, when the block has ended well."""
    final = settled(path)
    with scratch(final) as folder:
        temporary = folder / f"new{suffix}"
        yield temporary
        publish(temporary, final)


@contextmanager
def new_folder(path: str | os.PathLike[str], kind: str, shown_by: Mapping[Path, str] | None = None) -> Iterator[Path]:
    """An empty folder that takes the place of `path` when the block has ended well, marked as ours of this kind.

    shown_by: files beside the folder that are copies of files in it, by their names there; they change with it.
    Raises OutputError where `path` holds anything that we did not write as this kind.
    """
    final, beside = settled(path), {settled(file): name for file, name in (shown_by or {}).items()}
    with scratch(final) as within:
        new = within / "new"
        new.mkdir()
        yield new
        write_list(new, kind)
        restore(final)
        check_ours(final, kind)
        try:
            for file, name in beside.items():
                _pass_through(file, final / name, new / name, within)
            _write_through(new)
            _change_places(new, final)
        finally:
            for file in filter(is_passing, beside):
                with contextlib.suppress(OSError):  # as a link it shows the same
                    _copy(final / beside[file], file)
        for file, name in beside.items():
            _copy(final / name, file)
        if new.exists() and not remove_ours(new):
            kept = final.with_name(f"{final.name}.kept-{token_hex(3)}")
            os.rename(new, kept)
            raise OutputError(f"{final}: is written; what others put into the old one meanwhile is in {kept}")


def publish(temporary: Path, final: Path) -> None:
    """Moves a finished file to its name, after its bytes: a power cut leaves the old file or the new one."""
    descriptor = os.open(temporary, os.O_RDONLY if _OPENS_FOLDERS else os.O_RDWR)  # Windows syncs what it may write
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _take_mode(temporary, final)
    os.replace(temporary, final)


def restore(final: Path) -> None:
    """Put a folder back that a process was killed while replacing, where names cannot be exchanged."""
    aside = _aside(final)
    if aside.is_symlink() or not aside.is_dir():  # we put folders aside, nothing that leads elsewhere
        return
    if os.path.lexists(final):
        remove_ours(aside)
    else:
        os.rename(aside, final)


def _system() -> Any:
    """The system's own library, as far as it is known by no name: Windows' is not."""
    return object() if sys.platform == "win32" else ctypes.CDLL(None, use_errno=True)


def exchange(one: Path, other: Path) -> None:
    """Two names change places in one step. Raises OSError, also where the system cannot."""
    library = _system()
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":
        failed = library.renamex_np(*names, ctypes.c_uint(_SWAP))
    elif hasattr(library, "renameat2"):
        failed = library.renameat2(_HERE, names[0], _HERE, names[1], ctypes.c_uint(_SWAP))
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fspath(other))


def _write_through(folder: Path) -> None:
    """All bytes to the disk before the names change, where the system can: one call, however many files."""
    library = _system()
    if hasattr(library, "syncfs"):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            library.syncfs(descriptor)
        finally:
            os.close(descriptor)


def _change_places(new: Path, final: Path) -> None:
    """`new` gets the name `final`, and what had it the name `new`, if that can be; else it is removed."""
    if not os.path.lexists(final) or not any(final.iterdir()):
        os.rename(new, final)
        return
    _take_mode(new, final)
    try:
        exchange(new, final)
        return
    except OSError as error:
        if error.errno not in _NO_EXCHANGE:
            raise
    try:
        os.rename(final, _aside(final))
        os.rename(new, final)
    finally:
        restore(final)


def _aside(final: Path) -> Path:
    """The name that an old folder has for a moment; the next process finds it by the new one's name."""
    return final.with_name(f".tiler-{hashlib.sha256(os.fsencode(final.name)).hexdigest()[:12]}.old")


def _pass_through(file: Path, old: Path, new: Path, within: Path) -> None:
    """Make `file`, a copy of `old`, a link to it: when the folder changes places, what shows it does in the same
    moment."""
    if not file.is_file() or not old.is_file() or same_bytes(file, new):
        return
    link = within / "link"
    with contextlib.suppress(OSError):  # a file system without links
        os.symlink(os.path.relpath(old, file.parent), link)
        os.replace(link, file)


def is_passing(file: Path) -> bool:
    """Whether it is a link that `new_folder` made for the moment in which a folder changes places."""
    return file.is_symlink() and Path(os.readlink(file)).name.startswith(".tiler-shown")


def _copy(source: Path, target: Path) -> None:
    with scratch(target) as folder:
        shutil.copyfile(source, folder / "copy")
        publish(folder / "copy", target)


def _take_mode(new: Path, final: Path) -> None:
    """What was for its owner's eyes alone stays so."""
    with contextlib.suppress(OSError):
        mode = stat.S_IMODE(os.stat(final).st_mode) & 0o777
        os.chmod(new, mode | 0o700 if new.is_dir() else mode)


def _plain_name(folder: Path, descriptor: int) -> Path:
    """The folder by a name that every library takes: not all take one that is no text."""
    try:
        os.fspath(folder).encode("utf-8")
    except UnicodeEncodeError:
        by_number = Path(f"/proc/self/fd/{descriptor}")
        return by_number if by_number.exists() else folder
    return folder


def _lock(descriptor: int) -> bool:
    """Whether the folder is ours now, as long as the descriptor is open. True, too, where nobody could lock it."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return os.fstat(descriptor).st_nlink > 0


def sweep(parent: Path) -> None:
    """Remove the scratch folders in `parent` that nobody holds."""
    try:
        import fcntl
    except ImportError:
        return
    with contextlib.suppress(OSError):
        for name in [name for name in os.listdir(parent) if _SCRATCH.fullmatch(name)]:
            with contextlib.suppress(OSError):
                descriptor = os.open(parent / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _discard(parent / name)
                finally:
                    os.close(descriptor)


def _discard_all(folder: Path) -> None:
    """Remove a scratch folder, also when a thread of a library's is still writing into it, which ends soon."""
    deadline = time.monotonic() + _PATIENCE
    _discard(folder)
    while os.path.lexists(folder) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY)
        _discard(folder)


def _discard(folder: Path) -> None:
    """Remove a scratch folder; of a poster that it holds, only what we wrote."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            part = folder / name
            if part.is_symlink() or not part.is_dir():
                part.unlink(missing_ok=True)
            elif is_marked(part):
                remove_ours(part)
            else:
                shutil.rmtree(part, ignore_errors=True)
        os.rmdir(folder)
