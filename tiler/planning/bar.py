"""A render's events as a progress bar, for scripts and notebooks."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tiler.errors import ConfigError
from tiler.planning.course import Course

Progress = Callable[[dict[str, Any]], None]
# Of what is mended by itself, the words that an event tells it by.
_TOLD = {"note": "text", "kernels": "text", "not finite": "text", "damage": "message"}


@contextlib.contextmanager
def heard(progress: Progress | bool | None) -> Iterator[Progress]:
    """What is to be called with events. progress: True for a bar, which tqdm draws as the terminal or the notebook
    wants it; None or False for nothing. Raises ConfigError where tqdm is not installed."""
    if progress is True:
        bar = Bar()
        try:
            yield bar
        finally:
            bar.close()
    elif progress and not callable(progress):
        raise ConfigError(f"progress = {progress!r}; allowed: a function of an event, True for a bar, or None")
    else:
        yield progress or (lambda event: None)


class Bar:
    """Events come on several threads. The share of all work is shown, and what is noted is printed above."""

    def __init__(self) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            raise ConfigError(
                "progress = True needs tqdm, which is not installed: pip install 'tiler-render[notebook]'"
            ) from None
        self._course, self._lock = Course(), threading.Lock()
        form = "{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
        self._bar = tqdm(total=1.0, bar_format=form, file=sys.stderr)

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        with self._lock:
            self._course(event)
            if kind in _TOLD:
                self._bar.write(event[_TOLD[kind]], file=sys.stderr)
            elif kind == "level":
                self._describe(event["level"])
            elif kind == "write":
                self._bar.set_description_str("writing", refresh=False)
            if self._course.levels:
                self._bar.update(max(0.0, self._course.share - self._bar.n))

    def close(self) -> None:
        with self._lock:
            self._bar.close()

    def _describe(self, number: int) -> None:
        level, last = self._course.levels[number], len(self._course.levels)
        said = f"level {number + 1} of {last}, {level['width']} x {level['height']} "
        self._bar.set_description_str(said, refresh=False)
