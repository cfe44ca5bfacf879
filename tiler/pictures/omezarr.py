"""OME-Zarr 0.5 output: chunked arrays [c, y, x] of every resolution, halved while the rows stream through."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.sync import sync

from tiler.geometry.ome import AXES, image_attributes
from tiler.pictures.bands import halved
from tiler.pictures.ours import OMEZARR
from tiler.pictures.replace import new_folder
from tiler.pictures.viewer import shown

CHUNK = 512
_ROWS_AT_ONCE = 32
# The attribute with what is known of the poster.
_FACTS = "tiler_poster"


def write_omezarr(
    path: Path,
    channels: int,
    pixels: Iterable[np.ndarray],
    metadata: Mapping[str, str],
    levels: list[tuple[int, int]],
) -> None:
    """`path` as a zarr 3 group with the arrays 0 (finest), 1, ...

    pixels: uint8 or uint16 [rows, width, channels], all of one type. levels: (height, width), finest first, each half
    of the one before, rounded up.
    """
    with new_folder(path, OMEZARR) as folder:
        stages: list[_Resolution] = []
        try:
            for rows in pixels:
                if not stages:
                    stages = _create(folder, shown(path.stem), channels, rows.dtype, metadata, levels)
                stages[0].add(rows.transpose(2, 0, 1))
            for stage in stages:
                stage.flush()
        except BaseException:
            sync(_settled())
            raise


async def _settled() -> None:
    """When nothing is on its way any more: a chunk that comes late would make the folder anew, once it is removed."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)


def _create(
    folder: Path,
    name: str,
    channels: int,
    dtype: np.dtype[Any],
    metadata: Mapping[str, str],
    levels: list[tuple[int, int]],
) -> list[_Resolution]:
    arrays = [(str(index), *size) for index, size in enumerate(levels)]
    ome = image_attributes(name, arrays, channels, int(np.iinfo(dtype).max))
    root = zarr.create_group(os.fspath(folder), attributes={"ome": ome, _FACTS: dict(metadata)})
    stages: list[_Resolution] = []
    for key, height, width in reversed(arrays):
        shape = (channels, height, width)
        chunks = (channels, min(CHUNK, height), min(CHUNK, width))
        array = root.create_array(key, shape=shape, chunks=chunks, dtype=dtype, dimension_names=AXES)
        stages.insert(0, _Resolution(array, stages[0] if stages else None))
    return stages


class _Resolution:
    """Gathers rows, writes them by whole chunks, and hands them on at half the size."""

    def __init__(self, array: zarr.Array, coarser: _Resolution | None) -> None:
        self._array, self._coarser = array, coarser
        self._rows = np.empty((array.shape[0], CHUNK, array.shape[2]), array.dtype)
        self._held = self._written = 0

    def add(self, rows: np.ndarray) -> None:
        """rows: [channels, n, width]."""
        start = 0
        while start < rows.shape[1]:
            part = rows[:, start : start + CHUNK - self._held]
            self._rows[:, self._held : self._held + part.shape[1]] = part
            self._held += part.shape[1]
            start += part.shape[1]
            if self._held == CHUNK:
                self.flush()

    def flush(self) -> None:
        """Write what is held. Only the last rows of all may be fewer than a chunk."""
        rows, self._held = self._rows[:, : self._held], 0
        if not rows.size:
            return
        self._array[:, self._written : self._written + rows.shape[1]] = rows
        self._written += rows.shape[1]
        if self._coarser:
            for start in range(0, rows.shape[1], _ROWS_AT_ONCE):
                self._coarser.add(halved(rows[:, start : start + _ROWS_AT_ONCE]))
