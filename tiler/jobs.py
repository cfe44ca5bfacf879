"""What is asked for, checked before anything is written, and the job that a store has of it, begun or new."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tiler import pictures
from tiler.engine import place
from tiler.engine.job import Job
from tiler.engine.machine import Machine, difference, joined
from tiler.engine.store import RenderStore
from tiler.errors import RenderError
from tiler.output import export
from tiler.planning.probe import folder_above
from tiler.request import guiding, identity
from tiler.request.config import RenderConfig
from tiler.request.places import check_places, pictures_of
from tiler.request.resolve import fitted, meant, settle_size, store_url
from tiler.style.weights import Trunk, trunk_of
from tiler.version import __version__

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Request:
    """What is asked for, in itself right. config: with the size in pixels. layout: the content; without one, the
    picture that gives the poster its shape. meant: the job as some machine would have it. url: of the store. inputs:
    see `identity.inputs`."""

    config: RenderConfig
    opened: guiding.Opened
    layout: pictures.Picture
    styles: list[pictures.Picture]
    trunk: Trunk
    settled: RenderConfig
    meant: Job
    url: str
    inputs: dict[str, str]

    @classmethod
    def of(cls, config: RenderConfig) -> Request:
        """Open the pictures and read the weights. Raises TilerError for whatever is wrong on any machine."""
        # Beside the store, which takes more room than their pixels.
        folder = folder_above(config.store or config.target) or Path(tempfile.gettempdir())
        opened = guiding.opened_by(config, pictures_of(config), folder)
        styles = [pictures.as_style(opened[source.picture]) for source in config.regions.sources]
        shape = opened.get(config.content or config.init)
        config = settle_size(config, shape or styles[0])
        layout = fitted(config, shape) if shape else styles[0]
        guiding.check_guides(config, layout, opened)
        trunk = trunk_of(config.weights)
        settled, job = meant(config, layout, styles, trunk)
        size = job.cut.last
        georef = export.georef_of(config, layout, size.height, size.width)
        export.check_files(config, size.height, size.width, opened.get(config.overlay or ""), georef)
        url = store_url(config)
        check_places(config, url, opened)
        return cls(config, opened, layout, styles, trunk, settled, job, url, identity.inputs(config))

    @property
    def has_alpha(self) -> bool:
        """Whether the content's transparency is kept beside every level."""
        return self.config.content is not None and self.layout.has_alpha


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
    url, config, run = request.url, request.config, uuid.uuid4().hex
    remarks = list(guiding.picture_notes(config, request.opened, request.styles))
    if force_new or not RenderStore.exists(url):
        return Found(None, None, run, remarks + guiding.check_pixels(config, request.opened))
    store = RenderStore.open(url)
    identity.check_same(url, store.attributes, config, request.inputs)
    job = _with_weights(identity.load_job(store), config)
    identity.check_job(url, job, request.meant)
    asked = identity.stored_places(store.attributes, config, url)
    store.update(job=job.to_dict(), asked=asked, run=run)  # files may have been moved since
    return Found(store, job, run, remarks)


def begin(
    request: Request, run: str, resolved: RenderConfig, job: Job, machine: Machine, overwrite: bool
) -> tuple[RenderStore, Job]:
    """A store for a new job, and the job as it is there. resolved: the configuration with every None replaced."""
    config, url = request.config, request.url
    facts = {
        "place": export.place(request.layout) if config.content else {},
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
