"""The level x round loop. Read `Levels._all_levels` and you know the engine."""

from __future__ import annotations

import itertools
import math
import time
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiler import pictures
from tiler.engine.address import Address
from tiler.engine.home import DEVICE, from_here
from tiler.engine.job import Job
from tiler.engine.lineage import Lineage
from tiler.engine.rounds import LevelRun, Site, measure_rest, measure_styles, tasks
from tiler.engine.schedule import Pool
from tiler.engine.store import RenderStore
from tiler.errors import (
    DamageError,
    PictureChangedError,
    RenderError,
    TileTooLargeError,
    WorkerDiedError,
)
from tiler.ingest import Ingest
from tiler.jobs import Progress
from tiler.output import export
from tiler.output.view import View
from tiler.request.asked import Sources
from tiler.request.config import RenderConfig
from tiler.request.resolve import notes

_REPAIRS = 2
_PLACES = {"host": "the host's memory", "store": "the store"}
# Pixels. What a smaller tile's core would save is little beside its halo and the worker itself: memory is short for
# other reasons then, which pass, while a cut is for the rest of the job.
_SMALLEST_CUT = 256


class Levels:
    """One call of `tiler.render`: drives the pool through the levels and says how far it is."""

    def __init__(
        self,
        config: RenderConfig,
        job: Job,
        store: RenderStore,
        pool: Pool,
        progress: Progress,
        sources: Sources,
        homes: tuple[str, ...] = (),
        lineage: Lineage | None = None,
    ) -> None:
        """homes: where each level's state lives; by default on the device that computes. lineage: None: nobody will
        know finished levels by what they depend on."""
        self.glance = 1.0
        self._config, self._job, self._store, self._pool, self._progress = config, job, store, pool, progress
        self._lineage = lineage
        self._homes = homes or (DEVICE,) * len(job.cut.levels)
        self._sources, self._overlay = sources, sources.opened.get(config.overlay or "")
        self._address = Address(store.url, job.id, store.holder())
        self._checked: set[int] = set()  # finished levels whose images were written or read in this run

    def run(self) -> None:
        """Bring every level to its end. What turns out to be damaged in the store is computed again, each part a few
        times at most."""
        with Ingest(self._config, self._sources) as ingest:
            self._announce()
            self._repaired(ingest)

    def _repaired(self, ingest: Ingest) -> None:
        damages: Counter[tuple[str, tuple[int, ...]]] = Counter()
        while True:
            try:
                return self._all_levels(ingest)
            except PictureChangedError as change:
                again = "go on with the same command when it is again as it was, or start over with --force-new"
                raise RenderError(f"{change}; {again}") from None
            except DamageError as damage:
                part = damage.path, damage.index
                damages[part] += 1
                if damages[part] > _REPAIRS or not RenderStore.exists(self._store.url):
                    raise
                self._progress({"event": "damage", "message": str(damage)})
                ingest.stop()
                self._store.forget(*part)

    def _all_levels(self, ingest: Ingest) -> None:
        for level, size in enumerate(self._job.cut.levels):
            if self._sources.transparent and level not in self._checked:
                ingest.alpha(self._store, self._job, level)
            if self._store.level_report(level) is None:
                began = time.monotonic()
                self._progress({"event": "level", "level": level})
                if self._job.needs_pictures(level):
                    for guides in ingest.level(self._store, self._job, level):
                        self._add_up_guides(*guides)
                if level + 1 < len(self._job.cut.levels) and self._job.needs_pictures(level + 1):
                    ingest.begin(self._store, self._job, level + 1)
                if size.steps:
                    measure_styles(self._site, level)
                    measure_rest(self._site, level)
                if self._job.terms.lines and level == 0:
                    site = self._site
                    self._store.update(**site.wait(self._pool.submit(tasks.match_colours, site.address)))
                report = self._run_level(level)
                self._finish(level, report, time.monotonic() - began)
            elif level not in self._checked:
                self._store.tidy_level(level)
                for name, tile in itertools.product(self._job.look.images, self._job.cut.grid(level)):
                    self._store.read_image(level, tile.core, name)
            self._checked.add(level)

    def write_poster(self) -> float:
        """The finest level's image to the output file. Returns that level's loss."""
        last = len(self._job.cut.levels) - 1
        self._progress({"event": "write", "output": self._config.target})
        sizes = [(one.height, one.width) for one in self._job.cut.levels]
        peak = 1 if self._job.device.state_dtype == "float64" else 65535
        self._store.publish(Path(self._config.target).stem, sizes, peak, self._job.look.images[-1])
        try:
            export.write_view(View.of(self._store, self._job, last), self._config, self._overlay)
        except PictureChangedError as change:
            again = "the same command writes the poster with what is there then"
            raise RenderError(f"{change}; no poster was written; {again}") from None
        written = {name: getattr(self._config, name) for name in ("output", "tiles")}
        self._store.update(wrote={name: path and pictures.fingerprint(path) for name, path in written.items()})
        return float((self._store.level_report(last) or {}).get("loss", math.nan))

    def _levels(self) -> list[dict[str, Any]]:
        """What the progress display must know of every level; work is in pixels times steps."""
        job = self._job
        return [
            {
                "height": level.height,
                "width": level.width,
                "tiles": len(job.cut.grid(level.index)),
                "steps": level.steps,
                "done": self._store.level_report(level.index) is not None,
                "work": job.cut.work(level.index),
            }
            for level in job.cut.levels
        ]

    def _announce(self) -> None:
        job, sources = self._job, self._sources
        where = {"output": self._config.target, "store": self._store.url, "workers": self._pool.workers}
        how = {"mode": job.cut.mode, "precision": job.device.precision, "device": job.device.kind, "tile": job.cut.tile}
        self._progress({"event": "start", "levels": self._levels(), **where, **how})
        shown = job.cut.shown
        remarks = export.remarks(self._config, shown.height, shown.width, self._overlay, sources.transparent)
        for text in (*notes(self._config, job, sources.layout, sources.styles), *remarks):
            self._progress({"event": "note", "text": text})
        self._pool.on_report(self._progress)

    def _add_up_guides(self, path: str, layers: tuple[str, ...]) -> None:
        if self._store.read_areas(path) is None:
            site = self._site
            site.wait(self._pool.submit(tasks.add_up_guides, site.address, path, layers))

    @property
    def _site(self) -> Site:
        # A level that went back to a checkpoint has given the run another number.
        return Site(self._store, self._job, self._pool, replace(self._address, run=self._store.holder()), self.glance)

    def _run_level(self, level: int) -> dict[str, Any]:
        """What a level came to. When it does not fit into memory, its state moves to where there is more; after that
        the level starts over with tiles of half the size, once, and not where they are small already."""
        homes, shrunk = from_here(self._homes[level], self._job.device.kind), False
        while True:
            try:
                return LevelRun(self._site, level, homes[0], self._config.checkpoint_seconds).run()
            except (TileTooLargeError, WorkerDiedError) as error:
                self._progress({"event": "note", "text": str(error)})
                if len(homes) > 1:
                    del homes[0]
                    self._progress(
                        {
                            "event": "note",
                            "level": level,
                            "home": homes[0],
                            "text": f"level {level + 1}: its state is kept in {_PLACES[homes[0]]} from here on",
                        }
                    )
                elif shrunk or self._core(level) <= _SMALLEST_CUT:
                    raise
                else:
                    self._shrink(level)
                    shrunk = True

    def _shrink(self, level: int) -> None:
        """Cut the rest of the job into tiles of half the size, as a new cut with a state of its own."""
        smaller = self._core(level) // 2 // self._job.cut.align * self._job.cut.align
        self._job = replace(self._job.with_tile(max(_SMALLEST_CUT, smaller)), id=uuid.uuid4().hex)
        self._store.update(job=self._job.to_dict())
        self._store = self._store.for_job(self._job)
        self._address = replace(self._address, id=self._job.id)
        self._progress({"event": "shrink", "level": level, "tile": self._job.cut.tile, "levels": self._levels()})

    def _core(self, level: int) -> int:
        grid = self._job.cut.grid(level)
        return max(grid.core_height, grid.core_width)

    def _finish(self, level: int, report: dict[str, Any], seconds: float) -> None:
        """Record what a level came to, and drop its working arrays."""
        report = {"seconds": seconds, **report}
        known = self._lineage.ended(self._job, level, self._store) if self._lineage else None
        self._store.finish_level(level, report, known)
        self._progress({"event": "level done", "level": level, **report})
