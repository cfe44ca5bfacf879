"""A round's updates on a GPU as CUDA graphs: recorded once, replayed for all tiles of a kind.

An update of a small tile is two hundred launches of a few microseconds each. On an H100, 256 px took 4.9 ms launch by
launch and 1.1 ms replayed, 512 px 5.1 and 1.8, 1152 px 6.0 and 5.7: above, the GPU is busy anyway.

A graph knows addresses, not tensors. So tiles of one kind take turns on a `_Stage`, whose tensors stay where they are:
what a tile brings is copied in, its updates are made there, and what came of it is copied out. What is recorded is one
update, since rounds differ in how many they have; what differs between updates is a tensor (Adam's pace) or makes
another graph (by how much jitter moves the cells). The first ones are made launch by launch, which readies all that a
recording must not do: kernels are compiled and loaded, libraries have found their plans, factors are on the device.
Either way the same kernels see the same numbers in the same order, so that the bytes do not depend on what was
recorded when.

Whatever goes wrong with a recording, the stage has not changed, and updates go on launch by launch.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from tiler.engine.faults import chain, let_go, out_of_memory
from tiler.engine.optimize import Directly, TileProblem, Updates
from tiler.engine.place import first_line
from tiler.engine.stages import LARGEST_PIXELS, MOST_GRAPHS, MOST_STAGES
from tiler.style.grams import GramSums

VARIABLE = "TILER_GRAPHS"
# Updates of a graph's kind that go launch by launch. Recording takes as long as about so many, so that it is worth it
# for what has come as often, and jitter's rare moves are not recorded.
LAUNCHED = 3

Run = Callable[[], None]


class Recorder:
    """Records on the current GPU. All that it records shares one memory, since no two replays run at once and none
    leaves anything behind there; so one that is no longer wanted must go together with all others."""

    def __init__(self) -> None:
        self._stream, self._pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()

    def __call__(self, run: Run) -> Run:
        """What makes the GPU do again what `run` asks of it now, which is not done yet."""
        graph = torch.cuda.CUDAGraph()
        # Other threads copy checkpoints meanwhile, as they may. Where the end of a recording fails torch.cuda.graph
        # leaves its own stream the current one.
        recording = torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local")
        with torch.cuda.stream(torch.cuda.current_stream()), recording:
            run()
        return graph.replay


class _Stage:
    """Where tiles of one kind take turns. record: what replays a run; None where that cannot be had."""

    def __init__(self, problem: TileProblem, first: torch.Tensor, record: Callable[[Run], Run | None]) -> None:
        # In a list of its own, so that a stage that is dropped is gone at once, not once cycles are collected.
        self._shift = now = [(0, 0)]
        self._problem, self._record = problem.apart(lambda step: now[0]), record
        moments = first.new_empty(2, *first.shape)
        self._moments, self._pace = (moments[0], moments[1]), first.new_empty(2)
        # What comes of an update, once the first has said what that is.
        self._row: torch.Tensor | None = None
        self._sums: GramSums | None = None
        self._launched = Counter[tuple[int, int]]()
        self._replays: dict[tuple[int, int], Run] = {}

    def load(self, problem: TileProblem, moments: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Another tile's turn."""
        given = problem.tensors()
        for name, tensor in self._problem.tensors().items():
            tensor.copy_(given[name])
        for mine, its in zip(self._moments, moments, strict=True):
            mine.copy_(its)

    def unload(self, problem: TileProblem, moments: tuple[torch.Tensor, torch.Tensor]) -> GramSums:
        """What the turn came to, into the tile's own tensors; the sums of its last update."""
        assert self._sums is not None
        problem.state_pixels.copy_(self._problem.state_pixels)
        for its, mine in zip(moments, self._moments, strict=True):
            its.copy_(mine)
        return self._sums.copied()

    def update(self, shift: tuple[int, int], pace: torch.Tensor) -> torch.Tensor:
        """As `Updates.update`."""
        self._pace.copy_(pace)
        self._shift[0] = shift
        self._replay(shift)()
        assert self._row is not None
        return self._row.clone()

    def _replay(self, shift: tuple[int, int]) -> Run:
        if shift not in self._replays and self._launched[shift] >= LAUNCHED:
            recorded = self._record(self._run)
            if recorded is not None:
                self._replays[shift] = recorded
        self._launched[shift] += shift not in self._replays
        return self._replays.get(shift, self._run)

    def forget(self) -> None:
        """What was recorded; no more is."""
        self._replays, self._record = {}, lambda run: None

    def _run(self) -> None:
        sums, losses = self._problem.update(0, self._pace, *self._moments)
        if self._row is None or self._sums is None:
            self._row, self._sums = losses.packed(), sums.copied()
            return
        self._row.copy_(losses.packed())
        self._sums.take(sums)


