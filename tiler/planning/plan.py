"""What a render will take, known before it begins: arithmetic on the job, and on the speed of this machine if known."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tiler.engine import layout, stages
from tiler.engine.home import INPUTS_BYTES, STORE, Home
from tiler.engine.job import Job
from tiler.engine.machine import ANY, CONTEXT_BYTES, Machine
from tiler.planning.disk import level_bytes, output_bytes, spare_bytes, store_bytes, tiles_bytes
from tiler.planning.homes import ITEM_BYTES, held_bytes, homes, inputs_bytes
from tiler.planning.speed import Speed
from tiler.planning.words import size
from tiler.request.config import RenderConfig
from tiler.request.placing import bytes_per_pixel, sharing_gpu

# A worker before its first tile: Python, torch and its convolutions' own memory; and the backbone's 13 million weights,
# which are kept twice. Proportional sizes (memory that processes share is split among them).
WORKER_BYTES, WEIGHTS = 500e6, 2 * 13e6
# And what CUDA's libraries take of the host beside: on one with an H100 the demo took 2.4 GB of it, a wall poster 3.4.
CUDA_BYTES = 1.9e9
CLIENT_BYTES = 270e6
# Of a step's memory per pixel, what measuring takes, which keeps the activations but no gradients; and what buffers of
# tiles of other shapes leave behind.
MEASURE_SHARE, LEFT_BEHIND = 0.6, 1.15
# And what a GPU takes of it, whose convolutions need no frames: on an H100 a bf16 step took 680 bytes a pixel launched
# by launch and 740 as a graph, at 2176 px; whole renders with tiles of that size, two of which are at hand, 1260.
ON_GPU = 0.78
# float32 copies of a band of RGB rows that reading and writing pictures hold at once, in the client; and
# what an overlay adds.
BAND_COPIES, OVERLAY_COPIES = 4, 3
# What telling a region apart takes, and float32 copies of its band; bytes a pixel that libvips' WebP encoder holds of
# the whole poster; and what L-BFGS remembers of a pixel: twenty steps and twenty gradients.
REGION_BYTES, REGION_COPIES = 6e6, 7
WEBP_BYTES, LBFGS_BYTES = 8, 2 * 20 * 3 * 4


@dataclass(frozen=True)
class LevelPlan:
    """level: 0 = coarsest. read_pixels: of all tiles, halos included. working_bytes: disk until the level is finished;
    kept_bytes: disk from then on. home, why: see `Home`. seconds: None where no speed is known."""

    level: int
    height: int
    width: int
    tiles: int
    steps: int
    rounds: int
    read_pixels: int
    working_bytes: int
    kept_bytes: int
    home: str
    why: str
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """memory_bytes: peak of all processes here together; worker_bytes: of a worker, wherever it is. gpu_bytes: peak of
    one GPU with all workers on it, 0 on the CPU. store_bytes: the peak of the store and of the pictures' pixels beside
    it, pictures_bytes; kept_bytes: what stays of it. output_bytes: all files of the poster, tiles_bytes of them map
    tiles; spare_bytes: what writing the poster takes for a while. steps: of the optimiser, summed over levels;
    tile_steps: over tiles too. seconds: None where no speed is known. qualities: seconds of each --quality, where that
    decides the steps. part: what of the poster it is, in words, where it is not all. refusal: why a render would be
    refused as things are now; empty where it would not, or nobody has looked."""

    height: int
    width: int
    mode: str
    precision: str
    device: str
    workers: int
    tile: int
    levels: tuple[LevelPlan, ...]
    steps: int
    tile_steps: int
    memory_bytes: int
    worker_bytes: int
    gpu_bytes: int
    store_bytes: int
    pictures_bytes: int
    kept_bytes: int
    output_bytes: int
    tiles_bytes: int
    spare_bytes: int
    seconds: float | None
    qualities: dict[str, float] = field(default_factory=dict)
    part: str = ""
    refusal: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def _repr_html_(self) -> str:
        """As a notebook shows it: a row for each level."""
        head = "".join(f"<th>{name}</th>" for name in ("level", "pixels", "tiles", "steps", "state"))
        rows = "".join(
            f"<tr><td>{one.level + 1}</td><td>{one.width} x {one.height}</td><td>{one.tiles}</td><td>{one.steps}</td>"
            f"<td>{one.home}</td></tr>"
            for one in self.levels
        )
        disk, memory = size(self.store_bytes + self.output_bytes), size(self.memory_bytes)
        hours = "" if self.seconds is None else f", about {self.seconds / 3600:.2f} h"
        return f"<table><tr>{head}</tr>{rows}</table><p>{memory} of memory, {disk} of disk{hours}</p>"


def plan_job(
    config: RenderConfig,
    job: Job,
    has_alpha: bool = False,
    speed: Speed | None = None,
    machine: Machine = ANY,
    pictures_bytes: int = 0,
) -> Plan:
    """config: resolved, with its number of workers; job: the one it came to on this machine. has_alpha: the content's
    transparency is kept beside every level. pictures_bytes: of disk that decoded pictures take beside the store."""
    workers, last = config.workers or 1, job.cut.last
    on_gpu, busy = job.device.kind == "cuda", _tile_bytes(job)
    on_one = busy + WEIGHTS * ITEM_BYTES[job.device.precision] + CONTEXT_BYTES
    each = _idle_bytes(job) + (0 if on_gpu else busy)
    where = homes(job, config.state, machine, on_one if on_gpu else each, workers)
    levels = tuple(_level(job, level.index, where[level.index], workers, has_alpha, speed) for level in job.cut.levels)
    held = [held_bytes(job, one.level, one.home, workers) for one in levels]
    on_devices, on_hosts = (max(found) for found in zip(*held, strict=True))
    shown = job.cut.box(last.index)
    poster = shown.height, shown.width, 4 if has_alpha else 3
    seconds = None
    if speed is not None:
        written = _write_seconds(config, speed) * shown.area
        seconds = speed.start + sum(one.seconds or 0 for one in levels) + written
    if not on_gpu:  # one memory
        on_devices, on_hosts = 0, max(map(sum, held))
    on_gpus = sharing_gpu(config, workers, machine) * on_one + on_devices / min(workers, _gpus(machine))
    here = 0 if config.scheduler else workers * each + on_hosts
    return Plan(
        height=last.height,
        width=last.width,
        mode=job.cut.mode,
        precision=job.device.precision,
        device=job.device.kind,
        workers=workers,
        tile=job.cut.tile,
        levels=levels,
        steps=sum(one.steps for one in levels),
        tile_steps=sum(one.steps * one.tiles for one in levels),
        memory_bytes=round(_client_bytes(config, job) + here),
        gpu_bytes=round(on_gpus) if on_gpu else 0,
        worker_bytes=round(each + on_hosts / workers),
        store_bytes=store_bytes(job, levels, pictures_bytes),
        pictures_bytes=pictures_bytes,
        kept_bytes=sum(one.kept_bytes for one in levels),
        output_bytes=output_bytes(config, *poster) + tiles_bytes(config, *poster),
        tiles_bytes=tiles_bytes(config, *poster),
        spare_bytes=spare_bytes(config, *poster),
        seconds=seconds,
        part=_part(job),
    )


def _part(job: Job) -> str:
    """What a job renders of a poster, where it is not all; empty where it is."""
    cut, box = job.cut, job.cut.shown
    if cut.crop is None and cut.touched is None:
        return ""
    whole, found = replace(cut, crop=None, touched=None), []
    for level in cut.levels:
        grid = cut.grid(level.index)
        if grid.part is not None:
            found.append(f"{len(grid)} of {grid.places} at {level.width} x {level.height}")
    tiles = f"; tiles: {', '.join(found)}{'' if len(found) == len(cut.levels) else ', all below'}" if found else ""
    share = sum(map(cut.work, range(len(cut.levels)))) / max(1, sum(map(whole.work, range(len(cut.levels)))))
    where = f"{box.width} x {box.height} px from ({box.x0}, {box.y0}) of {cut.last.width} x {cut.last.height}"
    what = f"proof: {where}" if cut.crop else "retouch"
    return f"{what}{tiles}; {share * 100:{'.2g' if share < 0.1 else '.0f'}} % of the poster's work"


def _level(job: Job, index: int, home: Home, workers: int, has_alpha: bool, speed: Speed | None) -> LevelPlan:
    level, grid = job.cut.levels[index], job.cut.grid(index)
    working, kept = level_bytes(job, index, has_alpha)
    return LevelPlan(
        level=index,
        height=level.height,
        width=level.width,
        tiles=len(grid),
        steps=level.steps,
        rounds=len(job.cut.rounds(index)),
        read_pixels=sum(tile.read.area for tile in grid),
        working_bytes=working,
        kept_bytes=kept,
        home=home.where,
        why=home.why,
        seconds=None if speed is None else _seconds(job, index, home.where, min(workers, len(grid)), speed),
    )


def _gpus(machine: Machine) -> int:
    return machine.gpus.count if machine.gpus else 1


# Memory ---------------------------------------------------------------------------------------------------------------


def _idle_bytes(job: Job) -> float:
    found = WORKER_BYTES + WEIGHTS * ITEM_BYTES[job.device.precision]
    if job.device.kind != "cuda":
        return found
    # What is read for the next tiles, and written of the last.
    largest = max(tile.read.area for tile in job.cut.grid(job.cut.last.index))
    return found + CUDA_BYTES + 2 * stages.HANDS * largest * 3 * ITEM_BYTES["fp32"]


def _tile_bytes(job: Job) -> float:
    """What a worker's largest tile takes while it is computed."""
    on_gpu, largest = job.device.kind == "cuda", 0.0
    step = bytes_per_pixel(job.device) * LEFT_BEHIND * (ON_GPU if on_gpu else 1)
    for level in job.cut.levels:
        if not level.steps:
            continue
        beside = stages.held_bytes(job, level.index, step)
        each = step + (LBFGS_BYTES if job.cut.uses_lbfgs(level.index) else 0)
        largest = max([largest, *(tile.read.area * each + beside for tile in job.cut.grid(level.index))])
        for s in range(len(job.styles.sizes[level.index])):
            areas = (tile.read.area for tile in job.style_grid(level.index, s))
            largest = max(largest, *(area * step * MEASURE_SHARE for area in areas))
    return largest


