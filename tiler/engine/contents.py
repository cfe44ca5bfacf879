"""What arrays a job's store can hold, by path: the one place that knows where things lie in it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from tiler.engine import layout
from tiler.engine.job import Job

IMAGE, POSTER = "image", "poster"
# Of a finished poster that changes in part: the level as it was, and how much of it is to be new.
BEFORE, TOUCHED = "before", "touched"
KEPT = (IMAGE, POSTER, "alpha")
# Of a level, until it is finished; beside them lies the state of this cut, and perhaps of others.
INPUTS = ("content", "coarse", "guides", "protect", BEFORE, TOUCHED, "rest")
STATE = "state-"
# An attribute: the map from the content's colours to the styles' of each region.
COLOURS = "colours"


def state_path(level: int, job_id: str) -> str:
    """Where the tiles of a job's cut keep their state. A job that is cut anew gets a new place, so that tasks of the
    old cut that are still running somewhere can do no harm."""
    return f"levels/{level}/{STATE}{job_id[:12]}"


class Contents:
    """Of one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._state, self._style = cache(self._state_of), cache(self._style_of)

    def allowed(self, path: str, chunks: tuple[int, ...]) -> Iterator[layout.Array]:
        """What the array at `path` may be like, the likeliest first; nothing for a path that the job has no use for.

        chunks: those that were found. A finished level keeps the cut that it had when the job was cut anew since."""
        match path.split("/"):
            case ["init"]:
                yield self._picture(0, 3)
            case ["levels", number, *rest] if self._is_level(number):
                yield from self._of_level(int(number), rest, chunks)
            case ["styles", number, style, *rest] if self._is_level(number) and self._is_style(style):
                found = self._style(int(number), int(style)).get("/".join(rest))
                yield from [found] if found else []

    def _is_level(self, name: str) -> bool:
        return name.isdecimal() and int(name) < len(self._job.cut.levels)

    def _is_style(self, name: str) -> bool:
        return name.isdecimal() and int(name) < self._job.styles.count

    def _of_level(self, level: int, names: list[str], chunks: tuple[int, ...]) -> Iterator[layout.Array]:
        job = self._job
        state, inputs = state_path(level, job.id).rpartition("/")[2], {"content": 3, "guides": len(job.styles.regions)}
        match names:
            case [name] if name in (IMAGE, POSTER, BEFORE):
                grid = job.cut.grid(level)
                yield layout.image(grid, job.device.state_dtype)
                if chunks in layout.image_chunks(grid):
                    yield layout.image(grid, job.device.state_dtype, chunks)
            case ["coarse"] if level > 0:
                yield self._picture(level - 1, 3)
            case ["rest", *rest]:
                found = layout.totals(job.style_sums, "float64", len(job.styles.regions)).get("/".join(rest))
                yield from [found] if found else []
            case [name] if name in (*INPUTS, "alpha"):
                yield self._picture(level, inputs.get(name, 1))
            case [name, *rest] if name == state:
                found = self._state(level).get("/".join(rest))
                yield from [found] if found else []

    def _picture(self, level: int, channels: int) -> layout.Array:
        return layout.picture(self._job.cut.levels[level].height, self._job.cut.levels[level].width, channels)

    def _state_of(self, level: int) -> dict[str, layout.Array]:
        job = self._job
        return layout.state(
            job.cut.grid(level), job.style_sums, job.device.state_dtype, job.moment_dtype, len(job.styles.regions)
        )

    def _style_of(self, level: int, style: int) -> dict[str, layout.Array]:
        job, size = self._job, self._job.styles.sizes[level][style]
        measured = layout.totals(job.measured, job.device.state_dtype)
        return {"picture": layout.picture(*size), "guides": layout.picture(*size, 1), **measured}