class _Turn:
    """One round of one tile on a stage."""

    def __init__(self, stage: _Stage, problem: TileProblem, first: torch.Tensor, second: torch.Tensor) -> None:
        self._stage, self._problem, self._moments = stage, problem, (first, second)
        stage.load(problem, self._moments)

    def update(self, step: int, pace: torch.Tensor) -> torch.Tensor:
        return self._stage.update(self._problem.shift(step), pace)

    def end(self) -> GramSums:
        return self._stage.unload(self._problem, self._moments)


class Graphs:
    """A worker's stages, all of one level, and what was recorded on them. recorder: makes what records; anew whenever
    all before is dropped. Of one thread."""

    def __init__(self, recorder: Callable[[], Callable[[Run], Run]] = Recorder) -> None:
        self._recorder = recorder
        self._record: Callable[[Run], Run] | None = None
        self._stages: dict[tuple[Any, ...], _Stage] = {}
        self._recorded = 0
        # Why nothing is recorded any more.
        self.off = ""

    def begin(self, problem: TileProblem, first: torch.Tensor, second: torch.Tensor) -> Updates:
        """A round of one tile: see `optimize.relax`."""
        stage = None if self.off or problem.pixels[0].numel() > LARGEST_PIXELS else self._stage(problem, first)
        return Directly(problem, first, second) if stage is None else _Turn(stage, problem, first, second)

    def _stage(self, problem: TileProblem, first: torch.Tensor) -> _Stage | None:
        kind = problem.kind
        if kind not in self._stages and len(self._stages) < MOST_STAGES:
            self._stages[kind] = _Stage(problem, first, self._recording)
        return self._stages.get(kind)

    def _recording(self, run: Run) -> Run | None:
        """What replays it; None where it cannot be had."""
        if self._recorded >= MOST_GRAPHS:
            return None
        try:
            self._record = self._record or self._recorder()
            found = self._record(run)
        except Exception as error:  # torch, drivers, compilers and launchers each raise their own kind
            short = any(map(out_of_memory, chain(error)))
            self._give_up("GPU memory is short" if short else first_line(error))
            let_go(error)
            return None
        self._recorded += 1
        return found

    def _give_up(self, why: str) -> None:
        self.off = why
        self.drop()

    def drop(self) -> None:
        """All of it, and its memory; the next level has other kinds."""
        held = bool(self._stages)
        for stage in self._stages.values():
            stage.forget()  # one may be in use
        self._stages, self._record, self._recorded = {}, None, 0
        if held and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def make_room(self) -> bool:
        """Where memory is short: whether there was something to drop. Nothing is recorded from here on."""
        held = bool(self._stages)
        if held:
            self._give_up("GPU memory is short")
        return held


def graphs_for(device: str, implementation: str) -> Graphs | None:
    """None where nothing can be recorded: on a CPU, and with products of cuBLAS, whose workspace graphs of one stream
    share without keeping it."""
    wanted = device == "cuda" and implementation == "triton" and os.environ.get(VARIABLE) != "off"
    return Graphs() if wanted else None
