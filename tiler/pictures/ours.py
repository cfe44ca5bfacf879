"""Folders that we may replace: each holds a list of the files that we wrote there, and only those are ever removed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tiler.errors import OutputError
from tiler.pictures.held import held

TILES, DEEPZOOM, OMEZARR, FRAMES = "map tiles", "DeepZoom tiles", "an OME-Zarr poster", "frames of a dream"
_NAME = ".tiler-output"
# Readers of zarr take what they do not know in a group for a fault; in an array they do not look.
_PLACES = {TILES: _NAME, DEEPZOOM: _NAME, FRAMES: _NAME, OMEZARR: f"0/{_NAME}"}
# Of a list: some million tiles.
_MOST_BYTES = 2**27
# What file managers leave behind wherever they have been, and a mark that a process was killed while writing.
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini", f"{_NAME}.new"}


def write_list(folder: Path, kind: str, files: Mapping[str, int | None] | None = None) -> None:
    """Mark `folder` as ours. files: sizes in bytes by path below the folder, None where a file is still being written,
    a name with "/" at its end for a folder with all it holds; default: all that is there now."""
    found = {name: size for name, size, _ in _walk(folder)} if files is None else files
    place = folder / _PLACES[kind]
    text = json.dumps({"tiler": kind, "files": dict(found)}, sort_keys=True, indent=0)
    temporary = place.with_name(f"{_NAME}.new")  # readers see the old mark or the new one
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, place)


def check_ours(folder: Path, kind: str, output: Path | None = None) -> None:
    """Raise OutputError unless `folder` may be replaced: nothing is there, or only what we wrote as the same kind.

    output: the name that the user gave, if it is another."""
    shown = str(folder) if output is None else f"{output}: {folder.name}"
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{shown}: is no folder, which {kind} would be; choose another name")
        found = stranger(folder, kind)
    except OSError as error:
        raise OutputError(f"{shown}: cannot be replaced ({error.strerror})") from None
    if found is not None:
        raise OutputError(
            f"{shown}: holds something else than {kind} that tiler wrote ({found}), which would not be replaced;"
            " choose another name"
        )


def stranger(folder: Path, kind: str) -> str | None:
    """What is in `folder` and was not written by us, or not as this kind, or was changed since."""
    if not folder.exists():
        return None
    ours = read_list(folder, kind)
    return next((name for name, size, _ in _walk(folder) if not _is_ours(name, size, ours)), None)


def read_list(folder: Path, kind: str) -> dict[str, int | None]:
    """The files that we wrote into `folder`, as `write_list` takes them; none where it is not marked as this kind."""
    try:
        found: Any = json.loads(held(folder / _PLACES[kind], _MOST_BYTES))
        if found["tiler"] == kind:
            return {**{str(name): size for name, size in found["files"].items()}, _PLACES[kind]: None}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return {}


def remove_ours(folder: Path) -> bool:
    """Remove what we wrote into `folder`, its mark last, and what is empty then. False where something else was there,
    which stays, and the mark with it."""
    kind = next((kind for kind in _PLACES if read_list(folder, kind)), None)
    ours, mark, rest = read_list(folder, kind) if kind else {}, _PLACES.get(kind or ""), False
    for name, size, place in list(_walk(folder)):
        if not _is_ours(name, size, ours):
            rest = True
        elif name != mark:
            place.unlink(missing_ok=True)
    if mark and not rest:
        (folder / mark).unlink(missing_ok=True)
    for below, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(below)
    return not rest


def is_marked(folder: Path) -> bool:
    return any((folder / place).is_file() for place in _PLACES.values())


def _is_ours(name: str, size: int | None, ours: Mapping[str, int | None]) -> bool:
    """size: None for what is no regular file, which we never make."""
    if size is None:
        return False
    if name.rpartition("/")[2] in _LITTER:
        return True
    parents = (name[: at + 1] for at, sign in enumerate(name) if sign == "/")
    return (name in ours and ours[name] in (None, size)) or any(parent in ours for parent in parents)


def _walk(folder: Path) -> Iterator[tuple[str, int | None, Path]]:
    """(path below `folder`, size, place) of all that is no folder; size None for links, pipes and the like."""
    waiting = [("", folder)]
    while waiting:
        above, below = waiting.pop()
        with os.scandir(below) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            name, place = above + entry.name, Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                waiting.append((f"{name}/", place))
            else:
                regular = entry.is_file(follow_symlinks=False)
                yield name, entry.stat(follow_symlinks=False).st_size if regular else None, place
