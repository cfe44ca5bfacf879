"""Whether a store holds the job that is asked for: same inputs, same configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any

from tiler.engine.job import Job
from tiler.engine.store import RenderStore
from tiler.errors import ConfigError, PictureError, StoreError
from tiler.request.config import FILE, RUN, RenderConfig
from tiler.request.kept import absolute, from_store, to_store
from tiler.request.option import ASKED
from tiler.request.sizes import SIZES
from tiler.version import __version__

_INITS = ("content", "noise")
ADVICE = "choose another --store, or start over with tiler render --force-new"


def inputs(config: RenderConfig) -> dict[str, str]:
    """What the render reads, by role: a file's sha256, or the word that stands in its place. Weights count by their
    numbers, which the job knows (`other_weights`)."""
    files = {"content file": config.content, **{f"style file {i}": path for i, path in enumerate(config.styles, 1)}}
    files = {**files, **_region_files(config)}
    found = {role: _digest(Path(path)) for role, path in files.items() if path}
    found["init"] = config.init if config.init in _INITS else _digest(Path(config.init))
    if config.protect:
        found["protect file"] = _digest(Path(config.protect))
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


def _counts(item: Field[Any]) -> bool:
    """Whether a field's words are part of the job. Files count by what they hold (`inputs`), the size in pixels however
    it was said; the number of threads does, since it changes the order of floating-point sums."""
    meta = item.metadata
    as_said = meta["places"] is None and (item.name not in SIZES or item.name == "size")
    return as_said and meta["group"] != FILE and meta["decided"] == ASKED


def words(config: RenderConfig) -> dict[str, Any]:
    """What is asked for but for the files, which count by what they hold (`inputs`)."""
    return {
        item.name: travels(config)[item.name]
        for item in fields(config)
        if item.metadata["places"] is None and item.metadata["decided"] == ASKED
    }


def travels(config: RenderConfig) -> dict[str, Any]:
    """What a store keeps of a configuration: nothing that is this machine's to decide."""
    decided = {item.name: item.metadata["decided"] for item in fields(config)}
    return {name: value for name, value in config.to_dict().items() if decided[name] == ASKED}


def kept(config: RenderConfig, url: str) -> dict[str, Any]:
    """The same with places as they are from any folder: relative to the store where they lie beside it, so that they
    move with it."""
    return travels(config.moved(lambda path, _: to_store(path, url)))


def stored_places(stored: Mapping[str, Any], config: RenderConfig, url: str) -> dict[str, Any]:
    """What a store keeps as asked for, in the words of the beginning, with the files where `config` has them now."""
    now, known = kept(config, url), {item.name: item.metadata["places"] for item in fields(config)}
    files = [name for name, places in known.items() if places and not places.written]
    return {**table(stored, "asked"), **{name: now[name] for name in files}}


def located(config: RenderConfig) -> RenderConfig:
    """The same with absolute paths, which mean the same from any folder."""
    return config.moved(lambda path, _: absolute(path))


def asked_for(url: str, stored: Mapping[str, Any]) -> RenderConfig:
    """What the user asked for when a stored job was begun, with places as they are from where the store is now. Raises
    StoreError when another version wrote it, or it is damaged."""
    check_version(url, stored)
    config = _config(url, stored, "asked")
    return replace(config.moved(lambda path, _: from_store(path, url)), store=url)


def check_version(url: str, stored: Mapping[str, Any]) -> None:
    """Raise StoreError for a job of another version, which may mean other pixels by the same words."""
    if stored.get("version") != __version__:
        raise StoreError(
            f"store {url}: made by tiler {stored.get('version')}, and this is {__version__}; go on with that version, "
            f"or {ADVICE}"
        )


def settings(config: RenderConfig) -> dict[str, Any]:
    """What a poster's metadata says of how it was made: nothing of where, so that it is the same everywhere."""
    names = [item.name for item in fields(config) if _counts(item) and item.metadata["group"] != RUN]
    return {name: value for name, value in config.to_dict().items() if name in names}


def load_job(store: RenderStore) -> Job:
    """The job of a store, to which all that is read there is held from then on. Raises StoreError when it was damaged,
    or another version wrote it in another form."""
    try:
        job = Job.from_dict(store.attributes.get("job"))
    except ValueError as error:
        raise _unreadable(store.url, store.attributes, error) from None
    store.hold_to(job)
    return job


def load_config(store: RenderStore, which: str = "config") -> RenderConfig:
    """The configuration that a store's job was made from, every None replaced; or what was "asked" for, with places as
    in `asked_for`. Raises StoreError as `load_job`."""
    config = _config(store.url, store.attributes, which)
    return config.moved(lambda path, _: from_store(path, store.url)) if which == "asked" else config


