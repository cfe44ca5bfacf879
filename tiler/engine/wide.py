"""Sums in float64, which Apple's GPUs have not: theirs are added up on the CPU."""

from __future__ import annotations

import torch

# Kinds of devices without float64.
NARROW = {"mps"}


def wide(value: torch.Tensor) -> torch.Tensor:
    """The same in float64, on its device where that can."""
    return (value.cpu() if value.device.type in NARROW else value).double()
