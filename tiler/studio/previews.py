"""Previews for a page: one, or some side by side."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiler.engine.schedule import Pool
from tiler.output.contact import Table, write_sheet
from tiler.request.config import RenderConfig
from tiler.series.preview import Preview, preview
from tiler.studio.bench import Bench, Task
from tiler.studio.folder import Folder

# So many of the last previews can be looked at again without rendering them.
_KEPT = 12
_PREVIEWS, _OURS = "previews", re.compile("[0-9a-f]{16}")


@dataclass
class Cell:
    """One picture of a run. whole: (height, width) of the poster. version: grows with what it shows."""

    caption: str
    config: RenderConfig
    whole: tuple[int, int] | None = None
    version: int = 0
    seen: Preview | None = None

    def told(self) -> dict[str, Any]:
        seen = self.seen
        if seen is None:
            return {"caption": self.caption, "version": 0, "whole": self.whole}
        height, width = seen.pixels.shape[:2]
        return {
            "caption": self.caption,
            "version": self.version,
            "whole": self.whole,
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


class Run(Task):
    """What was asked for at once. table: of more than one cell."""

    def __init__(self, folder: Folder, cells: list[Cell], edge: int, table: Table | None) -> None:
        super().__init__()
        self._folder, self.cells, self._edge, self.table = folder, cells, edge, table

    def work(self, pool: Pool, cancelled: Callable[[], bool], hear: Callable[[dict[str, Any]], None]) -> None:
        for cell in self.cells:
            preview(
                cell.config,
                edge=self._edge,
                on_level=lambda seen, cell=cell: self._show(cell, seen),  # type: ignore[misc]
                cancelled=cancelled,
                progress=hear,
                pool=pool,
                folder=kept_place(self._folder, _PREVIEWS, [cell.config.to_dict(), self._edge], _KEPT),
            )

    def _show(self, cell: Cell, seen: Preview) -> None:
        with self.lock:
            cell.seen, cell.version = seen, cell.version + 1

    def told(self) -> dict[str, Any]:
        with self.lock:
            return {**super().told(), "cells": [cell.told() for cell in self.cells]}


class Previewer:
    """What a page asks for of previews. bench: where they are rendered."""

    def __init__(self, folder: Folder, bench: Bench) -> None:
        self._folder, self._bench, self._asking = folder, bench, threading.Lock()
        self._now = Run(folder, [], 0, None)
        self._now.done = True

    def ask(self, cells: list[Cell], edge: int, table: Table | None = None) -> int:
        """Have these rendered, one after the other, in place of whatever was wanted until now. Returns their run's
        number."""
        run = Run(self._folder, cells, edge, table)
        with self._asking:  # what is asked for last is what is told of
            number = self._bench.ask(run)
            self._now = run
        return number

    def told(self) -> dict[str, Any]:
        """How far the newest run is, JSON values."""
        return self._now.told()

    def picture(self, run: int, cell: int) -> bytes | None:
        """A PNG of what is there of a cell."""
        now = self._now
        if run != now.number or not 0 <= cell < len(now.cells):
            return None
        seen = now.cells[cell].seen
        return None if seen is None else seen.png()

    def sheet(self, run: int, suffix: str) -> bytes | None:
        """All cells of a run side by side, with what they are, as a file; None while one is missing. suffix: of
        `contact.SUFFIXES`."""
        now = self._now
        pictures = [self.picture(run, cell) for cell in range(len(now.cells))]
        if run != now.number or now.table is None or not all(pictures):
            return None
        with tempfile.TemporaryDirectory(dir=self._folder.own) as name:
            cells = [Path(name) / f"{number}.png" for number in range(len(pictures))]
            for cell, data in zip(cells, pictures, strict=True):
                cell.write_bytes(data or b"")
            made = Path(name) / f"sheet{suffix}"
            write_sheet(made, suffix, now.table, cells)
            return made.read_bytes()


def kept_place(folder: Folder, kind: str, what: Any, most: int) -> Path:
    """A folder of its own for each `what`, JSON values; the oldest of more than `most` make way."""
    name = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    place = folder.own_folder(kind, name)
    place.touch()
    ours = [one for one in place.parent.iterdir() if _OURS.fullmatch(one.name) and not one.is_symlink()]
    for old in sorted(ours, key=lambda one: one.stat().st_mtime_ns, reverse=True)[most:]:
        shutil.rmtree(old, ignore_errors=True)
    return place
