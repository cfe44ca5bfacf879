"""The store: one zarr 3 group is one job, and all that resuming it needs. It and the .zarr output import zarr.

    /                        attributes: job, config, inputs, versions; OME-Zarr multiscales of the levels' images
    /levels/K/content        the content at this level's size, uint16
    /levels/K/alpha          the content's transparency at this level's size, uint16, where it has any
    /levels/K/guides         [R, h, w] where its regions are, uint16; its attribute `areas` says how much each has
    /levels/K/protect        where its content is to be kept, uint16, where anything says so
    /levels/K/image          the finished level (c, y, x), uint16; a core is eight chunks, one below the other
    /levels/K/poster         the same with the content's chroma, where --color asks for it: what is shown
    /levels/K/state-CUT/     the tiles' working arrays, dropped with the level's other inputs when it is finished:
        pixels               [2 slots, tiles, 3, h, w] of each tile's blend area, in the state's float type: an
                             update is often smaller than a step of 16 bits
        moments              [2 slots, tiles, 6, h, w]: Adam's first and second, bfloat16 in fast mode: a fifth of a
                             per cent matters to nothing there, and their range is as wide as the gradients'
        grams/LAYER          [2, tiles, R, C, C] Gram sums of the cores, by region; a region that a tile does not hold
                             has no chunk. totals/LAYER [2, R, C, C] normalised over the level
        losses               [2, tiles, 2]: content and tv of the cores
        marks                [2 phases, 2, tiles]: which state a slot holds, written after the data
    /styles/K/S/...          picture, guides (its mask), grams and totals of style S at level K's scale
    /init                    the picture that --init names

Jobs in fp64 keep everything but content and style pictures in float64.

State k of a level (after k rounds) lives in slot k % 2, so a round never overwrites what it reads. Every chunk has one
writer: a tile's own task, the task that adds up, or the client. Chunks end in a CRC32C that zarr checks on reading, and
every chunk is written, so that one that is missing is noticed as well.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import ByteRequest, Store
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from tiler.engine import layout, place
from tiler.engine.place import first_line
from tiler.errors import DamageError, StoreError
from tiler.geometry import Rect, Tile, TileGrid
from tiler.ome import AXES, image_attributes

PATCHED, MEASURED = 0, 1
IMAGE, POSTER = "image", "poster"
_KEPT = (IMAGE, POSTER, "alpha")
_MEMBERS = ("levels", "styles", "init")
_DELETED = {"deleted": True}
_UINT16 = np.float32(65535)
_MOST_MARKS = 2**26
# What zarr raises for what is missing, damaged or not zarr's at all.
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError)


def _plain() -> tuple[Any, ...]:
    return (Crc32cCodec(),)


def _packed() -> tuple[Any, ...]:
    return (BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), Crc32cCodec())


class _MissingChunkError(Exception):
    pass


class _Strict(WrapperStore[Store]):
    """A store in which a chunk that was never written is an error, where zarr would read the fill value."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        found = await super().get(key, prototype, byte_range)
        if found is None and "/c/" in key:
            raise _MissingChunkError(f"chunk {key} is missing")
        return found


