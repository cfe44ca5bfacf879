"""Named arrays of a job's store: made, read and written, with what zarr raises as errors of ours."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, MutableMapping
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.sync import sync
from zarr.storage import ObjectStore

from tiler.engine import layout, place
from tiler.engine.contents import Contents
from tiler.engine.gate import Allowed, Gate, MissingChunkError
from tiler.engine.local import LocalFolder
from tiler.engine.place import first_line
from tiler.errors import DamageError, StoreError

# What zarr raises for what is missing, damaged or not zarr's at all.
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError)


class Arrays:
    """Below one root group. contents: what each array must be like before any of it is read; None: not known yet."""

    def __init__(self, url: str, root: zarr.Group, contents: Contents | None = None) -> None:
        self.url, self._root = url, root
        gate = root.store
        assert isinstance(gate, Gate)
        self._allowed = gate.allowed
        self._strict = zarr.open_group(gate.strict(), path=root.path, mode="r", zarr_format=3)
        self._arrays: dict[tuple[str, bool], zarr.Array] = {}
        self._sound: set[str] = set()
        self._contents = contents

    def has(self, path: str) -> bool:
        return self._node(path) is not None

    def _node(self, path: str, strict: bool = False) -> zarr.Array | zarr.Group | None:
        try:
            return (self._strict if strict else self._root)[path]
        except KeyError:
            return None
        except Exception as error:
            raise self._unreadable(path, error) from passing(error)

    def _array(self, path: str, strict: bool = False) -> zarr.Array:
        """strict: to be read, where a missing chunk is an error; otherwise to be written."""
        if (path, strict) not in self._arrays:
            array = self._node(path, strict)
            if array is None:
                raise DamageError(f"store {self.url}: {path} is missing", path)
            if not isinstance(array, zarr.Array) or array.dtype.kind not in "fiu":
                raise DamageError(f"store {self.url}: {path} is no array of numbers", path)
            if self._contents is not None:
                self._check(path, array, *self._contents.allowed(path, array.chunks))
            self._allowed.chunk_bytes[path] = _chunk_bytes(array), _is_packed(array)
            self._arrays[path, strict] = array.with_config({"write_empty_chunks": True})
        return self._arrays[path, strict]

    def _check(self, path: str, found: zarr.Array, *allowed: layout.Array) -> None:
        """Raise DamageError for an array that is not like any that the job can have there."""
        for one in allowed:
            same = (found.shape, found.chunks, found.dtype) == (one.shape, one.chunks, np.dtype(one.dtype))
            if same and _is_packed(found) == (one.ratio is not None) and found.fill_value == one.fill_value:
                return
        wanted = _described(*allowed[:1]) or "nothing"
        raise DamageError(f"store {self.url}: {path} is {_described(found)}; allowed: {wanted}", path)

    def _attributes(self, path: str) -> MutableMapping[str, Any]:
        """Those of an array or a group, empty where there is none."""
        node = self._node(path)
        return {} if node is None else node.attrs

    def _values(self, path: str, selection: tuple[Any, ...], strict: bool = True) -> np.ndarray:
        array = self._array(path, strict)
        try:
            return np.asarray(array.oindex[selection] if isinstance(selection[-1], list) else array[selection])
        except Exception as error:
            index = tuple(itertools.takewhile(lambda one: isinstance(one, int), selection))
            raise self._unreadable(path, error, index) from passing(error)

    def _unreadable(self, path: str, error: Exception, index: tuple[int, ...] = ()) -> Exception:
        """What to raise for an error in reading: StoreError for trouble that may pass, DamageError for what zarr finds
        wrong, and what has to do with neither as it is."""
        text = f"store {self.url}: {path} cannot be read: {first_line(error)}"
        if passing(error):
            return StoreError(text)
        return DamageError(text, path, index) if isinstance(error, (*_DAMAGE, MissingChunkError)) else error

    def _create(self, path: str, array: layout.Array, **options: Any) -> None:
        if not self.has(path):
            self._check_above(path)
            how = {"dtype": array.dtype, "fill_value": array.fill_value, **options}
            packing = (
                (Crc32cCodec(),)
                if array.ratio is None
                else (BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), Crc32cCodec())
            )
            try:
                self._root.create_array(path, shape=array.shape, chunks=array.chunks, compressors=packing, **how)
            except OSError:
                raise  # of the disk, which is full perhaps
            except Exception as error:
                raise self._unreadable(path, error) from passing(error)
        self._check(path, self._array(path), array)

    def _check_above(self, path: str) -> None:
        """Raise what is wrong with the groups above, where something is. zarr looks at them as well, all at once, and
        its other tasks would complain on standard error that nobody waits for them."""
        for above in itertools.accumulate(path.split("/")[:-1], "{}/{}".format):
            if above not in self._sound:
                try:
                    self._node(above)
                except DamageError as damage:  # no more than the array is to be made again
                    raise DamageError(str(damage), path) from None
                self._sound.add(above)

    def _names(self, path: str) -> list[str]:
        """What lies in a group, or below a chunk's first indices: names, whatever they are."""

        async def listed() -> list[str]:
            return [name async for name in self._root.store.list_dir(path)]

        try:
            return sorted(sync(listed()))
        except Exception as error:
            raise self._unreadable(path, error) from passing(error)

    def _drop(self, path: str) -> None:
        self._arrays = {known: array for known, array in self._arrays.items() if not known[0].startswith(path)}
        self._sound = {known for known in self._sound if not known.startswith(path)}
        del self._root[path]


def _described(*arrays: zarr.Array | layout.Array) -> str:
    return ", ".join(f"{one.dtype} {one.shape} in chunks of {one.chunks}" for one in arrays)


def _chunk_bytes(array: zarr.Array) -> int:
    return int(np.prod(array.chunks, dtype=np.int64)) * array.dtype.itemsize


def _is_packed(array: zarr.Array) -> bool:
    return any(isinstance(one, BloscCodec) for one in array.compressors)


def passing(error: Exception) -> Exception | None:
    """The error, if it is of the place or the machine and not of what is stored there."""
    return error if isinstance(error, OSError | MemoryError) or place.is_remote_error(error) else None


def opened(url: str, allowed: Allowed | None = None) -> Gate:
    """What zarr needs to find the store. allowed: of another that was opened there."""
    url = place.absolute(url)
    found: Store = ObjectStore(place.connect(url)) if place.is_remote(url) else LocalFolder(url)
    return Gate(found, allowed or Allowed())


@contextlib.contextmanager
def clearly(url: str, what: str) -> Iterator[None]:
    """What zarr and an object store raise, as StoreError in one line."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, _DAMAGE) and not place.is_remote_error(error):
            raise
        raise StoreError(f"store {url}: {what}: {first_line(error)}") from None
