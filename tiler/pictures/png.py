"""PNG files, deflated on all cores.

A PNG is one zlib stream, and libpng makes it on one core. But deflated blocks that were made apart join to one stream
(as in pigz) when each ends on a byte, and lines are filtered with nothing but the line above. So a picture is cut into
blocks of lines, the same whatever the number of threads, hence the bytes of the file are the same, too.

Paeth's filter alone, and its run lengths: on posters neither other filters nor deflate's search for repetitions make
files smaller, and the search takes ten times as long. Where it pays, in drawings, a sample of each block shows it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiler.pictures.ahead import read_ahead

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = {1: 0, 3: 2, 4: 6}
# Of a picture's lines that are deflated together. What a block can't refer to, the one before, costs less than 0.1 %.
_BLOCK_BYTES = 2**20
# Of lines that are filtered at once: what it takes on the way stays in a core's cache.
_FILTER_BYTES = 2**18
_SAMPLE_BYTES = 2**17
# A search for repetitions must save this much of a sample to be worth its time.
_WORTH = 0.97
# More than these wait for the thread that reads.
_MOST_THREADS = 16
_ADLER_BASE = 65521
_DEFAULT_DPI = 72.0


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file."""
    return b"".join([struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))])


def head(height: int, width: int, channels: int, bits: int) -> bytes:
    """What a PNG file begins with. channels: 1, 3 or 4; bits: 8 or 16."""
    return SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPE[channels], 0, 0, 0))


def write_png(
    path: Path,
    height: int,
    width: int,
    bands: Iterable[np.ndarray],
    *,
    profile: bytes,
    dpi: float | None = None,
    text: Mapping[str, str] | None = None,
    threads: int | None = None,
) -> None:
    """Write a PNG file.

    bands: uint8 or uint16 `[rows, width, 3 or 4]`, `height` rows in all, any number of rows each; their type says how
    many bits the file has. profile: ICC. dpi: 72 where nothing is known, as other writers have it. text: by keyword;
    what is not ASCII is escaped. threads: default one per core. The bytes depend on none but the pixels and what is
    written beside them. Memory does not grow with the height. Raises OSError; what `bands` raises passes.
    """
    threads = threads or usable_cores()
    with read_ahead(bands) as arriving, path.open("wb") as file:
        adler, started = 1, False
        for block in _in_order(_tasks(arriving), threads):
            if not started:
                file.write(head(height, width, block.channels, block.bits) + _described(profile, dpi, text or {}))
                file.write(chunk(b"IDAT", b"\x78\x9c"))  # zlib's head
                started = True
            file.write(block.chunk)
            adler = _joined(adler, block.adler, block.line_bytes)
        # An empty last block, and the checksum of all.
        file.write(chunk(b"IDAT", b"\x03\x00" + struct.pack(">I", adler)) + chunk(b"IEND", b""))


