"""A store's folder on this machine or a shared file system, for zarr: what lies in it was perhaps sent by someone (see
`tiler.engine.folder`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from zarr.abc.store import ByteRequest, RangeByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype

from tiler.engine.folder import Folder


class LocalFolder(Store):
    """Raises StoreError for links and for whatever else is neither a folder nor a regular file."""

    supports_writes: bool = True
    supports_deletes: bool = True
    supports_listing: bool = True
    supports_consolidated_metadata: bool = False

    def __init__(self, root: str | Path, *, read_only: bool = False) -> None:
        super().__init__(read_only=read_only)
        self._within = Folder(root)

    @property
    def root(self) -> Path:
        return self._within.root

    def with_read_only(self, read_only: bool = False) -> LocalFolder:
        return LocalFolder(self.root, read_only=read_only)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalFolder) and self.root == other.root

    def __hash__(self) -> int:
        return hash(self.root)

    def __repr__(self) -> str:
        return f"LocalFolder({str(self.root)!r})"

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """byte_range: the first bytes only, where it is a RangeByteRequest from 0; no other is asked for."""
        most = byte_range.end if isinstance(byte_range, RangeByteRequest) else None
        data = await asyncio.to_thread(self._within.read, key, most)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def set(self, key: str, value: Buffer) -> None:
        self._check_writable()
        await asyncio.to_thread(self._within.write, key, value.as_buffer_like())

    async def delete(self, key: str) -> None:
        await self.delete_dir(key)

    async def delete_dir(self, prefix: str) -> None:
        self._check_writable()
        await asyncio.to_thread(self._within.delete, prefix)

    async def exists(self, key: str) -> bool:
        return await asyncio.to_thread(self._within.is_file, key)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        for name in await asyncio.to_thread(self._within.names, prefix):
            yield name

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for name in await asyncio.to_thread(self._within.names, prefix):
            key = f"{prefix.rstrip('/')}/{name}".lstrip("/")
            if await self.exists(key):
                yield key
            else:
                async for inner in self.list_prefix(key):
                    yield inner
