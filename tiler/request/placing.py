"""What the machine that computes decides of a job: device, precision, workers, threads, and the largest tiles."""

from __future__ import annotations

import math
import uuid
from dataclasses import replace

from tiler.engine.job import Device, Job
from tiler.engine.machine import Machine
from tiler.errors import ConfigError
from tiler.request.config import RenderConfig

# On a GPU halos count more, since whatever is small there takes as long: 1.13 of the pixels are read, and 1.27 at 1024.
LARGEST_TILE = {"cpu": 1024, "cuda": 2048, "mps": 1024}
# Peak memory of a step per pixel of the read area: activations kept for the backward pass and the working memory of
# the widest convolutions. Measured at 1024 px: 2540 in fp32, 1370 in bf16.
BYTES_PER_PIXEL = {"fp64": 5400, "fp32": 2700, "bf16": 1450, "fp16": 1450}
# A CPU's convolutions in fp64 unfold what they read: up to 24000 were measured at 512 px.
UNFOLDED = 21000
MEMORY_SHARE = 0.6


def bytes_per_pixel(device: Device) -> int:
    """Of what a tile reads, at a step's peak."""
    unfolds = device.kind == "cpu" and device.precision == "fp64"
    return UNFOLDED if unfolds else BYTES_PER_PIXEL[device.precision]


def placed(config: RenderConfig, job: Job, machine: Machine) -> tuple[RenderConfig, Job]:
    """What `meant` told, with what the machine decides. machine: what its workers told. Raises ConfigError when values
    do not fit it."""
    kind = _device(config, machine)
    workers = _workers(config, kind, machine)
    threads = config.threads or max(1, machine.host.cores // sharing_host(config, workers, machine))
    precision = ("bf16" if kind in machine.bf16 else "fp32") if config.precision == "auto" else config.precision
    job = replace(job, id=uuid.uuid4().hex, device=Device(kind, precision, threads))
    tile = config.tile or _tile(config, job, workers, machine)
    job = checked(job.with_tile(aligned(tile, job.cut.align)))
    cut = job.cut
    resolved = replace(
        config,
        steps=tuple(level.steps for level in cut.levels),
        levels=len(cut.levels),
        calm=config.calm or 0.0,
        style_blend_weights=config.style_shares,
        precision=precision,
        device=kind,
        workers=workers,
        threads=threads,
        steps_per_round=cut.steps_per_round,
        tile=tile,
        feather=cut.feather,
        halo=cut.halo,
    )
    return resolved, job


def _device(config: RenderConfig, machine: Machine) -> str:
    if config.device == "cuda" and not machine.gpus:
        found = f"not every worker at {config.scheduler} has a" if config.scheduler else "torch finds no"
        raise ConfigError(f"device = cuda, but {found} CUDA GPU; allowed: auto, cpu")
    if config.device == "mps" and not machine.mps:
        raise ConfigError("device = mps, but torch finds no Apple GPU; allowed: auto, cpu")
    if config.device == "mps" and config.precision == "fp64":
        raise ConfigError("precision = fp64: an Apple GPU has none; allowed with device mps: auto, fp32, bf16, fp16")
    return machine.device if config.device == "auto" else config.device


def _workers(config: RenderConfig, device: str, machine: Machine) -> int:
    """A cluster has those that it has; here it is one for each GPU."""
    if config.scheduler:
        return machine.workers
    return config.workers or (machine.gpus.count if device == "cuda" and machine.gpus else 1)


def sharing_host(config: RenderConfig, workers: int, machine: Machine) -> int:
    """How many workers share the memory and the cores of one computer."""
    return machine.host.workers if config.scheduler else workers


def sharing_gpu(config: RenderConfig, workers: int, machine: Machine) -> int:
    """How many workers share one GPU."""
    gpus = machine.gpus
    if gpus is None:
        return 1
    return gpus.workers if config.scheduler else -(-workers // gpus.count)


def _tile(config: RenderConfig, job: Job, workers: int, machine: Machine) -> int:
    """The largest power of two up to LARGEST_TILE that one worker can hold as a tile's core.

    Neither the number of workers comes in nor what is free just now, since they must not change the picture; they must
    all fit, though.
    """
    gpus = machine.gpus if job.device.kind == "cuda" else None
    there = gpus.total_bytes if gpus else machine.host.total_bytes
    together = sharing_gpu(config, workers, machine) if gpus else sharing_host(config, workers, machine)
    budget, each_pixel = there * MEMORY_SHARE, bytes_per_pixel(job.device)
    margin, edge = job.cut.halo + job.cut.feather, max(job.cut.last.height, job.cut.last.width)
    side = math.isqrt(int(budget / each_pixel)) - 2 * margin
    tile = max(job.cut.align, min(LARGEST_TILE[job.device.kind], 2 ** int(math.log2(max(side, 64)))))
    need = (min(tile, edge) + 2 * margin) ** 2 * each_pixel
    if together > 1 and need * together > budget:
        most = max(1, int(budget / need)) * (gpus.count if gpus else 1)
        each = " on each GPU" if gpus else ""
        raise ConfigError(
            f"workers = {workers} need {need * together / 1e9:.1f} GB{each} for tiles of {tile} px, and "
            f"there are {there / 1e9:.1f} GB; allowed: up to {most}, or a smaller --tile"
        )
    return tile


def aligned(tile: int, align: int) -> int:
    """The largest size of tiles up to this one that their cells allow."""
    return max(align, tile // align * align)


def checked(job: Job) -> Job:
    """The same. Raises ConfigError where it does not hold together."""
    try:
        job.check()
    except ValueError as error:
        raise ConfigError(f"tile = {job.cut.tile}: {error}") from None
    return job