def usable_cores() -> int:
    """As many threads as compress at once."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_THREADS, cores)


def _described(profile: bytes, dpi: float | None, text: Mapping[str, str]) -> bytes:
    """The chunks between the head and the pixels."""
    per_metre = round((_DEFAULT_DPI if dpi is None else dpi) / 0.0254)
    chunks = [
        chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile)),
        chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)),
    ]
    for key, value in text.items():
        # The chunk is Latin-1 by definition, and few readers keep to it.
        chunks.append(chunk(b"tEXt", key.encode("latin-1") + b"\0" + value.encode("ascii", "backslashreplace")))
    return b"".join(chunks)


@dataclass(frozen=True)
class _Task:
    """Lines of a picture, [rows, width, C], and the one above them."""

    lines: np.ndarray
    above: np.ndarray


@dataclass(frozen=True)
class _Block:
    """A chunk of deflated lines; adler and line_bytes: checksum and number of the bytes that were deflated."""

    chunk: bytes
    adler: int
    line_bytes: int
    channels: int
    bits: int


def _tasks(bands: Iterable[np.ndarray]) -> Iterator[_Task]:
    """The picture in blocks that do not depend on how many rows the bands have."""
    waiting: list[np.ndarray] = []
    count, above = 0, None
    for band in bands:
        rows = max(1, _BLOCK_BYTES // (band[:1].nbytes + 1))
        while len(band):
            part = band[: rows - count]
            waiting.append(part)
            count, band = count + len(part), band[len(part) :]
            if count == rows:
                lines = np.concatenate(waiting)
                yield _Task(lines, np.zeros_like(lines[0]) if above is None else above)
                above, waiting, count = lines[-1], [], 0
    if waiting:
        lines = np.concatenate(waiting)
        yield _Task(lines, np.zeros_like(lines[0]) if above is None else above)


def _in_order(tasks: Iterable[_Task], threads: int) -> Iterator[_Block]:
    """Every task's block, made by `threads` threads of which none is far ahead."""
    pending: deque[Future[_Block]] = deque()
    pool = ThreadPoolExecutor(threads, "tiler-png")
    try:
        for task in tasks:
            pending.append(pool.submit(_block, task))
            if len(pending) >= 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _block(task: _Task) -> _Block:
    channels, bits = task.lines.shape[2], 8 * task.lines.itemsize
    lines = filtered(_as_bytes(task.lines), _as_bytes(task.above[None])[0], channels * bits // 8)
    data = lines.reshape(-1).data
    return _Block(chunk(b"IDAT", _deflated(data)), zlib.adler32(data), len(data), channels, bits)


def _as_bytes(lines: np.ndarray) -> np.ndarray:
    """[rows, bytes of a line], the larger byte first."""
    ordered = np.ascontiguousarray(lines, lines.dtype.newbyteorder(">"))
    return ordered.view(np.uint8).reshape(len(lines), -1)


def filtered(lines: np.ndarray, above: np.ndarray, pixel_bytes: int) -> np.ndarray:
    """[rows, 1 + n] of uint8 lines [rows, n]: the number of Paeth's filter, and what his predictor leaves of each line.
    above: the line before the first, [n]; pixel_bytes: of one pixel."""
    rows, size = lines.shape
    found = np.empty((rows, 1 + size), np.uint8)
    found[:, 0] = 4
    step = max(1, _FILTER_BYTES // size)
    for top in range(0, rows, step):
        part = lines[top : top + step]
        around = np.zeros((len(part) + 1, pixel_bytes + size), np.uint8)
        around[0, pixel_bytes:] = lines[top - 1] if top else above
        around[1:, pixel_bytes:] = part
        found[top : top + step, 1:] = part - _paeth(
            around[1:, :-pixel_bytes], around[:-1, pixel_bytes:], around[:-1, :-pixel_bytes]
        )
    return found


def _paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Of three neighbours the one that is nearest to left + up - corner; on ties in this order. uint8 in and out."""
    edge = corner.astype(np.int16)
    by_left, by_up = up - edge, left - edge
    by_corner = np.abs(by_left + by_up)
    np.abs(by_left, out=by_left)
    np.abs(by_up, out=by_up)
    takes_up = (by_up <= by_corner).view(np.uint8)
    takes_left = ((by_left <= by_up) & (by_left <= by_corner)).view(np.uint8)
    # A choice by arithmetic on bytes; np.where takes three times as long.
    found = corner ^ ((corner ^ up) * takes_up)
    found ^= (found ^ left) * takes_left
    return found


def _deflated(data: memoryview) -> bytes:
    """Blocks of a deflate stream that end on a byte, with another to follow."""
    middle = max(0, (len(data) - _SAMPLE_BYTES) // 2)
    sample = data[middle : middle + _SAMPLE_BYTES]
    repeats = len(_raw(sample, 1, zlib.Z_FILTERED)) < _WORTH * len(_raw(sample, 6, zlib.Z_RLE))
    return _raw(data, 6, zlib.Z_DEFAULT_STRATEGY if repeats else zlib.Z_RLE)


def _raw(data: memoryview, level: int, strategy: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
    return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)


def _joined(first: int, second: int, second_bytes: int) -> int:
    """Adler-32 of two pieces in a row, from the checksums of each."""
    low = (first & 0xFFFF) + (second & 0xFFFF) - 1
    high = (first >> 16) + (second >> 16) + second_bytes * ((first & 0xFFFF) - 1)
    return high % _ADLER_BASE << 16 | low % _ADLER_BASE
