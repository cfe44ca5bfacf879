"""Steps of a long measurement, each in a process of its own and within a time limit; whatever one of them does, the
rows before are kept."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

import psutil

Row = dict[str, Any]
# Seconds that a step has, after it should have ended by itself, to hand over what it has.
GRACE = 5.0


class SkippedError(Exception):
    """Raised by a step that cannot be carried out here; says what is missing."""


@dataclass(frozen=True)
class Step:
    """run(asked, rows, ends): importable; yields rows as it has them. rows: those of the steps before. ends: what
    time.monotonic() should not pass; soon after that the process is killed. limit: seconds at most. least: with fewer
    left it is not begun. columns: of its table."""

    name: str
    run: Callable[[Any, list[Row], float], Iterator[Row]]
    limit: float
    least: float
    columns: tuple[str, ...]


def carry_out(step: Step, asked: Any, rows: Sequence[Row], left: float) -> Iterator[Row]:
    """Rows of one step, the last of them about the step itself: `seconds`, and `ended`, which is `done` or what kept it
    from that. left: seconds that it may take, if these are fewer than its limit."""
    began = time.monotonic()
    seconds = min(step.limit, left) - GRACE
    if seconds < step.least:
        how: Row = {"ended": f"skipped: {max(0.0, left):.0f} s are left"}
    else:
        how = {"ended": f"cut short after {seconds:.0f} s"}
        for kind, value in _answers(step, asked, list(rows), began + seconds):
            if kind == "row":
                yield {"step": step.name, **value}
            else:
                how = value
    yield {"step": step.name, "what": "step", "seconds": time.monotonic() - began, **how}


def _answers(step: Step, asked: Any, rows: list[Row], ends: float) -> Iterator[tuple[str, Any]]:
    """What the step's process sends, until it ends or its time does."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, step, asked, rows, ends), daemon=False)
    process.start()
    theirs.close()
    try:
        while ours.poll(max(0.0, ends + GRACE - time.monotonic())):
            try:
                answer = ours.recv()
            except EOFError:
                process.join(GRACE)
                answer = "end", {"ended": f"failed: its process ended with {process.exitcode}"}
            yield answer
            if answer[0] == "end":
                return
    finally:
        end_group(process.pid)
        process.join()
        ours.close()


def _serve(answers: connection.Connection, step: Step, asked: Any, rows: list[Row], ends: float) -> None:
    os.setpgid(0, 0)  # so that whatever it starts ends with it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    how: Row = {"ended": "done"}
    try:
        for row in step.run(asked, rows, ends):
            answers.send(("row", row))
    except SkippedError as reason:
        how = {"ended": f"skipped: {reason}"}
    except BaseException as error:
        said = str(error).strip().splitlines() or [""]
        how = {"ended": f"failed: {type(error).__name__}: {said[-1]}", "error": traceback.format_exc()}
    answers.send(("end", how))
    answers.close()


def _end_with_parent() -> None:
    """Who measures was killed: nothing may go on computing, least of all on a GPU."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)


def end_group(pid: int | None) -> None:
    """Kill the leader of a group, its descendants, and what of the group lost its parents."""
    if pid:
        end_family(pid)
        with contextlib.suppress(ProcessLookupError):  # it died before it led one
            os.killpg(pid, signal.SIGKILL)


def end_family(pid: int) -> None:
    """Kill a process and its descendants at once."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
