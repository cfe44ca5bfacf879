"""One job's turn: who takes it holds its store until the end, so that nobody else does; and the process that does so.

Whatever ends that process, the job stays: what is in its store, and the marks, say how to go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import IO, Any

from tiler.engine.lease import Lease
from tiler.engine.lock import Hold
from tiler.engine.store import RenderStore
from tiler.errors import (
    ConfigError,
    OutputError,
    RenderError,
    ResourceError,
    SchedulerError,
    SchedulerInUseError,
    StoreInUseError,
    TilerError,
    TileTooLargeError,
)
from tiler.planning.course import Course
from tiler.queue.job import WAITING, config_of, marked
from tiler.queue.marks import DONE, FAILED, PAUSED, PROGRESS, STOPPED, Marks, held_soon
from tiler.rendering import render
from tiler.request.config import RenderConfig
from tiler.request.identity import ADVICE
from tiler.request.places import check_within
from tiler.request.resume import check_replaced

Progress = Callable[[dict[str, Any]], None]
# How a turn ends, beside DONE and FAILED: another process has the job, or it does not wait any more; the machine has
# too little for it; the cluster is not there, or is at something else; it broke off and may go on.
ELSEWHERE, NOT_HERE, NO_SCHEDULER, BUSY, BROKE = "elsewhere", "not here", "no scheduler", "busy", "broke"
_CLAIM_SECONDS, _TELL_SECONDS, _KILL_SECONDS, _MARK_SECONDS = 1.0, 1.0, 8.0, 120.0
# A queue's store cannot be chosen, and nobody can be asked to start over.
_ADVICE = "put it back as it was, or tiler queue remove it and add it anew"


@dataclass(frozen=True)
class Ending:
    how: str
    reason: str = ""


@dataclass(frozen=True)
class Taken:
    """text: of the job file, as it is rendered. hold: of the store."""

    config: RenderConfig
    text: bytes
    hold: Hold | Lease


@contextlib.contextmanager
def taken(marks: Marks, name: str) -> Iterator[Taken | None]:
    """The job is this process's until the block ends; None where it does not wait. Raises StoreInUseError where another
    has it, TilerError where it cannot be read."""
    url = marks.store(name)
    RenderStore.exists(url)  # raises where something else is, which not even a lock may be written into
    with held_soon(url, _CLAIM_SECONDS) as hold:
        text = marks.text(name)
        if text is None or marked(marks, name, text)[0] != WAITING:
            yield None
        else:
            yield Taken(config_of(marks, name, text), text, hold)


def take(
    folder: str | Path,
    name: str,
    said: Mapping[str, Any],
    progress: Progress,
    work: Callable[..., Any] = render,
    within: str | Path | None = None,
) -> Ending:
    """Render a job of a queue in this process, and mark how that ended. said: what this run decides (`OF_RUNS`, the
    store aside). work: as `tiler.render`. within: see `Queue.run`."""
    marks = Marks(folder)
    try:
        with taken(marks, name) as turn:
            if turn is None:
                return Ending(ELSEWHERE)
            reason = _outside(turn.config, within)
            if reason:
                return _marked(marks, name, Ending(NOT_HERE, reason), turn.text)
            return _rendered(marks, name, turn, said, progress, work)
    except StoreInUseError:
        return Ending(ELSEWHERE)
    except TilerError as error:
        text = b""
        with contextlib.suppress(TilerError):
            text = marks.text(name) or b""
        return _marked(marks, name, Ending(FAILED, str(error)), text)


def _outside(config: RenderConfig, within: str | Path | None) -> str:
    """Why this run leaves a job alone; empty where it does not."""
    try:
        if within is not None:
            check_within(config, within)
    except ConfigError as error:
        return str(error)
    return ""


def _rendered(
    marks: Marks, name: str, turn: Taken, said: Mapping[str, Any], progress: Progress, work: Callable[..., Any]
) -> Ending:
    try:
        config = replace(turn.config, **said)
        check_outputs(config, marks.folder)
        work(config, _Told(marks, name, progress), hold=turn.hold)
    except SchedulerInUseError as error:
        return Ending(BUSY, str(error))
    except SchedulerError as error:
        return Ending(NO_SCHEDULER, str(error))
    except ResourceError as error:
        return _marked(marks, name, Ending(NOT_HERE, str(error)), turn.text)
    except (RenderError, TileTooLargeError) as error:
        return Ending(BROKE, str(error))
    except TilerError as error:
        return _marked(marks, name, Ending(FAILED, str(error).replace(ADVICE, _ADVICE)), turn.text)
    return _marked(marks, name, Ending(DONE), turn.text)


def _marked(marks: Marks, name: str, ending: Ending, text: bytes) -> Ending:
    """The same, once there is a mark of it: of a turn that did not come to the poster not where somebody has stopped or
    paused the job meanwhile. What could not be marked has broken off, and is tried again."""
    try:
        with marks.editing(_MARK_SECONDS):
            if ending.how == DONE or marked(marks, name, text)[0] not in (PAUSED, STOPPED):
                state = WAITING if ending.how == NOT_HERE else ending.how
                marks.set_state(name, state, ending.reason, text)
        if ending.how == DONE:
            marks.drop(name, PROGRESS)
    except TilerError as error:
        return ending if ending.how == FAILED else Ending(BROKE, str(error))
    return ending


def check_outputs(config: RenderConfig, folder: Path) -> None:
    """Raise OutputError where a job would replace what neither lies in the queue's folder nor was written by it."""
    try:
        check_replaced(config, ("output", "tiles"), folder, "a queue")
    except OutputError as error:
        path = str(error).partition(": a queue names it")[0]
        raise OutputError(
            f"{path}: is there already, and nobody can be asked when the job's turn comes; choose another name, or one "
            "in the queue's folder"
        ) from None


