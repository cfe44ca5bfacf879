"""Going on with a job from its store alone, which may have been moved, or come from somebody else (see
`tiler.request.option`)."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiler.engine import place
from tiler.engine.store import RenderStore
from tiler.errors import PictureError
from tiler.request import identity
from tiler.request.config import RenderConfig
from tiler.request.places import check_own
from tiler.request.resolve import store_url


def stored_config(url: str, inputs: Sequence[str] = (), notes: list[str] | None = None, **said: Any) -> RenderConfig:
    """What the job in a store was asked for; `render` of it goes on where it stopped, from any folder.

    inputs: folders to look in, in this order, for files that are not where they were; `notes` gets a line for each that
    is found. said: fields that this run decides (`output`, `tiles`, `workers`, `scheduler`); None: as if not said.
    Raises StoreError when there is no job, or another version's; PictureError for a file that is nowhere; OutputError
    where the poster's name comes from the store and something else is there.
    """
    url, found = place.absolute(url), [] if notes is None else notes
    config = identity.asked_for(url, RenderStore.open(url, writable=False).attributes)
    config = replace(config, **{name: value for name, value in said.items() if value is not None})
    config = config.moved(lambda path, places: path if places.written else _sought(path, url, inputs, found))
    folder = None if place.is_remote(url) else Path(url).parent
    check_replaced(config, [name for name in ("output", "tiles") if not said.get(name)], folder, f"store {url}")
    return config


def check_replaced(config: RenderConfig, names: Collection[str], folder: Path | None, who: str) -> None:
    """Raise OutputError where an output that `who` named, a store or a job file in `folder`, would replace what neither
    lies there nor was written by the same job. names: of the fields that it gave."""
    url = store_url(config)
    there = {name: path for name in names if (path := getattr(config, name)) is not None and os.path.lexists(path)}
    if not there:
        return
    held = RenderStore.open(url, writable=False).attributes if RenderStore.exists(url) else {}
    wrote = identity.table(held, "wrote")
    for name, path in there.items():
        check_own(path, folder, wrote.get(name), who, "-o" if name == "output" else "--tiles")


def _sought(path: str, url: str, inputs: Sequence[str], notes: list[str]) -> str:
    if os.path.lexists(path):
        return path
    for folder in inputs:
        other = os.path.join(folder, os.path.basename(path))
        if os.path.lexists(other):
            notes.append(f"{path}: not there; taken from {other}")
            return other
    raise PictureError(
        f"{path}: no such file, and the job in {url} looks for it there; where is it now? "
        f"tiler resume {shlex.quote(url)} --inputs FOLDER"
    )
