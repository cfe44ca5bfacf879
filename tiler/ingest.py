"""The pictures of a job on their way into its store, at each level's size."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np

from tiler import pictures
from tiler.engine.job import Job
from tiler.engine.layout import picture_boxes
from tiler.engine.store import RenderStore
from tiler.geometry import Rect
from tiler.request import guiding
from tiler.request.asked import Sources
from tiler.request.calming import Calm
from tiler.request.config import RenderConfig
from tiler.style.colour import GREY, ColourMoments, recolour, style_map

Layers = tuple[str, ...]
Guided = list[tuple[str, Layers]]
_ROWS = RenderStore.picture_rows


class _Ahead(threading.Thread):
    """One call on a thread of its own, which ends soon after it is told to `stop`."""

    def __init__(self, level: int, call: Callable[[], Guided]) -> None:
        super().__init__(daemon=True, name="tiler-ingest")
        self.level, self._call, self._left = level, call, threading.Event()
        self._guided: Guided = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            with pictures.reading_until(self._left.is_set):
                self._guided = self._call()
        except BaseException as error:
            self._error = error

    def stop(self) -> None:
        self._left.set()
        self.join()

    def outcome(self) -> Guided:
        """What the call returned. Raises what it raised."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._guided


class Ingest:
    """Reads the pictures as they were when they were opened. Raises PictureChangedError where one is another by now.

    A context: when it is left, nothing is read any more, and what was kept of the pictures is gone.
    """

    def __init__(self, config: RenderConfig, sources: Sources) -> None:
        self._config, self._sources = config, sources
        self._opened, self._layout, self._styles = sources.opened, sources.layout, sources.styles
        self._maps: list[np.ndarray | None] = []
        self._ahead: _Ahead | None = None

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._drop()

    def begin(self, store: RenderStore, job: Job, level: int) -> None:
        """Prepare a level on a thread of its own, while others are rendered: what goes wrong is raised where the level
        is asked for, by `alpha` or `level`. One level at a time: another that was begun is left as far as it is.
        Nothing is done where there is no such level, or it is finished."""
        self.stop()
        if level < len(job.cut.levels) and store.level_report(level) is None:
            self._ahead = _Ahead(level, lambda: self._prepared(store, job, level))
            self._ahead.start()

    def stop(self) -> None:
        """Leave a level that was begun as far as it is, and its errors untold."""
        if self._ahead is not None:
            self._ahead.stop()
            self._ahead = None

    def _begun(self, level: int) -> Guided | None:
        """What was begun of a level, once it is done; None where nothing was."""
        if self._ahead is None or self._ahead.level != level:
            self.stop()
            return None
        try:
            return self._ahead.outcome()
        except Exception:
            self._ahead = None  # who asks again has it tried again
            raise

    def alpha(self, store: RenderStore, job: Job, level: int) -> None:
        """What is there from before is read, since no task will: only the poster's file shows it."""
        self._begun(level)
        self._write_alpha(store, job, level)
        store.read_back(f"levels/{level}/alpha", job.cut.read(level))

    def level(self, store: RenderStore, job: Job, level: int) -> Guided:
        """Write all that a level's tasks read, unless it was begun: then wait for it. Returns the guides whose areas
        are to be added up, and for what layers."""
        guided = self._begun(level)
        self._ahead = None
        return self._written(store, job, level) if guided is None else guided

    def _prepared(self, store: RenderStore, job: Job, level: int) -> Guided:
        if self._sources.transparent:
            self._write_alpha(store, job, level)
        return self._written(store, job, level) if job.needs_pictures(level) else []

    def _write_alpha(self, store: RenderStore, job: Job, level: int) -> None:
        size = job.cut.levels[level]
        read = job.cut.read(level)
        self._write(store, f"levels/{level}/alpha", self._layout, (size.height, size.width), "alpha", read=read)

    def _written(self, store: RenderStore, job: Job, level: int) -> Guided:
        size, read = (job.cut.levels[level].height, job.cut.levels[level].width), job.cut.read(level)
        if self._config.content:
            self._write(store, f"levels/{level}/content", self._layout, size, read=read)
        if level == 0 and job.look.init == "picture":
            self._write(store, "init", self._opened[self._config.init].cropped_like(self._layout), size)
        if level > 0 and job.adds_detail:
            before, read = job.cut.levels[level - 1], job.cut.read_below(level)
            self._write(store, f"levels/{level}/coarse", self._layout, (before.height, before.width), read=read)
        guided = [*self._guides(store, job, level), *self._style_guides(store, job, level)]
        self._protected(store, job, level)
        colours = self._style_maps(job)
        for s, size in enumerate(job.styles.sizes[level]):
            path, said = f"styles/{level}/{s}/picture", s % len(self._styles)
            self._write(store, path, self._styles[said], size, colours=colours[said])
        if level == len(job.cut.levels) - 1:
            self._drop()
        return guided

    def _drop(self) -> None:
        """Give back the room that the pictures' pixels take, before the finest level's state needs it."""
        for picture in (*self._opened.values(), self._layout, *self._styles):
            if picture.kept is not None:
                picture.kept.drop()

    def _write(
        self,
        store: RenderStore,
        path: str,
        picture: pictures.Picture,
        size: tuple[int, int],
        channels: pictures.Channels = "rgb",
        colours: np.ndarray | None = None,
        read: Sequence[Rect] | None = None,
    ) -> None:
        """read: what of it will be; None: all."""
        count = 1 if channels == "alpha" else 3
        if read is None:
            bands = picture.bands(*size, _ROWS, channels)
            seen = bands if colours is None else (recolour(band, [colours]) for band in bands)
            store.write_picture(path, *size, seen, count)
            return
        pieces = (
            (box, piece)
            for box in picture_boxes(*size, read)
            for piece in picture.bands(*size, box.height, channels, within=(box.y0, box.x0, box.y1, box.x1))
        )
        store.write_pieces(path, *size, pieces, count)

    @cached_property
    def _calm(self) -> Calm | None:
        """Where the content and its styles are calm, where that is asked for."""
        if not self._config.calm_share:
            return None
        return Calm.of(self._config, self._layout, self._opened, self._styles)

    def _guides(self, store: RenderStore, job: Job, level: int) -> Iterator[tuple[str, Layers]]:
        """Where the level's regions are."""
        size, path = job.cut.levels[level], job.guides_path(level)
        if path:
            shape = size.height, size.width, _ROWS
            bands = guiding.guide_bands(self._config, self._layout, self._opened, *shape)
            if self._calm:
                bands = self._calm.guides(bands, *shape)
            self._write_read(store, path, job, level, bands, len(job.styles.regions))
            if job.cut.read(level) is None:
                yield path, job.terms.style_layers

    def _style_guides(self, store: RenderStore, job: Job, level: int) -> Iterator[tuple[str, Layers]]:
        """What part of each style counts."""
        sources = self._config.regions.sources
        for s, (height, width) in enumerate(job.styles.sizes[level]):
            path, said = job.style_guides_path(level, s), s % len(sources)
            if path:
                mask = self._opened.get(sources[said].mask or "")
                bands = pictures.part_bands(self._styles[said], mask, height, width, _ROWS)
                if self._calm:
                    bands = self._calm.parts(s, bands, height, width, _ROWS)
                store.write_picture(path, height, width, bands, 1)
                yield path, job.terms.layers

    def _protected(self, store: RenderStore, job: Job, level: int) -> None:
        """What of the level's content is to be kept."""
        size, path = job.cut.levels[level], job.protect_path(level)
        if path:
            picture = self._opened[str(self._config.protect)].cropped_like(self._layout)
            bands = pictures.mask_bands(picture, size.height, size.width, _ROWS)
            self._write_read(store, path, job, level, bands, 1)

    def _write_read(
        self, store: RenderStore, path: str, job: Job, level: int, bands: Iterator[np.ndarray], channels: int
    ) -> None:
        """Of bands of a level's size: what is read of them."""
        size, read = job.cut.levels[level], job.cut.read(level)
        if read is None:
            store.write_picture(path, size.height, size.width, bands, channels)
        else:
            boxes = picture_boxes(size.height, size.width, read)
            pieces = (
                (box, band[:, : box.height, box.x0 : box.x1])
                for y, band in zip(range(0, size.height, _ROWS), bands, strict=True)
                for box in boxes
                if box.y0 == y
            )
            store.write_pieces(path, size.height, size.width, pieces, channels)

    def _style_maps(self, job: Job) -> list[np.ndarray | None]:
        """[3, 4] colour map of each style, the same on every level: from the whole pictures at the poster's scale."""
        if job.look.color in ("style", "content"):
            return [None] * len(self._styles)
        if job.look.color == "grey":
            return [GREY] * len(self._styles)
        if not self._maps:
            last = job.cut.last
            sizes = [(last.height, last.width), *job.styles.sizes[-1][: len(self._styles)]]
            shown = [self._layout, *self._styles]
            content, *found = (
                ColourMoments.of(picture.bands(*size, _ROWS), counts)
                for picture, size, counts in zip(shown, sizes, self._parts(sizes[1:]), strict=True)
            )
            self._maps = [style_map(job.look.color, style, content) for style in found]
        return self._maps

    def _parts(self, sizes: Sequence[tuple[int, int]]) -> Iterator[Iterator[np.ndarray] | None]:
        """For the content and each style: bands [rows, width] of how much each pixel counts, None where all do."""
        yield None
        for size, style, source in zip(sizes, self._styles, self._config.regions.sources, strict=True):
            mask = self._opened.get(source.mask or "")
            bands = pictures.part_bands(style, mask, *size, _ROWS)
            yield (band[0] for band in bands) if style.in_part or mask else None
