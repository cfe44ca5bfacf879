"""By what a finished level is known: all that the bytes of its image depend on, the levels below it included. A render
takes over what another has finished where both are known by the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tiler.engine.job import Job
from tiler.engine.machine import is_one
from tiler.engine.store import RenderStore

# Where styles are recoloured they are so from the whole pictures as the finest level sees them, on every level.
_RECOLOURED = ("luminance", "match")


@dataclass(frozen=True)
class Lineage:
    """seen: whatever a job's record does not say of its pictures and of how they are read, JSON values. machine(): what
    computed the levels so far, as `Machine.facts` has it."""

    seen: Mapping[str, Any]
    machine: Callable[[], Mapping[str, str]]

    def of(self, job: Job, level: int, below: str | None) -> str | None:
        """What a level is known by. below: the same of the level before, empty for the coarsest. None where that has
        none, and where several kinds of machines took part: who computed what is not known then."""
        facts = self.machine()
        if below is None or not is_one(facts):
            return None
        told = {"below": below, "seen": self.seen, "machine": facts, "job": _of_level(job, level)}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def shared(self, job: Job, store: RenderStore) -> int:
        """How many levels of a new job the store has, coarsest first, as they would be rendered. Only what the store
        itself says of its levels is compared, not their bytes."""
        below: str | None = ""
        for level in range(len(job.cut.levels)):
            below = self.of(job, level, below)
            if below is None or store.lineage(level) != below:
                return level
        return len(job.cut.levels)

    def ended(self, job: Job, level: int, store: RenderStore) -> str | None:
        """What a level is known by that was computed now, from the level before as the store has it."""
        return self.of(job, level, store.lineage(level - 1) if level else "")


def _of_level(job: Job, level: int) -> dict[str, Any]:
    """What a job's record says, but for what concerns other levels only, and what its bytes do not depend on: names,
    and the size of tiles that a level has not. Whatever comes to be part of a job counts, until it is left out here."""
    cut = replace(job.cut, levels=job.cut.levels[level : level + 1], tile=0, steps_per_round=0, crop=None)
    found = replace(
        job,
        id="",
        network=replace(job.network, weights=""),
        styles=replace(job.styles, sizes=job.styles.sizes[level : level + 1]),
        cut=cut,
    )
    size = job.cut.last
    told = {
        **asdict(found),
        "grid": asdict(job.cut.grid(level)),
        "round": job.cut.steps_after(level, 1),
    }
    if job.look.color in _RECOLOURED:
        told["finest"] = [size.height, size.width, job.styles.sizes[-1]]
    return told
