"""A folder that is open: what is done in it is done in it, whatever its path leads to by then.

By descriptor where the system has them of folders. Where it has not (Windows) by path: links and junctions are looked
for before each step, so that what lies in a folder cannot lead out of it; somebody who changes it in that very moment
could."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

_BINARY = getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
READ = os.O_RDONLY | _NO_LINK | getattr(os, "O_NONBLOCK", 0) | _BINARY
WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _BINARY


class Handle(Protocol):
    """Names are of what lies in the folder itself. Raises OSError as the system does."""

    def step(self, name: str) -> Handle:
        """A folder in it, opened; NotADirectoryError for a link."""

    def open(self, name: str, flags: int) -> int:
        """The descriptor of a file. OSError for a link."""

    def mode(self, name: str) -> int:
        """Of what is there, links not followed."""

    def make(self, name: str) -> None: ...

    def replace(self, name: str, by: str) -> None: ...

    def unlink(self, name: str) -> None: ...

    def remove_all(self, name: str) -> None:
        """A folder and all in it; links in it are removed, not followed."""

    def names(self) -> list[str]: ...

    def close(self) -> None: ...


class ByNumber:
    def __init__(self, number: int) -> None:
        self._number = number

    @classmethod
    def of(cls, root: Path) -> ByNumber:
        return cls(os.open(root, os.O_RDONLY | os.O_DIRECTORY))

    def step(self, name: str) -> ByNumber:
        return ByNumber(os.open(name, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK, dir_fd=self._number))

    def open(self, name: str, flags: int) -> int:
        return os.open(name, flags, 0o666, dir_fd=self._number)

    def mode(self, name: str) -> int:
        return os.stat(name, dir_fd=self._number, follow_symlinks=False).st_mode

    def make(self, name: str) -> None:
        os.mkdir(name, dir_fd=self._number)

    def replace(self, name: str, by: str) -> None:
        os.replace(by, name, src_dir_fd=self._number, dst_dir_fd=self._number)

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self._number)

    def remove_all(self, name: str) -> None:
        shutil.rmtree(name, dir_fd=self._number)  # by descriptors, too

    def names(self) -> list[str]:
        return os.listdir(self._number)

    def close(self) -> None:
        os.close(self._number)


class ByName:
    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, root: Path) -> ByName:
        if not root.is_dir():
            os.listdir(root)  # raises what it is
        return cls(root)

    def step(self, name: str) -> ByName:
        if not stat.S_ISDIR(self.mode(name)):
            raise NotADirectoryError(20, os.strerror(20), str(self._path / name))
        return ByName(self._path / name)

    def open(self, name: str, flags: int) -> int:
        if not flags & os.O_EXCL and not stat.S_ISREG(self.mode(name)):
            raise PermissionError(13, "is no regular file", str(self._path / name))
        return os.open(self._path / name, flags, 0o666)

    def mode(self, name: str) -> int:
        found = os.lstat(self._path / name)
        reparsed = getattr(found, "st_file_attributes", 0) & stat.FILE_ATTRIBUTE_REPARSE_POINT
        return stat.S_IFLNK if reparsed else found.st_mode

    def make(self, name: str) -> None:
        os.mkdir(self._path / name)

    def replace(self, name: str, by: str) -> None:
        os.replace(self._path / by, self._path / name)

    def unlink(self, name: str) -> None:
        os.unlink(self._path / name)

    def remove_all(self, name: str) -> None:
        shutil.rmtree(self._path / name)

    def names(self) -> list[str]:
        return os.listdir(self._path)

    def close(self) -> None:
        pass


KIND: type[ByNumber] | type[ByName] = (
    ByNumber if hasattr(os, "O_DIRECTORY") and os.open in os.supports_dir_fd else ByName
)


@contextmanager
def opened(root: Path) -> Iterator[Handle]:
    """The root may be a link: the user named it."""
    found = KIND.of(root)
    try:
        yield found
    finally:
        found.close()
