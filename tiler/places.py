"""What a job reads and what it writes must lie apart, or one would be lost to the other after hours of work."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tiler.config import RenderConfig
from tiler.errors import OutputError
from tiler.pictures import replaced_by


def pictures_of(config: RenderConfig) -> list[str]:
    """The files of all pictures that a render of `config` reads."""
    regions = config.regions
    content = [config.content] if config.content else []
    styles = [file for source in regions.sources for file in (source.picture, source.mask) if file]
    masks = [file for _, file in regions.masks]
    above = [file for file in (config.labels, config.protect, config.overlay) if file]
    return [*content, *styles, *masks, *above, *([] if config.init in ("content", "noise") else [config.init])]


def check_places(config: RenderConfig, store: str, inputs: Iterable[str]) -> None:
    """Raise OutputError where a file or folder that `config` writes would replace one of the inputs, the store, or
    another that it writes, or a folder that holds one. store: the job's address; inputs: names of files."""
    poster = [("the poster", config.output, place) for place in replaced_by(config.output)] if config.output else []
    written = [*poster, *([("the map tiles", config.tiles, Path(config.tiles))] if config.tiles else [])]
    read = [("one of the inputs", Path(file)) for file in inputs]
    others = [*read, ("the state of a job", Path(store)), *((role, place) for role, _, place in written)]
    for role, name, place in written:
        for what, other in others:
            if what != role and Path(os.path.realpath(other)).is_relative_to(os.path.realpath(place)):
                raise OutputError(f"{name}: would replace {what}, {other}; choose another name")
