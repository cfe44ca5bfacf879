"""What tells an output that was written from any other: whoever replaces a file should know whose it is."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tiler.errors import OutputError
from tiler.pictures.mosaic import files
from tiler.pictures.outputs import replaced_by

_BYTES_AT_ONCE = 2**20


def digest(path: Path) -> str:
    """Of a folder of map tiles: a sha256 over the names and bytes of those that are read. Raises OSError."""
    found = hashlib.sha256()
    for name, tile in files(path):
        found.update(b"%s\0" % name.encode())
        _add(found, tile)
    return found.hexdigest()


def fingerprint(path: str | os.PathLike[str]) -> str | None:
    """A hash over names and bytes of all that `write_picture` or `write_xyz` wrote for the output `path`; None where
    nothing is there.

    The same files give the same in every place and under every name. Read as a stream. Links inside a folder, pipes and
    the like are told apart, never opened. Raises OutputError where something cannot be read.
    """
    digest, found = hashlib.sha256(), False
    for number, part in enumerate(replaced_by(path)):
        try:
            for name, kind, entry in _entries(part):
                found = True
                digest.update(b"%d\0%s\0%s\0" % (number, name, kind))
                if kind == b"file":
                    _add(digest, entry)
        except OSError as error:
            raise OutputError(f"{part}: cannot be read ({error.strerror})") from None
    return digest.hexdigest() if found else None


def _entries(part: Path) -> Iterator[tuple[bytes, bytes, Path]]:
    """(name below `part`, kind, place) of all files, in an order that only the names decide."""
    try:
        mode = os.stat(part).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(mode):
        yield b"", b"file" if stat.S_ISREG(mode) else b"else", part
        return
    yield b"", b"folder", part
    waiting = [part]
    while waiting:
        folder = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda one: os.fsencode(one.name)):
                place = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(place)
                    continue
                regular = entry.is_file(follow_symlinks=False)
                kind = b"file" if regular else b"link to " + _target(place) if entry.is_symlink() else b"else"
                yield os.fsencode(place.relative_to(part)), kind, place


def _target(link: Path) -> bytes:
    return os.fsencode(os.readlink(link))


def _add(digest: hashlib._Hash, file: Path) -> None:
    """The file's bytes, led by their number: no two lists of files come to the same stream."""
    with open(file, "rb", buffering=0) as opened:
        digest.update(b"%d\0" % os.fstat(opened.fileno()).st_size)
        while data := opened.read(_BYTES_AT_ONCE):
            digest.update(data)
