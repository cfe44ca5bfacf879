"""How far a render is and how long it will take yet, from what it tells of itself (see `tiler.cli.progress`)."""

from __future__ import annotations

from time import monotonic
from typing import Any


class Course:
    """Hears a render's events. Work is counted in pixels times steps, by (level, tile): a task that was repeated
    reports its steps again, and what is done only ever grows."""

    def __init__(self) -> None:
        self.levels: list[dict[str, Any]] = []
        self._steps: dict[tuple[int, int], int] = {}
        # When the first step was heard of, and what was done by then: no work of this run.
        self._began: tuple[float, float] | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind in ("start", "shrink"):
            self.levels, self._steps, self._began = event["levels"], {}, None
        elif kind == "step":
            key = event["level"], event["tile"]
            self._steps[key] = max(self._steps.get(key, 0), event["step"])
            if self._began is None:
                self._began = monotonic(), self._done
        elif kind == "level done":
            self.levels[event["level"]]["done"] = True

    @property
    def share(self) -> float:
        """Of all work, 0 to 1. That of a render without steps is nothing, and done."""
        total = self._total
        return self._done / total if total else 1.0

    @property
    def seconds_left(self) -> float | None:
        """As fast as so far; None until that is known."""
        if self._began is None:
            return None
        began, before = self._began
        done = self._done - before
        return (self._total - self._done) * (monotonic() - began) / done if done > 0 else None

    def steps(self, level: int) -> list[int]:
        """How many are done of each tile of a level that was heard of."""
        return [step for (index, _), step in self._steps.items() if index == level]

    @property
    def _total(self) -> float:
        return sum(level["work"] for level in self.levels)

    @property
    def _done(self) -> float:
        done = sum(level["work"] for level in self.levels if level["done"])
        for (index, _), step in self._steps.items():
            level = self.levels[index]
            if not level["done"] and level["steps"]:
                done += level["work"] / level["tiles"] * step / level["steps"]
        return done
