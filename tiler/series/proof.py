"""A spot of a poster as large as it will be there, before the poster is rendered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tiler.engine.schedule import Pool
from tiler.jobs import Progress
from tiler.rendering import Result, render
from tiler.request.config import RenderConfig


def proof(
    config: RenderConfig,
    at: tuple[float, float],
    edge: int = RenderConfig.edge,
    progress: Progress | bool | None = None,
    pool: Pool | None = None,
    force_new: bool = False,
    cancelled: Callable[[], bool] | None = None,
) -> Result:
    """Render a square of the poster that `config` asks for, as it would be there, and write it to `config.output`.

    at: (x, y), the middle of the square, in shares of the poster's width and height, 0 to 1; the square is moved to
    where the poster has all of it. edge: its side in the poster's pixels, 16 to 16384.

    Levels that are small are rendered as they are for the poster. Of larger ones only tiles that the square needs, and
    a fixed sample of the others from which the level's statistics are estimated: see `tiler.geometry.parts`. So it
    foretells the poster, and is not its bytes, but for a square that is the whole poster. The job is kept as any
    render's is: the same call goes on where it was stopped, and a proof of another spot takes over the small levels.
    progress, pool, force_new, cancelled, and what is raised: see `render`.
    """
    return render(replace(config, at=spot(at), edge=edge), progress, force_new, pool=pool, cancelled=cancelled)


def spot(at: tuple[float, float]) -> str:
    """As RenderConfig has it."""
    x, y = at
    return f"{x:.9f},{y:.9f}"
