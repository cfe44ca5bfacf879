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
from tiler.engine.later import Span
from tiler.engine.state import Kept, spread
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
    `LevelInputs.read`; began: when reading pixels and moments did; used: a round changes them in place, and may not
    start from them again."""

    pixels: torch.Tensor
    moments: torch.Tensor
    raw: Raw | None
    began: float
    used: bool = False


@dataclass(frozen=True)
class Begun:
    """A tile's round that the device may still be at. began: when reading what it starts from did."""

    relaxing: finite.Relaxing
    began: float


@dataclass(frozen=True)
class Done:
    """What a round made of a tile."""

    relaxed: finite.Relaxed
    began: float

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
        self._reported, self._told = reported, 0.0

    def given(self, now: Round, tile: Tile, raw: Raw | None) -> Given:
        """Read it. On the computing thread where the state is in memory."""
        began = time.perf_counter()
        pixels, moments = self._read(now.state, tile.read, "pixels"), self._read(now.state, tile.blend, "moments")
        return Given(pixels, moments, raw, began)

    def begin(self, now: Round, tile: Tile, given: Given) -> Begun:
        """Ask the device for it. On the computing thread."""

        def relax(precision: str, scale: float) -> finite.Relaxed:
            fresh = self.given(now, tile, given.raw) if given.used else given
            given.used = True
            return self._relax(now, tile, fresh, precision, scale)

        steps, precisions = f"steps {now.start + 1} to {now.start + now.steps}", tuple(self._here.backbones)
        return Begun(finite.Relaxing(precisions, relax, self._level, tile.index, steps, self._send), given.began)

    def end(self, tile: Tile, begun: Begun) -> Done:
        """Wait for what comes of it. On the computing thread."""
        return Done(begun.relaxing.end(), begun.began)

    def _relax(self, now: Round, tile: Tile, given: Given, precision: str, scale: float) -> finite.Relaxed:
        here, level, moments = self._here, self._level, given.moments
        here.shaped(given.pixels.shape)
        inputs = self._inputs.of(tile, given.raw, precision)
        regions, all_regions = inputs.guides.regions, range(len(here.job.styles.regions))
        exchanged = optimize.Exchanged(
            {layer: spread(total, all_regions, regions) for layer, total in now.total.items()},
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
        span, on_step = Span(problem.pixels.device), partial(self._tell_step, now, tile)
        if here.job.cut.uses_lbfgs(level):
            after, sums, losses = optimize.relax_lbfgs(problem, now.steps, on_step)
            moments = torch.zeros_like(moments)
        else:
            size, updates = here.job.cut.levels[level], range(now.start, now.start + now.steps)
            rates = [scale * optimize.step_rate(step, size.steps, size.peak_rate) for step in updates]
            begin = here.graphs.begin if here.graphs else optimize.Directly
            cut = moments[:3], moments[3:]
            after, sums, losses = optimize.relax(problem, *cut, now.start, rates, on_step, begin)
        span.end()
        return finite.Relaxed(after.pixels, moments, sums.sums, regions, losses, span)

    def _tell_step(self, now: Round, tile: Tile, step: int, losses: optimize.TileLosses) -> None:
        where = {"level": self._level, "round": now.state, "tile": tile.index}
        self._send({"event": "step", **where, "step": step, **told(losses)})

    def tell(self, now: Round, tile: Tile, done: Done) -> None:
        """That a tile has done its round, and in how many seconds: since the one before it had, where that was later
        than its own beginning. stepping: those of the steps."""
        where = {"level": self._level, "round": now.state, "tile": tile.index, "steps": now.steps}
        ended = time.perf_counter()
        spent = {"seconds": ended - max(done.began, self._told), "stepping": done.relaxed.steps.seconds}
        self._told = ended
        self._send({"event": "tile", **where, **spent, **told(done.relaxed.losses)})


def told(losses: optimize.TileLosses) -> dict[str, Any]:
    """Of a tile: style as the mean over layers."""
    return {"style": float(np.mean(list(losses.style.values()))), "content": losses.content, "tv": losses.tv}
