"""A store's folder on this machine or a shared file system, for zarr: what lies in it was perhaps sent by someone.

Every path is walked from the root, one folder after the other, none of them a link; only regular files are opened. So
nothing outside is read, written or deleted, whatever lies in the store, and nothing waits for a pipe or reads a device
without end. The root itself may be a link: the user named it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

from zarr.abc.store import ByteRequest, RangeByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype

from tiler.errors import StoreError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_THERE = (FileNotFoundError, NotADirectoryError)


class LocalFolder(Store):
    """Raises StoreError for links and for whatever else is neither a folder nor a regular file."""

    supports_writes: bool = True
    supports_deletes: bool = True
    supports_listing: bool = True
    supports_consolidated_metadata: bool = False

    def __init__(self, root: str | Path, *, read_only: bool = False) -> None:
        super().__init__(read_only=read_only)
        self.root = Path(root)

    def with_read_only(self, read_only: bool = False) -> LocalFolder:
        return LocalFolder(self.root, read_only=read_only)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalFolder) and self.root == other.root

    def __hash__(self) -> int:
        return hash(self.root)

    def __repr__(self) -> str:
        return f"LocalFolder({str(self.root)!r})"

    # The way -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _folder(self, path: str, make: bool = False) -> Iterator[int]:
        """The descriptor of a folder in the store. make: create what is missing on the way."""
        if make:
            self.root.mkdir(parents=True, exist_ok=True)
        here = os.open(self.root, _FOLDER)
        try:
            for name in filter(None, path.split("/")):
                if name in (".", ".."):
                    self._refuse(path, "is a way out")
                above = here
                try:
                    here = self._step(above, name, path, make)
                finally:
                    if here != above:
                        os.close(above)
            yield here
        finally:
            os.close(here)

    def _step(self, above: int, name: str, path: str, make: bool) -> int:
        for _ in range(2):
            try:
                return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
            except NotADirectoryError:
                self._refuse_link(above, name, path)
                raise
            except FileNotFoundError:
                if not make:
                    raise
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=above)
        raise FileNotFoundError(path)  # removed as fast as it was made

    def _refuse_link(self, above: int, name: str, path: str) -> None:
        if stat.S_ISLNK(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
            self._refuse(path, f"{name!r} is a link")

    def _refuse(self, path: str, what: str) -> None:
        raise StoreError(f"store {self.root}: {path}: {what}; allowed in a store: folders and regular files only")

    # Files ---------------------------------------------------------------------------------------------------------

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """byte_range: the first bytes only, where it is a RangeByteRequest from 0; no other is asked for."""
        most = byte_range.end if isinstance(byte_range, RangeByteRequest) else None
        data = await asyncio.to_thread(self._read, key, most)
        return None if data is None else prototype.buffer.from_bytes(data)

    def _read(self, key: str, most: int | None) -> bytes | None:
        path, _, name = key.rpartition("/")
        try:
            with self._folder(path) as folder:
                found = self._opened(folder, name, key)
                if found is None:
                    return None
                with os.fdopen(found, "rb", buffering=0) as file:
                    size = os.fstat(found).st_size
                    return file.read(size if most is None else min(size, most))
        except _NOT_THERE:
            return None

    def _opened(self, folder: int, name: str, key: str) -> int | None:
        """The descriptor of a regular file; None for a folder."""
        try:
            found = os.open(name, _READ, dir_fd=folder)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            self._refuse_odd(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode, key)
            raise
        mode = os.fstat(found).st_mode
        if stat.S_ISREG(mode):
            return found
        os.close(found)
        self._refuse_odd(mode, key)
        return None

    def _refuse_odd(self, mode: int, key: str) -> None:
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            self._refuse(key, "is a link" if stat.S_ISLNK(mode) else "is no regular file")

    async def set(self, key: str, value: Buffer) -> None:
        self._check_writable()
        await asyncio.to_thread(self._write, key, value.as_buffer_like())

    def _write(self, key: str, data: Any) -> None:
        """Under another name first: a reader sees the old file or the new one."""
        path, _, name = key.rpartition("/")
        partial = f"{name.partition('.')[0]}.{uuid.uuid4().hex}.partial"
        with self._folder(path, make=True) as folder:
            file = os.open(partial, _WRITE, 0o666, dir_fd=folder)
            try:
                with os.fdopen(file, "wb", buffering=0) as out:
                    left = memoryview(data).cast("B")
                    while left:
                        left = left[out.write(left) :]
                os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(partial, dir_fd=folder)
                raise

    async def delete(self, key: str) -> None:
        await self.delete_dir(key)

    async def delete_dir(self, prefix: str) -> None:
        self._check_writable()
        await asyncio.to_thread(self._delete, prefix)

    def _delete(self, key: str) -> None:
        path, _, name = key.rstrip("/").rpartition("/")
        if not name:
            raise ValueError("the root is not deleted")
        with contextlib.suppress(*_NOT_THERE), self._folder(path) as folder:
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            self._refuse_odd(mode, key)
            if stat.S_ISDIR(mode):
                shutil.rmtree(name, dir_fd=folder)  # by descriptors, too: links in it are removed, not followed
            else:
                os.unlink(name, dir_fd=folder)

    async def exists(self, key: str) -> bool:
        return await asyncio.to_thread(self._is_file, key)

    def _is_file(self, key: str) -> bool:
        path, _, name = key.rpartition("/")
        try:
            with self._folder(path) as folder:
                return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        except _NOT_THERE:
            return False

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    # Listings ------------------------------------------------------------------------------------------------------

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        for name in await asyncio.to_thread(self._names, prefix):
            yield name

    def _names(self, prefix: str) -> list[str]:
        try:
            with self._folder(prefix) as folder:
                return os.listdir(folder)
        except _NOT_THERE:
            return []

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for name in await asyncio.to_thread(self._names, prefix):
            key = f"{prefix.rstrip('/')}/{name}".lstrip("/")
            if await self.exists(key):
                yield key
            else:
                async for inner in self.list_prefix(key):
                    yield inner
