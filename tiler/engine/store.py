"""The store: one zarr 3 group is one job, and all that resuming it needs. It and the .zarr output import zarr.

    /                        attributes: job, config, inputs, versions; OME-Zarr multiscales of the levels' images
    /levels/K                attributes: report, what it came to; lineage, by what it is known: see `lineage`
    /levels/K/content        the content at this level's size, uint16
    /levels/K/alpha          the content's transparency at this level's size, uint16, where it has any
    /levels/K/guides         [R, h, w] where its regions are, uint16; its attribute `areas` says how much each has
    /levels/K/protect        where its content is to be kept, uint16, where anything says so
    /levels/K/image          the finished level (c, y, x), uint16; a core is eight chunks, one below the other
    /levels/K/poster         the same with the content's chroma, where --color asks for it: what is shown
    /levels/K/state-CUT/     checkpoints of the tiles' state, dropped with the level's other inputs when it is finished:
        pixels               [2 slots, tiles, 3, h, w] of each tile's blend area, in the state's float type: an
                             update is often smaller than a step of 16 bits
        moments              [2 slots, tiles, 6, h, w]: Adam's first and second, bfloat16 in fast mode: a fifth of a
                             per cent matters to nothing there, and their range is as wide as the gradients'
        grams/LAYER          [2, tiles, R, C, C] Gram sums of the cores, by region; a region that a tile does not hold
                             has no chunk. [2, tiles, R, C + 1, C] with the features' own sums, where they are compared
        losses               [2, tiles, 2]: content and tv of the cores
        marks                [2, tiles]: which state a slot holds of a tile, written after the data
    /styles/K/S/...          picture, guides (its mask), and totals/LAYER [1, C or C + 1, C]: the style's normalised
                             sums at level K's scale
    /init                    the picture that --init names

Jobs in fp64 keep everything but content and style pictures in float64.

Two checkpoints of a level take turns, and neither is written before the other is whole; where the state lives in the
store, every round is one. Every chunk has one writer: the worker that has the tile, the task that adds up, or the
client. Chunks end in a CRC32C that zarr checks on reading, and every chunk is written, so that one that is missing is
noticed as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from tiler.engine import place
from tiler.engine.arrays import clearly, opened
from tiler.engine.contents import IMAGE, INPUTS, POSTER, STATE, Contents
from tiler.engine.gate import Allowed
from tiler.engine.job import Job
from tiler.engine.place import first_line
from tiler.engine.records import finite, report_of
from tiler.engine.stored_pictures import StoredPictures
from tiler.engine.stored_state import StoredState
from tiler.errors import StoreError
from tiler.geometry.ome import image_attributes

__all__ = ["IMAGE", "POSTER", "RenderStore"]
_MEMBERS = ("levels", "styles", "init")
_DELETED = {"deleted": True}
# Of the root: so many levels of the job before are this one's, and the rest is still to be dropped.
_KEEPS = "keeps"


class RenderStore(StoredPictures, StoredState):
    """Named reads and writes of a job's state. Instances are cheap; tasks open their own."""

    def __init__(self, url: str, root: zarr.Group, contents: Contents | None = None) -> None:
        super().__init__(url, root, contents)
        job = self.attributes.get("job")
        self._cut = str(job.get("id", "") if isinstance(job, dict) else "")[:12]

    def hold_to(self, job: Job) -> None:
        """From now on an array is read only if it is what the job has at its place: its shape, chunks and codecs."""
        self._contents, self._arrays = Contents(job), {}

    @classmethod
    def create(cls, url: str, attributes: Mapping[str, Any], overwrite: bool = False) -> RenderStore:
        """Start a store. Raises StoreError when something is there already or the place cannot be written.

        overwrite: delete a job that is there; never anything else, such as a folder of pictures named by mistake.
        """
        if cls.exists(url) and not overwrite:
            raise StoreError(f"store {url}: exists already; choose an empty or new folder")
        with clearly(url, "cannot be created"):
            attributes = {"tiler": dict(attributes)}
            root = cls._emptied(url)
            if root is None:
                place.make(url)
                root = zarr.create_group(store=opened(url), attributes=attributes)
            else:
                root.attrs.put(attributes)
        return cls(url, root)

    @classmethod
    def _emptied(cls, url: str) -> zarr.Group | None:
        """The group at `url` without its job, or None when there is no group. A deletion that is cut short must not
        leave half a job to go on with, so what makes it a job goes first."""
        try:
            root = cls._group(url)
        except StoreError:
            return None
        root.attrs.put({"tiler": _DELETED})
        for name in _MEMBERS:
            del root[name]
        return root

    def succeed(self, attributes: Mapping[str, Any], levels: int) -> None:
        """Have another job take the place of this one, and its first `levels` levels, which are finished.

        One write makes it the new job; what else there is of the old one is out of sight from then on, and goes now, or
        when somebody goes on with the new one after this was cut short."""
        self._root.attrs.put({"tiler": {**attributes, _KEEPS: levels}})
        self.clear()

    def clear(self) -> None:
        """Drop what is left of the job before, where something is."""
        if _KEEPS not in self.attributes:
            return
        names = [f"levels/{name}" for name in self._names("levels") if name.isdecimal()]
        for path in (*names, *_MEMBERS[1:]):
            if self._is_left(path):
                self._drop(path)
        self._root.attrs["tiler"] = {name: value for name, value in self.attributes.items() if name != _KEEPS}

    def _is_left(self, path: str) -> bool:
        """Whether what lies there is of the job before."""
        held: Any = self._root.attrs["tiler"]
        if _KEEPS not in held:
            return False
        keeps = held[_KEEPS] if type(held[_KEEPS]) is int else 0
        member, _, rest = path.partition("/")
        name = rest.partition("/")[0]
        if member == "levels":
            return bool(name) and not (name.isdecimal() and int(name) < keeps)
        return member in _MEMBERS and not (member == "init" and keeps > 0)  # which the coarsest level keeps

    def _node(self, path: str, strict: bool = False) -> zarr.Array | zarr.Group | None:
        return None if self._is_left(path) else super()._node(path, strict)

    @classmethod
    def open(cls, url: str, writable: bool = True) -> RenderStore:
        """Open a job's store. Raises StoreError when there is none, or something else."""
        return cls(url, cls._group(url, writable))

    @classmethod
    def _group(cls, url: str, writable: bool = True, allowed: Allowed | None = None) -> zarr.Group:
        with clearly(url, "no readable job there"):
            try:
                root = zarr.open_group(store=opened(url, allowed), mode="r+" if writable else "r", zarr_format=3)
            except FileNotFoundError:  # zarr's own words name its classes
                raise FileNotFoundError("nothing of zarr's") from None
        if not isinstance(root.attrs.get("tiler"), dict):
            raise StoreError(f"store {url}: a zarr group, but not one of tiler's")
        return root

    def guard(self, may_write: Callable[[], None]) -> None:
        """Have `may_write` called before every write; it raises when this process may not any more."""
        self._allowed.may_write = may_write

    def check_writer(self) -> None:
        """Raise what the guard raises."""
        self._allowed.may_write()

    def for_job(self, job: Job) -> RenderStore:
        """The same store, under the same guard, for a job that was cut anew."""
        found = RenderStore(self.url, self._group(self.url, allowed=self._allowed))
        found.hold_to(job)
        return found

    @classmethod
    def exists(cls, url: str) -> bool:
        """Whether a job is at `url`. Raises StoreError where something else is, which must not be written into, and
        where nothing can be written."""
        if place.is_free(url):
            return False
        try:
            return cls.open(url, writable=False).attributes != _DELETED
        except StoreError as error:
            raise StoreError(f"{error}; what exists there is not a job; choose an empty or new folder") from None

    @property
    def attributes(self) -> dict[str, Any]:
        return json.loads(json.dumps(self._root.attrs["tiler"]))

    @property
    def seconds(self) -> float:
        """What the job has cost so far. Raises StoreError where what is said of it is no such number."""
        try:
            return finite(self.attributes.get("seconds", 0.0), "seconds")
        except ValueError as error:
            raise StoreError(f"store {self.url}: cannot be read: {error}") from None

    def update(self, **values: Any) -> None:
        """Merge values into the job's attributes (client only). Raises StoreError when the store is gone: it must not
        come back without its arrays."""
        self.check_there()
        self._root.attrs["tiler"] = {**self.attributes, **values}

    def check_there(self) -> None:
        """Raise StoreError when the store is gone."""
        self._root = self._group(self.url, allowed=self._allowed)

    def holder(self) -> str:
        """The run that may write, as the store says at this moment; empty where none is named. Cheap."""
        try:
            found = sync(self._root.store.get("zarr.json", default_buffer_prototype()))
            return str(json.loads(found.to_bytes())["attributes"]["tiler"].get("run", "")) if found else ""
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StoreError(f"store {self.url}: no readable job there: {first_line(error)}") from None

    def publish(self, name: str, sizes: Sequence[tuple[int, int]], peak: int, shown: str) -> None:
        """Make the finished levels an OME-Zarr 0.5 multiscale image, which the field's viewers open.

        sizes: (height, width) of every level, coarsest first. peak: the value of full brightness. shown: of Job.images.
        """
        arrays = [(f"levels/{level}/{shown}", *size) for level, size in enumerate(sizes)]
        self._root.attrs["ome"] = image_attributes(name, arrays[::-1], 3, peak)

    def finish_level(self, level: int, report: Mapping[str, Any], lineage: str | None = None) -> None:
        """Record a level's summary and by what it is known, and drop its working arrays; `image` stays."""
        self.check_there()
        found = self._node(f"levels/{level}")
        assert found is not None
        found.attrs.put({**found.attrs, "report": dict(report), "lineage": lineage})
        self.tidy_level(level)

    def lineage(self, level: int) -> str | None:
        """By what a finished level is known, as the store says; None where it says nothing."""
        found = self._attributes(f"levels/{level}")
        return str(found["lineage"]) if found.get("report") is not None and found.get("lineage") else None

    def tidy_level(self, level: int) -> None:
        """Drop whatever a finished level no longer needs, of this cut and of earlier ones; what is no job's stays."""
        self._drop(f"styles/{level}")
        for name in self._names(f"levels/{level}"):
            if name in INPUTS or name.startswith(STATE):
                self._drop(f"levels/{level}/{name}")

    def level_report(self, level: int) -> dict[str, Any] | None:
        """The summary of a finished level, or None."""
        report = self._attributes(f"levels/{level}").get("report")
        if report is None:
            return None
        try:
            return report_of(json.loads(json.dumps(report)))
        except ValueError as error:
            raise StoreError(f"store {self.url}: the report of level {level} is damaged: {error}") from None
