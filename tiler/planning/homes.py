"""Where the state of each level lives: on the device where it fits, else in the host's memory, else in the store. The
choice changes no byte of the poster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tiler.engine.home import DEVICE, HOST, INPUTS_BYTES, STORE, Home
from tiler.engine.job import Job
from tiler.engine.machine import Machine
from tiler.geometry import TileGrid
from tiler.geometry.blocks import shares
from tiler.geometry.sight import most_at_once, round_order, sights, within
from tiler.planning.words import size
from tiler.style.layers import stride_of

# Of the memory that is free, at most; the rest is for whatever else the machine is at.
SHARE = 0.6
ITEM_BYTES = {"fp64": 8, "fp32": 4, "bf16": 2, "fp16": 2}


def state_bytes(job: Job, level: int, workers: int) -> int:
    """Of a level's tiles on so many workers, at most: pixels, moments and statistics of a state, and of the next as far
    as there are both."""
    grid = job.cut.grid(level)
    item = np.dtype(job.device.state_dtype).itemsize
    moment = 2 if job.moment_dtype == "bfloat16" else item
    patches = _patches(grid, workers) if len(grid) and job.cut.levels[level].steps else len(grid)
    pixels = max((tile.blend.area for tile in grid), default=0)
    grams = sum(height * width for height, width in job.style_sums.values()) * len(job.styles.regions)
    return patches * (pixels * (3 * item + 6 * moment) + grams * item)


@lru_cache(64)
def _patches(grid: TileGrid, workers: int) -> int:
    most = 0
    for share in shares(grid, workers):
        border, rest = round_order(grid, [index for node in share for index in node.tiles(grid)])
        order = [*border, *rest]
        most += most_at_once(order, within({*order}, sights(grid)))
    return most


def inputs_bytes(job: Job, level: int) -> int:
    """Of what a level's tiles see in every round: the content's features, the guides and what is usual there, what is
    protected."""
    if not job.cut.levels[level].steps:
        return 0
    pixels = sum(tile.read.area for tile in job.cut.grid(level))
    wanted = job.terms.compared
    cells = sum(channels / stride_of(layer) ** 2 for layer, channels in job.network.channels if layer in wanted)
    item = np.dtype(job.device.state_dtype).itemsize
    planes = (
        2 + sum(1 / stride_of(layer) ** 2 for layer in job.terms.style_layers) * len(job.styles.regions)
        if job.styles.guided
        else 0
    )
    weights = (
        sum(1 / stride_of(layer) ** 2 for layer in wanted) if job.terms.protect_strength or job.styles.guided else 0
    )
    lines = 4 if job.terms.lines else 0
    return round(pixels * (cells * ITEM_BYTES[job.device.precision] + (planes + weights + lines) * item))


def held_bytes(job: Job, level: int, home: str, workers: int) -> tuple[int, int]:
    """(on the devices, in the hosts' memory) of all workers together, for what a level keeps between rounds."""
    state, inputs = state_bytes(job, level, workers), inputs_bytes(job, level)
    if home == STORE:
        return min(inputs, workers * INPUTS_BYTES), 0
    return (state + inputs, 0) if home == DEVICE else (inputs, state)


def homes(job: Job, asked: str, machine: Machine, busy_bytes: float, workers: int) -> tuple[Home, ...]:
    """Of each level. asked: `auto`, or one of HOMES for all. busy_bytes: what a worker takes beside, with its
    largest tile; what the levels keep is spread over all workers."""
    if asked != "auto":
        return (Home(asked, f"as --state {asked} says"),) * len(job.cut.levels)
    return tuple(_home(job, level.index, machine, busy_bytes, workers) for level in job.cut.levels)


@dataclass(frozen=True)
class _Need:
    """Bytes of one memory, tiles that are computed included, and what may be taken of it."""

    what: str
    need: float
    may: float

    def __str__(self) -> str:
        return f"{size(self.need)} of the {size(self.may)} that may be taken of {self.what}"


def _home(job: Job, level: int, machine: Machine, busy_bytes: float, workers: int) -> Home:
    if not job.cut.levels[level].steps:
        return Home(STORE, "each tile is looked at once, which nothing need be held for")
    needs: list[_Need] = []
    for home in _possible(job):
        needs = _needs(job, held_bytes(job, level, home, workers), machine, busy_bytes, workers)
        if all(one.need <= one.may for one in needs):
            return Home(home, f"it takes {needs[-1 if home == HOST else 0]}")
    short = max(needs, key=lambda one: one.need - one.may)
    return Home(STORE, f"it would take {short}")


def _needs(job: Job, held: tuple[int, int], machine: Machine, busy_bytes: float, workers: int) -> list[_Need]:
    """held: see `held_bytes`."""
    (device, host), hosts = held, max(1, round(workers / machine.host.workers))
    free, gpus = SHARE * machine.host.free_bytes, machine.gpus
    if job.device.kind == "cuda" and gpus:
        on_one = device / min(workers, gpus.count) + gpus.workers * busy_bytes
        return [
            _Need("a GPU's memory", on_one, SHARE * gpus.free_bytes),
            _Need("the host's memory", host / hosts, free),
        ]
    each = min(workers, machine.host.workers if hosts > 1 else workers)
    return [_Need("memory", (device + host) / hosts + each * busy_bytes, free)]


def _possible(job: Job) -> Sequence[str]:
    """On the CPU the device's memory is the host's."""
    return (DEVICE, HOST) if job.device.kind == "cuda" else (DEVICE,)
