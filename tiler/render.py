"""The level x round loop. Read `_Render.run` and you know the engine."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tiler import export, guiding, identity, pictures
from tiler.config import RenderConfig
from tiler.engine import place, tasks
from tiler.engine.job import Job
from tiler.engine.lock import sole_writer
from tiler.engine.machine import ask, difference, joined
from tiler.engine.schedule import Pool, cores
from tiler.engine.store import MEASURED, PATCHED, RenderStore
from tiler.engine.view import View
from tiler.errors import DamageError, PictureChangedError, RenderError, StoreError, TileTooLargeError, WorkerDiedError
from tiler.places import check_places, pictures_of
from tiler.plan import plan_job
from tiler.resolve import check_config, fitted, notes, resolve_config, settle_size, store_url
from tiler.room import check_disk, check_room
from tiler.style.colour import ColourMoments, recolour, style_map
from tiler.style.weights import trunk_of
from tiler.version import __version__

Progress = Callable[[dict[str, Any]], None]
_REPAIRS = 2
# Pixels. What a smaller tile's core would save is little beside its halo and the worker itself: memory is short for
# other reasons then, which pass, while a cut is for the rest of the job.
_SMALLEST_CUT = 256


@dataclass(frozen=True)
class Result:
    """output: the poster's path. store: the job's store. loss: of the finest level. seconds: of this call."""

    output: str
    store: str
    height: int
    width: int
    loss: float
    seconds: float


def render(config: RenderConfig, progress: Progress | None = None, force_new: bool = False) -> Result:
    """Render a poster, or go on with one that was begun with the same configuration.

    progress(event) is called with small dicts, in order and on the calling thread or a thread of the scheduler's; see
    tiler/cli/progress.py for the kinds. Raises TilerError and its subclasses (tiler.errors); finished work stays in
    the store. In a script, call this under `if __name__ == "__main__":`, since workers are processes of their own.
    """
    began = time.monotonic()
    opened = guiding.opened_by(config, pictures_of(config))
    styles = [pictures.as_style(opened[source.picture]) for source in config.regions.sources]
    layout = opened.get(config.content or config.init)
    config = settle_size(config, layout or styles[0])
    layout = fitted(config, layout) if layout else styles[0]
    guiding.check_guides(config, layout, opened)
    trunk = trunk_of(config.weights)
    meant = check_config(config, layout, styles, trunk)
    size = meant.levels[-1]
    georef = export.georef_of(config, layout, size.height, size.width)
    export.check_files(config, size.height, size.width, opened.get(config.overlay or ""), georef)
    url = store_url(config)
    check_places(config, url, opened)
    inputs, weights = identity.inputs(config), identity.located(config).weights
    RenderStore.exists(url)  # raises where something else is, which not even a lock may be written into
    with sole_writer(url) as hold, _disk_errors(url), contextlib.ExitStack() as stack:
        store = RenderStore.open(url) if RenderStore.exists(url) and not force_new else None
        run_id, begun = uuid.uuid4().hex, None
        remarks = list(guiding.picture_notes(config, opened, styles))
        if store is not None:
            identity.check_same(url, store.attributes, config, inputs)
            begun = replace(identity.load_job(store), weights=weights)
            identity.check_job(url, begun, meant)
            asked = identity.stored_places(store.attributes, config, url)
            store.update(job=begun.to_dict(), asked=asked, run=run_id)  # files may have been moved since
        else:
            remarks += guiding.check_pixels(config, opened)
        progress = progress or (lambda event: None)
        # With the largest tiles, hence the least disk: what is short now is short on any machine.
        check_disk(plan_job(config, begun or meant, bool(config.content) and layout.has_alpha), config, url)
        threads = begun.threads if begun else config.threads or max(1, cores() // (config.workers or 1))
        pool = stack.enter_context(Pool(config.scheduler, config.workers or 1, threads))
        machine = ask(pool)
        resolved, job = resolve_config(config, layout, styles, machine, trunk)
        job = begun or job
        if (resolved.workers or 1) > machine.workers:
            pool.grow(resolved.workers or 1)
            machine = ask(pool)
        planned = plan_job(resolved, job, bool(config.content) and layout.has_alpha, machine=machine)
        check_room(planned, config, job, url, store is not None, machine)
        if store is None:
            facts = {
                "place": export.place(layout) if config.content else {},
                "config": identity.travels(resolved),
                "asked": identity.kept(config, url),
                "inputs": inputs,
                "version": __version__,
                "run": run_id,
                "machine": machine.facts(job.device),
            }
            job = replace(job, weights=weights)
            store = RenderStore.create(url, {"job": job.to_dict(), **facts}, overwrite=force_new)
            store.hold_to(job)
        store.guard(hold.check)
        computed_on = _ComputedOn(store, machine.facts(job.device), progress)
        run = _Render(resolved, job, store, pool, computed_on.tell, opened)
        progress({"event": "plan", **planned.to_dict()})
        for text in filter(None, (*hold.notes, computed_on.difference, machine.trouble(job.device), *remarks)):
            progress({"event": "note", "text": text})
        try:
            run.run(layout, styles)
            loss = run.write_poster()
        finally:
            seconds = time.monotonic() - began
            with contextlib.suppress(StoreError), place.remote_errors(url):  # a full disk, or the store is gone
                store.update(seconds=store.seconds + seconds, machine=computed_on.all)
    return Result(config.target, url, size.height, size.width, loss, seconds)


@contextlib.contextmanager
def _disk_errors(url: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not place.is_remote_error(error):
            raise
        where, why = getattr(error, "filename", None) or url, getattr(error, "strerror", None)
        raise RenderError(f"{where}: {why or place.first_line(error)}; what is finished is kept in {url}") from error


class _ComputedOn:
    """Facts of the machines that computed a job's parts: those that its store knows, and this one, which may change."""

    def __init__(self, store: RenderStore, facts: dict[str, str], progress: Progress) -> None:
        self._before, self._now, self._progress = identity.table(store.attributes, "machine"), facts, progress

    def tell(self, event: dict[str, Any]) -> None:
        """Pass an event on, and remember what it says of the machine."""
        if event["event"] == "kernels":
            self._now = {**self._now, "kernels": event["kernels"]}
        self._progress(event)

    @property
    def difference(self) -> str:
        return difference(self._before, self._now)

    @property
    def all(self) -> dict[str, str]:
        return joined(self._before, self._now)


