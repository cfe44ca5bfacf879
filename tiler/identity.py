"""Whether a store holds the job that is asked for: same inputs, same configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from tiler.config import FILE, RUN, SIZES, RenderConfig
from tiler.engine.job import Job
from tiler.engine.store import RenderStore
from tiler.errors import ConfigError, PictureError, StoreError
from tiler.regions import with_files
from tiler.version import __version__

# Files are compared by what they hold, and where things run does not change the job; but the number of threads changes
# the order of floating-point sums, and with it the last bits. The size counts in pixels only, however it was said.
_REGIONS = ("region", "mask", "labels", "label", "style_mask")  # told by the files' roles
_FILES = ("content", "styles", "output", "weights", "init", "protect")
_FREE = (*_FILES, *_REGIONS, *(name for name in SIZES if name != "size"))
_COUNTS = ("threads", "device")
_INITS, _WEIGHTS = ("content", "noise"), ("bundled", "torchvision")
ADVICE = "choose another --store, or start over with tiler render --force-new"


def inputs(config: RenderConfig) -> dict[str, str]:
    """What the render reads, by role: a file's sha256, or the word that stands in its place."""
    files = {"content file": config.content, **{f"style file {i}": path for i, path in enumerate(config.styles, 1)}}
    files = {**files, **_region_files(config)}
    found = {role: _digest(Path(path)) for role, path in files.items() if path}
    found["init"] = config.init if config.init in _INITS else _digest(Path(config.init))
    if config.protect:
        found["protect file"] = _digest(Path(config.protect))
    found["weights"] = config.weights if config.weights in _WEIGHTS else _digest(Path(config.weights))
    return found


def _region_files(config: RenderConfig) -> dict[str, str]:
    """Files by roles that tell everything about regions but the files' names: where each region is, and in what
    styles."""
    regions, files = config.regions, {}
    for i, source in enumerate(regions.sources):
        of = f"of region {regions.names[source.region]}"
        if i >= len(config.styles):
            files[f"style file {i + 1} {of}"] = source.picture
        if source.mask:
            files[f"mask of style file {i + 1} {of}"] = source.mask
    files.update({f"mask {i} of region {regions.names[r]}": file for i, (r, file) in enumerate(regions.masks, 1)})
    for (red, green, blue), region in regions.labels:
        files[f"labels file, #{red:02x}{green:02x}{blue:02x} being region {regions.names[region]}"] = str(config.labels)
    return files


def located(config: RenderConfig) -> RenderConfig:
    """The same with absolute paths, which mean the same from any folder; this is how a job is stored."""

    def absolute(value: str, *words: str) -> str:
        return value if value in words else str(Path(value).absolute())

    def regions(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(with_files(text, absolute, config.regions.names) for text in texts)

    return replace(
        config,
        content=config.content and absolute(config.content),
        styles=tuple(absolute(path) for path in config.styles),
        init=absolute(config.init, *_INITS),
        weights=absolute(config.weights, *_WEIGHTS),
        output=config.output and absolute(config.output),
        tiles=config.tiles and absolute(config.tiles),
        overlay=config.overlay and absolute(config.overlay),
        protect=config.protect and absolute(config.protect),
        labels=config.labels and absolute(config.labels),
        region=regions(config.region),
        mask=regions(config.mask),
        label=regions(config.label),
        style_mask=regions(config.style_mask),
    )


def asked_for(url: str, stored: Mapping[str, Any]) -> RenderConfig:
    """What the user asked for when a stored job was begun, to go on with it. Raises StoreError when another version
    wrote it."""
    check_version(url, stored)
    return replace(RenderConfig.from_dict(stored["asked"], f"store {url}"), store=url)


def check_version(url: str, stored: Mapping[str, Any]) -> None:
    """Raise StoreError for a job of another version, which may mean other pixels by the same words."""
    if stored.get("version") != __version__:
        raise StoreError(
            f"store {url}: made by tiler {stored.get('version')}, and this is {__version__}; go on with that version, "
            f"or {ADVICE}"
        )


def settings(config: RenderConfig) -> dict[str, Any]:
    """What a poster's metadata says of how it was made: nothing of where, so that it is the same everywhere."""
    names = [item.name for item in fields(config) if item.metadata["group"] not in (None, FILE, RUN)]
    return {name: value for name, value in config.to_dict().items() if name in names and name not in _FREE}


def load_job(store: RenderStore) -> Job:
    """The job of a store. Raises StoreError when it was damaged, or another version wrote it in another form."""
    try:
        return Job.from_dict(store.attributes.get("job"))
    except ValueError as error:
        raise _unreadable(store, error) from None


def load_config(store: RenderStore, which: str = "config") -> RenderConfig:
    """The configuration that a store's job was made from, every None replaced; or what was "asked" for, with absolute
    paths. Raises StoreError as `load_job`."""
    values = store.attributes.get(which)
    try:
        return RenderConfig.from_dict(values if isinstance(values, dict) else {}, which)
    except ConfigError as error:
        raise _unreadable(store, error) from None


def _unreadable(store: RenderStore, error: Exception) -> StoreError:
    made = str(store.attributes.get("version"))[:40]
    return StoreError(f"store {store.url}: cannot be read: {error} (made by version {made}, this is {__version__})")


def _digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror}") from None


def check_same(url: str, stored: Mapping[str, Any], config: RenderConfig, found: Mapping[str, str]) -> None:
    """Raise StoreError naming the first difference between a stored job and the one asked for.

    The same words are the same job; so is a value that the stored job had derived.
    """
    check_version(url, stored)
    asked, resolved, before = (table(stored, key) for key in ("asked", "config", "inputs"))
    now = config.to_dict()
    for role in sorted({*before, *found}):
        if before.get(role) != found.get(role):
            raise StoreError(f"store {url}: holds another job: the {role} differs; {ADVICE}")
    for item in fields(config):
        name, value = item.name, now[item.name]
        if name in _FREE or (item.metadata["group"] in (FILE, RUN) and name not in _COUNTS):
            continue
        if value != asked.get(name) and (value is None or value != resolved.get(name)):
            was = asked.get(name, resolved.get(name))
            raise StoreError(f"store {url}: holds another job: {name} was {was}, now {value}; {ADVICE}")


def table(stored: Mapping[str, Any], key: str) -> dict[str, Any]:
    """One of a store's attributes, empty where it is none that tiler writes."""
    found = stored.get(key)
    return found if isinstance(found, dict) else {}
