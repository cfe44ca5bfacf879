"""What is asked for, checked before anything is written, and the job that a store has of it, begun or new."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tiler.engine import place
from tiler.engine.job import Job
from tiler.engine.machine import Machine, difference, joined
from tiler.engine.state import Home, homes_of
from tiler.engine.store import RenderStore
from tiler.errors import RenderError
from tiler.output import export
from tiler.request import guiding, identity
from tiler.request.asked import Asked
from tiler.request.config import RenderConfig
from tiler.request.places import check_places
from tiler.request.resolve import store_url
from tiler.version import __version__

Progress = Callable[[dict[str, Any]], None]
MOVED = "it did not fit where it was planned"


@dataclass(frozen=True)
class Request:
    """What is asked for, and where. url: of the store. inputs: see `identity.inputs`."""

    asked: Asked
    url: str
    inputs: dict[str, str]

    @classmethod
    def of(cls, config: RenderConfig) -> Request:
        """Raises TilerError for whatever is wrong on any machine."""
        asked = Asked.of(config)
        config, sources, size = asked.config, asked.sources, asked.job.cut.last
        georef = export.georef_of(config, sources.layout, size.height, size.width)
        export.check_files(config, size.height, size.width, asked.overlay, georef)
        url = store_url(config)
        check_places(config, url, sources.opened)
        return cls(asked, url, identity.inputs(config))


@dataclass(frozen=True)
class Found:
    """store, job: None where none was begun, or it is to be begun anew. run: the number of this run. remarks: what the
    user should know of the pictures."""

    store: RenderStore | None
    job: Job | None
    run: str
    remarks: list[str]


def find(request: Request, force_new: bool) -> Found:
    """The job that was begun, if it is what is asked for; else the pictures are decoded once. Raises StoreError."""
    url, config, run = request.url, request.asked.config, uuid.uuid4().hex
    remarks = request.asked.notes
    if force_new or not RenderStore.exists(url):
        return Found(None, None, run, remarks + guiding.check_pixels(config, request.asked.sources.opened))
    store = RenderStore.open(url)
    identity.check_same(url, store.attributes, config, request.inputs)
    job = _with_weights(identity.load_job(store), config)
    identity.check_job(url, job, request.asked.job)
    asked = identity.stored_places(store.attributes, config, url)
    store.update(job=job.to_dict(), asked=asked, run=run)  # files may have been moved since
    return Found(store, job, run, remarks)


def begin(
    request: Request, run: str, resolved: RenderConfig, job: Job, machine: Machine, overwrite: bool
) -> tuple[RenderStore, Job]:
    """A store for a new job, and the job as it is there. resolved: the configuration with every None replaced."""
    config, url = request.asked.config, request.url
    facts = {
        "place": export.place(request.asked.sources.layout) if config.content else {},
        "config": identity.travels(resolved),
        "asked": identity.kept(config, url),
        "inputs": request.inputs,
        "version": __version__,
        "run": run,
        "machine": machine.facts(job.device.kind),
    }
    job = _with_weights(job, config)
    store = RenderStore.create(url, {"job": job.to_dict(), **facts}, overwrite=overwrite)
    store.hold_to(job)
    return store, job


def _with_weights(job: Job, config: RenderConfig) -> Job:
    """The same with the weights where they are now."""
    return replace(job, network=replace(job.network, weights=identity.located(config).weights))


class ComputedOn:
    """Facts of the machines that computed a job's parts: those that its store knows, and this one, which may change."""

    def __init__(self, store: RenderStore, facts: dict[str, str], progress: Progress) -> None:
        self._before, self._now, self._progress = identity.table(store.attributes, "machine"), facts, progress

    def tell(self, event: dict[str, Any]) -> None:
        """Pass an event on, and remember what it says of the machine."""
        if event["event"] == "kernels":
            self._now = {**self._now, "kernels": event["kernels"]}
        self._progress(event)

    @property
    def difference(self) -> str:
        return difference(self._before, self._now)

    @property
    def all(self) -> dict[str, str]:
        return joined(self._before, self._now)


class Homes:
    """Where each level's state lives, which its store tells. A finished level's is where it was."""

    def __init__(self, store: RenderStore, planned: Sequence[Home], progress: Progress) -> None:
        before = homes_of(store)
        kept = [level < len(before) and store.level_report(level) is not None for level in range(len(planned))]
        self._store, self._progress = store, progress
        self._all = [before[level] if kept[level] else home for level, home in enumerate(planned)]
        store.update(homes=[asdict(home) for home in self._all])

    def tell(self, event: dict[str, Any]) -> None:
        """Pass an event on, and remember where it says that a level's state has moved to."""
        if event["event"] == "note" and "home" in event:
            self._all[event["level"]] = Home(event["home"], MOVED)
            self._store.update(homes=[asdict(home) for home in self._all])
        self._progress(event)


@contextlib.contextmanager
def disk_errors(url: str) -> Iterator[None]:
    """One line for a disk or an object store that fails."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not place.is_remote_error(error):
            raise
        where, why = getattr(error, "filename", None) or url, getattr(error, "strerror", None)
        raise RenderError(f"{where}: {why or place.first_line(error)}; what is finished is kept in {url}") from error
