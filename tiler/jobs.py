"""What is asked for, checked before anything is written, and the job that a store has of it, begun or new."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tiler.engine import place
from tiler.engine.contents import COLOURS
from tiler.engine.home import Home, homes_of
from tiler.engine.job import Job
from tiler.engine.lineage import Lineage
from tiler.engine.machine import Machine, difference, joined
from tiler.engine.store import RenderStore
from tiler.errors import RenderError, StoreError
from tiler.output import export
from tiler.request import guiding, identity
from tiler.request.asked import Asked
from tiler.request.config import RenderConfig
from tiler.request.given import dropped
from tiler.request.places import pictures_of
from tiler.version import __version__

Progress = Callable[[dict[str, Any]], None]
# Characters of a difference: a store's values may be of any length.
_SAID = 200
MOVED = "it did not fit where it was planned"


@dataclass(frozen=True)
class Request:
    """What is asked for, and where. url: of the store. inputs: see `identity.inputs`."""

    asked: Asked
    url: str
    inputs: dict[str, str]

    @property
    def seen(self) -> dict[str, Any]:
        """See `identity.seen`."""
        layout = self.asked.sources.layout
        return identity.seen(self.asked.config, self.inputs, (*layout.origin, layout.height, layout.width))

    @classmethod
    def of(cls, config: RenderConfig) -> Request:
        """Raises TilerError for whatever is wrong on any machine."""
        asked = Asked.of(config)
        try:
            return cls._of(asked)
        except BaseException:
            dropped(asked.landed)
            raise

    @classmethod
    def _of(cls, asked: Asked) -> Request:
        url = export.check_written(asked)
        return cls(asked, url, identity.inputs(asked.config))


@dataclass(frozen=True)
class Found:
    """store: None where there is none, or what it holds is of no interest. job: of it, to go on with; None where one is
    to be begun. run: the number of this run. remarks: what the user should know of the pictures. other: what tells the
    store's job, which is finished, from the one that takes its place."""

    store: RenderStore | None
    job: Job | None
    run: str
    remarks: list[str]
    other: Sequence[str] = ()


def find(request: Request, force_new: bool, replace_finished: bool = True) -> Found:
    """The job that was begun, if it is what is asked for; else the pictures are decoded once. replace_finished:
    whether a job that is finished makes way for another. Raises StoreError."""
    url, config, run = request.url, request.asked.config, uuid.uuid4().hex
    if force_new or not RenderStore.exists(url):
        return Found(None, None, run, _remarks(request))
    store = RenderStore.open(url)
    identity.check_version(url, store.attributes)
    job, meant = identity.load_job(store), request.asked.job
    other = [
        *identity.differences(store.attributes, config, request.inputs),
        *identity.other_weights(job, meant),
    ]
    if other and replace_finished and _finished(store, job):
        return Found(store, None, run, _remarks(request), other)
    identity.refuse(url, other)
    identity.refuse_retouch(url, job)
    job = _with_weights(job, config)
    identity.check_job(url, job, meant)
    asked = identity.stored_places(store.attributes, config, url)
    store.update(job=job.to_dict(), asked=asked, run=run)  # files may have been moved since
    store.clear()
    return Found(store, job, run, request.asked.notes)


def read_before(url: str) -> list[str]:
    """The files of all pictures that the job in a store reads; none where there is no job, or it cannot be read."""
    with contextlib.suppress(StoreError):
        if RenderStore.exists(url):
            return pictures_of(identity.load_config(RenderStore.open(url, writable=False), "asked"))
    return []


def _remarks(request: Request) -> list[str]:
    """On the pictures of a job that is to be begun, each decoded once."""
    return request.asked.notes + guiding.check_pixels(request.asked.config, request.asked.sources.opened)


def _finished(store: RenderStore, job: Job) -> bool:
    """Whether nothing is left to do: its poster was written too."""
    levels = range(len(job.cut.levels))
    return "wrote" in store.attributes and all(store.level_report(level) is not None for level in levels)


def begin(
    request: Request, found: Found, resolved: RenderConfig, job: Job, machine: Machine, overwrite: bool
) -> tuple[RenderStore, Job, str]:
    """A store for a new job, the job as it is there, and what became of the one before. resolved: the configuration
    with every None replaced."""
    config, url = request.asked.config, request.url
    job = _with_weights(job, config)
    computing = machine.facts(job.device.kind)
    facts = {
        "place": export.place(request.asked.sources.layout) if config.content else {},
        "config": identity.travels(resolved),
        "asked": identity.kept(config, url),
        "inputs": request.inputs,
        "version": __version__,
        "run": found.run,
        "machine": computing,
        "job": job.to_dict(),
    }
    said = ""
    if found.store is None:
        store = RenderStore.create(url, facts, overwrite=overwrite)
    else:
        store = found.store
        kept = Lineage(request.seen, lambda: computing).shared(job, store)
        said = _replaced(found, kept, len(job.cut.levels))
        store.succeed({**facts, **_of_levels(store, kept)}, kept)
        store = store.for_job(job)
    store.hold_to(job)
    return store, job, said


def _of_levels(store: RenderStore, kept: int) -> dict[str, Any]:
    """What a store's job has come to in its first levels, beside their images."""
    seconds = sum((store.level_report(level) or {}).get("seconds", 0.0) for level in range(kept))
    colours = {COLOURS: store.attributes[COLOURS]} if kept and COLOURS in store.attributes else {}  # of the coarsest
    return {"seconds": seconds, "homes": [asdict(home) for home in homes_of(store)[:kept]], **colours}


def _replaced(found: Found, kept: int, levels: int) -> str:
    assert found.store is not None
    taken = f"{kept} of {levels} levels {'is' if kept == 1 else 'are'} the same and taken over"
    other = "; ".join(one[:_SAID] for one in found.other)
    return f"store {found.store.url}: a finished job makes way for this one: {other}; {taken}"


def _with_weights(job: Job, config: RenderConfig) -> Job:
    """The same with the weights where they are now."""
    return replace(job, network=replace(job.network, weights=identity.located(config).weights))


class ComputedOn:
    """Facts of the machines that computed a job's parts: those that its store knows, and this one, which may change."""

    def __init__(self, store: RenderStore, facts: dict[str, str], progress: Progress) -> None:
        self._before, self._now, self._progress = identity.table(store.attributes, "machine"), facts, progress
        store.update(machine=self.all)  # however this run ends

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
