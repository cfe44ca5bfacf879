"""Bands on their way to a file: counted, checked, rounded to integers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from tiler.errors import OutputError

# Bounds what rounding and packing need beside the caller's own band.
_VALUES_AT_ONCE = 2**21


def failed(path: Path, error: Exception) -> OutputError:
    """The one-line error of a write that broke off."""
    return OutputError(f"{path}: could not be written ({getattr(error, 'strerror', None) or error})")


def peek(path: Path, bands: Iterable[np.ndarray]) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """(the first band, all bands)."""
    iterator = iter(bands)
    first = next(iterator, None)
    if first is None:
        raise OutputError(f"{path}: there are no pixels to write")
    return first, chain([first], iterator)


def to_integers(path: Path, bands: Iterable[np.ndarray], height: int, width: int, bits: int) -> Iterator[np.ndarray]:
    """uint8 or uint16 `[rows, width, C]`; OutputError unless they are `height` rows of one shape, all finite."""
    peak = np.float32(2**bits - 1)
    top, channels = 0, 0
    for band in bands:
        channels = channels or len(band)
        if band.ndim != 3 or len(band) != channels or band.shape[2] != width or top + band.shape[1] > height:
            raise OutputError(
                f"{path}: a band of shape {band.shape} at row {top} does not fit {channels} x {height} x {width}"
            )
        step = max(1, _VALUES_AT_ONCE // (channels * width))
        for start in range(0, band.shape[1], step):
            part = band[:, start : start + step]
            if not np.isfinite(part).all():
                raise OutputError(
                    f"{path}: rows from {top + start} on hold NaN or infinite values; nothing was written"
                )
            scaled = np.rint(np.clip(part, 0, 1).astype(np.float32) * peak)
            yield scaled.transpose(1, 2, 0).astype(np.uint8 if bits == 8 else np.uint16)
        top += band.shape[1]
    if top != height:
        raise OutputError(f"{path}: the bands end at row {top} of {height}; nothing was written")


def halvings(height: int, width: int, smallest: int) -> list[tuple[int, int]]:
    """(height, width) of each level, coarsest first: halved, rounding up, until both fit into `smallest`."""
    levels = [(height, width)]
    while max(levels[-1]) > smallest:
        levels.append(((levels[-1][0] + 1) // 2, (levels[-1][1] + 1) // 2))
    return levels[::-1]


def halved(rows: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels of [C, n, width] integers, the last row and column twice where their number is odd; colours
    weigh as they show."""
    channels, height, width = rows.shape
    even = np.pad(rows, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge").astype(np.float32)
    parts = [even[:, y::2, x::2] for y in (0, 1) for x in (0, 1)]
    means = (parts[0] + parts[1] + parts[2] + parts[3]) / 4
    if channels == 4:
        alphas = [part[3:] for part in parts]
        weight = np.maximum(alphas[0] + alphas[1] + alphas[2] + alphas[3], 1)
        shown = sum(part[:3] * alpha for part, alpha in zip(parts, alphas, strict=True)) / weight
        means[:3] = np.where(means[3:] > 0, shown, means[:3])
    return np.rint(means).astype(rows.dtype)
