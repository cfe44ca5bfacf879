"""A finished poster that changes in a part: its other pixels stay as they are, byte for byte."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tiler import pictures
from tiler.engine import place
from tiler.engine.contents import BEFORE, TOUCHED
from tiler.engine.host import cores
from tiler.engine.job import Job
from tiler.engine.lock import sole_writer
from tiler.engine.schedule import Pool
from tiler.engine.store import RenderStore
from tiler.errors import ConfigError, PictureError, StoreError
from tiler.geometry import Rect
from tiler.jobs import Found, Progress, Request, begin, disk_errors
from tiler.levels import Levels
from tiler.planning.bar import heard
from tiler.planning.plan import plan_job
from tiler.planning.room import check_room
from tiler.rendering import Result, carried_out, checked, settled
from tiler.request import identity
from tiler.request.changing import check_changes
from tiler.request.option import Places
from tiler.request.places import check_places
from tiler.request.sizes import same_shape

# Pixels of the poster beyond the mask over which new passes into old.
FEATHER = 48
# Of a level in which something changes: sides of the cells that are told apart.
_CELL = 16
# Of a blur's width: what it reaches beyond an edge.
_REACH = 0.8
_RECORD = "retouch"


def retouch(
    url: str | os.PathLike[str],
    mask: str,
    output: str,
    changes: Mapping[str, Any] | None = None,
    feather: int = FEATHER,
    store: str | None = None,
    progress: Progress | bool | None = None,
    pool: Pool | None = None,
    cancelled: Callable[[], bool] | None = None,
    **where: Any,
) -> Result:
    """Render a part of the finished poster in the store at `url` again, with other options, and write the whole to
    `output`.

    mask: a picture of the poster's shape, white where it may change. changes: fields of RenderConfig, of the look and
    the work (see `tiler.request.changing`). feather: pixels of the poster beyond the mask, 0 to 4096, over which new
    passes into old; farther away nothing changes. On every level only the tiles that this touches are rendered, each
    following the statistics of the whole: those of the other tiles are measured as they are. Where all is white and
    nothing else changes, it is the poster again.

    The store at `url`, its poster and the mask are read only, and so are the pictures that it was made of, which must
    be there as they were. The result has a store of its own, beside `output` by default; one that an earlier retouch of
    the same poster left there is replaced. What was stopped starts over. progress, pool, cancelled: see `render`.
    where: fields of RenderConfig that say where it runs. Raises TilerError.
    """
    before = _Before(os.fspath(url))
    request, picture = before.asked(mask, output, changes or {}, feather, {**where, "store": store})
    with heard(progress) as tell:
        return _retouched(before, request, picture, feather, tell, pool, cancelled)


def _retouched(
    before: _Before,
    request: Request,
    picture: pictures.Picture,
    feather: int,
    tell: Progress,
    pool: Pool | None,
    cancelled: Callable[[], bool] | None,
) -> Result:
    began = time.monotonic()
    with sole_writer(request.url) as hold, disk_errors(request.url):
        config, again = request.asked.config, before.replaced(request.url)
        threads = config.threads or max(1, cores() // (config.workers or 1))
        with contextlib.nullcontext(pool) if pool else Pool(config.scheduler, config.workers or 1, threads) as pool:
            resolved, job, machine = settled(request.asked, pool)
            job = before.touched(job, picture, feather)
            beside = request.asked.sources.kept_bytes
            planned = plan_job(resolved, job, request.asked.sources.transparent, None, machine, beside)
            check_room(planned, config, job, request.url, False, machine)
            made, job, _ = begin(request, Found(None, None, uuid.uuid4().hex, []), resolved, job, machine, again)
            made.update(**{_RECORD: before.name})  # by which another may replace it, wherever this one is stopped
            made.guard(checked(hold.check, cancelled))
            tell({"event": "plan", **planned.to_dict()})
            earlier = f"store {request.url}: an earlier retouch makes way for this one" if again else ""
            for text in filter(None, (earlier, planned.part, *hold.notes, *request.asked.notes)):
                tell({"event": "note", "text": text})
            before.copy(made, job, picture, feather)
            homes = tuple(level.home for level in planned.levels)
            run = Levels(resolved, job, made, pool, tell, request.asked.sources, homes)
            loss = carried_out(run, made, pool, hold.check, cancelled)
            made.update(seconds=time.monotonic() - began)
    last = job.cut.last
    return Result(config.target, request.url, last.height, last.width, loss, time.monotonic() - began)


class _Before:
    """The finished poster. Raises StoreError where there is none."""

    def __init__(self, url: str) -> None:
        self._store = RenderStore.open(url, writable=False)
        self._config = identity.asked_for(url, self._store.attributes)
        self._config.moved(self._check_there)
        self._job = identity.load_job(self._store)
        if self._job.cut.crop is not None:
            raise StoreError(f"store {url}: is a proof; allowed: a poster")
        if any(self._store.level_report(level.index) is None for level in self._job.cut.levels):
            raise StoreError(f"store {url}: is not finished; allowed: a finished poster, so tiler resume {url} first")
        if self._job.look.keeps_chroma:
            raise StoreError(f"store {url}: color is {self._job.look.color}; allowed for a retouch: style, grey, match")

    def _check_there(self, path: str, places: Places) -> str:
        if not places.written and not os.path.lexists(path):
            raise PictureError(f"{path}: no such file, and the poster in {self._store.url} is made of it; put it there")
        return path

    @property
    def name(self) -> str:
        """By which its retouches know it."""
        return self._job.id

    def asked(
        self, mask: str, output: str, changes: Mapping[str, Any], feather: int, where: Mapping[str, Any]
    ) -> tuple[Request, pictures.Picture]:
        """What is asked for, and the mask."""
        check_changes(changes)
        if not 0 <= feather <= 4096:
            raise ConfigError(f"feather = {feather}; allowed: 0 to 4096")
        found, known = identity.inputs(self._config), identity.table(self._store.attributes, "inputs")
        for role in sorted({*found, *known}):
            if found.get(role) != known.get(role):
                raise StoreError(f"store {self._store.url}: the {role} is not what its poster was made of")
        request = Request.of(replace(self._config, **{**changes, "output": output, "tiles": None, **where}))
        for other in identity.other_weights(self._job, request.asked.job):
            raise StoreError(f"store {self._store.url}: {other} from those that its poster was made with")
        if request.url == place.absolute(self._store.url):
            raise ConfigError(f"-o {output}: its store would be that of the poster; choose another name")
        picture, last = pictures.open_picture(mask), self._job.cut.last
        theirs = [one for one in (self._config.output, self._config.tiles) if one is not None and os.path.lexists(one)]
        check_places(request.asked.config, request.url, [mask, *theirs])
        if not same_shape((picture.height, picture.width), (last.height, last.width)):
            size = f"{picture.width} x {picture.height} pixels"
            raise ConfigError(f"mask {mask}: {size}; allowed: the poster's shape ({last.width} x {last.height})")
        return request, picture

    def replaced(self, url: str) -> bool:
        """Whether a store is there that may be replaced. Raises StoreError for any other."""
        if not RenderStore.exists(url):
            return False
        if RenderStore.open(url, writable=False).attributes.get(_RECORD) != self.name:
            raise StoreError(f"store {url}: holds another job; choose another -o")
        return True

    def touched(self, job: Job, mask: pictures.Picture, feather: int) -> Job:
        """A new job that changes this poster."""
        sizes = [[(one.height, one.width) for one in found.cut.levels] for found in (job, self._job)]
        if sizes[0] != sizes[1]:
            asked, there = (", ".join(f"{width} x {height}" for height, width in one) for one in sizes)
            raise ConfigError(
                f"set: makes levels of {asked} px of its poster's {there} px; allowed: options that leave them"
            )
        boxes = tuple(tuple(self._boxes(mask, level, feather)) for level in range(len(sizes[0])))
        return replace(job, cut=replace(job.cut, touched=boxes))

    def _boxes(self, mask: pictures.Picture, level: int, feather: int) -> Iterator[tuple[int, int, int, int]]:
        """Cells of a level in which something may change, in runs."""
        size, top = self._job.cut.levels[level], 0
        for band in self._mask(mask, level, feather, _CELL):
            columns = np.flatnonzero((np.rint(band[0] * 65535) > 0).any(0))
            cells = np.unique(columns // _CELL)
            for run in np.split(cells, np.flatnonzero(np.diff(cells) > 1) + 1) if len(cells) else []:
                right = min((int(run[-1]) + 1) * _CELL, size.width)
                yield top, int(run[0]) * _CELL, top + band.shape[1], right
            top += band.shape[1]

    def _mask(self, mask: pictures.Picture, level: int, feather: int, rows: int) -> Iterator[np.ndarray]:
        size = self._job.cut.levels[level]
        blur = feather / _REACH * size.width / self._job.cut.last.width
        return pictures.mask_bands(mask, size.height, size.width, rows, blur if blur >= 1 else 0)

    def copy(self, store: RenderStore, job: Job, mask: pictures.Picture, feather: int) -> None:
        """All levels as they are, for the tasks to read and for what stays; a level in which nothing changes is
        finished."""
        for size in job.cut.levels:
            level, grid, report = size.index, job.cut.grid(size.index), self._store.level_report(size.index)
            names = [BEFORE, *job.look.images] if len(grid) else job.look.images
            for name in names:
                store.create_image(level, grid, job.device.state_dtype, name)
            for y in range(0, size.height, grid.band_height):
                rect = Rect(y, 0, min(y + grid.band_height, size.height), size.width)
                band = self._store.read_image(level, rect)
                for name in names:
                    store.write_image(level, rect, band, name)
            if len(grid):
                bands = self._mask(mask, level, feather, RenderStore.picture_rows)
                store.write_picture(f"levels/{level}/{TOUCHED}", size.height, size.width, bands, 1)
            else:
                store.finish_level(level, report or {})
