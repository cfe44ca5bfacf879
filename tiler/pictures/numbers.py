"""Numbers that are colours: 0..1, or what whole numbers stand for it; and what is said of all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tiler.errors import PictureError

_STRETCH = "(of a content or style --stretch 2,98 spreads what there is over it)"
_BEYOND = 0.002  # 0..1 as another program rounds it


def check_signed(path: Path, signed: bool) -> None:
    """Raise PictureError for signed integers."""
    if signed:
        raise PictureError(f"{path}: holds signed integer values; unsigned or float 0..1 are allowed {_STRETCH}")


def check_floats(path: Path, planes: np.ndarray, slack: float) -> None:
    """Raise PictureError for values that are not finite, or more than `slack` outside 0..1: highlights and a filter's
    overshoot stay inside; heights in metres or 0..255 do not."""
    if not np.isfinite(planes).all():
        raise PictureError(f"{path}: holds NaN or infinite values; 0..1 are allowed")
    low, high = float(planes.min()), float(planes.max())
    if low < -slack or high > 1 + slack:
        raise PictureError(f"{path}: holds float values from {low:.4g} to {high:.4g}; 0..1 are allowed {_STRETCH}")


def range_notes(path: Path, low: float, high: float, bits: int) -> list[str]:
    """What is to be said of a picture whose values lie from `low` to `high`, where 0..1 is all that can be shown."""
    if high <= low:
        return []
    if min(low, 1 - high) < -_BEYOND:
        return [f"{path}: holds values from {low:.4g} to {high:.4g}; what is beyond 0..1 is cut off"]
    if high - low > 0.25:
        return []
    peak = 65535 if bits == 16 else 1
    return [
        f"{path}: uses only values {low * peak:.4g} to {high * peak:.4g} of the range 0 to {peak}, so it is "
        f"{'dark' if high < 0.5 else 'without contrast'}; --stretch 2,98 spreads them"
    ]
