"""How a store keeps the places of a job's files, so that they are found again with it. Needs no pictures."""

from __future__ import annotations

import os
from pathlib import Path

from tiler.engine.place import is_remote


def absolute(path: str) -> str:
    """The same place from any folder; an address is one as it is."""
    return path if "://" in path else str(Path(path).absolute())


def to_store(path: str, url: str) -> str:
    """How a place is kept in the store at `url`: relative to the store's folder where it lies below that, as ./NAME,
    else absolute."""
    path = absolute(path)
    if is_remote(url):
        return path
    folder = Path(url).absolute().parent
    real = Path(os.path.realpath(Path(path).parent), Path(path).name)
    for place, base in ((Path(path), folder), (real, Path(os.path.realpath(folder)))):
        if place.is_relative_to(base) and ".." not in place.parts:
            return f"./{place.relative_to(base)}"
    return path


def from_store(path: str, url: str) -> str:
    """The place that `to_store` kept, now that the store is at `url`."""
    return path if os.path.isabs(path) or is_remote(url) else str(Path(url).absolute().parent / path)
