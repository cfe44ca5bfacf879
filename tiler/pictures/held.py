"""What a file holds that lies where we may write, and was perhaps put there by somebody else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

# What Windows has not is not needed there: no pipe lies in a folder, and few may make links.
_WAITS_NOT, _NO_LINK = (getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOFOLLOW"))


def held(path: Path, most: int) -> bytes:
    """The bytes of a regular file that is no link, of `most` bytes at most. Raises OSError for whatever else is there:
    a pipe would be waited for, and a device has no end."""
    try:
        with _regular(path, most, _NO_LINK) as file:
            return file.read(most)
    except ValueError:
        raise OSError(0, "is there and is no such file", os.fspath(path)) from None


def named(path: str | Path, most: int) -> BinaryIO:
    """A regular file that somebody named, opened, wherever its links lead; of `most` bytes at most. Raises OSError, and
    ValueError, in words, for whatever else is there. Read it, rather than map it: one that is cut short meanwhile must
    be an error, not a signal."""
    return _regular(path, most)


def _regular(path: str | Path, most: int, flags: int = 0) -> BinaryIO:
    # A pipe that took the file's place would be waited for.
    file = open(path, "rb", opener=lambda name, own: os.open(name, own | flags | _WAITS_NOT))  # noqa: SIM115
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
