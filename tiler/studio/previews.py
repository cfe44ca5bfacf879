"""Previews for a page: one is wanted at a time, and whoever asks for another has the one before cancelled."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiler.engine.schedule import Pool
from tiler.errors import CancelledError, TilerError
from tiler.request.config import RenderConfig
from tiler.series.preview import Preview, preview
from tiler.studio.folder import Folder

# So many of the last previews can be looked at again without rendering them.
_KEPT = 12
_PREVIEWS, _OURS = "previews", re.compile("[0-9a-f]{16}")


@dataclass
class Cell:
    """One picture of a run. version: grows with what it shows."""

    caption: str
    config: RenderConfig
    version: int = 0
    seen: Preview | None = None

    def told(self) -> dict[str, Any]:
        seen = self.seen
        if seen is None:
            return {"caption": self.caption, "version": 0}
        height, width = seen.pixels.shape[:2]
        return {
            "caption": self.caption,
            "version": self.version,
            "level": seen.level,
            "levels": seen.levels,
            "steps": seen.steps,
            "of": seen.of,
            "height": height,
            "width": width,
            "style": seen.style,
            "loss": seen.loss,
            "seconds": round(seen.seconds, 2),
            "finished": seen.finished and seen.level + 1 == seen.levels,
        }


@dataclass
class Run:
    """What was asked for at once."""

    number: int
    cells: list[Cell]
    edge: int
    done: bool = False
    error: str = ""
    notes: list[str] = field(default_factory=list)


class Previewer:
    """A thread with workers that stay. A context manager. pool: makes the workers, when the first is wanted."""

    def __init__(self, folder: Folder, pool: Callable[[], Pool] = Pool) -> None:
        self._folder, self._make_pool = folder, pool
        self._changed = threading.Condition()
        self._wanted: Run | None = None
        self._now = Run(0, [], 0, done=True)
        self._number, self._over = 0, False
        self._thread = threading.Thread(target=self._work, daemon=True, name="previews")

    def __enter__(self) -> Previewer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._changed:
            self._over, self._wanted = True, None
            self._number += 1
            self._changed.notify_all()
        self._thread.join(10)

    # What a page asks for -----------------------------------------------------------------------------------------

    def ask(self, cells: list[tuple[str, RenderConfig]], edge: int) -> int:
        """Have these rendered, one after the other, in place of whatever was wanted until now. Returns their run's
        number."""
        with self._changed:
            self._number += 1
            self._wanted = Run(self._number, [Cell(*one) for one in cells], edge)
            self._changed.notify_all()
            return self._number

    def stop(self) -> None:
        """Nothing is wanted; what was rendered is still to be seen."""
        with self._changed:
            self._number += 1
            self._wanted = None
            self._now.done = True

    def told(self) -> dict[str, Any]:
        """How far the newest run is, JSON values."""
        with self._changed:
            run = self._wanted or self._now
            return {
                "run": run.number,
                "done": run.done,
                "error": run.error,
                "notes": run.notes,
                "cells": [cell.told() for cell in run.cells],
            }

    def picture(self, run: int, cell: int) -> bytes | None:
        """A PNG of what is there of a cell."""
        with self._changed:
            if run != self._now.number or not 0 <= cell < len(self._now.cells):
                return None
            seen = self._now.cells[cell].seen
        return None if seen is None else seen.png()

    # The thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        with self._make_pool() as pool:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._wanted is not None or self._over)
                    if self._over or self._wanted is None:
                        return
                    self._now, self._wanted = self._wanted, None
                self._render(self._now, pool)

    def _render(self, run: Run, pool: Pool) -> None:
        error = ""
        try:
            for cell in run.cells:
                self._render_cell(run, cell, pool)
        except CancelledError:
            pass
        except TilerError as wrong:
            error = self._folder.said(wrong)
        except Exception as wrong:  # the page says it, and the next change is rendered all the same
            error = self._folder.said(f"{type(wrong).__name__}: {(str(wrong).splitlines() or [''])[0]}")
        with self._changed:
            run.error, run.done = error, True

    def _render_cell(self, run: Run, cell: Cell, pool: Pool) -> None:
        def show(seen: Preview) -> None:
            with self._changed:
                cell.seen, cell.version = seen, cell.version + 1

        def hear(event: dict[str, Any]) -> None:
            if event["event"] == "note":
                with self._changed:
                    note = self._folder.said(event["text"])
                    run.notes = [*run.notes, *([note] if note not in run.notes else [])][-20:]

        preview(
            cell.config,
            edge=run.edge,
            on_level=show,
            cancelled=lambda: self._number != run.number,
            progress=hear,
            pool=pool,
            folder=self._place(cell.config, run.edge),
        )

    def _place(self, config: RenderConfig, edge: int) -> Path:
        """Of its own for each configuration; the oldest make way."""
        name = hashlib.sha256(json.dumps([config.to_dict(), edge], sort_keys=True).encode()).hexdigest()[:16]
        place = self._folder.own_folder(_PREVIEWS, name)
        place.touch()
        ours = [one for one in place.parent.iterdir() if _OURS.fullmatch(one.name) and not one.is_symlink()]
        for old in sorted(ours, key=lambda one: one.stat().st_mtime_ns, reverse=True)[_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
        return place
