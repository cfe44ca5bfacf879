"""Threads that stand still until a test lets them go on, so that only one of them runs at a time."""

from __future__ import annotations

import threading

ENDLESS = 10**9


class Dead(BaseException):
    """In a process that was killed, whatever it is at."""


class Turnstile:
    """Threads that come here stand still until they are let pass: one at a time, the lowest number first."""

    def __init__(self) -> None:
        self._changed, self._passes = threading.Condition(), 0
        self._inside: set[int] = set()
        self._waiting: set[int] = set()
        self._dead: set[int] = set()

    def enter(self, number: int) -> None:
        """A thread will come here from now on."""
        with self._changed:
            self._inside.add(number)
            self._dead.discard(number)

    def leave(self, number: int) -> None:
        """It will come here no more."""
        with self._changed:
            self._inside.discard(number)
            self._changed.notify_all()

    def come(self, number: int) -> None:
        """Wait to be let pass; who has not entered is let. Raises Dead."""
        with self._changed:
            if number not in self._inside:
                return
            self._waiting.add(number)
            self._changed.notify_all()
            self._changed.wait_for(lambda: number in self._dead or (self._next() == number and self._passes > 0))
            self._waiting.discard(number)
            self._passes -= number not in self._dead
            if number in self._dead:
                raise Dead

    def _next(self) -> int | None:
        return min(self._waiting) if self._waiting == self._inside else None

    def let(self, passes: int = ENDLESS) -> int:
        """Let so many pass, and wait until all stand still again or are gone. Returns how many were not needed."""
        with self._changed:
            self._passes = passes
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._inside or (not self._passes and self._waiting == self._inside))
            left, self._passes = self._passes, 0
        return left

    def kill(self, number: int | None = None) -> None:
        """One of them, or all; wait until they are gone."""
        with self._changed:
            gone = {*self._inside} if number is None else {number} & self._inside
            self._dead |= gone
            self._changed.notify_all()
            self._changed.wait_for(lambda: not gone & self._inside)

    @property
    def empty(self) -> bool:
        return not self._inside
