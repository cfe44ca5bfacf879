"""Values that fill a small part of their range (reflectance, heights), spread over all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiler.pictures.colour import PEAK

Raw = Callable[[], Iterator[tuple[np.ndarray, np.ndarray | None]]]
_HALF, _BINS, _SIGN = 16, 2**16, 2**31


@dataclass(frozen=True)
class Spread:
    """low, high: the values of the file that become 0 and 1; what lies beyond is clipped."""

    low: float
    high: float

    def applied(self, image: Any) -> Any:
        """A libvips image of colours, as 16-bit integers."""
        scale = PEAK / (self.high - self.low)
        spread = image.cast("double").linear(scale, -self.low * scale).rint().cast("ushort")
        space = image.interpretation
        return spread.copy(interpretation=space if space == "cmyk" else "grey16" if image.bands == 1 else "rgb16")


@dataclass(frozen=True)
class Found:
    """spread: None where there is nothing between the percentiles. holes: whether some values are not finite."""

    spread: Spread | None
    holes: bool


def percentiles(raw: Raw, low: float, high: float) -> Found:
    """Between which values `low` and `high` percent of a picture's are, of its opaque, finite colour values, all
    channels together.

    raw: a function that gives bands (colours [n, width, c] of unsigned 8 or 16 bits or of float32, alpha [n, width] or
    None). Exact: floats are read twice, and counted by the upper half of their bits and then by the lower (a radix
    selection), so one value of -3.4e38 among heights does no harm."""
    counts, kind, holes = np.zeros(_BINS, np.int64), "u", False
    for values, are_finite in _opaque(raw):
        counts += np.bincount(_keys(values) >> _HALF, minlength=_BINS)
        kind, holes = values.dtype.kind, holes or not are_finite
    sums = np.cumsum(counts)
    if not sums[-1]:
        return Found(None, holes)
    ranks = [max(1, int(np.ceil(sums[-1] * part / 100))) for part in (low, high)]
    uppers = [int(np.searchsorted(sums, rank)) for rank in ranks]
    if kind == "u":
        ends = [float(upper) for upper in uppers]
    else:
        within = _counted_within(raw, {*uppers})
        left = [rank - int(sums[upper] - counts[upper]) for rank, upper in zip(ranks, uppers, strict=True)]
        lowers = [int(np.searchsorted(np.cumsum(within[upper]), one)) for upper, one in zip(uppers, left, strict=True)]
        ends = [_float(upper << _HALF | lower) for upper, lower in zip(uppers, lowers, strict=True)]
    return Found(Spread(ends[0], ends[1]) if ends[0] < ends[1] else None, holes)


def _counted_within(raw: Raw, uppers: set[int]) -> dict[int, np.ndarray]:
    """Of the values with each upper half, how many have each lower half."""
    counts = {upper: np.zeros(_BINS, np.int64) for upper in uppers}
    for values, _ in _opaque(raw):
        keys = _keys(values)
        for upper in uppers:
            counts[upper] += np.bincount(keys[keys >> _HALF == upper] % _BINS, minlength=_BINS)
    return counts


def _opaque(raw: Raw) -> Iterator[tuple[np.ndarray, bool]]:
    """Values that count, and whether all others of the opaque ones do, too."""
    for colours, alpha in raw():
        values = (colours if alpha is None else colours[alpha > 0]).reshape(-1)
        finite = values if values.dtype.kind == "u" else values[np.isfinite(values)]
        if values.size:
            yield finite, finite.size == values.size


def _keys(values: np.ndarray) -> np.ndarray:
    """Whole numbers of 32 bits in the values' order."""
    if values.dtype.kind == "u":
        return values.astype(np.int64) << _HALF
    bits = values.astype(np.float32).view(np.uint32).astype(np.int64)
    return np.where(bits < _SIGN, bits + _SIGN, 2 * _SIGN - 1 - bits)


def _float(key: int) -> float:
    """The value that has this key."""
    bits = key - _SIGN if key >= _SIGN else 2 * _SIGN - 1 - key
    return float(np.uint32(bits).view(np.float32))