def _config(url: str, stored: Mapping[str, Any], which: str) -> RenderConfig:
    """What this machine decides is not heard, should a store say it."""
    known = {item.name: item.metadata["decided"] for item in fields(RenderConfig)}
    values = {key: value for key, value in table(stored, which).items() if known.get(key, ASKED) == ASKED}
    try:
        return RenderConfig.from_dict(values, which)
    except ConfigError as error:
        raise _unreadable(url, stored, error) from None


def _unreadable(url: str, stored: Mapping[str, Any], error: Exception) -> StoreError:
    made = str(stored.get("version"))[:40]
    return StoreError(f"store {url}: cannot be read: {error} (made by version {made}, this is {__version__})")


def _digest(path: Path) -> str:
    try:
        if path.is_dir():
            from tiler import pictures  # which what a store says does without

            return pictures.digest(path)
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror}") from None


def differences(stored: Mapping[str, Any], config: RenderConfig, found: Mapping[str, str]) -> list[str]:
    """What tells the job that is asked for from a stored one, in words; nothing where they are the same, weights aside.

    The same words are the same job; so is a value that the stored job had derived.
    """
    asked, resolved, before = (table(stored, key) for key in ("asked", "config", "inputs"))
    now, roles = config.to_dict(), sorted({*before, *found})
    told = [f"the {role} differs" for role in roles if before.get(role) != found.get(role)]
    for item in fields(config):
        name, value = item.name, now[item.name]
        if _counts(item) and value != asked.get(name) and (value is None or value != resolved.get(name)):
            told.append(f"{name} was {asked.get(name, resolved.get(name))}, now {value}")
    return told


def other_weights(stored: Job, meant: Job) -> list[str]:
    """The same of the backbone's weights, whatever their file is called."""
    same = stored.network.weights_sha256 == meant.network.weights_sha256
    return [] if same else [f"the numbers in --weights {meant.network.weights} differ"]


def check_same(url: str, stored: Mapping[str, Any], config: RenderConfig, found: Mapping[str, str]) -> None:
    """Raise StoreError naming the first difference between a stored job and the one asked for."""
    check_version(url, stored)
    refuse(url, differences(stored, config, found))


def refuse(url: str, told: Sequence[str]) -> None:
    """Raise StoreError naming the first of what tells a stored job from the one asked for, where anything does."""
    if told:
        raise StoreError(f"store {url}: holds another job: {told[0]}; {ADVICE}")


# Words that a level's record in the job stands for, each level's for itself.
_IN_LEVELS = (
    "size", "at", "edge", "steps", "levels", "min_edge", "learning_rate", "tile", "feather", "halo", "steps_per_round",
    "precision", "device", "threads", "style_scale", "content_gsd", "style_gsd", "style_blend_weights",
    "style_layer_weights",
)  # fmt: skip


def seen(config: RenderConfig, found: Mapping[str, str], part: Sequence[int]) -> dict[str, Any]:
    """What the bytes of a level depend on beside what its job says: the pictures (found: see `inputs`), the part of the
    content that is rendered, and every word that the job does not stand for."""
    counting = [item.name for item in fields(config) if _counts(item) and item.name not in _IN_LEVELS]
    said = config.to_dict()
    return {"inputs": dict(found), "part": [*part], "words": {name: said[name] for name in counting}}


def refuse_retouch(url: str, job: Job) -> None:
    """Raise StoreError for one: what it goes on from is kept while it is made only."""
    if job.cut.touched is not None:
        raise StoreError(
            f"store {url}: is a retouch, which is made in one go; start over with tiler retouch, or have tiler export "
            "write what is there"
        )


# What a job has from the machine that it was begun on, and from what befell it there.
_OF_MACHINES = ("id", "cut.tile", "device", "network.weights")


def check_job(url: str, stored: Job, meant: Job) -> None:
    """Raise StoreError where a job is not what its own configuration means: no render wrote it."""
    before, now = (dict(_facts(job.to_dict())) for job in (stored, meant))
    for name in {**now, **before}:
        was, wanted = before.get(name), now.get(name)
        if was != wanted:
            other = f"{name} is {str(was)[:80]}, not {str(wanted)[:80]}"
            raise StoreError(f"store {url}: its job is not what was asked for: {other}; {ADVICE}")


def _facts(values: Mapping[str, Any], of: str = "") -> Iterator[tuple[str, Any]]:
    """(RECORD.FIELD, value) of all that a job says, but for what it has from machines."""
    for name, value in values.items():
        if of + name in _OF_MACHINES:
            continue
        if isinstance(value, Mapping):
            yield from _facts(value, f"{of}{name}.")
        else:
            yield of + name, value


def table(stored: Mapping[str, Any], key: str) -> dict[str, Any]:
    """One of a store's attributes, empty where it is none that tiler writes."""
    found = stored.get(key)
    return found if isinstance(found, dict) else {}