def _client_bytes(config: RenderConfig, job: Job) -> float:
    copies = BAND_COPIES + (OVERLAY_COPIES if config.overlay else 0)
    last, shown = job.cut.last, job.cut.shown
    image, picture = (
        layout.image(job.cut.grid(last.index), job.device.state_dtype),
        layout.picture(last.height, last.width),
    )
    written = copies * 12 * max(image.chunks[1], picture.chunks[1]) * shown.width
    if config.output is not None and config.output.lower().endswith(".webp"):
        written += WEBP_BYTES * shown.area
    found = len(config.regions.labels) + len(config.regions.masks)
    read = found * (REGION_BYTES + REGION_COPIES * 4 * picture.chunks[1] * last.width)
    return CLIENT_BYTES + max(written, read)


# Time -----------------------------------------------------------------------------------------------------------------


def _write_seconds(config: RenderConfig, speed: Speed) -> float:
    """Per pixel of the poster, for all files that are asked for."""
    file = 0.0
    if config.output is not None:
        file = speed.write_png if config.output.lower().endswith(".png") else speed.write
    return file + (0.0 if config.tiles is None else speed.write)


def _seconds(job: Job, index: int, home: str, parallel: int, speed: Speed) -> float:
    """What a tile sees in every round is looked at once, where it is kept."""
    level, grid, rounds = job.cut.levels[index], job.cut.grid(index), len(job.cut.rounds(index))
    seen = level.height * level.width if grid.part is None else sum(tile.read.area for tile in grid)
    tasks, work = 3 * parallel, speed.move * seen
    if level.steps:
        measured = rounds + 1 if job.cut.measures_every_round(index) else 1
        reads, look = [tile.read.area for tile in grid], inputs_bytes(job, index)
        kept = 1.0 if home != STORE or not look else min(1.0, INPUTS_BYTES / look)
        around = speed.round if home == STORE else speed.held_round
        looks = kept + (1 - kept) * rounds
        work += sum(
            level.steps * speed.step(area) + rounds * around(area) + looks * speed.measure(area) for area in reads
        )
        work += measured * sum(speed.measure(job.measure_box(tile).area) for tile in grid)
        styles = [tile for s in range(len(job.styles.sizes[index])) for tile in job.style_grid(index, s)]
        work += sum(speed.measure(tile.read.area) for tile in styles)
        tasks += (rounds if parallel > 1 else 1) * 2 * parallel + len(job.styles.sizes[index])
    return work / parallel + tasks * speed.task / parallel + (rounds if parallel > 1 else 1) * speed.task
