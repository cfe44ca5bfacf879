"""One round of one tile: what it starts from, what the optimiser makes of it, and what is told of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from tiler.engine import finite, optimize
from tiler.engine.inputs import LevelInputs, Raw
from tiler.engine.state import Kept
from tiler.engine.workplace import Workplace
from tiler.geometry import Rect, Tile

Send = Callable[[dict[str, Any]], None]
Read = Callable[[int, Rect, str], torch.Tensor]


@dataclass(frozen=True)
class Round:
    """state -> state + 1, by the updates start .. start + steps - 1 of the level. total: its Grams at `state`, of all
    regions."""

    state: int
    start: int
    steps: int
    total: Mapping[str, torch.Tensor]


@dataclass
class Given:
    """What a tile starts from. pixels [3, h, w] over its read area, moments [6, h, w] over its blend area; raw: see
    `LevelInputs.read`; seconds: that reading pixels and moments took; used: a round changes them in place, and may not
    start from them again."""

    pixels: torch.Tensor
    moments: torch.Tensor
    raw: Raw | None
    seconds: float
    used: bool = False


@dataclass(frozen=True)
class Done:
    """What a round made of a tile. seconds: until it was done; computing: of these on the device; stepping: of these
    in steps, and not in what they need."""

    relaxed: finite.Relaxed
    seconds: float
    computing: float
    stepping: float

    def kept(self, with_grams: bool) -> Kept:
        """For the state. with_grams: that its statistics are those of the last step."""
        found, losses = self.relaxed, self.relaxed.losses
        grams = found.sums if with_grams else {}
        return Kept(found.pixels, found.moments, grams, found.regions, (losses.content, losses.tv))


class Turns:
    """One round of the tiles of a block. read(state, rect, kind): see `Holding.read`. reported(tile, layer, regions):
    sums [R, C or C + 1, C] of its core, as they entered the total."""

    def __init__(
        self,
        here: Workplace,
        level: int,
        inputs: LevelInputs,
        read: Read,
        reported: Callable[[Tile, str, tuple[int, ...]], torch.Tensor],
        send: Send,
    ) -> None:
        self._here, self._level, self._inputs, self._read, self._send = here, level, inputs, read, send
        self._reported = reported

    def given(self, now: Round, tile: Tile, raw: Raw | None) -> Given:
        """Read it. On the computing thread where the state is in memory."""
        began = time.perf_counter()
        pixels, moments = self._read(now.state, tile.read, "pixels"), self._read(now.state, tile.blend, "moments")
        return Given(pixels, moments, raw, time.perf_counter() - began)

    def relaxed(self, now: Round, tile: Tile, given: Given) -> Done:
        """On the computing thread."""
        began = time.perf_counter()

        def relax(precision: str, scale: float) -> tuple[finite.Relaxed, float]:
            fresh = self.given(now, tile, given.raw) if given.used else given
            given.used = True
            return self._relax(now, tile, fresh, precision, scale)

        steps = f"steps {now.start + 1} to {now.start + now.steps}"
        found, stepping = finite.relaxed(tuple(self._here.backbones), relax, self._level, tile.index, steps, self._send)
        computing = time.perf_counter() - began
        return Done(found, given.seconds + computing, computing, stepping)

    def _relax(
        self, now: Round, tile: Tile, given: Given, precision: str, scale: float
    ) -> tuple[finite.Relaxed, float]:
        """What came of it, and the seconds that were spent in steps."""
        here, level, moments = self._here, self._level, given.moments
        here.shaped(given.pixels.shape)
        inputs = self._inputs.of(tile, given.raw, precision)
        regions = inputs.guides.regions
        exchanged = optimize.Exchanged(
            {layer: total[list(regions)] for layer, total in now.total.items()},
            {layer: self._reported(tile, layer, regions) for layer in now.total},
        )
        problem = optimize.TileProblem(
            here.backbones[precision],
            here.objective(level),
            given.pixels,
            inputs,
            optimize.Extent.of(tile),
            exchanged,
            partial(here.job.look.shift, level),
        )
        ready, on_step = time.perf_counter(), partial(self._tell_step, now, tile)
        if here.job.cut.uses_lbfgs(level):
            after, sums, losses = optimize.relax_lbfgs(problem, now.steps, on_step)
            moments = torch.zeros_like(moments)
        else:
            size, updates = here.job.cut.levels[level], range(now.start, now.start + now.steps)
            rates = [scale * optimize.step_rate(step, size.steps, size.peak_rate) for step in updates]
            begin = here.graphs.begin if here.graphs else optimize.Directly
            cut = moments[:3], moments[3:]
            after, sums, losses = optimize.relax(problem, *cut, now.start, rates, on_step, begin)
        stepping = time.perf_counter() - ready  # a GPU has ended too: every step's losses are numbers here
        return finite.Relaxed(after.pixels, moments, sums.sums, regions, losses), stepping

    def _tell_step(self, now: Round, tile: Tile, step: int, losses: optimize.TileLosses) -> None:
        where = {"level": self._level, "round": now.state, "tile": tile.index}
        self._send({"event": "step", **where, "step": step, **told(losses)})

    def tell(self, now: Round, tile: Tile, done: Done, keeping: float) -> None:
        """That a tile has done its round. keeping: seconds."""
        where = {"level": self._level, "round": now.state, "tile": tile.index, "steps": now.steps}
        spent = {"seconds": done.seconds + keeping, "computing": done.computing, "stepping": done.stepping}
        self._send({"event": "tile", **where, **spent, **told(done.relaxed.losses)})


def told(losses: optimize.TileLosses) -> dict[str, Any]:
    """Of a tile: style as the mean over layers."""
    return {"style": float(np.mean(list(losses.style.values()))), "content": losses.content, "tv": losses.tv}
