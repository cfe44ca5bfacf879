"""Events of a render, for people (a live line, or plain lines where there is no terminal) and for machines (JSON).

Kinds: `plan` (planning.plan.Plan: what it will take), `start` (levels, workers, how), `level`, `step` (one optimiser
step of one tile), `tile` (one round of one tile), `level done`, `note` (text), `write`, `done`; of what is learned and
grown `status` (text: how far it is), `learn` (a step's losses) and `grow` (rows); and what went wrong and is mended:
`shrink` (tiles too large), `damage` (of the store), `not finite`, `retry` (of a task), `worker lost`, `worker joined`,
`kernels` (plain torch for Triton).
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from time import monotonic, time
from typing import Any

from tiler.cli.echo import say, say_json, show
from tiler.planning.course import Course
from tiler.planning.words import size

Progress = Callable[[dict[str, Any]], None]
_PLAIN_EVERY = 5.0


@contextlib.contextmanager
def make_progress(quiet: bool, log_json: bool) -> Iterator[Progress]:
    """The progress function that the flags and the terminal ask for."""
    if quiet:
        yield lambda event: None
    elif log_json:
        yield _print_json
    else:
        printer = _Printer(live=sys.stderr.isatty())
        try:
            yield printer
        finally:
            printer.clear()


def _print_json(event: dict[str, Any]) -> None:
    say_json({"time": round(time(), 3), **event})


def duration(seconds: float) -> str:
    """3725 -> '1 h 02 min', 65 -> '1 min 05 s', 5 -> '5 s'."""
    whole = int(seconds + 0.5)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"


class _Printer:
    """Prints to standard error. Steps arrive on a thread of the scheduler's."""

    def __init__(self, live: bool) -> None:
        self._live, self._lock = live, threading.Lock()
        self._course = Course()
        self._level = 0
        self._styles: dict[int, float] = {}
        self._last_print = 0.0
        self._width = 0

    def __call__(self, event: dict[str, Any]) -> None:
        with self._lock:
            self._course(event)
            getattr(self, "_on_" + event["event"].replace(" ", "_"), lambda event: None)(event)

    def clear(self) -> None:
        if self._width:
            show("")
            self._width = 0

    def _line(self, text: str) -> None:
        self.clear()
        say(text, err=True)

    def _on_plan(self, event: dict[str, Any]) -> None:
        self._line(
            f"needs about {size(event['memory_bytes'])} of memory"
            + (f", {size(event['gpu_bytes'])} on each GPU" if event["gpu_bytes"] else "")
            + f", {size(event['store_bytes'])} of disk for the state and {size(event['output_bytes'])} for the poster; "
            f"{event['steps']} steps, {event['tile_steps']} counted by tiles"
        )

    def _on_start(self, event: dict[str, Any]) -> None:
        last = event["levels"][-1]
        self._line(
            f"{last['width']} x {last['height']} px, {len(event['levels'])} levels, mode {event['mode']}, "
            f"{event['precision']} on {event['device']}, {event['workers']} worker(s), tiles up to {event['tile']} px"
        )
        self._line(f"poster: {event['output']}   state: {event['store']}")

    def _on_level(self, event: dict[str, Any]) -> None:
        self._level, self._styles = event["level"], {}

    def _on_shrink(self, event: dict[str, Any]) -> None:
        self._on_level(event)
        self._line(f"out of memory; level {event['level'] + 1} starts over with tiles up to {event['tile']} px")

    def _on_damage(self, event: dict[str, Any]) -> None:
        self._line(f"{event['message']}; computing it again")

    def _on_not_finite(self, event: dict[str, Any]) -> None:
        self._line(f"{event['text']}; trying again")

    def _on_retry(self, event: dict[str, Any]) -> None:
        self._line(f"task {event['task']} failed and is tried again: {event['error']}")

    def _on_worker_lost(self, event: dict[str, Any]) -> None:
        self._line(f"worker {event['worker']} is gone, {event['workers']} left; its tiles are computed again")

    def _on_worker_joined(self, event: dict[str, Any]) -> None:
        self._line(f"worker {event['worker']} joined, {event['workers']} now")

    def _on_step(self, event: dict[str, Any]) -> None:
        now = monotonic()
        if event["level"] != self._level:
            return
        self._styles[event["tile"]] = event["style"]
        if now - self._last_print >= (0.2 if self._live else _PLAIN_EVERY):
            self._last_print = now
            self._show(self._status())

    def _on_level_done(self, event: dict[str, Any]) -> None:
        levels = self._course.levels
        level = levels[event["level"]]
        style = f"style loss {event['style']:.4f}, " if "style" in event else ""
        self._line(
            f"level {event['level'] + 1} of {len(levels)}: {level['width']} x {level['height']} px, "
            f"{level['tiles']} tile(s), {level['steps']} steps, {style}{duration(event['seconds'])}"
        )

    def _on_note(self, event: dict[str, Any]) -> None:
        self._line(event["text"])

    def _on_kernels(self, event: dict[str, Any]) -> None:
        self._line(event["text"])

    def _on_status(self, event: dict[str, Any]) -> None:
        now = monotonic()
        if now - self._last_print >= (0.2 if self._live else _PLAIN_EVERY):
            self._last_print = now
            self._show(event["text"])

    def _on_write(self, event: dict[str, Any]) -> None:
        self._show("writing " + event["output"])

    def _on_done(self, event: dict[str, Any]) -> None:
        self._line(f"done in {duration(event['seconds'])}: {event['output']}")

    def _status(self) -> str:
        levels, course = self._course.levels, self._course
        level, steps = levels[self._level], course.steps(self._level)
        complete = sum(step == level["steps"] for step in steps)
        style = sum(self._styles.values()) / len(self._styles)
        left = "..." if course.seconds_left is None else f"{duration(course.seconds_left)} left"
        return (
            f"level {self._level + 1} of {len(levels)} ({level['width']} x {level['height']}), "
            f"step {max(steps)} of {level['steps']}, {complete} of {level['tiles']} tiles done, "
            f"style loss {style:.4f}, {100 * course.share:.0f} %, {left}, {_memory() / 2**30:.1f} GB"
        )

    def _show(self, text: str) -> None:
        if self._live:
            text = text[: shutil.get_terminal_size().columns - 1]  # a wrapped line could not be wiped again
            show(text)
            self._width = len(text)
        else:
            say(text, err=True)


def _memory() -> int:
    """Resident bytes of this process and its workers."""

    import psutil  # a tenth of what `tiler --version` takes

    me, total = psutil.Process(), 0
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total
