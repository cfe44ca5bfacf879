"""The round protocol, in one place: how the blocks of a level go from its start, or its last checkpoint, to its end.

A round takes a level from state k to k + 1. Blocks report what their tiles' statistics came to, one worker adds them
up, and the total and the strips that neighbours need go from worker to worker: nothing of a level's size comes by here.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tiler.engine.address import Address, Block, new_attempt
from tiler.engine.home import STORE
from tiler.engine.job import Job
from tiler.engine.remote import Remote
from tiler.engine.schedule import Pool, Promise
from tiler.engine.store import RenderStore
from tiler.errors import StateLostError, TilerError, WorkerDiedError
from tiler.geometry.blocks import shares

if TYPE_CHECKING:
    from tiler.engine import tasks
else:
    tasks = Remote("tiler.engine.tasks")

# How often a level may go back to one and the same checkpoint.
_TRIES = 4
_GLANCE_SECONDS = 1.0
# Of one task: so often this process hears what its workers came to.
_LONGEST_SECONDS = 60.0

# (content, tv) by tile.
Losses = Mapping[int, tuple[float, float]]


@dataclass(frozen=True)
class Site:
    """Where a job is computed. glance: seconds between two looks whether it still may and should be."""

    store: RenderStore
    job: Job
    pool: Pool
    address: Address
    glance: float = _GLANCE_SECONDS

    def taken_over(self) -> Site:
        """Tasks that were asked for until now write no more, wherever they are."""
        run = uuid.uuid4().hex
        self.store.update(run=run)
        return replace(self, address=replace(self.address, run=run))

    def wait(self, promise: Promise, holders: Sequence[str] = ()) -> Any:
        """What comes of it, as long as this process may write: its workers write for it. holders: workers whose state
        it needs; StateLostError is raised as soon as one of them is gone."""
        while not promise.done(self.glance):
            self.store.check_writer()
            gone = self.pool.gone(holders)
            if gone:
                self.pool.drop()
                raise StateLostError(f"worker {gone[0]} is gone")
        self.store.check_writer()
        try:
            return promise.result()
        except TilerError:
            self.pool.rest()
            raise

    def wait_all(self, promises: Iterable[Promise], holders: Sequence[str] = ()) -> list[Any]:
        """In their order."""
        return [self.wait(promise, holders) for promise in list(promises)]


def measure_styles(site: Site, level: int) -> None:
    """The styles' statistics at a level's scale, which the store keeps."""
    waiting = []
    for style in range(len(site.job.styles.sizes[level])):
        if not site.store.has_totals(f"styles/{level}/{style}", site.job.terms.layers):
            grid = site.job.style_grid(level, style)
            nodes = [node for share in shares(grid, len(site.pool.addresses)) for node in share]
            sums = [site.pool.submit(tasks.measure_style, site.address, level, style, node) for node in nodes]
            waiting.append(site.pool.submit(tasks.add_up_style, site.address, level, style, sums))
    site.wait_all(waiting)


def measure_rest(site: Site, level: int) -> None:
    """The statistics of what stays as it was, where a finished poster changes in part; the store keeps them."""
    grid = site.job.cut.rest(level)
    if grid is not None and not site.store.has_totals(f"levels/{level}/rest", site.job.terms.style_layers):
        nodes = [node for share in shares(grid, len(site.pool.addresses)) for node in share]
        sums = [site.pool.submit(tasks.measure_rest, site.address, level, node) for node in nodes]
        site.wait(site.pool.submit(tasks.add_up_rest, site.address, level, sums))


class _Checkpoints:
    """Two slots of the store take turns, and neither is written before the other is whole."""

    def __init__(self, every: float, slot: int) -> None:
        self.every, self.slot, self._last = every, slot, time.monotonic()
        self._settling: list[Promise] = []

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._last + self.every - time.monotonic())

    def due(self) -> bool:
        """Whether one may begin now."""
        return self.seconds_left <= 0 and all(promise.done() for promise in self._settling)

    def begun(self, settling: Iterable[Promise]) -> None:
        """settling: ends when it is written."""
        self._settling, self.slot, self._last = list(settling), 1 - self.slot, time.monotonic()

    def settled(self, site: Site, holders: Sequence[str]) -> None:
        """Wait for what is being written; raises what went wrong."""
        site.wait_all(self._settling, holders)
        self._settling = []


class _MoreHandsError(Exception):
    """Workers have come that could have a block of their own."""


class LevelRun:
    """Brings one level to its end: its images are written, and what it came to is known. home: see `state.HOMES`;
    checkpoint_seconds: from the beginning of one checkpoint to the next, where the state is in memory."""

    def __init__(self, site: Site, level: int, home: str, checkpoint_seconds: float) -> None:
        self._site, self._level, self._home, self._every = site, level, home, checkpoint_seconds
        self._rounds, self._grid = site.job.cut.rounds(level), site.job.cut.grid(level)
        self._came_to = 0

    def run(self) -> dict[str, Any]:
        """Its rounds and losses, these only where it has steps. Goes back to the last checkpoint when a worker is lost
        with what it holds. Raises WorkerDiedError where that happens again and again."""
        lost, reached = 0, -1
        while True:
            try:
                return self._attempt()
            except _MoreHandsError:
                continue
            except StateLostError as error:
                self._site = self._site.taken_over()
                self._site.pool.note(f"level {self._level + 1} goes back to its last checkpoint: {error}")
                lost, reached = lost + 1 if self._came_to <= reached else 1, max(reached, self._came_to)
                if lost >= _TRIES:
                    raise WorkerDiedError(
                        f"level {self._level + 1}: {lost} times in a row a worker was lost, or what it held ({error}), "
                        "perhaps since memory is short; the store keeps what is done; free some memory, or take fewer "
                        "--workers"
                    ) from None

    def _attempt(self) -> dict[str, Any]:
        site, level = self._site, self._level
        path = site.store.state_path(level)
        found = site.store.latest(path, self._grid) if site.store.has(f"{path}/marks") else None
        state, slot = found or (0, None)
        if self._home == STORE:
            self._make_room()
        workers = site.pool.addresses
        parts, attempt = tuple(shares(self._grid, len(workers))), new_attempt()
        self._workers = workers[: len(parts)]
        base = 0 if slot is None else (slot - state) % 2
        self._blocks = [Block(level, attempt, parts, i, self._home, base) for i in range(len(parts))]
        self._checkpoints = _Checkpoints(self._every, 0 if slot is None else 1 - slot)
        self._came_to = state
        begun = [self._call(tasks.begin, block, state, slot) for block in self._blocks]
        report = self._alone(state, begun[0]) if len(parts) == 1 else self._together(state, begun)
        site.wait_all(self._call(tasks.let_go, block) for block in self._blocks)  # of no matter any more
        return report

    def _make_room(self) -> None:
        """For the state, in the store."""
        job = self._site.job
        self._site.store.check_there()
        kinds = job.device.state_dtype, job.moment_dtype, len(job.styles.regions)
        self._site.store.create_state(self._level, self._grid, job.style_sums, *kinds)

    def _make_images(self) -> None:
        self._site.store.check_there()
        for name in self._site.job.look.images:
            self._site.store.create_image(self._level, self._grid, self._site.job.device.state_dtype, name)

    def _wait(self, promise: Promise) -> Any:
        return self._site.wait(promise, self._workers)

    def _wait_all(self, promises: Iterable[Promise]) -> list[Any]:
        return self._site.wait_all(promises, self._workers)

    def _call(self, task: Any, block: Block, *arguments: Any) -> Promise:
        """On the worker that has the block."""
        return self._site.pool.submit(task, self._site.address, block, *arguments, worker=self._workers[block.number])

    def _slot(self, state: int) -> int | None:
        """Of the store, where a checkpoint of `state` is to be written now; None: not yet."""
        if self._home == STORE or state in (0, len(self._rounds)) or not self._checkpoints.due():
            return None
        self._checkpoints.settled(self._site, self._workers)
        self._make_room()
        return self._checkpoints.slot

    def _look_for_hands(self) -> None:
        """At a checkpoint that is whole."""
        if len(shares(self._grid, len(self._site.pool.addresses))) > len(self._blocks):
            self._checkpoints.settled(self._site, self._workers)
            raise _MoreHandsError

    def _graded(self, block: Block, state: int, total: Promise | None, losses: Losses) -> dict[str, Any]:
        """Of the whole level: style is the mean relative Gram error of the layers. Except for style in exact mode, they
        are those that the last update started from."""
        if not state:
            return {"rounds": 0}
        layers = self._wait(self._call(tasks.grade, block, state, total))
        of_tiles = [self._grid.weight(tile) * np.array(losses[tile]) for tile in sorted(losses)]
        content, tv = np.sum(of_tiles, axis=0).tolist()
        style = float(np.mean(list(layers.values())))
        loss = self._site.job.terms.style_weight * style + content + tv
        return {"rounds": state, "loss": loss, "style": style, "content": content, "tv": tv, "layers": layers}

    # One block ----------------------------------------------------------------------------------------------------

    def _alone(self, state: int, begun: Promise) -> dict[str, Any]:
        """Many rounds in one task."""
        [block], losses = self._blocks, self._wait(begun)["losses"]
        while state < len(self._rounds):
            slot = self._slot(state) if state > self._came_to else None
            if slot is not None:
                self._wait(self._call(tasks.checkpoint, block, state, slot))
                self._checkpoints.begun([self._call(tasks.settle, block)])
                self._look_for_hands()
            seconds = min(self._checkpoints.seconds_left, _LONGEST_SECONDS)
            reached = self._wait(self._call(tasks.advance, block, state, self._rounds[state:], seconds))
            state, losses = reached["state"], reached["losses"]
        self._checkpoints.settled(self._site, self._workers)
        report = self._graded(block, state, None, losses)
        self._make_images()
        self._wait(self._call(tasks.finish, block, state, []))
        return report

    # Several ------------------------------------------------------------------------------------------------------

    def _together(self, state: int, passed: list[Promise]) -> dict[str, Any]:
        """A round is asked for while the one before it is computed, so that no worker waits for this process."""
        strips = [promise.part("strips") for promise in passed]
        for number in range(state, len(self._rounds)):
            total, steps = self._total(number, passed, strips), self._rounds[number]
            border = [
                self._call(tasks.relax_border, block, number, steps, total, self._sent_to(block, strips))
                for block in self._blocks
            ]
            self._wait_all(promise.part("state") for promise in passed)
            passed = [
                self._call(tasks.relax_interior, block, number, steps, total, done)
                for block, done in zip(self._blocks, border, strict=True)
            ]
            strips = border
            self._checkpoint_together(number + 1, passed)
        return self._end_together(passed, strips)

    def _total(self, state: int, passed: list[Promise], strips: list[Promise]) -> Promise:
        """The level's Grams, as its tiles reported them or measured now."""
        site, job = self._site, self._site.job
        if state == 0 or job.cut.measures_every_round(self._level):
            sums = [
                self._call(tasks.measure, block, state, self._sent_to(block, strips), promise.part("state"))
                for block, promise in zip(self._blocks, passed, strict=True)
            ]
        else:
            sums = [promise.part("sums") for promise in passed]
        return site.pool.submit(tasks.add_up, site.address, self._level, sums)

    def _sent_to(self, block: Block, strips: list[Promise]) -> list[Promise]:
        """By the other blocks; and by itself nothing, once it is as far."""
        return [one.part(block.number) for one in strips]

    def _checkpoint_together(self, state: int, passed: list[Promise]) -> None:
        slot = self._slot(state)
        if slot is not None:
            begun = [
                self._call(tasks.checkpoint, block, state, slot, promise.part("state"))
                for block, promise in zip(self._blocks, passed, strict=True)
            ]
            self._wait_all(begun)  # before the next round but one
            self._checkpoints.begun([self._call(tasks.settle, block) for block in self._blocks])
            self._look_for_hands()

    def _end_together(self, passed: list[Promise], strips: list[Promise]) -> dict[str, Any]:
        state = len(self._rounds)
        told = self._wait_all(promise.part("losses") for promise in passed)
        losses = {tile: loss for one in told for tile, loss in one.items()}
        self._checkpoints.settled(self._site, self._workers)
        total = self._total(state, passed, strips) if state else None
        report = self._graded(self._blocks[0], state, total, losses)
        self._make_images()
        self._wait_all(self._call(tasks.finish, block, state, self._sent_to(block, strips)) for block in self._blocks)
        return report
