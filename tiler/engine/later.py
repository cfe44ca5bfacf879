"""What is asked of a device now and known once it gets there.

Whoever reads a number from a GPU waits for all that was asked of it before, and asks nothing of it meanwhile. So does
whoever sends one there out of memory that may be moved.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch


def sent(numbers: Sequence[Any], like: torch.Tensor) -> torch.Tensor:
    """Numbers where `like` lies and in its type, behind all that was asked of a GPU before. Nobody waits."""
    return moved(torch.tensor(numbers, dtype=like.dtype), like)


def moved(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The same of a tensor."""
    found = tensor.to(like.dtype)
    if found.device.type == "cpu" and like.device.type == "cuda":
        found = found.pin_memory()
    return found.to(like.device, non_blocking=True)


class Later:
    """Numbers of a device, as they are once it has done what was asked of it before."""

    def __init__(self, numbers: torch.Tensor) -> None:
        self._numbers, self._there = numbers, None
        if numbers.device.type == "cuda":
            self._numbers = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._numbers.copy_(numbers, non_blocking=True)
            self._there = _mark()

    def read(self) -> list[Any]:
        """Wait for them."""
        if self._there is not None:
            self._there.synchronize()
        return self._numbers.tolist()


class Span:
    """From when a device has done what was asked of it before the span began, to the same of its end."""

    def __init__(self, device: torch.device) -> None:
        self._marks = [_mark()] if device.type == "cuda" else []
        self._began = self._ended = time.perf_counter()

    def end(self) -> None:
        """Now."""
        self._ended = time.perf_counter()
        if self._marks:
            self._marks.append(_mark())

    @property
    def seconds(self) -> float:
        """Waits for its end."""
        if not self._marks:
            return self._ended - self._began
        first, last = self._marks[0], self._marks[-1]
        last.synchronize()
        return float(first.elapsed_time(last)) / 1e3


def _mark() -> torch.cuda.Event:
    found = torch.cuda.Event(enable_timing=True)
    found.record()
    return found
