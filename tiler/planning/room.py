"""Whether what a plan needs is there: disk and memory that are free now."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tiler.engine.host import memory_bytes
from tiler.engine.job import Job
from tiler.engine.machine import ANY, Machine
from tiler.engine.place import folder_above
from tiler.errors import ResourceError
from tiler.planning.plan import CLIENT_BYTES, Plan, plan_job
from tiler.planning.words import size
from tiler.request.config import RenderConfig
from tiler.request.identity import ADVICE

_SMALLEST_TILE = 64


def check_room(
    plan: Plan, config: RenderConfig, job: Job, url: str, begun: bool = False, machine: Machine = ANY
) -> None:
    """Raise ResourceError when the disk, or the memory of the machine that computes, cannot hold what the plan needs.

    begun: the job is in the store already, and how it is cut is settled.
    """
    if job.device.kind == "cuda" and not machine.gpus:
        raise ResourceError(
            f"store {url}: was begun on a GPU, and torch finds none here; resume it where there is one, repeat tiler "
            f"render with --scheduler for workers that have one, {ADVICE}"
        )
    _check_memory(plan, config, job, begun, machine)
    check_disk(plan, config, url)


def check_disk(plan: Plan, config: RenderConfig, url: str) -> None:
    """Raise ResourceError when what a plan writes does not fit where it goes. url: of the store.

    At first a disk holds the store with all that it has for a while; in the end what it keeps, and the files, which are
    written beside those that they replace.
    """
    poster = plan.output_bytes - plan.tiles_bytes + plan.spare_bytes
    disks: dict[int, list[tuple[str, str, int]]] = {}
    for option, place, need in (
        ("--store", url, plan.kept_bytes), ("-o", config.output, poster), ("--tiles", config.tiles, plan.tiles_bytes)
    ):  # fmt: skip
        folder = folder_above(place) if place else None
        if folder is not None:
            disks.setdefault(folder.stat().st_dev, []).append((option, str(place), need))
    for parts in disks.values():
        option, place, _ = parts[0]
        need, free = sum(each for *_, each in parts), free_disk(place) or 0
        if option == "--store":
            need = max(need, plan.store_bytes)
            free += _held_bytes(place) if need > free else 0
        if need > free:
            raise ResourceError(
                f"{option} {place}: needs about {size(need)} of disk, {size(need - free)} more than are free; "
                "free that, or choose another place"
            )


@dataclass(frozen=True)
class _Memory:
    """A memory that is needed and one that is there, in bytes."""

    what: str
    need: int
    free: int


def _memories(plan: Plan, config: RenderConfig, machine: Machine) -> list[_Memory]:
    """Every memory that may be short: of the computers that workers run on, of the one that writes the poster where it
    is another, and of GPUs."""
    # On top of what this process has already.
    client = plan.memory_bytes - int(CLIENT_BYTES)
    if config.scheduler:
        workers = _Memory(
            "memory on a worker's machine", machine.host.workers * plan.worker_bytes, machine.host.free_bytes
        )
        found = [workers, _Memory("memory here", client, memory_bytes())]
    else:
        found = [_Memory("memory", client, machine.host.free_bytes)]
    return [*found, _Memory("GPU memory", plan.gpu_bytes, machine.gpus.free_bytes)] if machine.gpus else found


def _shortest(plan: Plan, config: RenderConfig, machine: Machine) -> _Memory:
    return max(_memories(plan, config, machine), key=lambda one: one.need - one.free)


def _check_memory(plan: Plan, config: RenderConfig, job: Job, begun: bool, machine: Machine) -> None:
    short = _shortest(plan, config, machine)
    if short.need <= short.free:
        return
    more, fewer = size(short.need - short.free), "" if plan.workers == 1 or config.scheduler else "fewer --workers, "
    tile = None if begun else _tile_that_fits(config, job, machine)
    if tile:
        would_do = f"--tile {tile} would do"
    elif begun:
        repeat = f"repeat tiler render with {fewer}" if fewer else ""
        would_do = f"free {more} more, {repeat}resume where there is more, {ADVICE}"
    else:
        would_do = f"allowed: {fewer.replace(',', ', or')}a machine with more"
    said = f"{size(short.need)} of {short.what} and {size(short.free)} are free"
    raise ResourceError(f"tile = {job.cut.tile}, workers = {plan.workers}: need about {said}; {would_do}")


def _tile_that_fits(config: RenderConfig, job: Job, machine: Machine) -> int | None:
    tile = job.cut.tile // 2 // job.cut.align * job.cut.align
    while tile >= _SMALLEST_TILE:
        short = _shortest(plan_job(config, job.with_tile(tile), machine=machine), config, machine)
        if short.need <= short.free:
            return tile
        tile = tile // 2 // job.cut.align * job.cut.align
    return None


def free_disk(place: str) -> int | None:
    """Bytes free where `place` lies or will lie; None for an address that is no folder here."""
    folder = folder_above(place)
    return None if folder is None else shutil.disk_usage(folder).free


def _held_bytes(place: str) -> int:
    """What a job that was begun holds already."""
    files = Path(place).rglob("*") if Path(place).is_dir() else ()
    return sum(file.stat().st_blocks * 512 for file in files)
