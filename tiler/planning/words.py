"""Numbers as they are said to the user."""

from __future__ import annotations

import math


def size(count: float) -> str:
    """Bytes: 1234567890 -> '1.2 GB', 1234567 -> '2 MB'."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{math.ceil(count / 1e6)} MB"
