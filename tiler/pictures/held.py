"""What a file holds that lies where we may write, and was perhaps put there by somebody else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

# What Windows has not is not needed there: no pipe lies in a folder, and few may make links.
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


def held(path: Path, most: int) -> bytes:
    """The bytes of a regular file that is no link, of `most` bytes at most. Raises OSError for whatever else is there:
    a pipe would be waited for, and a device has no end."""
    descriptor = os.open(path, _FLAGS)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > most:
            raise OSError(0, "is there and is no such file", os.fspath(path))
        return file.read(most)


def named(path: str | Path, most: int) -> BinaryIO:
    """A regular file that somebody named, opened, wherever its links lead; of `most` bytes at most. Raises OSError, and
    ValueError, in words, for whatever else is there. Read it, rather than map it: one that is cut short meanwhile must
    be an error, not a signal."""
    # A pipe that took the file's place would be waited for.
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    found = os.fstat(file.fileno())
    wrong = "no regular file" if not stat.S_ISREG(found.st_mode) else ""
    if found.st_size > most:
        wrong = f"{found.st_size} bytes; allowed: up to {most}"
    if wrong:
        file.close()
        raise ValueError(wrong)
    return file


def same_bytes(one: Path, other: Path) -> bool:
    """Whether two files hold the same, up to a size that ours have. False where either is no such file."""
    try:
        return held(one, _SMALL_BYTES) == held(other, _SMALL_BYTES)
    except OSError:
        return False


# Pages and descriptors are of some kilobytes.
_SMALL_BYTES = 2**24
