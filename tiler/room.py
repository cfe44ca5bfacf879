"""Whether what a plan needs is there: disk and memory that are free now."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from tiler.config import RenderConfig
from tiler.engine.job import Job
from tiler.engine.probe import folder_above
from tiler.engine.schedule import memory_bytes
from tiler.errors import ResourceError
from tiler.identity import ADVICE
from tiler.plan import CLIENT_BYTES, Plan, plan_job

_SMALLEST_TILE = 64


def check_room(plan: Plan, config: RenderConfig, job: Job, url: str, begun: bool = False) -> None:
    """Raise ResourceError when the disk or the memory that is free now cannot hold what the plan needs.

    begun: the job is in the store already, and how it is cut is settled.
    """
    if job.device == "cpu" or torch.cuda.is_available():
        _check_memory(plan, config, job, begun)
    elif not config.scheduler:
        raise ResourceError(
            f"store {url}: was begun on a GPU, and torch finds none here; resume it where there is one, repeat tiler "
            f"render with --scheduler for workers that have one, {ADVICE}"
        )
    left = plan.kept_bytes + plan.output_bytes
    for place, need, what in (
        (url, max(plan.store_bytes, left if _one_disk(url, config.target) else 0), "--store"),
        (config.target, plan.output_bytes, "-o" if config.output else "--tiles"),
    ):
        free = free_disk(place)
        if free is not None and need > free + _held_bytes(place):
            raise ResourceError(
                f"{what} {place}: needs about {_size(need)} of disk and {_size(free)} are free; "
                f"free {_size(need - free)} more, or choose another place"
            )


def _check_memory(plan: Plan, config: RenderConfig, job: Job, begun: bool) -> None:
    need, free = _needed_memory(plan), _free_memory(job)
    if need <= free:
        return
    tile = None if begun else _tile_that_fits(config, job, free)
    if tile:
        would_do = f"--tile {tile} would do"
    elif begun:
        fewer = "repeat tiler render with fewer --workers, " if plan.workers > 1 else ""
        would_do = f"free {_size(need - free)} more, {fewer}resume where there is more, {ADVICE}"
    else:
        would_do = f"allowed: {'fewer --workers, or ' if plan.workers > 1 else ''}a machine with more"
    said = f"{_size(need)} of memory and {_size(free)} are free"
    raise ResourceError(f"tile = {job.tile}, workers = {plan.workers}: need about {said}; {would_do}")


def _tile_that_fits(config: RenderConfig, job: Job, free: int) -> int | None:
    tile = job.tile // 2 // job.align * job.align
    while tile >= _SMALLEST_TILE:
        if _needed_memory(plan_job(config, replace(job, tile=tile))) <= free:
            return tile
        tile = tile // 2 // job.align * job.align
    return None


def _needed_memory(plan: Plan) -> int:
    """On top of what this process has already."""
    return plan.gpu_bytes or plan.memory_bytes - int(CLIENT_BYTES)


def _free_memory(job: Job) -> int:
    return int(torch.cuda.mem_get_info()[0]) if job.device == "cuda" else memory_bytes()


def free_disk(place: str) -> int | None:
    """Bytes free where `place` lies or will lie; None for an address that is no folder here."""
    folder = folder_above(place)
    return None if folder is None else shutil.disk_usage(folder).free


def _one_disk(url: str, output: str) -> bool:
    devices = [folder and folder.stat().st_dev for folder in (folder_above(url), folder_above(output))]
    return devices[0] == devices[1]


def _held_bytes(place: str) -> int:
    """What a job that was begun holds already."""
    files = Path(place).rglob("*") if Path(place).is_dir() else ()
    return sum(file.stat().st_blocks * 512 for file in files)


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{math.ceil(size / 1e6)} MB"
