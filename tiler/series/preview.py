"""The beginning of a poster, level by level as it comes: what can still be changed cheaply."""

from __future__ import annotations

import contextlib
import io
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tiler.engine.schedule import Pool
from tiler.engine.store import RenderStore
from tiler.errors import StoreError
from tiler.geometry import Level, Rect
from tiler.jobs import Progress
from tiler.output.watched import Watched
from tiler.planning.bar import heard
from tiler.rendering import render
from tiler.request.asked import Asked
from tiler.request.config import RenderConfig

# Longer side of a preview, in pixels.
EDGE = 512
# Between two checkpoints, which are how a level is seen before it is finished.
_SECONDS = 0.5


@dataclass(frozen=True)
class Preview:
    """One level, as far as it has come. level: 0 is the coarsest of `levels`. steps: done, of `of`. loss, style: what
    the level came to, None before its end. pixels: [height, width, 3] uint8, sRGB. seconds: since the call."""

    level: int
    levels: int
    steps: int
    of: int
    loss: float | None
    style: float | None
    seconds: float
    pixels: np.ndarray = field(repr=False)

    @property
    def finished(self) -> bool:
        return self.loss is not None or self.of == 0

    def png(self) -> bytes:
        """The picture as a file."""
        from PIL import Image

        found = io.BytesIO()
        Image.fromarray(self.pixels).save(found, "PNG", compress_level=1)
        return found.getvalue()

    def _repr_png_(self) -> bytes:
        """As a notebook shows it."""
        return self.png()


def preview(
    config: RenderConfig,
    *,
    edge: int = EDGE,
    on_level: Callable[[Preview], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    progress: Progress | bool | None = None,
    pool: Pool | None = None,
    folder: str | Path | None = None,
) -> Preview:
    """Render the coarsest levels of a poster: those whose longer side has up to `edge` pixels, one at least.

    They are the poster's own (its shape, its steps, its style's scale), so it will look like that, and a render takes
    them over where the store in `folder` is at its place. Nothing is written where `config` says.

    on_level: gets a `Preview` of each level as it is finished, and a few times before, on the calling thread; the last
    is also what is returned. cancelled, progress: see `render`. pool: workers that are there already, and stay: one
    preview after the other starts no process. folder: where the job's state is kept, `preview.zarr`; the same preview
    again is then there at once, and with a change only what it changes is rendered. By default nothing is kept.

    Raises CancelledError, and what `render` raises. In a script, call this under `if __name__ == "__main__":`.
    """
    with contextlib.ExitStack() as stack:
        place = Path(folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="tiler-"))).absolute()
        wanted = beginning(config, edge, place)
        eye = _Eye(str(place / "preview.zarr"), on_level or (lambda seen: None), cancelled or (lambda: False))

        tell = stack.enter_context(heard(progress))

        def seen(event: dict[str, Any]) -> None:
            if event["event"] == "level done":
                eye.finished(event["level"])
            tell(event)

        render(wanted, seen, force_new=not _is_finished(eye.url), pool=pool, cancelled=eye.cancelled)
        return eye.last()


def beginning(config: RenderConfig, edge: int, folder: Path) -> RenderConfig:
    """The configuration of a poster's first levels, kept in `folder`. Raises TilerError."""
    config = replace(
        config,
        output=str(folder / "preview.png"),
        store=str(folder / "preview.zarr"),
        checkpoint_seconds=_SECONDS,
        tiles=None,
        bits=8,
        cog=False,
        compression=None,
        overlay=None,
        at=None,
    )
    cut = Asked.of(config).job.cut
    kept = [level for level in cut.levels if max(level.height, level.width) <= edge] or [cut.levels[0]]
    last = kept[-1] if config.transfer == "style" else _small(kept[-1], edge)
    # By its long edge where that is how it was said: then nothing is cropped to a shape that is rounded.
    cropped = config.size is not None or config.print is not None
    return replace(
        config,
        size=f"{last.width}x{last.height}" if cropped else None,
        long_edge=None if cropped else max(last.height, last.width),
        scale=None,
        print=None,
        levels=len(kept),
        steps=tuple(level.steps for level in kept),
    )


def _small(level: Level, edge: int) -> Level:
    """The same with `edge` pixels at most: colours alone are as well known of a smaller picture."""
    scale = min(1.0, edge / max(level.height, level.width))
    height, width = (max(1, round(side * scale)) for side in (level.height, level.width))
    return replace(level, height=height, width=width)


def _is_finished(url: str) -> bool:
    """Whether what is there is a whole preview; of one that was cancelled nothing is kept."""
    try:
        attributes = RenderStore.open(url, writable=False).attributes
    except StoreError:
        return False
    return "wrote" in attributes


class _Eye:
    """Looks at the store of a render, and hands over what is new."""

    def __init__(self, url: str, show: Callable[[Preview], None], cancelled: Callable[[], bool]) -> None:
        self.url, self._show, self._cancelled = url, show, cancelled
        self._began, self._looked = time.monotonic(), 0.0
        self._thread, self._busy = threading.get_ident(), False
        self._seen = (0, -1)
        self._last: Preview | None = None

    def cancelled(self) -> bool:
        """Asked several times a second, in the middle of things too: a chance to look."""
        now = time.monotonic()
        mine = threading.get_ident() == self._thread and not self._busy
        if mine and now - self._looked >= _SECONDS / 2:
            self._busy = True
            try:
                with contextlib.suppress(StoreError):  # of a level that is not begun, or of another job
                    self._look()
            finally:
                self._busy, self._looked = False, time.monotonic()
        return self._cancelled()

    def _look(self) -> None:
        now = Watched.of(self.url)
        number = next((k for k, level in enumerate(now.levels) if level.report is None), None)
        if number is None:
            return
        level = now.levels[number]
        if level.whole and level.steps_done and (number, level.steps_done) > self._seen:
            self._hand_over(now, number)

    def finished(self, level: int) -> None:
        self._hand_over(Watched.of(self.url), level)

    def last(self) -> Preview:
        """Of the finest level, which was perhaps there already."""
        now = Watched.of(self.url)
        last = len(now.levels) - 1
        if self._last is None or not (self._last.level == last and self._last.finished):
            self._hand_over(now, last)
        assert self._last is not None
        return self._last

    def _hand_over(self, now: Watched, number: int) -> None:
        level = now.levels[number]
        pixels = now.read(number, Rect(0, 0, level.grid.height, level.grid.width))
        report = level.report or {}
        self._seen = number, level.steps_done
        self._last = Preview(
            number,
            len(now.levels),
            level.steps_done,
            level.steps,
            report.get("loss"),
            report.get("style"),
            time.monotonic() - self._began,
            np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0),
        )
        self._show(self._last)
