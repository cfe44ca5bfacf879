"""What a task is told of where its work is: which job, and which part of a level."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from tiler.geometry.blocks import Node


@dataclass(frozen=True)
class Address:
    """Where a task finds its job. id guards against a store that was replaced while a worker lived on; run, of who
    holds the store, against tasks that nobody waits for: those of a process that has ended, and those of a level that
    went back to its last checkpoint. They may go on in a cluster, and would write over what came after them."""

    url: str
    id: str
    run: str = ""


@dataclass(frozen=True)
class Block:
    """Tiles of a level that a worker holds. attempt: one of the client's, to bring the level to its end; what another
    left behind is of no use. shares: the tiles of all blocks; number: which of them this one is. base: see
    `state.Stored`."""

    level: int
    attempt: str
    shares: tuple[tuple[Node, ...], ...]
    number: int
    home: str
    base: int = 0

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.shares[self.number]

    @property
    def alone(self) -> bool:
        """Whether it is the whole level."""
        return len(self.shares) == 1


def new_attempt() -> str:
    """Unlike every other."""
    return uuid.uuid4().hex
