"""What a render would take on this machine, timed on a few tiles: `tiler plan`."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from tiler.engine.asking import ask
from tiler.engine.host import cores
from tiler.engine.job import Job
from tiler.engine.machine import Machine
from tiler.engine.schedule import Pool
from tiler.engine.store import RenderStore
from tiler.errors import ResourceError
from tiler.output.export import check_written, remarks
from tiler.planning.plan import Plan, plan_job
from tiler.planning.room import check_room
from tiler.request.asked import Asked
from tiler.request.config import RenderConfig
from tiler.request.given import dropped
from tiler.request.resolve import notes as met_in_part
from tiler.request.schedules import QUALITIES, steps_of


def plan(config: RenderConfig, notes: list[str] | None = None, pool: Pool | None = None) -> Plan:
    """What `render(config)` would take on this machine, timed on a few tiles; nothing is left behind.

    notes: gets a line for each thing that the user should know of how the pictures are read, of wishes that are met in
    part, and of a job that is there already. pool: workers that are there already, and stay; the time that workers take
    to start is then left out. Raises TilerError as `render` does for what is wrong with the options, with where the
    poster goes, or with the pictures; neither are all of their pixels read, nor is a job that is there compared.
    """
    asked = Asked.of(config)
    try:
        return _measured(asked, config, notes, pool)
    finally:
        dropped(asked.landed)


def _measured(asked: Asked, config: RenderConfig, notes: list[str] | None, pool: Pool | None) -> Plan:
    from tiler.planning.probe import probe  # torch, which nothing else here needs

    url, shown = check_written(asked), asked.job.cut.shown
    began = time.perf_counter()
    with contextlib.nullcontext(pool) if pool else Pool(config.scheduler, 1, config.threads or cores()) as pool:
        start = time.perf_counter() - began
        machine = ask(pool)
        resolved, job = asked.on(machine)
        speed = probe(pool, job, start, url)
    if notes is not None:
        notes.extend(asked.notes + met_in_part(resolved, job, asked.sources.layout, asked.sources.styles))
        notes.extend(remarks(resolved, shown.height, shown.width, asked.overlay, asked.sources.transparent))
        if RenderStore.exists(url):
            notes.append(f"store {url}: holds a job; what it has done already is in these figures, as if it were to do")

    def planned(job: Job) -> Plan:
        return plan_job(resolved, job, asked.sources.transparent, speed, machine, asked.sources.kept_bytes)

    decided = config.steps is not None or config.transfer == "color"
    each = {} if decided else {name: planned(_of_quality(job, name)).seconds for name in QUALITIES}
    qualities, found = {name: seconds or 0.0 for name, seconds in each.items()}, planned(job)
    return replace(found, qualities=qualities, refusal=_refusal(found, resolved, job, url, machine))


def _of_quality(job: Job, quality: str) -> Job:
    levels = [replace(one, steps=steps_of(quality, one.height, one.width)) for one in job.cut.levels]
    return replace(job, cut=replace(job.cut, levels=tuple(levels)))


def _refusal(plan: Plan, config: RenderConfig, job: Job, url: str, machine: Machine) -> str:
    try:
        check_room(plan, config, job, url, machine=machine)
    except ResourceError as error:
        return str(error)
    return ""
