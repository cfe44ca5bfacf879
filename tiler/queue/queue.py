"""The queue as its users have it: a folder of job files and stores, and nothing else."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tiler.errors import ConfigError, StoreInUseError, TilerError
from tiler.jobs import Progress, Request
from tiler.planning.measured import plan as plan_render
from tiler.planning.plan import Plan
from tiler.queue.job import OF_RUNS, REFUSED, QueuedJob, config_of, has_store, job_of, marked, written
from tiler.queue.marks import DONE, KEPT, PAUSED, PLAN, STATE, STOPPED, STORE, Marks, held_soon
from tiler.queue.runner import Runner
from tiler.queue.turn import Child, check_outputs
from tiler.request.config import RenderConfig
from tiler.request.places import check_kept, pictures_of, written_by

PLACES = ("up", "down", "first", "last")
_REMOVE_SECONDS = 30.0
_LONGEST, _LONGEST_BYTES = 60, 120


class Queue:
    """Posters that wait for their turn, in a folder: job files (NAME.toml), their stores (NAME.zarr) and marks.

    Whoever has the folder has the queue: another process, another machine that shares it, and the same machine after
    its end. Job files may be put there by hand. folder: made when the first job is added. All methods raise TilerError,
    ConfigError for a job that is not there.
    """

    def __init__(self, folder: str | Path) -> None:
        self._marks = Marks(folder)

    @property
    def folder(self) -> Path:
        return self._marks.folder

    # What is in it ---------------------------------------------------------------------------------------------------

    def jobs(self) -> list[QueuedJob]:
        """All jobs as they are now, in their order. One that cannot be read is refused, and says why."""
        return [job_of(self._marks, name) for name in self._marks.names()]

    def job(self, name: str) -> QueuedJob:
        return job_of(self._marks, self._known(name))

    def config(self, name: str) -> RenderConfig:
        """What a job asks for."""
        return config_of(self._marks, self._known(name))

    def _known(self, name: str) -> str:
        names = self._marks.names()
        if name not in names:
            raise ConfigError(f"queue {self.folder}: has no job {name!r}; it has {', '.join(names[:20]) or 'none'}")
        return name

    # Adding and removing ---------------------------------------------------------------------------------------------

    def add(self, config: RenderConfig, name: str | None = None) -> QueuedJob:
        """Put a poster at the queue's end, once all that it asks for has been looked at.

        name: as it is listed; default: its output's. Its store is NAME.zarr in the folder, whatever `config` says of
        workers and the like is the run's to decide, and refused here. Its poster may replace a file in the folder, but
        none that another job reads or will write; elsewhere a new name is needed, since nobody can be asked later.
        """
        source = f"queue {self.folder}"
        text = written(config, self.folder, source)
        name = self.free_name(Path(config.target).stem) if name is None else name
        if not name or _spelled(name) != name:
            raise ConfigError(
                f"name = {name!r}; allowed: up to {_LONGEST} letters, digits and the signs - _ . "
                f"of {_LONGEST_BYTES} bytes"
            )
        config = replace(config, store=str(self.folder / f"{name}.zarr"))
        Request.of(config)
        check_outputs(config, self.folder)
        seen = self._check_apart(config, ())
        self._marks.make()
        with self._marks.editing():
            self._check_apart(config, seen)
            if not self._marks.is_free(name):
                raise ConfigError(f"{source}: has {name} already; choose another name")
            self._marks.set_order([*self._marks.names(), name])
            self._marks.forget(name)
            self._marks.write_text(name, text)
        return self.job(name)

    def free_name(self, like: str, ends: Collection[str] = ()) -> str:
        """A name for a new job. ends: with which nothing in the folder is called so either."""

        def is_free(name: str) -> bool:
            return self._marks.is_free(name) and not any(os.path.lexists(self.folder / (name + end)) for end in ends)

        first = _spelled(like) or "poster"
        numbered = (f"{first[: _LONGEST - 6]}-{number}" for number in range(2, 10**5))
        return next(name for name in (first, *numbered) if is_free(name))

    def _check_apart(self, config: RenderConfig, seen: Collection[str]) -> list[str]:
        """Raise OutputError where this job and another would write over what the other needs. seen: names of jobs that
        have been looked at. Returns all names."""
        names = self._marks.names()
        check_kept(config, [("the marks of the queue", self.folder / KEPT)])
        for name in {*names} - {*seen}:
            try:
                text = self._marks.text(name) or b""
                other = config_of(self._marks, name, text)
            except TilerError:  # it is not rendered
                continue
            assert other.store
            kept: list[tuple[str, str | Path]] = [(f"the state of {name}", other.store)]
            if marked(self._marks, name, text)[0] != DONE:
                kept += [(f"what {name} writes", place) for _, _, place in written_by(other)]
                kept += [(f"a picture of {name}", file) for file in pictures_of(other)]
                mine = [("the new job's state", str(config.store))]
                check_kept(other, [*mine, *(("a picture of the new job", file) for file in pictures_of(config))])
            check_kept(config, kept)
        return names

    def remove(self, name: str, patience: float = _REMOVE_SECONDS) -> None:
        """Delete a job and its store; a poster that was written stays. One that is being rendered is stopped first, for
        which `patience` seconds are given."""
        refused, place = self.job(name).state == REFUSED, str(self.folder / (name + STORE))
        if not refused:
            self._marks.set_state(name, STOPPED)
        with contextlib.ExitStack() as stack:
            if not refused or has_store(place):
                try:
                    stack.enter_context(held_soon(self._marks.store(name), patience))
                except StoreInUseError as error:
                    raise ConfigError(f"{name}: is stopped, and still being rendered; {error}") from None
            self._marks.remove(name, store=has_store(place))

    # Steering --------------------------------------------------------------------------------------------------------

    def move(self, name: str, where: str) -> None:
        """Change the order. where: up, down, first or last."""
        if where not in PLACES:
            raise ConfigError(f"where = {where!r}; allowed: {', '.join(PLACES)}")
        with self._marks.editing():
            names = self._marks.names()
            at = names.index(self._known(name))
            to = {"up": max(0, at - 1), "down": at + 1, "first": 0, "last": len(names)}[where]
            names.insert(to, names.pop(at))
            self._marks.set_order(names)

    def pause(self, name: str) -> None:
        """Have a job wait for `resume`; a runner waits for that, too. One that is being rendered breaks off."""
        self._hold(name, PAUSED)

    def stop(self, name: str) -> None:
        """End a job; what there is of it stays in its store, for `tiler.export`. `resume` has it go on."""
        self._hold(name, STOPPED)

    def _hold(self, name: str, state: str) -> None:
        with self._marks.editing():  # it may be about to be done
            job = self.job(name)
            if job.state in (DONE, REFUSED):
                raise ConfigError(f"{name}: is {job.state}; allowed: a job that is not")
            self._marks.set_state(name, state)

    def resume(self, name: str) -> None:
        """Have a job that is paused, stopped or failed wait for its turn again."""
        job = self.job(name)
        if job.state in (DONE, REFUSED):
            raise ConfigError(f"{name}: is {job.state}; allowed: a job that is paused, stopped or failed")
        self._marks.drop(name, STATE)

    # Work ------------------------------------------------------------------------------------------------------------

    def plan(self, name: str, notes: list[str] | None = None) -> Plan:
        """What a job will take on this machine, as `tiler.plan` says it; `jobs` knows the seconds from then on."""
        found = plan_render(self.config(name), notes)
        self._marks.write(name, PLAN, seconds=found.seconds)
        return found

    def run(
        self,
        schedulers: Sequence[str] = (),
        progress: Progress | None = None,
        wait: bool = False,
        cancelled: Callable[[], bool] | None = None,
        within: str | Path | None = None,
        **said: Any,
    ) -> list[QueuedJob]:
        """Render what waits, one job after the other, until none waits, is paused or is rendered by others. Returns all
        jobs as they are then.

        schedulers: addresses of Dask clusters, on each of which a job is rendered at a time; none: on this machine.
        wait: go on for ever. cancelled: called several times a second; once it is true, what is rendered breaks off and
        waits again. within: a folder; a job that names files elsewhere is left alone. said: what this run decides:
        workers, state, checkpoint_seconds.

        progress(event) gets what `tiler.render` tells, with the job's name as `job`, and events of the queue itself:
        `queue begun`, `queue done`, `queue failed`, `queue refused`, `queue broke` (tried again), `queue held` (paused
        or stopped), `queue not here` (too little memory or disk, or files elsewhere), `queue wait`, each with a text.
        Raises StoreError where another runner works through this queue on the same machine or cluster, SchedulerError
        when no cluster can be reached.
        """
        for key in said:
            if key not in OF_RUNS or key in ("store", "scheduler"):
                raise ConfigError(f"{key}: is not a run's to decide; allowed: workers, state, checkpoint_seconds")
        values = {key: value for key, value in said.items() if value is not None}
        replace(_ANY, **values)  # raises where a value cannot be
        start = {} if within is None else {"start": partial(Child, within=within)}
        Runner(self._marks, schedulers, values, progress or (lambda event: None), **start).run(
            wait, cancelled or (lambda: False)
        )
        return self.jobs()


_ANY = RenderConfig(content="x", styles=("x",), output="x.png")


def _spelled(name: str) -> str:
    """As a job may be called: what every file system and shell takes as it is."""
    letters = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:_LONGEST]
    return letters.encode()[:_LONGEST_BYTES].decode(errors="ignore").rstrip("-.")
