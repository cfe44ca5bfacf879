"""What a worker with a GPU has beside the tile at hand: what `tiler.engine.graphs` records at most, the memory that
this takes, and threads that read and write."""

from __future__ import annotations

from typing import Any

from tiler.engine.job import Job

# Threads that read what the next tiles need, and as many that write; a GPU leaves the processor's cores alone.
HANDS = 4
# Of a read area: beyond, there is next to nothing to win, and a graph keeps as much memory as an update takes.
LARGEST_PIXELS = 1280**2
# Tiles come in cycles: of more kinds none is thrown out for another, but goes without.
MOST_STAGES, MOST_GRAPHS = 12, 64
# Of a stage, per pixel: pixels and moments of 4 bytes, the content's features, guides; of a graph: what the driver
# keeps of two hundred launches.
STAGE_BYTES, GRAPH_BYTES = 64, 2**20


def held_bytes(job: Job, level: int, step_bytes: float) -> float:
    """Of what is recorded for a level's tiles. step_bytes: of an update, per pixel."""
    if job.device.kind != "cuda" or not job.cut.levels[level].steps or job.cut.uses_lbfgs(level):
        return 0.0
    areas: dict[Any, int] = {}
    for tile in job.cut.grid(level):
        if tile.read.area <= LARGEST_PIXELS:
            areas[tile.read.height, tile.read.width, tile.core.relative_to(tile.read)] = tile.read.area
    largest = sorted(areas.values())[-MOST_STAGES:]
    graphs = MOST_GRAPHS if largest and job.look.jitter else len(largest)
    return max(largest, default=0) * step_bytes + sum(largest) * STAGE_BYTES + graphs * GRAPH_BYTES
