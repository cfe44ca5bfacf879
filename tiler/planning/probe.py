"""How fast this machine is: some steps on a small and on a larger tile, by the tasks that a render runs."""

from __future__ import annotations

import tempfile
import uuid
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from tiler.engine import tasks
from tiler.engine.address import Address, Block, new_attempt
from tiler.engine.holding import hold
from tiler.engine.home import DEVICE, STORE
from tiler.engine.job import Job, Styles
from tiler.engine.place import folder_above
from tiler.engine.schedule import Pool
from tiler.engine.store import RenderStore
from tiler.engine.turn import Round
from tiler.engine.workplace import workplace
from tiler.geometry import Level, Rect
from tiler.geometry.blocks import root
from tiler.planning.speed import Speed

SMALL, LARGE = 128, 512
STEPS = 2
_ROUND_TRIPS = 20
# Regions that a tile is taken to see at most, where a job has many.
MOST_REGIONS = 8


def probe(pool: Pool, job: Job, start: float, url: str) -> Speed:
    """Time a worker on tiles no larger than the job's. start: seconds until it ran. url: of the job's store; the state
    of a few tiles is kept on the same disk meanwhile, and nothing of it stays."""
    largest = max(max(tile.read.height, tile.read.width) for tile in job.cut.grid(len(job.cut.levels) - 1))
    sides = sorted({min(side, -(-largest // job.cut.align) * job.cut.align) for side in (SMALL, LARGE)})
    with tempfile.TemporaryDirectory(prefix=".tiler-", dir=folder_above(url)) as at:
        # One after the other: beside another task a round would wait for the device.
        found = [
            one for side in sides for one in [pool.submit(time_tile, job.to_dict(), f"{at}/{side}", side).result()]
        ]
        pool.submit(nothing).result()
        began = perf_counter()
        for waiting in [pool.submit(nothing) for _ in range(_ROUND_TRIPS)]:
            waiting.result()
        task = (perf_counter() - began) / _ROUND_TRIPS
    found.sort(key=lambda one: one["pixels"])
    step, measure, around, held_round = (_line(found, name) for name in ("step", "measure", "round", "held_round"))
    return Speed(start, task, step, measure, around, held_round)


def _line(found: list[dict[str, Any]], name: str) -> tuple[float, float]:
    """(constant, per pixel) through one or two timings; never falling, as more pixels never take less."""
    first, last = found[0], found[-1]
    rise = (last[name] - first[name]) / max(1, last["pixels"] - first["pixels"])
    slope = min(max(rise, 0.0), last[name] / last["pixels"]) or last[name] / last["pixels"]
    return max(0.0, last[name] - slope * last["pixels"]), slope


def nothing() -> dict[str, Any]:
    """The task that costs only its way."""
    return {}


def time_tile(job: dict[str, Any], url: str, side: int) -> dict[str, Any]:
    """Seconds, on a tile of side x side pixels of noise, of one step, of a round's reading and writing its state, and
    of one measurement."""
    one = _small(Job.from_dict(job), side)
    store = RenderStore.create(url, {"job": one.to_dict()})
    address, noise = Address(url, one.id), np.random.default_rng(0).random((3, side, side), np.float32)
    for path in ("levels/0/content", *(f"styles/0/{style}/picture" for style in range(one.styles.count))):
        store.write_picture(path, side, side, [noise])
    guides = one.guides_path(0)
    if guides:
        store.write_picture(guides, side, side, [_stripes(one.styles.count, side)], one.styles.count)
        tasks.add_up_guides(address, guides, one.terms.style_layers)
    measured = tasks.measure_style(address, 0, 0, root(one.style_grid(0, 0)))
    for style in range(one.styles.count):
        tasks.add_up_style(address, 0, style, [measured])
    kinds = one.device.state_dtype, one.moment_dtype, one.styles.count
    store.create_state(0, one.cut.grid(0), one.style_sums, *kinds)
    found = {home: _time_home(address, one, home) for home in (STORE, DEVICE)}
    rounds = {"round": found[STORE]["round"], "held_round": found[DEVICE]["round"]}
    return {"pixels": Rect(0, 0, side, side).area, **found[DEVICE], **rounds}


def _small(job: Job, side: int) -> Job:
    """A job of one tile, whose regions have a style each."""
    size, regions = Level(0, side, side, 2 * STEPS, 0.01), job.styles.regions[:MOST_REGIONS]
    count = len(regions)
    return replace(
        job,
        id=uuid.uuid4().hex,
        terms=replace(job.terms, protect_strength=0.0, lines=0.0),
        styles=Styles(
            sizes=(((side, side),) * count,),
            shares=(1.0,) * count,
            layer_weights=((1.0,) * len(job.terms.style_layers),) * count,
            owners=tuple(range(count)),
            masked=(False,) * count,
            regions=regions,
            guided=job.styles.guided,
        ),
        look=replace(job.look, init="noise"),
        cut=replace(job.cut, levels=(size,), wrap="none", optimizer="adam", tile=side, crop=None),
    )


def _stripes(count: int, side: int) -> np.ndarray:
    """[count, side, side] guides of regions that are alike in size and have each pixel once."""
    of_row = np.arange(side) * count // side
    rows = (of_row == np.arange(count)[:, None]).astype(np.float32)
    return np.repeat(rows[..., None], side, 2)


def _time_home(address: Address, job: Job, home: str) -> dict[str, float]:
    """Seconds of a step, a measurement, and what a round takes beside its steps, once all that is made once is."""
    told: list[dict[str, Any]] = []
    holding = hold(workplace(address), Block(0, new_attempt(), ((root(job.cut.grid(0)),),), 0, home))
    holding.seed()
    holding.measure(0)
    began = perf_counter()
    holding.measure(0)
    measure = perf_counter() - began
    for state, steps in ((0, 1), (1, STEPS)):
        total = tasks.add_up(address, 0, [holding.sums(state)])
        holding.relax(Round(state, state, steps, total), holding.tiles, told.append)
    done = next(one for one in reversed(told) if one["event"] == "tile")
    return {"step": done["stepping"] / STEPS, "round": done["seconds"] - done["stepping"], "measure": measure}
