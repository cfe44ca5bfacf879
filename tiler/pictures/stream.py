"""The two ways pixels cross between numpy and libvips: through a pipe, a few rows at a time.

One libvips pipeline serves a whole picture (no row is decoded twice, all cores work on it), and the pipe's
small buffer is what bounds memory: whichever side is faster waits for the other.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import select
import threading
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from tiler.pictures.ahead import read_ahead
from tiler.pictures.png import chunk, head

# How long a blocked side waits before it looks whether the other side is still there.
_POLL_SECONDS = 0.5
_TICK_SECONDS = 0.02
# Windows cannot say whether a pipe has something: there the other side's end, which closes it, ends a wait.
POLLED = hasattr(os, "O_NONBLOCK")
DTYPES = {
    name: np.dtype(code)
    for name, code in {"uchar": "u1", "ushort": "u2", "uint": "u4", "float": "f4", "double": "f8"}.items()
}


class VipsError(Exception):
    """libvips failed; the message is its first line. Callers turn it into a PictureError or an OutputError."""


@functools.cache
def load_vips() -> Any:
    """The pyvips module, configured. Imported here only: it costs 0.1 s and starts threads."""
    import pyvips

    # The cache is keyed by file name: a file rewritten between two reads would give its old pixels.
    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)
    # GLib would complain on stderr about a width that a forged header claims; the error says it anyway.
    quiet = getattr(pyvips, "_log_handler_cb", None)
    if quiet:
        pyvips.glib_lib.g_log_set_handler(b"GLib-GObject", 1 << 3 | 1 << 4, quiet, pyvips.ffi.NULL)
    # Rows in flight grow with the threads (2.5 GB for a picture 20000 wide with 32); decoding has one anyway.
    pyvips.concurrency_set(min(4, pyvips.concurrency_get()))
    return pyvips


class _Ear(logging.Handler):
    """Takes a library's warnings off its logger, for whoever listens."""

    def __init__(self, library: str) -> None:
        super().__init__(logging.WARNING)
        self.lists: list[list[str]] = []
        logger = logging.getLogger(library)
        logger.addHandler(self)
        logger.setLevel(logging.WARNING)
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        # From whichever thread decodes: two pictures that are read at once both hear it, none is lost.
        for found in list(self.lists):
            found.append(next(iter(record.getMessage().splitlines()), ""))


@functools.cache
def _ear(library: str) -> _Ear:
    return _Ear(library)


@contextmanager
def heard(library: str = "pyvips") -> Iterator[list[str]]:
    """What the library warns of meanwhile, line by line: a warning is often all that tells a damaged picture."""
    found: list[str] = []
    lists = _ear(library).lists
    lists.append(found)
    try:
        yield found
    finally:
        lists[:] = [one for one in lists if one is not found]


def first_line(error: BaseException) -> str:
    """The most telling line of a libvips error, which may hold many."""
    lines = [line.strip() for line in str(getattr(error, "detail", "") or error).splitlines()]
    return next((line for line in lines if line), type(error).__name__)


