"""One job that goes through many lives: renders that go on task by task as a test says, and are hurt in between.

A life is `Levels` in a thread of its own. It stops before every task, and the writers of its checkpoints stop before
every tile, until they are let go on; so only one thread runs at a time, and what happens is the same in every repeat.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from serial_pool import Kept as There
from serial_pool import SerialPool
from turnstile import ENDLESS, Dead, Turnstile

import tiler.levels
from tiler import pictures
from tiler.engine import behind, resident, tasks, workplace
from tiler.engine.behind import Behind
from tiler.engine.folder import Folder
from tiler.engine.holding import Holding
from tiler.engine.job import Job
from tiler.engine.resident import Resident
from tiler.engine.state import Kept
from tiler.engine.store import RenderStore
from tiler.errors import DamageError, TilerError, TileTooLargeError, WorkerDiedError
from tiler.geometry import Rect
from tiler.levels import Levels
from tiler.request.asked import Sources
from tiler.request.config import RenderConfig
from tiler.request.places import pictures_of
from tiler.request.resolve import resolve_config

# Uneven last tiles; a cut of 16 px follows where memory is short.
TILE, SMALLEST = 32, 16
CHANGING = (tasks.begin, tasks.measure, tasks.relax_border, tasks.advance)
OPTIONS: dict[str, Any] = dict(
    long_edge=48, levels=1, steps=(8,), tile=TILE, feather=8, halo=16, steps_per_round=1, precision="fp32", threads=1,
    device="cpu", style_layers=("relu1_1", "relu2_1"), content_layers=("relu2_2",),
)  # fmt: skip


class _Later(There):
    """Of `settle`, which takes until a checkpoint is written."""

    def __init__(self, pool: LivePool, call: Callable[[], There]) -> None:
        self._pool, self._call = pool, call
        self._found: There | None = None

    def done(self, seconds: float = 0.0) -> bool:
        if seconds:
            self._pool.lives.writers.let()
        return self._pool.lives.writers.empty

    def result(self) -> Any:
        self._found = self._found or self._call()
        return self._found.result()


class LivePool(SerialPool):
    """Waits before every task. Workers may be lost, and others come."""

    def __init__(self, lives: Lives, blocks: int) -> None:
        super().__init__(blocks)
        self.lives, self._count = lives, blocks
        self.asked: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def gone(self, addresses: Any) -> list[str]:
        return sorted({*addresses} - {*self.addresses})

    def drop(self) -> None:
        pass

    def join(self) -> None:
        """One more worker."""
        self._count += 1
        self.addresses = [*self.addresses, f"worker {self._count}"]

    def lose(self, number: int) -> None:
        """A worker; another takes its place."""
        self.addresses = [one for i, one in enumerate(self.addresses) if i != number]
        self.join()

    def submit(self, function: Callable[..., Any], *arguments: Any, worker: str | None = None) -> There:
        self.lives.client.come(0)
        self.asked.append((function, arguments))
        if function is tasks.settle:
            return _Later(self, lambda: SerialPool.submit(self, function, *arguments))
        return super().submit(function, *arguments)


class Lives:
    """A job in a folder, and whoever works at it. Not more than one client lives at a time."""

    def __init__(self, folder: Path, inputs: Path, weights: str, **options: Any) -> None:
        files = dict(content=str(inputs / "content.png"), styles=(str(inputs / "style.png"),))
        self._config = RenderConfig(**{**files, **OPTIONS, **options}, output=str(folder / "x.png"), weights=weights)
        self._opened = {path: pictures.open_picture(path) for path in pictures_of(self._config)}
        sources = [source.picture for source in self._config.regions.sources]
        self._pictures = [self._opened[path] for path in (self._config.content, *sources)]
        self._resolved, job = resolve_config(self._config, self._pictures[0], self._pictures[1:])
        self.url = str(folder / "job.zarr")
        RenderStore.create(self.url, {"job": job.to_dict(), "config": self._resolved.to_dict()})
        self._reset()

    def copied(self, folder: Path) -> Lives:
        """The same job as it is now, elsewhere."""
        found = object.__new__(Lives)
        found.__dict__.update(self.__dict__)
        found.url = str(folder / "job.zarr")
        shutil.copytree(self.url, found.url)
        found._reset()
        return found

    def _reset(self) -> None:
        self.client, self.writers = Turnstile(), Turnstile()
        self._pool: LivePool | None = None
        self._error: BaseException | None = None
        self._files_left, self.memory_ends = ENDLESS, False
        self.outcomes: list[str] = []

    @contextlib.contextmanager
    def in_charge(self) -> Iterator[None]:
        """Within the block checkpoints are written, files made and memory had as this says."""
        relax, kept, write = Holding.relax, behind.write_kept, Behind._write
        settle, rest, take = Behind.settle, Behind.rest, resident._Rooms.take
        lives = self

        def written(store: Any, level: int, slot: int, state: int, tile: Any, *rest: Any) -> None:
            lives.writers.come(threading.current_thread().number)  # type: ignore[attr-defined]
            kept(store, level, slot, state, tile, *rest)

        def writes(self: Behind, found: Any, *rest: Any) -> None:
            number = threading.current_thread().number = found[0][0].index  # type: ignore[attr-defined]
            try:
                write(self, found, *rest)
            finally:
                lives.writers.leave(number)

        def begin(self: Behind, resident: Any, tiles: Any, *rest: Any) -> None:
            self.settle()
            lives.writers.enter(tiles[0].index)
            with mock.patch.object(Behind, "settle", settle):  # of nothing
                begun(self, resident, tiles, *rest)

        def settled(self: Behind) -> None:
            lives.writers.let()
            settle(self)

        def rested(self: Behind) -> None:
            lives.writers.let()
            rest(self)

        def taken(self: Any) -> Any:
            while self._leaving and not self._free and lives.writers.let(1) == 0:
                pass
            return take(self)

        def relaxed(self: Holding, *arguments: Any) -> None:
            if lives.memory_ends:
                lives.memory_ends = False
                raise TileTooLargeError("does not fit")
            relax(self, *arguments)

        begun = Behind.begin
        with contextlib.ExitStack() as stack:
            for owner, name, new in (
                (behind, "write_kept", written), (Behind, "_write", writes), (Behind, "begin", begin),
                (Behind, "settle", settled), (Behind, "rest", rested),
                (resident._Rooms, "take", taken), (Holding, "relax", relaxed),
                (Folder, "write", self._dying(Folder.write)),
                (Folder, "delete", self._dying(Folder.delete)), (tiler.levels, "_SMALLEST_CUT", SMALLEST),
            ):  # fmt: skip
                stack.enter_context(mock.patch.object(owner, name, new))
            yield

    def _dying(self, method: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            self._files_left -= 1
            if self._files_left < 0:
                raise Dead
            method(*arguments)

        return call

    # What happens --------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return not self.client.empty

    def begin(self, home: str, blocks: int, checkpoint_seconds: float = 0) -> None:
        """A client opens the store, with workers of its own, and stands before its first task."""
        workplace._CURRENT.clear()
        store = RenderStore.open(self.url)
        store.update(run=uuid.uuid4().hex)
        job = self.job
        store.hold_to(job)
        self._pool, self._error = LivePool(self, blocks), None
        config = replace(self._resolved, checkpoint_seconds=checkpoint_seconds)
        sources = Sources(self._opened, self._pictures[0], self._pictures[1:])
        run = Levels(config, job, store, self._pool, lambda event: None, sources, (home,))
        self.client.enter(0)
        threading.Thread(target=self._live, args=(run,)).start()
        self.go(0)

    def _live(self, run: Levels) -> None:
        try:
            run.run()
            self.outcomes.append("done")
        except (DamageError, TileTooLargeError, WorkerDiedError) as error:  # what it cannot help says so
            self.outcomes.append(type(error).__name__)
        except Dead:
            self.outcomes.append("killed")
        except BaseException as error:
            self._error = error
        finally:
            self.client.leave(0)

    def go(self, count: int = ENDLESS) -> None:
        """So many tasks, or to the end. Raises what no life may end with."""
        self.client.let(count)
        if self._error is not None:
            raise self._error

    def write(self, tiles: int) -> None:
        """Of a checkpoint that is being written: so many."""
        self.writers.let(tiles)

    def kill(self) -> None:
        """The client and its workers."""
        self.writers.kill()
        self.client.kill()
        workplace._CURRENT.clear()

    def cut(self, files: int) -> None:
        """Go on until so many more files were written; then everybody dies, in the middle of whatever it is."""
        self._files_left = files
        try:
            self.write(ENDLESS)
            self.go()
        finally:
            self.kill()
            self._files_left = ENDLESS

    def lose(self, block: int) -> None:
        """A worker, and what it holds."""
        assert self._pool
        for here in workplace._CURRENT.values():
            for key in [key for key in here.held if key[1] == block]:
                self.writers.kill(here.held.pop(key).tiles[0].index)
        self._pool.lose(block)

    def join(self) -> None:
        """One more worker comes."""
        assert self._pool
        self._pool.join()

    def repeat(self, number: int) -> None:
        """A task of this life that changes what is there comes once more, whenever its time was."""
        assert self._pool
        asked = [one for one in self._pool.asked if one[0] in CHANGING]
        for function, arguments in asked[number % max(1, len(asked)) :][:1]:
            with contextlib.suppress(TilerError):
                SerialPool.submit(self._pool, function, *arguments).result()

    # What is there -------------------------------------------------------------------------------------------------

    @property
    def job(self) -> Job:
        return Job.from_dict(RenderStore.open(self.url, writable=False).attributes["job"])

    def chunks(self) -> list[Path]:
        """Of the state; or of the image, once it is all that is left."""
        found = sorted(path for path in Path(self.url).glob("levels/0/state-*/**/*") if path.is_file())
        return found or sorted(path for path in Path(self.url).glob("levels/0/image/c/**/*") if path.is_file())

    def stored(self) -> Iterator[tuple[int, int, Kept]]:
        """(state, tile, what the store has of it) of every mark; what says that it is damaged is left out."""
        store, job = RenderStore.open(self.url, writable=False), self.job
        store.hold_to(job)
        path, fast = store.state_path(0), not job.cut.measures_every_round(0)
        with contextlib.suppress(DamageError):
            if store.has(f"{path}/marks"):
                for slot, row in enumerate(store.states(path)):
                    for tile in np.flatnonzero(row >= 0).tolist():
                        with contextlib.suppress(DamageError):
                            grams = job.terms.style_layers if fast and row[tile] else ()
                            yield int(row[tile]), tile, _read(store, job, slot, tile, grams)

    def held(self) -> Iterator[tuple[int, int, Kept]]:
        """The same of what workers hold in memory."""
        for here in workplace._CURRENT.values():
            for holding in here.held.values():
                if isinstance(holding._state, Resident):
                    for (state, tile), (kept, _) in holding._state._found.items():
                        yield state, tile, kept

    def image(self) -> np.ndarray:
        size = self.job.cut.levels[0]
        return RenderStore.open(self.url).read_image(0, Rect(0, 0, size.height, size.width))


def _read(store: RenderStore, job: Job, slot: int, index: int, layers: tuple[str, ...]) -> Kept:
    tile, path = job.cut.grid(0).tile(index), store.state_path(0)
    whole = tile.blend.relative_to(tile.blend)
    pixels, moments = (store.read_patch(0, slot, index, whole, kind) for kind in ("pixels", "moments"))
    grams = {layer: torch.from_numpy(store.read_grams(path, slot, index, layer)) for layer in layers}
    content, tv = store.read_loss(0, slot, index)
    return Kept(pixels, moments, grams, (0,), (float(content), float(tv)))