class _Render:
    """One call of `render`: drives the pool through the levels and says how far it is."""

    def __init__(
        self,
        config: RenderConfig,
        job: Job,
        store: RenderStore,
        pool: Pool,
        progress: Progress,
        opened: guiding.Opened,
    ) -> None:
        self._config, self._job, self._store, self._pool, self._progress = config, job, store, pool, progress
        self._opened, self._overlay = opened, opened.get(config.overlay or "")
        self._address = tasks.Address(store.url, job.id, store.holder())
        self._checked: set[int] = set()  # finished levels whose images were written or read in this run
        self._maps: list[np.ndarray | None] = []

    def run(self, layout: pictures.Picture, styles: list[pictures.Picture]) -> None:
        """Bring every level to its end. What turns out to be damaged in the store is computed again, each part a few
        times at most. layout: the content; without one, the picture that gives the poster its shape."""
        self._announce(layout, styles)
        damages: Counter[tuple[str, tuple[int, ...]]] = Counter()
        while True:
            try:
                return self._all_levels(layout, styles)
            except PictureChangedError as change:
                again = "go on with the same command when it is again as it was, or start over with --force-new"
                raise RenderError(f"{change}; {again}") from None
            except DamageError as damage:
                part = damage.path, damage.index
                damages[part] += 1
                if damages[part] > _REPAIRS or not RenderStore.exists(self._store.url):
                    raise
                self._progress({"event": "damage", "message": str(damage)})
                self._store.forget(*part)

    def _all_levels(self, layout: pictures.Picture, styles: list[pictures.Picture]) -> None:
        for level, size in enumerate(self._job.levels):
            if self._transparent(layout) and level not in self._checked:
                self._ingest_alpha(level, layout)
            if self._store.level_report(level) is None:
                began = time.monotonic()
                self._progress({"event": "level", "level": level})
                if self._job.needs_pictures(level):
                    self._ingest_pictures(level, layout, styles)
                if size.steps:
                    self._measure_styles(level)
                self._finish(level, self._relax_level(level), time.monotonic() - began)
            elif level not in self._checked:
                self._store.tidy_level(level)
                for name, tile in itertools.product(self._job.images, self._job.grid(level)):
                    self._store.read_image(level, tile.core, name)
            self._checked.add(level)

    def write_poster(self) -> float:
        """The finest level's image to the output file. Returns that level's loss."""
        last = len(self._job.levels) - 1
        self._progress({"event": "write", "output": self._config.target})
        sizes = [(one.height, one.width) for one in self._job.levels]
        peak = 1 if self._job.state_dtype == "float64" else 65535
        self._store.publish(Path(self._config.target).stem, sizes, peak, self._job.images[-1])
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
                "tiles": len(job.grid(level.index)),
                "steps": level.steps,
                "done": self._store.level_report(level.index) is not None,
                "work": level.steps * sum(tile.read.height * tile.read.width for tile in job.grid(level.index)),
            }
            for level in job.levels
        ]

    def _transparent(self, layout: pictures.Picture) -> bool:
        return self._config.content is not None and layout.has_alpha

    def _announce(self, layout: pictures.Picture, styles: list[pictures.Picture]) -> None:
        job = self._job
        where = {"output": self._config.target, "store": self._store.url, "workers": self._pool.workers}
        how = {"mode": job.mode, "precision": job.precision, "device": job.device, "tile": job.tile}
        self._progress({"event": "start", "levels": self._levels(), **where, **how})
        last = job.levels[-1]
        remarks = export.remarks(self._config, last.height, last.width, self._overlay, self._transparent(layout))
        for text in (*notes(self._config, job, layout, styles), *remarks):
            self._progress({"event": "note", "text": text})
        self._pool.on_report(self._progress)

    def _ingest_pictures(self, level: int, layout: pictures.Picture, styles: list[pictures.Picture]) -> None:
        """The pictures at this level's size."""
        job, size = self._job, self._job.levels[level]
        if self._config.content:
            self._ingest(f"levels/{level}/content", layout, size.height, size.width)
        if level == 0 and job.init == "picture":
            init = self._opened[self._config.init].cropped_like(layout)
            self._ingest("init", init, size.height, size.width)
        if level > 0 and job.adds_detail:
            before = job.levels[level - 1]
            self._ingest(f"levels/{level}/coarse", layout, before.height, before.width)
        self._ingest_guides(level, layout, styles)
        self._ingest_protected(level, layout)
        colours = self._style_maps(layout, styles)
        for s, style in enumerate(styles):
            self._ingest(f"styles/{level}/{s}/picture", style, *job.style_sizes[level][s], colours=colours[s])

    def _ingest_alpha(self, level: int, layout: pictures.Picture) -> None:
        """What is there from before is read, since no task will: only the poster's file shows it."""
        size, path = self._job.levels[level], f"levels/{level}/alpha"
        self._ingest(path, layout, size.height, size.width, "alpha")
        deque(self._store.picture_bands(path), 0)

    def _style_maps(self, layout: pictures.Picture, styles: list[pictures.Picture]) -> list[np.ndarray | None]:
        """[3, 4] colour map of each style, the same on every level: from the whole pictures at the poster's scale."""
        job, last = self._job, self._job.levels[-1]
        if job.color in ("style", "content"):
            return [None] * len(styles)
        if not self._maps:
            sizes = [(last.height, last.width), *job.style_sizes[-1]]
            content, *found = (
                ColourMoments.of(picture.bands(*size, RenderStore.picture_rows), counts)
                for picture, size, counts in zip([layout, *styles], sizes, self._parts(sizes[1:], styles), strict=True)
            )
            self._maps = [style_map(job.color, style, content) for style in found]
        return self._maps

    def _parts(
        self, sizes: Sequence[tuple[int, int]], styles: list[pictures.Picture]
    ) -> Iterator[Iterator[np.ndarray] | None]:
        """For the content and each style: bands [rows, width] of how much each pixel counts, None where all do."""
        yield None
        for size, style, source in zip(sizes, styles, self._config.regions.sources, strict=True):
            mask = self._opened.get(source.mask or "")
            bands = pictures.part_bands(style, mask, *size, RenderStore.picture_rows)
            yield (band[0] for band in bands) if style.in_part or mask else None

    def _ingest(
        self,
        path: str,
        picture: pictures.Picture,
        height: int,
        width: int,
        channels: pictures.Channels = "rgb",
        colours: np.ndarray | None = None,
    ) -> None:
        bands = picture.bands(height, width, RenderStore.picture_rows, channels)
        seen = bands if colours is None else (recolour(band, [colours]) for band in bands)
        self._store.write_picture(path, height, width, seen, 1 if channels == "alpha" else 3)

    def _ingest_guides(self, level: int, content: pictures.Picture, styles: list[pictures.Picture]) -> None:
        """Where the level's regions are, and what part of each style counts."""
        job, size, rows = self._job, self._job.levels[level], RenderStore.picture_rows
        path = job.guides_path(level)
        if path:
            bands = guiding.guide_bands(self._config, content, self._opened, size.height, size.width, rows)
            self._store.write_picture(path, size.height, size.width, bands, len(job.regions))
            self._add_up_guides(path, job.style_layers)
        for s, source in enumerate(self._config.regions.sources):
            path = job.style_guides_path(level, s)
            if path:
                height, width = job.style_sizes[level][s]
                bands = pictures.part_bands(styles[s], self._opened.get(source.mask or ""), height, width, rows)
                self._store.write_picture(path, height, width, bands, 1)
                self._add_up_guides(path, job.layers)

    def _ingest_protected(self, level: int, content: pictures.Picture) -> None:
        """What of the level's content is to be kept."""
        size, path = self._job.levels[level], self._job.protect_path(level)
        if path:
            picture = self._opened[str(self._config.protect)].cropped_like(content)
            bands = pictures.mask_bands(picture, size.height, size.width, RenderStore.picture_rows)
            self._store.write_picture(path, size.height, size.width, bands, 1)

    def _add_up_guides(self, path: str, layers: tuple[str, ...]) -> None:
        if self._store.read_areas(path) is None:
            self._each(tasks.add_up_guides, [(self._address, path, layers)])

    def _measure_styles(self, level: int) -> None:
        for s in range(len(self._job.style_sizes[level])):
            tiles = len(self._job.style_grid(level, s))
            self._store.create_statistics(f"styles/{level}/{s}", tiles, dict(self._job.channels), self._job.state_dtype)
            pending = self._pending(f"styles/{level}/{s}", MEASURED, 0)
            self._each(tasks.measure_style, ((self._address, level, s, index) for index in pending))
            self._each(tasks.add_up_style, [(self._address, level, s)])

    def _pending(self, path: str, phase: int, state: int) -> list[int]:
        """Tiles whose part of `state` is not in the store yet."""
        return [int(index) for index in np.flatnonzero(~self._store.marked(path, phase, state))]

    def _each(self, function: Callable[..., dict[str, Any]], arguments: Iterable[tuple[Any, ...]]) -> None:
        for _ in self._results(function, arguments):
            pass

    def _results(self, function: Callable[..., dict[str, Any]], arguments: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """What the pool makes of them, as long as this process may write: its workers write for it."""
        self._store.check_writer()
        for result in self._pool.run(function, arguments):
            self._store.check_writer()
            yield result

    def _seed(self, level: int) -> None:
        pending = self._pending(self._store.state_path(level), PATCHED, 0)
        self._each(tasks.seed, ((self._address, level, index) for index in pending))

    def _round(self, level: int, state: int, start: int, steps: int) -> None:
        """state -> state + 1."""
        self._sum_statistics(level, state)
        pending = self._pending(self._store.state_path(level), PATCHED, state + 1)
        arguments = ((self._address, level, state, start, steps, index) for index in pending)
        for report in self._results(tasks.relax_tile, arguments):
            self._progress({"event": "tile", "level": level, "round": state, **report})

    def _relax_level(self, level: int) -> int:
        """All rounds of a level; the number of its last state. When a tile does not fit into memory, the level starts
        over with tiles of half the size, once, and not where they are small already."""
        for attempt in range(2):
            try:
                return self._all_rounds(level)
            except (TileTooLargeError, WorkerDiedError) as error:
                if attempt or self._core(level) <= _SMALLEST_CUT:
                    raise
                self._progress({"event": "note", "text": str(error)})
            self._shrink(level)
        raise AssertionError("not reached")

    def _all_rounds(self, level: int) -> int:
        job, grid = self._job, self._job.grid(level)
        wanted = {layer: channels for layer, channels in job.channels if layer in job.style_layers}
        self._store.create_state(level, grid, wanted, job.state_dtype, job.moment_dtype, len(job.regions))
        latest = self._store.latest(self._store.state_path(level), PATCHED)
        if latest < 0:
            self._seed(level)
        rounds = job.rounds(level)
        for state, (start, steps) in list(enumerate(rounds))[max(0, latest) :]:
            self._round(level, state, start, steps)
        return len(rounds)

    def _shrink(self, level: int) -> None:
        """Cut the rest of the job into tiles of half the size, as a new cut with a state of its own."""
        smaller = self._core(level) // 2 // self._job.align * self._job.align
        self._job = replace(self._job, tile=max(_SMALLEST_CUT, smaller), id=uuid.uuid4().hex)
        self._store.update(job=self._job.to_dict())
        self._store = self._store.for_job(self._job)
        self._address = replace(self._address, id=self._job.id)
        self._progress({"event": "shrink", "level": level, "tile": self._job.tile, "levels": self._levels()})

    def _core(self, level: int) -> int:
        grid = self._job.grid(level)
        return max(grid.core_height, grid.core_width)

    def _sum_statistics(self, level: int, state: int) -> None:
        """The whole level's Grams at `state`: measured in exact mode and at the start, else as the tiles reported."""
        if state == 0 or self._job.measures_every_round(level):
            pending = self._pending(self._store.state_path(level), MEASURED, state)
            self._each(tasks.measure_tile, ((self._address, level, state, index) for index in pending))
        self._each(tasks.add_up_level, [(self._address, level, state)])

    def _finish(self, level: int, state: int, seconds: float) -> None:
        """Composite the level's image, record what it came to, and drop its working arrays."""
        report: dict[str, Any] = {"seconds": seconds, "rounds": state}
        if state:
            self._sum_statistics(level, state)
            [losses] = self._results(tasks.grade, [(self._address, level, state)])
            report.update(losses)
        grid = self._job.grid(level)
        for name in self._job.images:
            self._store.create_image(level, grid, self._job.state_dtype, name)
        self._each(tasks.finish_tile, ((self._address, level, state, tile.index) for tile in grid))
        self._store.finish_level(level, report)
        self._progress({"event": "level done", "level": level, **report})