class RenderStore:
    """Named reads and writes of a job's state. Instances are cheap; tasks open their own."""

    def __init__(self, url: str, root: zarr.Group) -> None:
        self.url, self._root = url, root
        job = self.attributes.get("job")
        self._cut = str(job.get("id", "") if isinstance(job, dict) else "")[:12]
        self._strict = zarr.open_group(_Strict(root.store), path=root.path, mode="r")
        self._arrays: dict[tuple[str, bool], zarr.Array] = {}

    @classmethod
    def create(cls, url: str, attributes: Mapping[str, Any], overwrite: bool = False) -> RenderStore:
        """Start a store. Raises StoreError when something is there already or the place cannot be written.

        overwrite: delete a job that is there; never anything else, such as a folder of pictures named by mistake.
        """
        if cls.exists(url) and not overwrite:
            raise StoreError(f"store {url}: exists already; choose an empty or new folder")
        with _clearly(url, "cannot be created"):
            attributes = {"tiler": dict(attributes)}
            root = cls._emptied(url)
            if root is None:
                root = zarr.create_group(store=_opened(url), attributes=attributes)
            else:
                root.attrs.put(attributes)
        return cls(url, root)

    @classmethod
    def _emptied(cls, url: str) -> zarr.Group | None:
        """The group at `url` without its job, or None when there is no group. A deletion that is cut short must not
        leave half a job to go on with, so what makes it a job goes first."""
        try:
            root = cls.open(url)._root
        except StoreError:
            return None
        root.attrs.put({"tiler": _DELETED})
        for name in _MEMBERS:
            del root[name]
        return root

    @classmethod
    def open(cls, url: str, writable: bool = True) -> RenderStore:
        """Open a job's store. Raises StoreError when there is none, or something else."""
        with _clearly(url, "no readable job there"):
            root = zarr.open_group(store=_opened(url), mode="r+" if writable else "r", zarr_format=3)
        if not isinstance(root.attrs.get("tiler"), dict):
            raise StoreError(f"store {url}: a zarr group, but not one of tiler's")
        return cls(url, root)

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
        """What the job has cost so far."""
        found = self.attributes.get("seconds")
        return float(found) if isinstance(found, int | float) else 0.0

    def update(self, **values: Any) -> None:
        """Merge values into the job's attributes (client only). Raises StoreError when the store is gone: it must not
        come back without its arrays."""
        self._root = self.open(self.url)._root
        self._root.attrs["tiler"] = {**self.attributes, **values}

    def publish(self, name: str, sizes: Sequence[tuple[int, int]], peak: int = 65535, shown: str = IMAGE) -> None:
        """Make the finished levels an OME-Zarr 0.5 multiscale image, which the field's viewers open.

        sizes: (height, width) of every level, coarsest first. peak: the value of full brightness. shown: of Job.images.
        """
        arrays = [(f"levels/{level}/{shown}", *size) for level, size in enumerate(sizes)]
        self._root.attrs["ome"] = image_attributes(name, arrays[::-1], 3, peak)

    def has(self, path: str) -> bool:
        return self._node(path) is not None

    def _node(self, path: str, strict: bool = False) -> zarr.Array | zarr.Group | None:
        try:
            return (self._strict if strict else self._root)[path]
        except KeyError:
            return None
        except Exception as error:
            raise self._unreadable(path, error) from _passing(error)

    def _array(self, path: str, strict: bool = False) -> zarr.Array:
        """strict: to be read, where a missing chunk is an error; otherwise to be written."""
        if (path, strict) not in self._arrays:
            array = self._node(path, strict)
            if array is None:
                raise DamageError(f"store {self.url}: {path} is missing", path)
            if not isinstance(array, zarr.Array) or array.dtype.kind not in "fiu":
                raise DamageError(f"store {self.url}: {path} is no array of numbers", path)
            self._arrays[path, strict] = array.with_config({"write_empty_chunks": True})
        return self._arrays[path, strict]

    def _attributes(self, path: str) -> MutableMapping[str, Any]:
        """Those of an array or a group, empty where there is none."""
        node = self._node(path)
        return {} if node is None else node.attrs

    def _values(self, path: str, selection: tuple[Any, ...], strict: bool = True) -> np.ndarray:
        array = self._array(path, strict)
        try:
            return np.asarray(array[selection])
        except Exception as error:
            index = tuple(itertools.takewhile(lambda one: isinstance(one, int), selection))
            raise self._unreadable(path, error, index) from _passing(error)

    def _unreadable(self, path: str, error: Exception, index: tuple[int, ...] = ()) -> Exception:
        """What to raise for an error in reading: StoreError for trouble that may pass, DamageError for what zarr finds
        wrong, and what has to do with neither as it is."""
        text = f"store {self.url}: {path} cannot be read: {first_line(error)}"
        if _passing(error):
            return StoreError(text)
        return DamageError(text, path, index) if isinstance(error, (*_DAMAGE, _MissingChunkError)) else error

    def _create(self, path: str, array: layout.Array, **options: Any) -> None:
        if not self.has(path):
            how = {"dtype": array.dtype, "fill_value": array.fill_value, **options}
            packing = _plain() if array.ratio is None else _packed()
            self._root.create_array(path, shape=array.shape, chunks=array.chunks, compressors=packing, **how)
        found = self._array(path)
        if (found.shape, found.chunks, found.dtype) != (array.shape, array.chunks, np.dtype(array.dtype)):
            is_now, allowed = (f"{one.dtype} {one.shape} in chunks of {one.chunks}" for one in (found, array))
            raise StoreError(f"store {self.url}: {path} is {is_now}; allowed: {allowed}")

    # Pictures -----------------------------------------------------------------------------------------------------

    def write_picture(self, path: str, height: int, width: int, bands: Iterable[np.ndarray], channels: int = 3) -> None:
        """Stream bands [channels, rows, width] in 0..1 into a 16-bit array; a picture that is complete is kept."""
        if self.has_picture(path):
            return
        self._create(path, layout.picture(height, width, channels))
        array, y = self._array(path), 0
        for band in bands:
            array[:, y : y + band.shape[1]] = _to_16_bits(band)
            y += band.shape[1]
        array.attrs["complete"] = True

    def has_picture(self, path: str) -> bool:
        return bool(self._attributes(path).get("complete"))

    def read_picture(self, path: str, rect: Rect) -> np.ndarray:
        """[channels, h, w] float32 in 0..1."""
        return _from_16_bits(self._values(path, (slice(None), *rect.slices)))

    def picture_bands(self, path: str) -> Iterator[np.ndarray]:
        """The whole picture, top to bottom: [channels, rows, width] float32."""
        _, height, width = self._array(path).shape
        for y in range(0, height, self.picture_rows):
            yield self.read_picture(path, Rect(y, 0, min(y + self.picture_rows, height), width))

    picture_rows = layout.PICTURE_ROWS

    def write_areas(self, path: str, areas: Mapping[str, Any]) -> None:
        """Record how much of a picture each of its guides has; JSON values."""
        self._array(path).attrs["areas"] = dict(areas)

    def read_areas(self, path: str) -> dict[str, Any] | None:
        """As written, or None."""
        return json.loads(json.dumps(self._attributes(path).get("areas")))

    # State of a level ---------------------------------------------------------------------------------------------

    def state_path(self, level: int) -> str:
        """Where the tiles of this job's cut keep their state. A job that is cut anew gets a new place, so that tasks
        of the old cut that are still running somewhere can do no harm."""
        return f"levels/{level}/state-{self._cut}"

    def create_state(
        self,
        level: int,
        grid: TileGrid,
        channels: Mapping[str, int],
        dtype: str,
        moment_dtype: str,
        regions: int = 1,
    ) -> None:
        """Room for two states of a level's tiles and their statistics. moment_dtype: bfloat16 or a numpy name. A level
        that was begun, and of which no state is whole any more, loses them all."""
        path = self.state_path(level)
        if self.has(f"{path}/marks") and self.latest(path, PATCHED) < 0 < self.states(path, PATCHED).max():
            self._drop(path)
        for name, array in layout.state(grid, channels, dtype, moment_dtype, regions).items():
            self._create(f"{path}/{name}", array)

    def create_image(self, level: int, grid: TileGrid, dtype: str, name: str = IMAGE) -> None:
        """Room for the finished level. dtype: the state's; float32 is kept in 16 bits. name: see Job.images."""
        self._create(f"levels/{level}/{name}", layout.image(grid, dtype), dimension_names=AXES)

    def create_statistics(
        self, path: str, tiles: int, channels: Mapping[str, int], dtype: str, regions: int = 1
    ) -> None:
        """Room for Gram sums of `tiles` tiles under `path`, two slots; channels: per layer."""
        for name, array in layout.statistics(tiles, channels, dtype, regions).items():
            self._create(f"{path}/{name}", array)

    def write_patch(
        self, level: int, slot: int, tile: Tile, pixels: np.ndarray, moments: np.ndarray | None = None
    ) -> None:
        """pixels: [3, h, w] over the tile's blend area; moments: [6, h, w], first and second; None: all 0."""
        moments = np.zeros((6, *pixels.shape[1:]), pixels.dtype) if moments is None else moments
        for name, patch in {"pixels": pixels, "moments": moments}.items():
            array = self._array(f"{self.state_path(level)}/{name}")
            patch = _bfloat16_bits(patch) if array.dtype == np.uint16 else patch
            # Whole chunks: part of one would be merged into what is there, which may be damaged.
            missing = [(0, whole - size) for whole, size in zip(array.shape[2:], patch.shape, strict=True)]
            array[slot, tile.index] = np.pad(patch, missing)

    def read_patch(self, level: int, slot: int, tile: Tile, part: Rect, kind: str) -> np.ndarray:
        """[3, h, w] "pixels" or [6, h, w] "moments" of a part of the tile's blend area, in level pixels."""
        inner = part.relative_to(tile.blend)
        found = self._values(f"{self.state_path(level)}/{kind}", (slot, tile.index, slice(None), *inner.slices))
        return _from_bfloat16_bits(found) if found.dtype == np.uint16 else found

    def write_image(self, level: int, core: Rect, pixels: np.ndarray, name: str = IMAGE) -> None:
        """pixels: [3, h, w] in 0..1."""
        array = self._array(f"levels/{level}/{name}")
        array[(slice(None), *core.slices)] = _to_16_bits(pixels) if array.dtype == np.uint16 else pixels

    def read_image(self, level: int, rect: Rect, name: str = IMAGE) -> np.ndarray:
        """[3, h, w] floats in 0..1 of a finished level."""
        found = self._values(f"levels/{level}/{name}", (slice(None), *rect.slices))
        return _from_16_bits(found) if found.dtype == np.uint16 else found

    # Statistics and marks -----------------------------------------------------------------------------------------

    def write_grams(
        self, path: str, slot: int, tile: int, sums: Mapping[str, np.ndarray], regions: Sequence[int] = (0,)
    ) -> None:
        """sums[layer]: [len(regions), C, C]. regions: those that the tile holds; the others' sums are 0."""
        held = self._array(f"{path}/regions")
        held[slot, tile] = np.isin(range(held.shape[2]), regions)
        for layer, values in sums.items():
            for region, value in zip(regions, values, strict=True):
                self._array(f"{path}/grams/{layer}")[slot, tile, region] = value

    def read_grams(
        self, path: str, slot: int, tile: int, layer: str, regions: Sequence[int] | None = None
    ) -> np.ndarray:
        """[len(regions), C, C]; None: of every region."""
        held, path = self._values(f"{path}/regions", (slot, tile)), f"{path}/grams/{layer}"
        array = self._array(path)
        nothing = np.zeros(array.shape[3:], array.dtype)
        wanted = range(len(held)) if regions is None else regions
        return np.stack([self._values(path, (slot, tile, r)) if held[r] else nothing for r in wanted])

    def write_total(self, path: str, slot: int, layer: str, total: np.ndarray) -> None:
        self._array(f"{path}/totals/{layer}")[slot] = total

    def read_total(self, path: str, slot: int, layer: str) -> np.ndarray:
        return self._values(f"{path}/totals/{layer}", (slot,))

    def mark(self, path: str, phase: int, state: int, tile: int) -> None:
        """Say that a tile's part of `state` is complete; call it after the data is written."""
        self._array(f"{path}/marks")[phase, state % 2, tile] = state

    def unmark(self, path: str, slot: int, tile: int) -> None:
        """Say that a slot holds nothing of a tile; call it before its data is overwritten."""
        self._array(f"{path}/marks")[:, slot, tile] = -1

    def read_marks(self, path: str, phase: int) -> np.ndarray:
        """[2 slots, tiles] int: all marks, as they are."""
        return self._values(f"{path}/marks", (phase,), strict=False)

    def states(self, path: str, phase: int) -> np.ndarray:
        """[2 slots, tiles] int: the state of each tile that a slot holds, -1 for none. A mark that cannot be read is
        none."""
        try:
            return self.read_marks(path, phase)
        except DamageError:
            shape = self._array(f"{path}/marks").shape[1:]
            if math.prod(shape) > _MOST_MARKS:
                raise
            found = np.full(shape, -1)
            for slot, tile in np.ndindex(found.shape):
                with contextlib.suppress(DamageError):
                    found[slot, tile] = self._values(f"{path}/marks", (phase, slot, tile), strict=False)
            return found

    def marked(self, path: str, phase: int, state: int) -> np.ndarray:
        """[tiles] bool: which tiles' parts of `state` are in the store."""
        return self.states(path, phase)[state % 2] == state

    def latest(self, path: str, phase: int) -> int:
        """The newest state that the store holds of every tile, -1 for none."""
        return max((int(row[0]) for row in self.states(path, phase) if (row == row[0]).all()), default=-1)

    def write_losses(self, level: int, state: int, tile: int, content: float, tv: float) -> None:
        self._array(f"{self.state_path(level)}/losses")[state % 2, tile] = (content, tv)

    def read_losses(self, level: int, state: int) -> tuple[float, float]:
        """(content, tv) of the whole level, summed in tile order."""
        tiles = self._array(f"{self.state_path(level)}/losses").shape[1]
        content, tv = np.sum([self.read_loss(level, state % 2, tile) for tile in range(tiles)], axis=0)
        return float(content), float(tv)

    def read_loss(self, level: int, slot: int, tile: int) -> np.ndarray:
        """[content, tv] of one tile."""
        return self._values(f"{self.state_path(level)}/losses", (slot, tile))

    def finish_level(self, level: int, report: Mapping[str, Any]) -> None:
        """Record a level's summary and drop its working arrays; `image` stays."""
        group = self._root[f"levels/{level}"]
        group.attrs["report"] = dict(report)
        self.tidy_level(level)

    def tidy_level(self, level: int) -> None:
        """Drop whatever a finished level no longer needs, of this cut and of earlier ones."""
        self._drop(f"styles/{level}")
        group = self._root[f"levels/{level}"]
        assert isinstance(group, zarr.Group)
        for name in [key for key in group if key not in _KEPT]:
            self._drop(f"levels/{level}/{name}")

    def forget(self, path: str, index: tuple[int, ...]) -> None:
        """Take back what says that a damaged part is complete, so that it is computed again: what DamageError names.

        Of a tile's state that is its marks. Totals are added up anew at every start.
        """
        parent, _, name = path.rpartition("/")
        holder = parent.removesuffix("/grams").removesuffix("/totals")
        if name in (IMAGE, POSTER):
            self._attributes(parent).pop("report", None)
            for each in (IMAGE, POSTER):  # made together, and perhaps not of the tiles that there are now
                self._drop(f"{parent}/{each}")
        elif parent == "levels" or name in ("alpha", "content", "coarse", "picture", "init", "guides", "protect"):
            self._drop(path)
        elif not index:
            self._drop(holder)
        elif len(index) > 1:
            self._forget_tile(holder, index[0], index[1], "/grams/" in path or name == "regions")

    def _forget_tile(self, path: str, slot: int, tile: int, only_measured: bool) -> None:
        patched, measured = (self.states(path, phase)[slot, tile] for phase in (PATCHED, MEASURED))
        if only_measured and patched == measured:
            self._array(f"{path}/marks")[MEASURED, slot, tile] = -1
        else:
            self.unmark(path, slot, tile)

    def level_report(self, level: int) -> dict[str, Any] | None:
        """The summary of a finished level, or None."""
        report = self._attributes(f"levels/{level}").get("report")
        numbers = [report[key] for key in report if key != "layers"] if isinstance(report, dict) else ()
        if report is not None and not (numbers and all(isinstance(one, int | float) for one in numbers)):
            raise StoreError(f"store {self.url}: the report of level {level} is damaged")
        return json.loads(json.dumps(report))

    def _drop(self, path: str) -> None:
        self._arrays = {known: array for known, array in self._arrays.items() if not known[0].startswith(path)}
        del self._root[path]


def _to_16_bits(pixels: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(pixels, 0, 1) * _UINT16).astype(np.uint16)


def _from_16_bits(values: np.ndarray) -> np.ndarray:
    floats = values.astype(np.float32)
    floats /= _UINT16
    return floats


def _bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """The upper half of each float32, rounded to nearest, ties to even; numpy has no such type."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16)


def _from_bfloat16_bits(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _passing(error: Exception) -> Exception | None:
    """The error, if it is of the place or the machine and not of what is stored there."""
    return error if isinstance(error, OSError | MemoryError) or place.is_remote_error(error) else None


def _opened(url: str) -> Any:
    """What zarr needs to find the store."""
    url = place.absolute(url)
    return zarr.storage.ObjectStore(place.connect(url)) if place.is_remote(url) else url


@contextlib.contextmanager
def _clearly(url: str, what: str) -> Iterator[None]:
    """What zarr and an object store raise, as StoreError in one line."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, _DAMAGE) and not place.is_remote_error(error):
            raise
        raise StoreError(f"store {url}: {what}: {first_line(error)}") from None
