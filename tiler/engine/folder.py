"""A folder on this machine or a shared file system, in which perhaps somebody else has put things.

Every path is walked from the root, one folder after the other, none of them a link; only regular files are opened. So
nothing outside is read, written or deleted, whatever lies in the folder, and nothing waits for a pipe or reads a device
without end. The root itself may be a link: the user named it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from tiler.engine.handle import READ, WRITE, Handle, opened
from tiler.errors import StoreError

_NOT_THERE = (FileNotFoundError, NotADirectoryError)


class Folder:
    """Keys are paths below the root, with "/" between names. what: what it is called when something is refused.

    Raises StoreError for links and for whatever else is neither a folder nor a regular file, OSError as the system
    does."""

    def __init__(self, root: str | Path, what: str = "store") -> None:
        self.root, self._what = Path(root), what

    # The way -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _folder(self, path: str, make: bool = False) -> Iterator[Handle]:
        """A folder below the root, opened. make: create what is missing on the way, but not the root: where that is no
        more somebody has moved it, and a new one would be in its place."""
        with contextlib.ExitStack() as stack:
            here = stack.enter_context(opened(self.root))
            for name in filter(None, path.split("/")):
                if name in (".", ".."):
                    self._refuse(path, "is a way out")
                here = self._step(here, name, path, make)
                stack.callback(here.close)
            yield here

    def _step(self, above: Handle, name: str, path: str, make: bool) -> Handle:
        for _ in range(2):
            try:
                return above.step(name)
            except NotADirectoryError:
                self._refuse_link(above, name, path)
                raise
            except FileNotFoundError:
                if not make:
                    raise
                with contextlib.suppress(FileExistsError):
                    above.make(name)
        raise FileNotFoundError(path)  # removed as fast as it was made

    def _refuse_link(self, above: Handle, name: str, path: str) -> None:
        if stat.S_ISLNK(above.mode(name)):
            self._refuse(path, f"{name!r} is a link")

    def _refuse(self, path: str, what: str) -> NoReturn:
        allowed = f"allowed in a {self._what}: folders and regular files only"
        raise StoreError(f"{self._what} {self.root}: {path}: {what}; {allowed}")

    # Files ---------------------------------------------------------------------------------------------------------

    def read(self, key: str, most: int | None = None) -> bytes | None:
        """What a file holds, its first `most` bytes; None where there is none, or a folder."""
        path, _, name = key.rpartition("/")
        try:
            with self._folder(path) as folder:
                found = self._opened(folder, name, key)
                if found is None:
                    return None
                with os.fdopen(found, "rb", buffering=0) as file:
                    size = os.fstat(found).st_size
                    return file.read(size if most is None else min(size, most))
        except _NOT_THERE:
            return None

    def _opened(self, folder: Handle, name: str, key: str) -> int | None:
        """The descriptor of a regular file; None for a folder."""
        try:
            found = folder.open(name, READ)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            mode = folder.mode(name)
            self._refuse_odd(mode, key)
            if stat.S_ISDIR(mode):
                return None
            raise
        mode = os.fstat(found).st_mode
        if stat.S_ISREG(mode):
            return found
        os.close(found)
        self._refuse_odd(mode, key)
        return None

    def _refuse_odd(self, mode: int, key: str) -> None:
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            self._refuse(key, "is a link" if stat.S_ISLNK(mode) else "is no regular file")

    def write(self, key: str, data: Any) -> None:
        """data: bytes, or what has their interface. Under another name first: a reader sees the old file or the new."""
        path, _, name = key.rpartition("/")
        partial = f"{name.partition('.')[0]}.{uuid.uuid4().hex}.partial"
        with self._folder(path, make=True) as folder:
            file = folder.open(partial, WRITE)
            try:
                with os.fdopen(file, "wb", buffering=0) as out:
                    left = memoryview(data).cast("B")
                    while left:
                        left = left[out.write(left) :]
                folder.replace(name, partial)
            except BaseException:
                with contextlib.suppress(OSError):
                    folder.unlink(partial)
                raise

    def delete(self, key: str) -> None:
        """A file, or a folder with all that is in it; links in it are removed, not followed."""
        path, _, name = key.rstrip("/").rpartition("/")
        if not name:
            raise ValueError("the root is not deleted")
        with contextlib.suppress(*_NOT_THERE), self._folder(path) as folder:
            mode = folder.mode(name)
            self._refuse_odd(mode, key)
            if stat.S_ISDIR(mode):
                folder.remove_all(name)
            else:
                folder.unlink(name)

    def is_file(self, key: str) -> bool:
        path, _, name = key.rpartition("/")
        try:
            with self._folder(path) as folder:
                return stat.S_ISREG(folder.mode(name))
        except _NOT_THERE:
            return False

    def folders(self, names: Iterable[str]) -> set[str]:
        """Which of what lies in the root are folders."""
        try:
            with self._folder("") as folder:
                return {name for name in names if _is_folder(folder, name)}
        except _NOT_THERE:
            return set()

    def names(self, path: str = "") -> list[str]:
        """Of all that lies in a folder; nothing where there is none."""
        try:
            with self._folder(path) as folder:
                return folder.names()
        except _NOT_THERE:
            return []


def _is_folder(above: Handle, name: str) -> bool:
    try:
        return stat.S_ISDIR(above.mode(name))
    except FileNotFoundError:  # gone meanwhile
        return False
