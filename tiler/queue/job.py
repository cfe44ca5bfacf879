"""A job of a queue, and the state that follows from what lies in the queue's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tiler.engine.holder import named
from tiler.engine.lock import holder_of
from tiler.engine.store import RenderStore
from tiler.errors import ConfigError, StoreError, TilerError
from tiler.output.info import describe
from tiler.queue.marks import DONE, FAILED, PAUSED, PLAN, PROGRESS, STATE, STOPPED, Marks, digest
from tiler.request.config import RenderConfig, with_places
from tiler.request.identity import located
from tiler.request.jobfile import job_text, job_values
from tiler.request.kept import from_store, to_store
from tiler.request.option import HERE, TYPED, expanded

WAITING, RUNNING, REFUSED = "waiting", "running", "refused"
# What a run decides, and not a job.
OF_RUNS = tuple(item.name for item in fields(RenderConfig) if item.metadata["decided"] in (HERE, TYPED))


@dataclass(frozen=True)
class QueuedJob:
    """state: waiting, running, paused, stopped, failed, done or refused. reason: why it is that, or who renders it.
    share: of its work that is done, 0 to 1. seconds_left: as far as that is known. output: the poster, or the folder of
    its map tiles; store: where its state lives."""

    name: str
    state: str
    reason: str
    share: float
    seconds_left: float | None
    output: str
    store: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def written(config: RenderConfig, folder: Path, source: str) -> bytes:
    """The job file of `config`, in `folder`: what differs from the defaults, places relative to the folder where they
    are below it. Raises ConfigError for what is not a job's to say."""
    _check_decided({item.name: getattr(config, item.name) for item in fields(config)}, source)
    moved = located(config).moved(lambda path, _: to_store(path, str(folder / "x")))
    defaults = {item.name: item.default for item in fields(config)}
    said = {name: value for name, value in moved.to_dict().items() if getattr(moved, name) != defaults[name]}
    return job_text(said, source)


def _check_decided(values: Mapping[str, Any], source: str) -> None:
    defaults = {item.name: item.default for item in fields(RenderConfig)}
    for name in OF_RUNS:
        if values.get(name, defaults[name]) != defaults[name]:
            allowed = "its place is the queue's folder" if name == "store" else "say it to tiler queue run"
            raise ConfigError(f"{source}: {name} = {values[name]!r} is not for a job in a queue; {allowed}")


def config_of(marks: Marks, name: str, text: bytes | None = None) -> RenderConfig:
    """What a job asks for, with places as they are from any folder. Raises TilerError."""
    text = marks.text(name) if text is None else text
    source = str(marks.folder / f"{name}.toml")
    if text is None:
        raise StoreError(f"queue {marks.folder}: has no job {name!r}")
    values = job_values(text, source)
    _check_decided(values, source)
    store = marks.store(name)
    placed = with_places(values, lambda path, _: from_store(expanded(path), store))
    silent: dict[str, Any] = {"styles": (), **({"output": None} if values.get("tiles") else {})}
    return replace(RenderConfig.from_dict({**silent, **values, **placed}, source), store=store)


def job_of(marks: Marks, name: str) -> QueuedJob:
    """The job as it is now; one that cannot be read is refused."""
    try:
        text = marks.text(name) or b""
        config = config_of(marks, name, text)
    except TilerError as error:
        return QueuedJob(name, REFUSED, str(error), 0.0, None, "", str(marks.folder / f"{name}.zarr"))
    url = str(config.store)
    state, reason = _state(marks, name, text, url)
    share, left = _progress(marks, name, state, url)
    return QueuedJob(name, state, reason, share, left, config.target, url)


def _state(marks: Marks, name: str, text: bytes, url: str) -> tuple[str, str]:
    """(state, why)."""
    holder = holder_of(Path(url))
    return marked(marks, name, text) if holder is None else (RUNNING, named(holder))


def marked(marks: Marks, name: str, text: bytes) -> tuple[str, str]:
    """(state, why) of a job that nobody renders. text: of its job file."""
    mark = marks.read(name, STATE)
    state, reason = str(mark.get("state")), str(mark.get("reason", ""))
    same = mark.get("job") == digest(text)
    if state in (PAUSED, STOPPED) or (state in (FAILED, DONE) and same):
        return state, reason
    return WAITING, reason if state == WAITING else ""


def _progress(marks: Marks, name: str, state: str, url: str) -> tuple[float, float | None]:
    """(share of the work, seconds left)."""
    if state == DONE:
        return 1.0, None
    if state == RUNNING:
        told = marks.read(name, PROGRESS)
        holder = holder_of(Path(url)) or ""
        share, left = told.get("share"), told.get("seconds")
        if isinstance(share, int | float) and str(told.get("pid", "?")) in holder:
            known = isinstance(left, int | float) and left >= 0
            return min(1.0, max(0.0, share)), float(left) if known and left is not None else None
    share, spent = _in_store(url)
    if share > 0 and spent > 0:
        return share, spent * (1 - share) / share
    planned = marks.read(name, PLAN).get("seconds")
    return share, planned * (1 - share) if isinstance(planned, int | float) and planned >= 0 else None


def _in_store(url: str) -> tuple[float, float]:
    """(share of the work, seconds spent) as its store says; nothing where there is none that can be read."""
    if not os.path.lexists(os.path.join(url, "zarr.json")):
        return 0.0, 0.0
    try:
        facts = describe(url)
    except TilerError:
        return 0.0, 0.0
    areas = [one["height"] * one["width"] for one in facts["levels"]]
    total = sum(one["steps"] * area for one, area in zip(facts["levels"], areas, strict=True))
    done = sum(one["steps_done"] * area for one, area in zip(facts["levels"], areas, strict=True))
    return (done / total if total else 0.0), float(facts["seconds"])


def has_store(url: str) -> bool:
    """Whether a job's store is there, which may go with its job; what else may be there is somebody's."""
    try:
        return RenderStore.exists(url)
    except StoreError:
        return False
