"""The studio's posters: a queue in its folder, which any shell can steer too, and the files and stores in it."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tiler.engine.store import RenderStore
from tiler.errors import ConfigError, TilerError
from tiler.geometry import Rect
from tiler.output.watched import Watched
from tiler.queue.job import QueuedJob
from tiler.queue.marks import DONE
from tiler.queue.queue import PLACES, Queue
from tiler.request import identity
from tiler.request.config import RenderConfig
from tiler.request.places import check_within
from tiler.studio.folder import Folder
from tiler.studio.steering import kept
from tiler.studio.watching import Watch

# Of the queue, in the studio's folder.
QUEUE = "posters"
FORMATS = (".png", ".tif", ".jpg", ".webp")
_PATIENCE = 2.0  # of a page, whose other questions wait meanwhile
ACTS = ("pause", "stop", "resume", "remove", *PLACES)
_SO_FAR, _RETOUCHED, _STORE = "-so-far", "-retouched", ".zarr"
# What a crash can cost, and how old a picture of a running job may be.
_CHECKPOINT_SECONDS = 20.0
_SHOWN_EDGE, _WATCHED, _LEAVE_SECONDS = 1024, 8, 12.0


class Posters:
    """A context manager, with whose block rendering ends; what is in the folder stays, and another goes on with it.
    schedulers: see `Queue.run`."""

    def __init__(self, folder: Folder, schedulers: Sequence[str] = ()) -> None:
        self._folder, self._schedulers = folder, schedulers
        self._lock, self._thread = threading.Lock(), threading.Thread()
        self._on, self.trouble = threading.Event(), ""
        self._watched: OrderedDict[str, Watch] = OrderedDict()

    def __enter__(self) -> Posters:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.hold()
        if self._thread.is_alive():
            self._thread.join(_LEAVE_SECONDS)

    @property
    def place(self) -> Path:
        """Raises ConfigError where it is a link, which somebody else must have put there."""
        path = self._folder.root / QUEUE
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise ConfigError(f"{QUEUE}: is no folder, or a link; the studio's posters are in a folder of that name")
        return path

    @property
    def queue(self) -> Queue:
        return Queue(self.place)

    # What there is ------------------------------------------------------------------------------------------------

    def told(self) -> dict[str, Any]:
        """JSON values; see page/poster.js."""
        there = {*os.listdir(self.place)} if self.place.is_dir() else set()
        jobs = [self._told(job, there) for job in self.queue.jobs()] if self.place.is_dir() else []
        names = {job["name"] for job in jobs}
        others = [name for name in self._stores() if name not in names and self._file_of(name, there)]
        done = {"state": DONE, "reason": "", "share": 1.0, "seconds_left": None, "has_store": True, "so_far": None}
        jobs += [
            {**done, "name": name, "queued": False, **self._of_file(self._file_of(name, there))} for name in others
        ]
        return {"jobs": jobs, "on": self.is_on, "trouble": self.trouble, "folder": QUEUE, "machines": self._schedulers}

    def _told(self, job: QueuedJob, there: set[str]) -> dict[str, Any]:
        output = Path(job.output)
        ours = job.state == DONE and output.parent == self.place and self._is_file(output.name)
        return {
            "name": job.name,
            "state": job.state,
            "reason": self._folder.said(job.reason),
            "share": job.share,
            "seconds_left": job.seconds_left,
            "queued": True,
            "has_store": os.path.lexists(os.path.join(job.store, "zarr.json")),
            "so_far": self._file_of(job.name + _SO_FAR, there) or None,
            **self._of_file(output.name if ours else ""),
        }

    def _of_file(self, name: str) -> dict[str, Any]:
        return {"file": name or None, "bytes": (self.place / name).stat().st_size if name else 0}

    def labels(self) -> set[Path]:
        """Label pictures of posters that are not done."""
        queue, found = self.queue, set()
        for job in queue.jobs() if self.place.is_dir() else []:
            with contextlib.suppress(TilerError):
                labels = queue.config(job.name).labels
                found |= {Path(os.path.normpath(labels))} if labels and job.state != DONE else set()
        return found

    def _stores(self) -> list[str]:
        """Names of what may be stores in the folder."""
        if not self.place.is_dir():
            return []
        found = [
            one for one in os.scandir(self.place) if one.name.endswith(_STORE) and one.is_dir(follow_symlinks=False)
        ]
        return sorted(one.name.removesuffix(_STORE) for one in found)

    def _file_of(self, name: str, there: set[str] | None = None) -> str:
        """there: names in the folder, where they are known; each of the others costs a look."""
        names = (name + suffix for suffix in FORMATS if there is None or name + suffix in there)
        return next((one for one in names if self._is_file(one)), "")

    def _is_file(self, name: str) -> bool:
        with contextlib.suppress(ConfigError):
            self.file(name)
            return True
        return False

    def file(self, name: str) -> Path:
        """A poster's file. Raises ConfigError for what is none."""
        if "/" in name or Path(name).suffix not in FORMATS:
            raise ConfigError(f"{name}: there is no such poster")
        return self._folder.inside(f"{QUEUE}/{name}")

    def store(self, name: str) -> str:
        """Where a poster's state lives. Raises ConfigError."""
        if name.startswith(".") or name not in self._stores():
            raise ConfigError(f"{name}: nothing is there of it yet")
        return str(self.place / (name + _STORE))

    def watch(self, name: str) -> Watch:
        """Of a poster's store. Raises StoreError and ConfigError."""
        url = self.store(name)
        with self._lock:
            if name not in self._watched:
                self._watched[name] = Watch(url)
            self._watched.move_to_end(name)
            while len(self._watched) > _WATCHED:
                self._watched.popitem(last=False)
            return self._watched[name]

    def view(self, name: str) -> bytes:
        """A finished poster, made small: a JPEG. Raises StoreError and ConfigError."""
        now = Watched.of(self.store(name))
        levels = [one for one in now.job.cut.levels if now.levels[one.index].report is not None]
        if len(levels) < len(now.job.cut.levels):
            raise ConfigError(f"{name}: is not finished yet")
        small = [one for one in levels if max(one.height, one.width) <= _SHOWN_EDGE] or levels[:1]
        pixels = now.read(small[-1].index, Rect(0, 0, small[-1].height, small[-1].width))
        values = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
        found = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(values)).save(found, "JPEG", quality=90)
        return found.getvalue()

    # What is done -------------------------------------------------------------------------------------------------

    def placed(self, config: RenderConfig, name: str, suffix: str) -> RenderConfig:
        """The same, written where nothing is yet: to the queue's folder once that is there. Raises ConfigError."""
        if suffix not in FORMATS:
            raise ConfigError(f"format = {suffix}; allowed: {' '.join(FORMATS)}")
        folder = self.place if self.place.is_dir() else self._folder.own
        return replace(config, output=str(folder / (self.queue.free_name(name, FORMATS) + suffix)))

    def add(self, config: RenderConfig, name: str, suffix: str) -> str:
        """Returns what it is called. Raises TilerError."""
        new = not self.place.exists()
        self.place.mkdir(exist_ok=True)
        try:
            config = self.placed(config, name, suffix)
            return self.queue.add(config, Path(str(config.output)).stem).name
        except TilerError:
            if new:
                with contextlib.suppress(OSError):  # something has come into it
                    self.place.rmdir()
            raise

    def act(self, name: str, what: str) -> None:
        """what: of ACTS. Raises TilerError."""
        if what in PLACES:
            self.queue.move(name, what)
        elif what == "remove":
            self.queue.remove(name, _PATIENCE)
        elif what in ACTS:
            getattr(self.queue, what)(name)
        else:
            raise ConfigError(f"{what}: allowed: {', '.join(ACTS)}")

    def keep(self, name: str) -> str:
        """End a job, and write what there is of it. Returns the file's name. Raises TilerError."""
        job = self.queue.job(name)
        if job.state != DONE:
            self.queue.stop(name)
        suffix = Path(job.output).suffix
        file = name + _SO_FAR + (suffix if suffix in FORMATS else ".png")
        if os.path.lexists(self.place / file):
            self._folder.inside(f"{QUEUE}/{file}")
        kept(self.store(name), str(self.place / file))
        return file

    def retouched(self, name: str) -> tuple[str, str]:
        """(store of a finished poster, where its retouch goes). Raises TilerError where its job has files elsewhere."""
        url = self.store(name)
        check_within(identity.asked_for(url, RenderStore.open(url, writable=False).attributes), self._folder.root)
        suffix = Path(self._file_of(name)).suffix or ".png"
        return url, str(
            self.place / (self.queue.free_name(name.partition(_RETOUCHED)[0] + _RETOUCHED, FORMATS) + suffix)
        )

    # Rendering ----------------------------------------------------------------------------------------------------

    @property
    def is_on(self) -> bool:
        """Whether what waits is rendered."""
        return self._on.is_set() and self._thread.is_alive()

    def go(self) -> None:
        """Render what waits, and what will, one after the other."""
        with self._lock:
            if self.is_on:
                return
            if self._thread.is_alive():
                self._thread.join(_LEAVE_SECONDS)
            self.place.mkdir(exist_ok=True)
            self._on.set()
            self.trouble = ""
            self._thread = threading.Thread(target=self._work, daemon=True, name="posters")
            self._thread.start()

    def hold(self) -> None:
        """What is rendered breaks off, and waits."""
        self._on.clear()

    def _work(self) -> None:
        try:
            self.queue.run(
                self._schedulers,
                wait=True,
                cancelled=lambda: not self._on.is_set(),
                within=self._folder.root,
                checkpoint_seconds=_CHECKPOINT_SECONDS,
            )
        except (TilerError, OSError) as error:
            self.trouble = self._folder.said(error)
