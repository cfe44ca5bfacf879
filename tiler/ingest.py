"""The pictures of a job on their way into its store, at each level's size."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from tiler import pictures
from tiler.engine.job import Job
from tiler.engine.store import RenderStore
from tiler.request import guiding
from tiler.request.config import RenderConfig
from tiler.style.colour import ColourMoments, recolour, style_map

Layers = tuple[str, ...]
_ROWS = RenderStore.picture_rows


class Ingest:
    """Reads the pictures as they were when they were opened. Raises PictureChangedError where one is another by now."""

    def __init__(
        self,
        config: RenderConfig,
        opened: guiding.Opened,
        layout: pictures.Picture,
        styles: list[pictures.Picture],
    ) -> None:
        """layout: the content; without one, the picture that gives the poster its shape."""
        self._config, self._opened, self._layout, self._styles = config, opened, layout, styles
        self._maps: list[np.ndarray | None] = []

    @property
    def transparent(self) -> bool:
        """Whether the content's transparency is kept beside every level."""
        return self._config.content is not None and self._layout.has_alpha

    def alpha(self, store: RenderStore, job: Job, level: int) -> None:
        """What is there from before is read, since no task will: only the poster's file shows it."""
        size, path = job.levels[level], f"levels/{level}/alpha"
        self._write(store, path, self._layout, (size.height, size.width), "alpha")
        deque(store.picture_bands(path), 0)

    def level(self, store: RenderStore, job: Job, level: int) -> list[tuple[str, Layers]]:
        """Write all that a level's tasks read. Returns the guides whose areas are to be added up, and for what
        layers."""
        size = job.levels[level].height, job.levels[level].width
        if self._config.content:
            self._write(store, f"levels/{level}/content", self._layout, size)
        if level == 0 and job.init == "picture":
            self._write(store, "init", self._opened[self._config.init].cropped_like(self._layout), size)
        if level > 0 and job.adds_detail:
            before = job.levels[level - 1]
            self._write(store, f"levels/{level}/coarse", self._layout, (before.height, before.width))
        guides = [*self._guides(store, job, level), *self._style_guides(store, job, level)]
        self._protected(store, job, level)
        colours = self._style_maps(job)
        for s, style in enumerate(self._styles):
            path = f"styles/{level}/{s}/picture"
            self._write(store, path, style, job.style_sizes[level][s], colours=colours[s])
        return guides

    def _write(
        self,
        store: RenderStore,
        path: str,
        picture: pictures.Picture,
        size: tuple[int, int],
        channels: pictures.Channels = "rgb",
        colours: np.ndarray | None = None,
    ) -> None:
        bands = picture.bands(*size, _ROWS, channels)
        seen = bands if colours is None else (recolour(band, [colours]) for band in bands)
        store.write_picture(path, *size, seen, 1 if channels == "alpha" else 3)

    def _guides(self, store: RenderStore, job: Job, level: int) -> Iterator[tuple[str, Layers]]:
        """Where the level's regions are."""
        size, path = job.levels[level], job.guides_path(level)
        if path:
            bands = guiding.guide_bands(self._config, self._layout, self._opened, size.height, size.width, _ROWS)
            store.write_picture(path, size.height, size.width, bands, len(job.regions))
            yield path, job.style_layers

    def _style_guides(self, store: RenderStore, job: Job, level: int) -> Iterator[tuple[str, Layers]]:
        """What part of each style counts."""
        for s, source in enumerate(self._config.regions.sources):
            path = job.style_guides_path(level, s)
            if path:
                height, width = job.style_sizes[level][s]
                mask = self._opened.get(source.mask or "")
                bands = pictures.part_bands(self._styles[s], mask, height, width, _ROWS)
                store.write_picture(path, height, width, bands, 1)
                yield path, job.layers

    def _protected(self, store: RenderStore, job: Job, level: int) -> None:
        """What of the level's content is to be kept."""
        size, path = job.levels[level], job.protect_path(level)
        if path:
            picture = self._opened[str(self._config.protect)].cropped_like(self._layout)
            bands = pictures.mask_bands(picture, size.height, size.width, _ROWS)
            store.write_picture(path, size.height, size.width, bands, 1)

    def _style_maps(self, job: Job) -> list[np.ndarray | None]:
        """[3, 4] colour map of each style, the same on every level: from the whole pictures at the poster's scale."""
        if job.color in ("style", "content"):
            return [None] * len(self._styles)
        if not self._maps:
            last = job.levels[-1]
            sizes = [(last.height, last.width), *job.style_sizes[-1]]
            shown = [self._layout, *self._styles]
            content, *found = (
                ColourMoments.of(picture.bands(*size, _ROWS), counts)
                for picture, size, counts in zip(shown, sizes, self._parts(sizes[1:]), strict=True)
            )
            self._maps = [style_map(job.color, style, content) for style in found]
        return self._maps

    def _parts(self, sizes: Sequence[tuple[int, int]]) -> Iterator[Iterator[np.ndarray] | None]:
        """For the content and each style: bands [rows, width] of how much each pixel counts, None where all do."""
        yield None
        for size, style, source in zip(sizes, self._styles, self._config.regions.sources, strict=True):
            mask = self._opened.get(source.mask or "")
            bands = pictures.part_bands(style, mask, *size, _ROWS)
            yield (band[0] for band in bands) if style.in_part or mask else None
