"""Between zarr and the place where a store lies: what is read is of a size and kind that a store has, or it is refused
before zarr sees it; what is written is written only as long as this process may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from zarr.abc.store import ByteRequest, RangeByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from tiler.engine.metadata import METADATA_BYTES, check_metadata

_CHUNK = "/c/"
# Of a packed chunk: blosc's header holds what it unpacks to.
_HEADER, _UNPACKED, _OVERHEAD = 16, slice(4, 8), 64


class MissingChunkError(Exception):
    """A chunk that should be there is not."""


@dataclass
class Allowed:
    """What the gates of one store let through. chunk_bytes: of each array that was looked at, plain, and whether its
    chunks are packed. may_write: raises when this process may not write any more."""

    chunk_bytes: dict[str, tuple[int, bool]] = field(default_factory=dict)
    may_write: Callable[[], None] = lambda: None


class Gate(WrapperStore[Store]):
    """strict: a chunk that was never written is an error, where zarr would read the fill value.

    Raises ValueError for what is no part of a store, or larger than it can be.
    """

    def __init__(self, store: Store, allowed: Allowed, strict: bool = False) -> None:
        super().__init__(store)
        self.allowed, self._strict = allowed, strict

    def _with_store(self, store: Store) -> Gate:
        return Gate(store, self.allowed, self._strict)

    def strict(self) -> Gate:
        return Gate(self._store, self.allowed, True)

    @property
    def supports_consolidated_metadata(self) -> bool:
        return False

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        path, is_chunk, _ = key.partition(_CHUNK)
        if not is_chunk and key.rpartition("/")[2] != "zarr.json":
            return None
        plain, packed = self.allowed.chunk_bytes[path] if is_chunk else (METADATA_BYTES, False)
        most = plain + _OVERHEAD if is_chunk else plain
        found = await super().get(key, prototype, RangeByteRequest(0, most + 1))
        if found is None:
            if is_chunk and self._strict:
                raise MissingChunkError(f"chunk {key} is missing")
            return None
        if len(found) > most:
            raise ValueError(f"{key} is larger than the {most} bytes that it can have")
        if not is_chunk:
            check_metadata(found.to_bytes())
        elif packed:
            _check_packed(key, found, plain)
        return found

    async def set(self, key: str, value: Buffer) -> None:
        self.allowed.may_write()
        await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        self.allowed.may_write()
        await super().set_if_not_exists(key, value)

    async def delete(self, key: str) -> None:
        self.allowed.may_write()
        await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        self.allowed.may_write()
        await super().delete_dir(prefix)


def _check_packed(key: str, chunk: Buffer, plain: int) -> None:
    """A few bytes may claim to unpack to gigabytes, which would be set aside before the first is unpacked."""
    header = chunk[:_HEADER].to_bytes()
    if len(header) < _HEADER or int.from_bytes(header[_UNPACKED], "little") != plain:
        raise ValueError(f"{key} does not unpack to the {plain} bytes of a chunk")
