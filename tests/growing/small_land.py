"""What is quick to learn with."""

from __future__ import annotations

from tiler.growing.land import Colours, Facts

SMALL = dict(channels=2, patch=64, batch=2, threads=1)


def of_lands(kind: str, *lands: str, seed: int = 3) -> Facts:
    """Whose colours have a mean of (0.5, 0.25, 0.125), in units of 1."""
    plain = Colours((0.5, 0.25, 0.125), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    return Facts(kind, 2, lands, plain, 64, 2, seed, (), 1, 0.0, {})
