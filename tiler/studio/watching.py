"""A store as a deep zoom that is fed from the store itself, and what is to be said of it."""

from __future__ import annotations

import hashlib
import io
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tiler.engine import place
from tiler.errors import StoreError
from tiler.geometry import Level as Size
from tiler.geometry import Rect
from tiler.output.watched import MOST_TOLD, NOTHING, WRITTEN, Level, Watched, writer_of
from tiler.studio.answers import Hands, Told

TILE = 256


class Steering(Protocol):
    """What a page that watches may do besides. Raises TilerError."""

    def stop(self, request: Request) -> None:
        """End the render."""

    def keep(self, request: Request) -> str:
        """Write what there is of it. Returns the file's name, as it is to be said."""


_QUALITY, _KEPT_BYTES = 90, 2**26
# Of the time of a machine that renders, what looking may take.
_SHARE = 0.03
_LOOK_SECONDS = 1.0


class Watch:
    """Looks at a store once a second at most, however many ask, and as rarely as it takes for looking to stay below 3 %
    of the time. While somebody writes to it, changed tiles are offered by the same measure."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises StoreError where no job is."""
        self._url, self._clock, self._lock = url, clock, threading.RLock()
        self._now = self._shown = Watched.of(url)
        self._looked, self._offered, self._cost, self._version = -math.inf, -math.inf, 0.0, 0
        self._rest, self._signature = _LOOK_SECONDS, ""
        self._gone = ""
        self._writer: dict[str, Any] | None = None
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._kept_bytes = 0
        self._course: list[dict[str, Any]] = []
        self._changed = clock()

    # What is said -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """JSON values; see page/watch.js."""
        with self._lock:
            began = self._clock()
            if began - self._looked >= self._rest:
                self._look()
                self._looked = self._clock()
                self._rest = max(_LOOK_SECONDS, (self._looked - began) / _SHARE)
            return self._told()

    def _look(self) -> None:
        self._writer = writer_of(self._url)
        try:
            now = Watched.of(self._url)
            signature = self._signature_of(now)
            self._now, self._gone = now, ""
        except StoreError as error:  # between two jobs, or for good
            self._gone = str(error)
            return
        rested = self._clock() - self._offered >= self._cost / _SHARE
        if signature != self._signature and (rested or self._writer is None):
            self._shown, self._signature, self._version = self._now, signature, self._version + 1
            self._offered, self._cost = self._clock(), 0.0
        self._note()

    def _signature_of(self, watched: Watched) -> str:
        told = [(level.report is not None, level.whole, level.tiles.tobytes()) for level in watched.levels]
        return hashlib.blake2b(repr((watched.job.id, told)).encode(), digest_size=8).hexdigest()

    def _note(self) -> None:
        """One more point of the curves, where there is news."""
        number, level = self._current()
        if level is None or level.losses is None:
            return
        content, tv = level.losses.sum(axis=0).tolist()
        point = {"level": number, "steps": level.steps_done, "content": content, "tv": tv}
        if point not in self._course[-1:]:
            self._course.append(point)
            self._changed = self._clock()

    def _current(self) -> tuple[int, Level | None]:
        levels = self._now.levels
        return next(((k, level) for k, level in enumerate(levels) if level.report is None), (len(levels), None))

    def _told(self) -> dict[str, Any]:
        last, number = self._shown.job.cut.last, self._current()[0]
        return {
            "version": self._version,
            "job": self._shown.job.id,
            "width": last.width,
            "height": last.height,
            "tile": TILE,
            "zoom": self._zoom(),
            "writer": self._writer,
            "remote": place.is_remote(self._url),
            "gone": self._gone,
            "level": number,
            "levels": [self._level(k, level) for k, level in enumerate(self._now.levels)],
            "seconds_left": self._seconds_left(),
            "course": self._course,
            "mode": self._now.job.cut.mode,
            "precision": self._now.job.device.precision,
            "device": self._now.job.device.kind,
        }

    def _zoom(self) -> int:
        """The largest of the deep zoom that anything is to be seen at; -1 where nothing is yet."""
        last = self._shown.job.cut.last
        seen = max((level.grid.width for level in self._shown.levels if level.has_pixels), default=0)
        return _finest(last) - max(0, math.floor(math.log2(last.width / seen))) if seen else -1

    def _level(self, number: int, level: Level) -> dict[str, Any]:
        grid = level.grid
        told: dict[str, Any] = {
            "height": grid.height,
            "width": grid.width,
            "steps": level.steps,
            "steps_done": level.steps_done,
            "report": level.report,
            "core": [grid.core_height, grid.core_width],
            "rows": grid.rows,
            "columns": grid.cols,
            "written": int((level.tiles == WRITTEN).sum()),
            "tiles": None,
            "losses": None,
        }
        if level.report is None and level.has_pixels and len(grid) <= MOST_TOLD:
            told["tiles"] = level.tiles.tolist()
            told["losses"] = None if level.losses is None else np.round(level.losses.sum(axis=1), 9).tolist()
        return told

    def _seconds_left(self) -> float | None:
        """By what the finest finished levels took, per pixel and step; None where nothing is known yet."""
        levels = self._now.levels
        known = [level for level in levels if level.report is not None and level.steps][-2:]
        work = sum(level.work for level in known)
        left = sum(level.work * (1 - level.done) for level in levels)
        if not left or not work:
            return None if left else 0.0
        pace = sum(float((level.report or {})["seconds"]) for level in known) / work
        elapsed = self._clock() - self._changed if self._writer else 0.0
        return max(0.0, left * pace - elapsed)

    # What is shown ------------------------------------------------------------------------------------------------

    def tile(self, zoom: int, column: int, row: int, known: str) -> tuple[str, bytes | None]:
        """(mark, JPEG) of a tile of the deep zoom; None where `known` is its mark. zoom: as in DZI, 0 is one pixel.
        Raises HTTPException for what there is not, or not yet."""
        try:
            return self._tile(self._shown, zoom, column, row, known)
        except StoreError:  # the render was faster, and has dropped what was there
            pass
        try:
            with self._lock:
                self._shown, self._looked = Watched.of(self._url), -math.inf
            return self._tile(self._shown, zoom, column, row, known)
        except StoreError:
            raise HTTPException(404, "This part is just being written.") from None

    def _tile(self, watched: Watched, zoom: int, column: int, row: int, known: str) -> tuple[str, bytes | None]:
        """The same. Raises StoreError where the store is not any more as `watched` saw it."""
        began = self._clock()
        level, rect, box, shape = self._place(watched, zoom, column, row)
        mark = self._mark(watched, level, rect)
        if mark == known:
            return mark, None
        key = (f"{zoom}/{column}/{row}", mark)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return mark, self._kept[key]
        found = _jpeg(watched.read(level, rect), box, shape)
        with self._lock:
            self._keep(key, found)
            self._cost += self._clock() - began
        return mark, found

    def _keep(self, key: tuple[str, str], found: bytes) -> None:
        self._kept[key] = found
        self._kept_bytes += len(found)
        while self._kept_bytes > _KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1])

    def _place(
        self, watched: Watched, zoom: int, column: int, row: int
    ) -> tuple[int, Rect, tuple[float, float, float, float], tuple[int, int]]:
        """(level, part of it to be read, box within that part, (height, width) that it becomes)."""
        last = watched.job.cut.last
        finest = _finest(last)
        if not 0 <= zoom <= finest:
            raise HTTPException(404, "There is no such tile.")
        height, width = (max(1, math.ceil(side / 2 ** (finest - zoom))) for side in (last.height, last.width))
        page = Rect(0, 0, height, width)
        whole = Rect(row * TILE, column * TILE, row * TILE + TILE, column * TILE + TILE).intersection(page)
        if whole is None:
            raise HTTPException(404, "There is no such tile.")
        level = watched.level_for(width)
        size = watched.job.cut.levels[level]
        down, across = size.height / height, size.width / width
        box = (whole.x0 * across, whole.y0 * down, whole.x1 * across, whole.y1 * down)
        rect = Rect(int(box[1]), int(box[0]), math.ceil(box[3]), math.ceil(box[2])).clipped(size.height, size.width)
        if not watched.levels[level].has_pixels or all(
            watched.levels[level].tiles[index] == NOTHING for index in watched.tiles_in(level, rect)
        ):
            raise HTTPException(404, "Nothing is to be seen there yet.")
        inner = (
            box[0] - rect.x0,
            box[1] - rect.y0,
            min(box[2] - rect.x0, rect.width),
            min(box[3] - rect.y0, rect.height),
        )
        return level, rect, inner, (whole.height, whole.width)

    def _mark(self, watched: Watched, level: int, rect: Rect) -> str:
        now = watched.levels[level]
        told = [watched.job.id, level, now.report is not None]
        if now.report is None:
            told += [now.whole, [int(now.tiles[index]) for index in watched.tiles_in(level, rect)]]
        return hashlib.blake2b(repr(told).encode(), digest_size=12).hexdigest()


