"""One kind of bad input: how to make it, and what the line that refuses it must name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GOOD = ["content.png", "style.png", "-o", "poster.png"]


@dataclass(frozen=True)
class Case:
    """make(folder): put the files there and return tiler's arguments. words: what the message must hold."""

    make: Callable[[Path], list[str]]
    words: tuple[str, ...] = ()


def render(*more: str) -> list[str]:
    """A command that is right but for `more`, and small in case it should be run."""
    return ["render", *GOOD, "--long-edge", "16", "--steps", "1", *more]


def as_content(name: str, *more: str) -> list[str]:
    """The same with another picture as its content."""
    return ["render", name, *render(*more)[2:]]
