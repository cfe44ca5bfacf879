"""One thing at a time, in a thread with workers that stay: whoever asks for another has the one before cancelled."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from tiler.engine.schedule import Pool
from tiler.errors import CancelledError, TilerError
from tiler.planning.course import Course

_MOST_NOTES = 20


class Task:
    """What is asked for. number: given by its bench, 0 before. done: also of one that was cancelled. error: a line.
    course: how far it is."""

    def __init__(self) -> None:
        self.number, self.done, self.error = 0, False, ""
        self.notes: list[str] = []
        self.course = Course()
        self.lock = threading.RLock()

    def work(self, pool: Pool, cancelled: Callable[[], bool], hear: Callable[[dict[str, Any]], None]) -> None:
        """hear: gets a render's events. Raises CancelledError and TilerError."""
        raise NotImplementedError

    def told(self) -> dict[str, Any]:
        """JSON values."""
        with self.lock:
            told = {"run": self.number, "done": self.done, "error": self.error, "notes": self.notes}
            left = self.course.seconds_left
            return {**told, "share": self.course.share if self.course.levels else 0.0, "seconds_left": left}


class Bench:
    """A context manager. said: makes a message fit for a page. pool: makes the workers, when the first is wanted. stay:
    whether they are kept until the end, or only as long as there is something to do."""

    def __init__(
        self, said: Callable[[object], str], pool: Callable[[], Pool] = Pool, stay: bool = True, name: str = "bench"
    ) -> None:
        self._said, self._make_pool, self._stay = said, pool, stay
        self._changed = threading.Condition()
        self._wanted: Task | None = None
        self._now: Task | None = None
        self._number, self._over = 0, False
        self._pools = contextlib.ExitStack()
        self._pool: Pool | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)

    def __enter__(self) -> Bench:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._changed:
            self._over = True
            self.stop()
            self._changed.notify_all()
        self._thread.join(10)

    def ask(self, task: Task) -> int:
        """Have it done, in place of whatever was wanted until now. Returns its number."""
        with self._changed:
            self.stop()
            task.number, self._wanted = self._number, task
            self._changed.notify_all()
            return task.number

    def stop(self) -> None:
        """Nothing is wanted; what was done is still to be seen."""
        with self._changed:
            self._number += 1
            for task in (self._wanted, self._now):
                if task is not None:
                    task.done = True
            self._wanted = None

    # The thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with self._pools:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._wanted is not None or self._over)
                    if self._over or self._wanted is None:
                        return
                    self._now, self._wanted = self._wanted, None
                    task = self._now
                self._do(task)

    def _do(self, task: Task) -> None:
        error = ""
        try:
            if self._pool is None:
                self._pool = self._pools.enter_context(self._make_pool())
            task.work(self._pool, lambda: self._number != task.number, lambda event: self._hear(task, event))
        except CancelledError:
            pass
        except TilerError as wrong:
            error = self._said(wrong)
        except Exception as wrong:  # the page says it, and what is asked for next is done all the same
            error = self._said(f"{type(wrong).__name__}: {(str(wrong).splitlines() or [''])[0]}")
        finally:
            if not self._stay:
                self._pools.close()
                self._pool = None
        with task.lock:
            task.error, task.done = error, True

    def _hear(self, task: Task, event: dict[str, Any]) -> None:
        with task.lock:
            task.course(event)
            if event["event"] == "note":
                note = self._said(event["text"])
                task.notes = [*task.notes, *([note] if note not in task.notes else [])][-_MOST_NOTES:]