class _Job(threading.Thread):
    """Runs one blocking libvips call beside the caller and keeps the first line of its error.

    Only the line: the exception would keep libvips objects alive, and with them their end of the pipe. over: to be
    waited for where signals may strike, since a `join` that one cuts short counts the thread as ended.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__(daemon=True, name="tiler-pictures")
        self._call = call
        self.error: str | None = None
        self.over = threading.Event()

    def run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self.error = first_line(error)
        finally:
            self.over.set()


class GivenUpError(Exception):
    """Nobody wants the bands any more (see `reading_until`)."""


_given_up: ContextVar[Callable[[], bool]] = ContextVar("given_up", default=lambda: False)


@contextmanager
def reading_until(given_up: Callable[[], bool]) -> Iterator[None]:
    """What this thread reads meanwhile ends with GivenUpError soon after `given_up` says so, also while a picture is
    decoded for long before its first band."""
    token = _given_up.set(given_up)
    try:
        yield
    finally:
        _given_up.reset(token)


def bands_of(image: Any, rows: int, tick: Callable[[], None] | None = None) -> Generator[np.ndarray, None, None]:
    """Rows of a libvips image from top to bottom: arrays `[rows, width, channels]` of the image's own type.

    tick: called many times a second meanwhile. Raises VipsError when libvips cannot compute the next rows. Closing the
    iterator stops the pipeline.
    """
    vips = load_vips()
    dtype = DTYPES[image.format]
    height, width, channels = image.height, image.width, image.bands
    read_end, write_end = os.pipe()

    def save() -> None:
        try:
            image.rawsave_target(vips.Target.new_to_descriptor(write_end))
        finally:
            os.close(write_end)

    job = _Job(save)
    job.start()
    try:
        with open(read_end, "rb", buffering=0) as pipe:
            for top in range(0, height, rows):
                band = np.empty((min(rows, height - top), width, channels), dtype)
                _fill(pipe, band, job, tick)
                yield band
    except BaseException:
        image.set_kill(True)  # else it goes on to where it would write next, which may be most of a picture
        raise
    finally:
        job.join()
    if job.error:
        raise VipsError(job.error)


def _fill(pipe: Any, band: np.ndarray, job: _Job, tick: Callable[[], None] | None) -> None:
    view = band.reshape(-1).view(np.uint8).data
    while len(view):
        if _given_up.get()():
            raise GivenUpError
        alive = job.is_alive()
        arrived = _has_arrived(pipe, _TICK_SECONDS if tick else _POLL_SECONDS)
        if tick:
            tick()
        if not arrived and alive:
            continue
        count = pipe.readinto(view) if _has_arrived(pipe, 0) else 0
        if not count:
            job.join()
            raise VipsError(job.error or "the pixels ended early")
        view = view[count:]


def _has_arrived(pipe: Any, seconds: float) -> bool:
    return not POLLED or bool(select.select([pipe], [], [], seconds)[0])


def consume(bands: Iterable[np.ndarray], height: int, width: int, save: Callable[[Any], None]) -> None:
    """Calls `save(image)` with a sequential libvips image made of `bands`.

    bands: uint8 or uint16 `[rows, width, 3 or 4]`, `height` rows in all. `save` runs in another thread, and `bands` is
    iterated ahead of it in a third. Whatever `bands` raises comes out unchanged; VipsError if `save` failed.
    """
    vips = load_vips()
    read_end, write_end = os.pipe()

    def load_and_save() -> None:
        try:
            source = vips.Source.new_from_descriptor(read_end)
            save(vips.Image.pngload_source(source, access="sequential", fail_on="truncated", unlimited=True))
        finally:
            os.close(read_end)

    job = _Job(load_and_save)
    job.start()
    os.set_blocking(write_end, not POLLED)
    try:
        with open(write_end, "wb", buffering=0) as pipe, read_ahead(bands) as arriving:
            for piece in _png_of(arriving, height, width):
                if not _write_all(pipe, piece, job.is_alive):
                    break
    finally:
        try:
            job.over.wait()
        except BaseException:  # a signal struck just here; the job would write on where somebody tidies up
            job.over.wait()
            raise
    if job.error:
        raise VipsError(job.error)


class Feeder:
    """Writes pieces of bytes to a pipe in a thread of its own, until they end or nobody reads any more.

    error: what the pieces raised, or None. `close` ends it early.
    """

    def __init__(self, pieces: Iterator[bytes], write_end: int) -> None:
        self.error: BaseException | None = None
        self._closed = threading.Event()
        os.set_blocking(write_end, not POLLED)
        self._thread = threading.Thread(target=self._run, args=(pieces, write_end), daemon=True, name="tiler-feeder")
        self._thread.start()

    def _run(self, pieces: Iterator[bytes], write_end: int) -> None:
        try:
            with open(write_end, "wb", buffering=0) as pipe:
                for piece in pieces:
                    if not _write_all(pipe, piece, lambda: not self._closed.is_set()):
                        break
        except BaseException as error:
            self.error = error

    def close(self) -> None:
        self._closed.set()
        self._thread.join()


def _png_of(bands: Iterable[np.ndarray], height: int, width: int) -> Iterator[bytes]:
    """bands: [rows, width, 3 or 4]."""
    bands = iter(bands)
    first = next(bands)
    lines = (band.reshape(len(band), -1) for band in itertools.chain([first], bands))
    return stored_png(lines, height, width, first.shape[2], first.itemsize * 8)


def _write_all(pipe: Any, piece: bytes, wanted: Callable[[], bool]) -> bool:
    """False when nobody reads any more: whoever did has ended or closed its side."""
    view = memoryview(piece)
    while len(view):
        if not wanted():
            return False
        if not POLLED or select.select([], [pipe], [], _POLL_SECONDS)[1]:
            try:
                view = view[pipe.write(view) or 0 :]
            except BrokenPipeError:
                return False
            except OSError:
                if POLLED:
                    raise
                return False  # as Windows says it
    return True


def stored_png(lines: Iterable[np.ndarray], height: int, width: int, channels: int, bits: int) -> Iterator[bytes]:
    """An uncompressed PNG: the one format that libvips reads from a pipe with no seek and no codec's cost.

    lines: uint8 or uint16 [n, samples of a row]; channels: 1, 3 or 4.
    """
    yield head(height, width, channels, bits)
    compressor = zlib.compressobj(0)
    for part in lines:
        big_endian = part.astype(part.dtype.newbyteorder(">"), copy=False).view(np.uint8)
        rows = np.zeros((len(part), 1 + big_endian.shape[1]), np.uint8)
        rows[:, 1:] = big_endian
        data = compressor.compress(rows.reshape(-1).data)
        if data:
            yield chunk(b"IDAT", data)
    yield chunk(b"IDAT", compressor.flush())
    yield chunk(b"IEND", b"")
