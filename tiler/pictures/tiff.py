"""TIFF: tiled, with the levels of a pyramid, Big where it must be; compressed on all cores."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tiler.pictures.ahead import read_ahead
from tiler.pictures.bands import halved, peek
from tiler.pictures.georef import ExtraTag
from tiler.pictures.png import usable_cores

# Classic TIFF counts its bytes in 32 bits, and is what every program opens. A pyramid adds a third, and
# compression of noise a few percent.
_BIG_BYTES = int(2**32 / 1.4)
_TILE = 256
# Of tiles that are compressed together before any of them is written.
_BATCH_BYTES = 2**24
_CODECS: dict[str, dict[str, Any]] = {
    "deflate": {"compression": "zlib", "compressionargs": {"level": 6}, "predictor": True},
    "zstd": {"compression": "zstd", "compressionargs": {"level": 9}, "predictor": True},
    "lzw": {"compression": "lzw", "predictor": True},
    "none": {},
}


def write_tiff(
    path: Path,
    height: int,
    width: int,
    bands: Iterable[np.ndarray],
    *,
    compression: str,
    profile: bytes,
    dpi: float | None = None,
    description: str | None = None,
    tags: Sequence[ExtraTag] = (),
    threads: int | None = None,
) -> None:
    """Write a TIFF file, each further page half of the one before until one tile holds it.

    bands: uint8 or uint16 `[rows, width, 3 or 4]`, `height` rows in all, any number of rows each. compression: one of
    deflate, zstd, lzw, none. profile: ICC. tags: for the first page, as tifffile takes them. threads: default one per
    core; the bytes do not depend on it. The pages to come wait in files without a name beside `path`, see
    `waiting_bytes`. Memory does not grow with the height. Raises OSError; what `bands` raises passes.
    """
    import tifffile

    first, bands = peek(path, bands)
    channels = first.shape[2]
    sizes = _sizes(height, width)
    with ExitStack() as stack:
        source = stack.enter_context(read_ahead(bands))
        big = needs_big(height, width, channels, first.itemsize)
        writer = stack.enter_context(tifffile.TiffWriter(path, bigtiff=big))
        for number, (rows, columns) in enumerate(sizes):
            coarser = None
            if number + 1 < len(sizes):
                coarser = stack.enter_context(_Coarser(path.parent, (*sizes[number + 1], channels), first.dtype))
            page: dict[str, Any] = {"subfiletype": 1}
            if not number:
                page = {"description": description, "extratags": tags}
            if dpi is not None:
                page |= {"resolution": (dpi, dpi), "resolutionunit": "inch"}
            writer.write(
                _tiles(source, coarser),
                shape=(rows, columns, channels),
                dtype=first.dtype,
                photometric="rgb",
                extrasamples=["unassalpha"] if channels == 4 else None,
                tile=(_TILE, _TILE),
                iccprofile=profile,
                metadata=None,
                software=False,
                maxworkers=threads or usable_cores(),
                buffersize=_BATCH_BYTES,
                **_CODECS[compression],
                **page,
            )
            source = coarser.bands() if coarser else iter(())


def waiting_bytes(height: int, width: int, values: int) -> int:
    """Of the files that the pages to come wait in, at their peak: a row that is left over is among them. values: bytes
    of a pixel."""
    return sum(-(-above // 2) * columns * values for (above, _), (_, columns) in pairwise(_sizes(height, width)))


def _sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of each page: halved, rounding down, until one tile holds it."""
    sizes = [(height, width)]
    while max(sizes[-1]) > _TILE:
        sizes.append((max(1, sizes[-1][0] // 2), max(1, sizes[-1][1] // 2)))
    return sizes


def needs_big(height: int, width: int, channels: int, bytes_each: int) -> bool:
    """Whether the file could pass classic TIFF's limit."""
    return height * width * channels * bytes_each > _BIG_BYTES


class _Coarser:
    """The rows of a page at half their size, in a file, until they are a page themselves."""

    def __init__(self, folder: Path, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        """shape: of the coming page; the last of an odd number of rows or columns has no part in it."""
        self._folder, self._shape, self._dtype = folder, shape, dtype

    def __enter__(self) -> _Coarser:
        self._file = tempfile.TemporaryFile(dir=self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, strip: np.ndarray) -> None:
        """strip: [rows, width, channels]; only the last may have an odd number of rows."""
        half = halved(strip.transpose(2, 0, 1))[:, :, : self._shape[1]]
        self._file.write(np.ascontiguousarray(half.transpose(1, 2, 0)).data)

    def bands(self) -> Iterator[np.ndarray]:
        self._file.seek(0)
        height, width, channels = self._shape
        for top in range(0, height, _TILE):
            rows = min(_TILE, height - top)
            data = self._file.read(rows * width * channels * self._dtype.itemsize)
            yield np.frombuffer(data, self._dtype).reshape(rows, width, channels)


def _tiles(bands: Iterable[np.ndarray], coarser: _Coarser | None) -> Iterator[np.ndarray]:
    """Cut bands into tiles, from left to right and top to bottom; tifffile fills up those at the edges."""
    for strip in _strips(bands):
        if coarser:
            coarser.add(strip)
        for x in range(0, strip.shape[1], _TILE):
            yield strip[:, x : x + _TILE]


def _strips(bands: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The rows of bands anew, as many at a time as a tile has."""
    held: list[np.ndarray] = []
    for band in bands:
        while len(band):
            missing = _TILE - sum(map(len, held))
            held.append(band[:missing])
            band = band[missing:]
            if len(held[-1]) == missing:
                yield np.concatenate(held)
                held = []
    if held:
        yield np.concatenate(held)
