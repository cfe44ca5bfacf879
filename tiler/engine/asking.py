"""Asking workers what they are and have. Who asks may run elsewhere, sees other hardware, and holds no GPU."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from tiler.engine.machine import Machine, merged
from tiler.engine.remote import Remote
from tiler.engine.schedule import Pool

_measuring = Remote("tiler.engine.measuring")


def ask(pool: Pool) -> Machine:
    """Have each worker take a GPU of those that it sees, and tell what it is and has."""
    shares = share_gpus(pool.everywhere(_measuring.look))
    return merged(pool.everywhere(_measuring.measure, shares).values())


def share_gpus(workers: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Which GPU each worker takes: of those that it sees the one that fewest on its host have taken, and of these the
    first. workers: what each one's `look` found."""
    taken: defaultdict[str, Counter[str]] = defaultdict(Counter)
    found = {}
    # Who sees few comes first: what it has taken already, or is bound to, is not given to another.
    for worker in sorted(workers, key=lambda one: (len(workers[one]["gpus"]), one)):
        host, gpus = workers[worker]["host"], workers[worker]["gpus"]
        if gpus:
            found[worker] = min(gpus, key=lambda gpu: taken[host][gpu])
            taken[host][found[worker]] += 1
    return found
