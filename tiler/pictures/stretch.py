"""Values that fill a small part of their range (reflectance, heights), spread over all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiler.pictures.colour import PEAK

Raw = Callable[[], Iterator[tuple[np.ndarray, np.ndarray | None]]]
_BINS = 2**16


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
class Values:
    """A histogram of a picture's colour values, all channels together. least, step: bin i holds least + i * step."""

    counts: np.ndarray
    least: float
    step: float

    @classmethod
    def of(cls, raw: Raw, bits: int) -> Values:
        """raw: a function that gives bands (colours [n, width, c], alpha [n, width] or None). Exact for up to 16 bits;
        longer numbers are read twice, and told apart to 1/65536 of what they span."""
        if bits <= 16:
            return cls(_counted(raw, 0.0, 1.0), 0.0, 1.0)
        least, most = np.inf, -np.inf
        for values in _opaque(raw):
            least, most = min(least, float(values.min())), max(most, float(values.max()))
        if not (np.isfinite(least) and most > least):
            return cls(np.zeros(_BINS, np.int64), 0.0, 1.0)
        step = (most - least) / (_BINS - 1)
        return cls(_counted(raw, least, step), least, step)

    def spread(self, low: float, high: float) -> Spread | None:
        """Between two percentiles; None where there is nothing between them."""
        sums = np.cumsum(self.counts)
        if not sums[-1]:
            return None
        ends = [int(np.searchsorted(sums, max(1, np.ceil(sums[-1] * part / 100)))) for part in (low, high)]
        if ends[0] == ends[1]:
            return None
        return Spread(self.least + ends[0] * self.step, self.least + ends[1] * self.step)


def _opaque(raw: Raw) -> Iterator[np.ndarray]:
    for colours, alpha in raw():
        values = (colours if alpha is None else colours[alpha > 0]).reshape(-1)
        values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        if values.size:
            yield values


def _counted(raw: Raw, least: float, step: float) -> np.ndarray:
    counts = np.zeros(_BINS, np.int64)
    for values in _opaque(raw):
        bins = values if values.dtype.kind == "u" else np.rint((values.astype(np.float64) - least) / step)
        counts += np.bincount(np.clip(bins, 0, _BINS - 1).astype(np.int64), minlength=_BINS)
    return counts
