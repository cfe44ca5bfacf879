"""Working through a queue: one job at a time on this machine, or on each of several clusters.

A runner keeps nothing that the folder does not say: it looks there for what waits, and for what is paused, stopped or
removed meanwhile. So it may be killed at any moment, and several may work on one folder.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol

from tiler.errors import SchedulerError, StoreError
from tiler.queue.job import REFUSED, RUNNING, WAITING, QueuedJob, job_of
from tiler.queue.marks import DONE, FAILED, PAUSED, STATE, STOPPED, Marks, digest
from tiler.queue.turn import BROKE, BUSY, ELSEWHERE, NO_SCHEDULER, NOT_HERE, Child, Ending, Progress

_LOOK_EVERY, _LIST_EVERY = 0.2, 1.0
# Until a cluster that is somebody else's is asked for again.
_REST_SECONDS = 30.0
# Until a job for which there was too little here is tried again, if it is still the same.
_UNFIT_SECONDS = 300.0
# How often in a row a job may break off without having come any further.
_TRIES = 5


class Turn(Protocol):
    """See `turn.Child`."""

    events: list[dict[str, Any]]

    def poll(self) -> Ending | None: ...
    def stop(self) -> None: ...


Start = Callable[[Path, str, Mapping[str, Any]], Turn]


@dataclass
class _Seat:
    """Where one job at a time is rendered: this machine, or a cluster. far: how far its job was at the beginning.
    rests: until when it is left alone. unfit: jobs that cannot be rendered there, as their files were, and until when
    they are not tried again."""

    scheduler: str | None
    turn: Turn | None = None
    name: str = ""
    far: float = 0.0
    rests: float = -_REST_SECONDS
    stopping: bool = False
    unfit: dict[str, tuple[str, float]] = field(default_factory=dict)


class Runner:
    """said: what this run decides for all jobs (`job.OF_RUNS`). start: begins a turn in a process of its own.

    Raises StoreError where another runner of the same queue is at one of the places already."""

    def __init__(
        self,
        marks: Marks,
        schedulers: Sequence[str],
        said: Mapping[str, Any],
        progress: Progress,
        start: Start = Child,
    ) -> None:
        self._marks, self._said, self._progress, self._start = marks, dict(said), progress, start
        self._seats = [_Seat(each) for each in dict.fromkeys(schedulers)] or [_Seat(None)]
        self._tries: Counter[str] = Counter()
        self._busy: dict[str, float] = {}  # by others, when they were last seen to be
        self._said_of: set[str] = set()
        self._looked = -_LIST_EVERY

    @contextlib.contextmanager
    def seated(self) -> Iterator[None]:
        """No other runner of this queue is at this one's places, and its processes end with the block."""
        with contextlib.ExitStack() as stack:
            for seat in self._seats:
                stack.enter_context(self._marks.at(seat.scheduler))
            stack.callback(self._end)
            yield

    def run(self, wait: bool, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Until nothing is left to do, or it is cancelled; wait: for ever. Raises SchedulerError when no cluster can be
        used any more."""
        with self.seated():
            while not cancelled() and (self.step() or wait):
                sleep(_LOOK_EVERY)

    def step(self) -> bool:
        """Look once at all processes and, now and then, at all jobs. Whether there is anything left to do."""
        self._marks.check_there()
        for seat in [*self._seats]:
            self._look_at(seat)
        if not self._seats:
            raise SchedulerError(f"queue {self._marks.folder}: no --scheduler is left that can be used")
        free = [seat for seat in self._seats if seat.turn is None and monotonic() > seat.rests]
        if not free or monotonic() - self._looked < _LIST_EVERY:
            return True
        self._looked = monotonic()
        jobs = [job_of(self._marks, name) for name in self._marks.names()]
        for seat in free:
            self._fill(seat, jobs)
        return any(seat.turn for seat in self._seats) or self._is_open(jobs)

    def _look_at(self, seat: _Seat) -> None:
        if seat.turn is None:
            return
        while seat.turn.events:
            self._progress({**seat.turn.events.pop(0), "job": seat.name})
        ending = seat.turn.poll()
        if ending is not None:
            seat.turn = None
            self._looked = -_LIST_EVERY
            self._settle(seat, ending)
        elif not seat.stopping and not self._goes_on(seat.name):
            seat.stopping = True
            seat.turn.stop()

    def _goes_on(self, name: str) -> bool:
        try:
            there = self._marks.text(name) is not None
        except StoreError:  # a link by now
            there = False
        return there and self._marks.read(name, STATE).get("state") not in (PAUSED, STOPPED)

    def _settle(self, seat: _Seat, ending: Ending) -> None:
        name, how = seat.name, ending.how
        if how == ELSEWHERE:
            self._busy[name] = monotonic()
        elif how == NO_SCHEDULER:
            self._seats.remove(seat)
            self._tell("note", name, ending.reason)
        elif how == BUSY:
            seat.rests = monotonic() + _REST_SECONDS
            if ending.reason not in self._said_of:
                self._said_of.add(ending.reason)
                self._tell("note", name, ending.reason)
        elif how == NOT_HERE:
            self._leave(seat, name)
            if name + ending.reason not in self._said_of:
                self._said_of.add(name + ending.reason)
                self._tell("not here", name, ending.reason)
        elif seat.stopping and how != DONE:
            self._tell("held", name)
        elif how == BROKE:
            self._try_again(seat, ending.reason)
        else:
            self._tell(how, name, ending.reason)
            if how == FAILED and job_of(self._marks, name).state == WAITING:  # which could not even be marked
                self._leave(seat, name)

    def _leave(self, seat: _Seat, name: str) -> None:
        seat.unfit[name] = self._digest(name), monotonic() + _UNFIT_SECONDS

    def _is_unfit(self, seat: _Seat, name: str) -> bool:
        text, until = seat.unfit.get(name, ("", 0.0))
        return monotonic() < until and text == self._digest(name)

    def _digest(self, name: str) -> str:
        try:
            return digest(self._marks.text(name) or b"")
        except StoreError:
            return ""

    def _try_again(self, seat: _Seat, reason: str) -> None:
        """Where it has come any further it may break off again."""
        now = job_of(self._marks, seat.name)
        self._tries[seat.name] = 1 if now.share > seat.far else self._tries[seat.name] + 1
        if self._tries[seat.name] < _TRIES:
            self._tell("broke", seat.name, reason)
        elif now.state == WAITING:
            text = self._marks.text(seat.name) or b""
            self._marks.set_state(seat.name, FAILED, f"{reason} ({_TRIES} times in a row)", text)
            del self._tries[seat.name]
            self._tell(FAILED, seat.name, reason)

    def _fill(self, seat: _Seat, jobs: Sequence[QueuedJob]) -> None:
        mine = {one.name for one in self._seats if one.turn}
        for job in jobs:
            lately = monotonic() - self._busy.get(job.name, -_LIST_EVERY) < _LIST_EVERY
            if job.state != WAITING or job.name in mine or lately or self._is_unfit(seat, job.name):
                continue
            said = {**self._said, **({} if seat.scheduler is None else {"scheduler": seat.scheduler})}
            seat.turn = self._start(self._marks.folder, job.name, said)
            seat.name, seat.far, seat.stopping = job.name, job.share, False
            self._tell("begun", job.name, seat.scheduler or "")
            return

    def _is_open(self, jobs: Sequence[QueuedJob]) -> bool:
        """Whether anything may have to be done yet, though nothing can be now."""
        others = [job for job in jobs if job.state in (RUNNING, PAUSED)]
        for job in others:
            if job.name + job.state not in self._said_of:
                self._said_of.add(job.name + job.state)
                self._tell("wait", job.name, f"{job.state} {job.reason}".strip())
        for job in jobs:
            if job.state == REFUSED and job.name + job.state not in self._said_of:
                self._said_of.add(job.name + job.state)
                self._tell(REFUSED, job.name, job.reason)
        waiting = [job.name for job in jobs if job.state == WAITING]
        return bool(others) or not all(self._is_unfit(seat, name) for name in waiting for seat in self._seats)

    def _tell(self, kind: str, name: str, text: str = "") -> None:
        self._progress({"event": f"queue {kind}", "job": name, "text": text})

    def _end(self) -> None:
        turns = [seat.turn for seat in self._seats if seat.turn]
        for turn in turns:
            turn.stop()
        while turns:
            turns = [turn for turn in turns if turn.poll() is None]
            if turns:
                sleep(_LOOK_EVERY / 4)