class _Told:
    """Passes events on, and keeps a mark of how far the job is."""

    def __init__(self, marks: Marks, name: str, progress: Progress) -> None:
        self._marks, self._name, self._progress = marks, name, progress
        self._course, self._last, self._lock = Course(), 0.0, threading.Lock()

    def __call__(self, event: dict[str, Any]) -> None:
        with self._lock:
            self._course(event)
            if self._course.levels and monotonic() - self._last >= _TELL_SECONDS:
                self._last = monotonic()
                with contextlib.suppress(TilerError):
                    values = {"share": self._course.share, "seconds": self._course.seconds_left}
                    self._marks.write(self._name, PROGRESS, **values, pid=str(os.getpid()))
        self._progress(event)


# The process ---------------------------------------------------------------------------------------------------------

_PROGRAM = """import sys
if sys.argv[1] not in sys.path: sys.path.insert(0, sys.argv[1])
del sys.argv[1]
from tiler.cli import main
main()"""


class Child:
    """A process that takes a job: `tiler queue take`. It ends when this one does, since its standard input does then.
    events: what it has told, and nobody has taken from the list yet."""

    def __init__(self, folder: Path, name: str, said: Mapping[str, Any], within: str | Path | None = None) -> None:
        options = [f"--{key.replace('_', '-')}={value}" for key, value in said.items()]
        options += [] if within is None else [f"--within={within}"]
        root = str(Path(__file__).parents[2])
        # -P: nothing that lies in the current folder runs.
        words = [sys.executable, "-P", "-c", _PROGRAM, root, "queue", "take", *options, "--", str(folder), name]
        pipe = subprocess.PIPE
        # A terminal's Ctrl-C is this process's to hear.
        self._process = subprocess.Popen(words, process_group=0, stdin=pipe, stdout=pipe, stderr=pipe)
        self.events: list[dict[str, Any]] = []
        self._ending: Ending | None = None
        self._said, self._stopped = b"", 0.0
        readers = ((self._hear, self._process.stdout), (self._listen, self._process.stderr))
        self._threads = [threading.Thread(target=read, args=(end,), daemon=True) for read, end in readers]
        for thread in self._threads:
            thread.start()

    def _hear(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            with contextlib.suppress(ValueError, LookupError, TypeError):
                event = json.loads(line)
                if event["event"] == "ended":
                    self._ending = Ending(str(event["how"]), str(event["reason"]))
                else:
                    self.events.append(event)

    def _listen(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self._said = line.strip()[-1000:] or self._said

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> Ending | None:
        """None as long as it runs."""
        code = self._process.poll()
        if code is None:
            if self._stopped and monotonic() - self._stopped > _KILL_SECONDS:
                self._process.kill()
            return None
        for thread in self._threads:
            thread.join(1.0)  # a worker that is about to end may hold the pipes
        if self._process.stdin:
            self._process.stdin.close()
        ended = f"its process ended by signal {-code}" if code < 0 else f"its process ended with {code}"
        said = self._said.decode(errors="replace").removeprefix("tiler: ")
        return self._ending or Ending(BROKE, said if code > 0 and said else ended)

    def stop(self) -> None:
        """Have it end soon; what is in the store stays."""
        if not self._stopped:
            self._stopped = monotonic()
            self._process.terminate()