def _finest(last: Size) -> int:
    return math.ceil(math.log2(max(last.height, last.width)))


def _jpeg(pixels: np.ndarray, box: tuple[float, float, float, float], shape: tuple[int, int]) -> bytes:
    values = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(values))
    if (*shape[::-1],) != image.size or box != (0, 0, *image.size):
        image = image.resize(shape[::-1], Image.Resampling.BICUBIC, box=box)
    found = io.BytesIO()
    image.save(found, "JPEG", quality=_QUALITY)
    return found.getvalue()


def routes(
    find: Callable[[Request], Watch], hands: Hands, prefix: str = "", steering: Steering | None = None
) -> list[Route]:
    """What page/watch.html asks for. find: which store is watched; prefix: of the page's own address."""

    async def state(request: Request) -> Response:
        told = await hands.do(lambda: find(request).state())
        return Told({**told, "steered": steering is not None})

    async def tile(request: Request) -> Response:
        names = request.path_params
        known = request.headers.get("if-none-match", "").strip('"')
        place = names["zoom"], names["column"], names["row"]
        mark, data = await hands.do(lambda: find(request).tile(*place, known))
        # To be asked for again: what it shows changes while a render goes on.
        headers = {"ETag": f'"{mark}"', "Cache-Control": "private, no-cache"}
        return Response(data, 200 if data is not None else 304, headers, "image/jpeg")

    async def stop(request: Request) -> Response:
        assert steering is not None
        await hands.do(steering.stop, request)
        return Told({})

    async def keep(request: Request) -> Response:
        assert steering is not None
        return Told({"file": await hands.do(steering.keep, request)})

    found = [
        Route(prefix + "/api/state", state),
        Route(prefix + "/api/tiles/{zoom:int}/{column:int}_{row:int}.jpg", tile),
    ]
    steered = [
        Route(prefix + "/api/stop", stop, methods=["POST"]),
        Route(prefix + "/api/keep", keep, methods=["POST"]),
    ]
    return found + (steered if steering is not None else [])
