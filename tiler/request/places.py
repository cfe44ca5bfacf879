"""Where the files of a job are: apart from each other, and written over only if they are its own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tiler.errors import ConfigError, OutputError
from tiler.pictures import fingerprint, replaced_by
from tiler.request.config import RenderConfig
from tiler.request.option import Places


def pictures_of(config: RenderConfig) -> list[str]:
    """The files of all pictures that a render of `config` reads."""
    regions = config.regions
    content = [config.content] if config.content else []
    styles = [file for source in regions.sources for file in (source.picture, source.mask) if file]
    masks = [file for _, file in regions.masks]
    above = [file for file in (config.labels, config.protect, config.overlay) if file]
    return [*content, *styles, *masks, *above, *([] if config.init in ("content", "noise") else [config.init])]


Kept = Iterable[tuple[str, str | Path]]  # (what it is, its place)


def written_by(config: RenderConfig) -> list[tuple[str, str, Path]]:
    """What a render of `config` writes: (what it is, as it was named, a place that it takes)."""
    poster = [("the poster", config.output, place) for place in replaced_by(config.output)] if config.output else []
    return [*poster, *([("the map tiles", config.tiles, Path(config.tiles))] if config.tiles else [])]


def check_places(config: RenderConfig, store: str, inputs: Iterable[str]) -> None:
    """Raise OutputError where a file or folder that `config` writes would replace one of the inputs, the store, or
    another that it writes, or a folder that holds one, or would lie in one. store: the job's address; inputs: names of
    files."""
    written = [(role, place) for role, _, place in written_by(config)]
    check_kept(config, [*(("one of the inputs", file) for file in inputs), ("the state of a job", store), *written])


def check_kept(config: RenderConfig, kept: Kept) -> None:
    """Raise OutputError where a file or folder that `config` writes would replace one of these, or lie in it."""
    real = [(what, other, Path(os.path.realpath(other))) for what, other in kept]
    mine = [(role, name, Path(os.path.realpath(place))) for role, name, place in written_by(config)]
    pairs = [(one, other) for one in mine for other in real if one[0] != other[0]]
    for (_, name, place), (what, other, theirs) in pairs:
        if theirs.is_relative_to(place):
            raise OutputError(f"{name}: would replace {what}, {other}; choose another name")
    for (_, name, place), (what, other, theirs) in pairs:
        if place.is_relative_to(theirs):
            raise OutputError(f"{name}: would lie in {what}, {other}; choose another name")


def check_within(config: RenderConfig, folder: str | Path) -> None:
    """Raise ConfigError for a file that `config` names, to be read or written, and that does not lie in `folder`; links
    count as what they lead to."""
    whole = Path(os.path.realpath(folder))

    def check(path: str, places: Places) -> str:
        if "://" in path or not Path(os.path.realpath(path)).is_relative_to(whole):
            raise ConfigError(f"{path}: lies outside of {folder}, where all files of this job must be")
        return path

    config.moved(check)


def check_own(path: str, folder: Path | None, wrote: object, who: str, option: str) -> None:
    """Raise OutputError where `path`, a name that a store or a job file gives and nobody typed, would replace what does
    not lie in `folder`. wrote: the fingerprint of what may be replaced there."""
    real = [Path(os.path.realpath(place)).parent for place in replaced_by(path)]
    if folder is not None and all(place == Path(os.path.realpath(folder)) for place in real):
        return
    found = fingerprint(path)
    if found is not None and found != wrote:
        raise OutputError(
            f"{path}: {who} names it, but did not write what is there, which would be replaced; if that is wanted, say "
            f"{option} {path}"
        )
