"""From what is asked for to a poster: checks first, then workers, then the levels."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tiler import pictures
from tiler.engine import place
from tiler.engine.asking import ask
from tiler.engine.home import Home
from tiler.engine.host import cores
from tiler.engine.job import Job
from tiler.engine.lease import Lease
from tiler.engine.lineage import Lineage
from tiler.engine.lock import Hold, sole_writer
from tiler.engine.machine import Machine
from tiler.engine.schedule import Pool
from tiler.engine.store import RenderStore
from tiler.errors import CancelledError, ConfigError, StoreError
from tiler.jobs import ComputedOn, Found, Homes, Progress, Request, begin, disk_errors, find, read_before
from tiler.levels import Levels
from tiler.planning.bar import heard
from tiler.planning.plan import plan_job
from tiler.planning.room import check_disk, check_room
from tiler.request.asked import Asked
from tiler.request.config import RenderConfig
from tiler.request.given import dropped, tidy
from tiler.request.places import pictures_of

# Seconds between two looks whether a render is still wanted.
GLANCE = 0.1
# Of a poster in a notebook, in pixels.
_SHOWN_EDGE = 1024


@dataclass(frozen=True)
class Result:
    """output: the poster's path. store: the job's store. loss: of the finest level. seconds: of this call."""

    output: str
    store: str
    height: int
    width: int
    loss: float
    seconds: float

    def _repr_png_(self) -> bytes | None:
        """As a notebook shows it, made small; nothing of a poster that is a folder."""
        return None if Path(self.output).is_dir() else pictures.shown_small(self.output, _SHOWN_EDGE)


def render(
    config: RenderConfig,
    progress: Progress | bool | None = None,
    force_new: bool = False,
    replace_finished: bool = True,
    pool: Pool | None = None,
    hold: Hold | Lease | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Result:
    """Render a poster, or go on with one that was begun with the same configuration.

    Where the store holds another job that is finished, this one takes its place, and with it those levels that are the
    same: a preview is the beginning of its poster. An unfinished one is refused. replace_finished: False has a finished
    one refused too. force_new: whatever job is there is deleted. pool: workers that are there already, and stay.
    hold: the right to write to the store (`sole_writer`), where the caller has it already. cancelled: called several
    times a second, on any thread; once it is true, CancelledError is raised as soon as a step ends. The workers of
    `pool` are free again then, and the same call without it goes on where this one stopped.

    progress(event) is called with small dicts, in order and on the calling thread or a thread of the scheduler's; see
    tiler/cli/progress.py for the kinds. True: a bar, drawn by tqdm. Raises TilerError and its subclasses
    (tiler.errors); finished work stays in the store. In a script, call this under `if __name__ == "__main__":`, since
    workers are processes of their own.
    """
    if cancelled is not None and not callable(cancelled):
        raise ConfigError(f"cancelled = {cancelled!r}; allowed: a function without arguments, or None")
    with heard(progress) as tell:
        return _render(config, tell, force_new, replace_finished, pool, hold, cancelled)


def _render(
    config: RenderConfig,
    progress: Progress,
    force_new: bool,
    replace_finished: bool,
    pool: Pool | None,
    hold: Hold | Lease | None,
    cancelled: Callable[[], bool] | None,
) -> Result:
    began = time.monotonic()
    request = Request.of(config)
    asked, url = request.asked, request.url
    shown, transparent = asked.job.cut.shown, asked.sources.transparent
    RenderStore.exists(url)  # raises where something else is, which not even a lock may be written into
    with contextlib.nullcontext(hold) if hold else sole_writer(url) as held, disk_errors(url):
        read = read_before(url)
        found = _found(request, force_new, replace_finished)
        config, begun = asked.config, found.job
        # With the largest tiles, hence the least disk: what is short now is short on any machine.
        beside = asked.sources.kept_bytes
        check_disk(plan_job(config, begun or asked.job, transparent, pictures_bytes=beside), config, url)
        threads = begun.device.threads if begun else config.threads or max(1, cores() // (config.workers or 1))
        with contextlib.nullcontext(pool) if pool else Pool(config.scheduler, config.workers or 1, threads) as pool:
            resolved, job, machine = settled(asked, pool)
            job = begun or job
            planned = plan_job(resolved, job, transparent, None, machine, beside)
            check_room(planned, config, job, url, begun is not None, machine)
            store, replaced = found.store, ""
            check = checked(held.check, cancelled)
            if store is not None:
                store.guard(check)
            if store is None or begun is None:
                store, job, replaced = begin(request, found, resolved, job, machine, force_new)
                tidy(read, pictures_of(config))
            store.guard(check)
            computed_on = ComputedOn(store, machine.facts(job.device.kind), progress)
            homes = Homes(store, [Home(level.home, level.why) for level in planned.levels], computed_on.tell)
            where = tuple(level.home for level in planned.levels)
            lineage = Lineage(request.seen, lambda: computed_on.all)
            run = Levels(resolved, job, store, pool, homes.tell, asked.sources, where, lineage)
            progress({"event": "plan", **planned.to_dict()})
            said = (
                planned.part, *held.notes, replaced, computed_on.difference, machine.trouble(job.device.kind),
                *found.remarks,
            )  # fmt: skip
            for text in filter(None, said):
                progress({"event": "note", "text": text})
            try:
                loss = carried_out(run, store, pool, held.check, cancelled)
            finally:
                seconds = time.monotonic() - began
                with contextlib.suppress(StoreError), place.remote_errors(url):  # a full disk, or the store is gone
                    store.update(seconds=store.seconds + seconds, machine=computed_on.all)
    return Result(config.target, url, shown.height, shown.width, loss, seconds)


def _found(request: Request, force_new: bool, replace_finished: bool) -> Found:
    """See `find`. Nothing is left of a request that is refused."""
    try:
        return find(request, force_new, replace_finished)
    except BaseException:
        dropped(request.asked.landed)
        raise


def checked(held: Callable[[], None], cancelled: Callable[[], bool] | None) -> Callable[[], None]:
    """A check that raises what the holder's own does, and CancelledError once nobody wants the render any more."""

    def check() -> None:
        held()
        if cancelled is not None and cancelled():
            raise CancelledError("the render was cancelled; what is finished is kept in its store")

    return check


def carried_out(
    run: Levels, store: RenderStore, pool: Pool, held: Callable[[], None], cancelled: Callable[[], bool] | None
) -> float:
    """Render all levels and write the poster; returns the loss of the finest. Whatever ends it, the store is asked for
    by its holder alone from then on, and after CancelledError the workers are free."""
    run.glance = GLANCE if cancelled else run.glance
    try:
        run.run()
        return run.write_poster()
    except CancelledError:
        pool.stop()
        raise
    finally:
        store.guard(held)


def settled(asked: Asked, pool: Pool) -> tuple[RenderConfig, Job, Machine]:
    """The configuration with every None replaced, the job that it means on the workers' machine, and that machine once
    there are as many workers as it is to have."""
    machine = ask(pool)
    resolved, job = asked.on(machine)
    if (resolved.workers or 1) > machine.workers:
        pool.grow(resolved.workers or 1)
        machine = ask(pool)
    return resolved, job, machine
