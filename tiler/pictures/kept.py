"""A picture file's pixels, decoded once and kept for whoever reads them again, at whatever size."""

from __future__ import annotations

import mmap
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tiler.pictures.source import Opener
from tiler.pictures.stream import DTYPES, bands_of, heard, load_vips

Fresh = Callable[[], AbstractContextManager[Opener]]
_PIXELS_AT_ONCE = 2**20
# Of what is free in a folder, how much the pixels of one picture may take there for a while.
_SHARE = 0.25


def keep(path: Path, need: int, folder: Path) -> tuple[Kept | None, tuple[str, ...]]:
    """Room for the `need` bytes of a picture's pixels in a folder; without it None, and a note that says so."""
    free = shutil.disk_usage(folder).free
    if need <= _SHARE * free:
        return Kept(folder, need), ()
    sizes = f"its pixels take {need / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free"
    return None, (f"{path}: is decoded anew for every level, since {sizes}",)


@dataclass(frozen=True)
class _Decoded:
    """values: the pixels from top to bottom in their own type. The rest: what libvips' header says of them."""

    values: mmap.mmap
    width: int
    height: int
    bands: int
    format: str
    interpretation: str
    profile: Any | None
    orientation: int | None

    @classmethod
    def of(cls, image: Any, values: mmap.mmap) -> _Decoded:
        profile, orientation = (
            image.get(name) if image.get_typeof(name) else None for name in ("icc-profile-data", "orientation")
        )
        shape = image.width, image.height, image.bands
        return cls(values, *shape, image.format, image.interpretation, profile, orientation)

    def image(self) -> Any:
        """A libvips image of them, which may be read in any order, by several at once."""
        vips = load_vips()
        image = vips.Image.new_from_memory(self.values, self.width, self.height, self.bands, self.format)
        image = image.copy(interpretation=self.interpretation)
        if self.profile is not None:
            image.set_type(vips.GValue.blob_type, "icc-profile-data", self.profile)
        if self.orientation is not None:
            image.set_type(vips.GValue.gint_type, "orientation", self.orientation)
        return image


class Kept:
    """The pixels of one file as its reader gives them, in a file without a name, which is gone when this process ends,
    however it does. Decoded when they are first asked for; where the folder has no room for them, each time.

    Uncompressed they are many times what the picture's file is; read through the page cache, they are no memory of the
    process as long as `release` is called now and then.
    """

    def __init__(self, folder: Path, need: int) -> None:
        """need: bytes that the pixels take there."""
        self.need, self._folder = need, folder
        self._lock = threading.Lock()
        self._decoded: _Decoded | None = None
        self._no_room = False

    def __reduce__(self) -> tuple[type[Kept], tuple[Path, int]]:
        return Kept, (self._folder, self.need)

    def anew(self, need: int) -> Kept:
        """For the same picture decoded another way, in the same folder."""
        return Kept(self._folder, need)

    @contextmanager
    def opener(self, fresh: Fresh, check: Callable[[list[str]], None]) -> Iterator[Opener]:
        """fresh() opens the picture's file; check(warnings) raises for what its reader warns of."""
        with self._lock:
            if self._decoded is None and not self._no_room:
                self._decoded = self._decode(fresh, check)
                self._no_room = self._decoded is None
            decoded = self._decoded
        if decoded is None:
            with fresh() as opened:
                yield opened
        else:
            yield lambda access: decoded.image()

    def _decode(self, fresh: Fresh, check: Callable[[list[str]], None]) -> _Decoded | None:
        """None where no such file can be written."""
        try:
            file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        except OSError:
            return None
        with file, suppress(_NoRoomError):
            with heard() as warnings, fresh() as opened:
                image = opened("sequential")
                if not _fits(image, self._folder):
                    return None
                with closing(bands_of(image, max(1, _PIXELS_AT_ONCE // image.width))) as bands:
                    for band in bands:
                        _write(file, band)
                check(warnings)
            return _Decoded.of(image, _mapped(file))
        return None

    @property
    def whole(self) -> bool:
        """Whether all pixels are here, decoded without a fault."""
        return self._decoded is not None

    def release(self) -> None:
        """Give back the memory that the pixels read so far count as."""
        decoded = self._decoded
        if decoded is not None and hasattr(mmap, "MADV_DONTNEED"):
            decoded.values.madvise(mmap.MADV_DONTNEED)

    def drop(self) -> None:
        """Give the room back. Who reads the picture after that decodes it anew."""
        with self._lock:
            self._decoded = None


def _fits(image: Any, folder: Path) -> bool:
    """Whether there is room by now: of several pictures, each was told of the same when it was opened."""
    need = image.width * image.height * image.bands * DTYPES[image.format].itemsize
    return need <= _SHARE * shutil.disk_usage(folder).free


class _NoRoomError(Exception):
    pass


def _write(file: Any, band: np.ndarray) -> None:
    view = band.reshape(-1).view(np.uint8).data
    try:
        while len(view):
            view = view[file.write(view) :]
    except OSError as error:
        raise _NoRoomError from error


def _mapped(file: Any) -> mmap.mmap:
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise _NoRoomError from error
