"""The disk that a render takes: of the store, of what lies beside it for a while, and of the poster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from tiler.engine import layout
from tiler.engine.job import Job
from tiler.geometry import Level, Rect
from tiler.pictures import write
from tiler.pictures.outputs import typical_bytes
from tiler.request.config import RenderConfig


class OfLevel(Protocol):
    """What is known of a level, see `LevelPlan`."""

    @property
    def level(self) -> int: ...
    @property
    def working_bytes(self) -> int: ...
    @property
    def kept_bytes(self) -> int: ...


def store_bytes(job: Job, levels: Sequence[OfLevel], pictures_bytes: int) -> int:
    """The pictures' pixels are there until the finest level's pictures are, which are made while the level before is
    rendered."""
    peaks, kept = [pictures_bytes + _inputs_bytes(job, 0)], 0
    for one in levels:
        ahead = pictures_bytes + _inputs_bytes(job, one.level + 1) if one.level + 1 < len(levels) else 0
        peaks.append(kept + one.working_bytes + one.kept_bytes + ahead)
        kept += one.kept_bytes
    return max(peaks)


def _inputs_bytes(job: Job, index: int) -> int:
    """Of a level's pictures in the store, until it is finished."""
    level = job.cut.levels[index]
    if not job.needs_pictures(index):
        return 0
    kept = _kept(level, job.cut.read(index))
    found = layout.picture(level.height, level.width).disk_bytes(kept)
    if index > 0 and job.adds_detail:
        before = job.cut.levels[index - 1]
        found += layout.picture(before.height, before.width).disk_bytes(_kept(before, job.cut.read_below(index)))
    if job.styles.guided:
        found += layout.picture(level.height, level.width, len(job.styles.regions)).disk_bytes(kept)
    if job.protect_path(index):
        found += layout.picture(level.height, level.width, 1).disk_bytes(kept)
    for style, size in enumerate(job.styles.sizes[index]):
        found += layout.picture(*size).disk_bytes()
        if level.steps and job.styles.masked[style]:
            found += layout.picture(*size, 1).disk_bytes()
    return found


def _kept(level: Level, read: list[Rect] | None) -> float:
    """What share of a picture of a level's size is kept."""
    boxes = [] if read is None else layout.picture_boxes(level.height, level.width, read)
    return 1.0 if read is None else sum(box.area for box in boxes) / (level.height * level.width)


def level_bytes(job: Job, index: int, has_alpha: bool) -> tuple[int, int]:
    """(bytes until the level is finished, bytes that stay) in the store."""
    level, grid, rounds = job.cut.levels[index], job.cut.grid(index), len(job.cut.rounds(index))
    working, picture = _inputs_bytes(job, index), layout.picture(level.height, level.width).disk_bytes()
    rendered = 1.0 if job.cut.touched is not None else sum(one.core.area for one in grid) / (level.height * level.width)
    if level.steps:
        totals = layout.totals(job.measured, job.device.state_dtype)
        working += job.styles.count * _sum_bytes(totals, 1)
    state = layout.state(grid, job.style_sums, job.device.state_dtype, job.moment_dtype, len(job.styles.regions))
    shape = grid.patch_shape
    filled = sum(tile.blend.area for tile in grid) / (grid.places * shape[0] * shape[1])
    slots = min(2, rounds + 1) / 2
    moments, pixels = state.pop("moments"), state.pop("pixels")
    working += pixels.disk_bytes(filled * slots) + moments.disk_bytes(filled * min(2, rounds) / 2)
    working += _sum_bytes(state, slots * len(grid) / grid.places if rounds else 0)
    kept = len(job.look.images) * layout.image(grid, job.device.state_dtype).disk_bytes(rendered)
    shown = _kept(level, job.cut.read(index))
    kept += layout.picture(level.height, level.width, 1).disk_bytes(shown) if has_alpha else 0
    return working, kept + (picture if index == 0 and job.look.init == "picture" else 0)


def spare_bytes(config: RenderConfig, height: int, width: int, channels: int) -> int:
    if config.output is None:
        return 0
    return write.spare_bytes(config.output, height, width, channels, config.bits, config.compression, config.cog)


def _sum_bytes(arrays: Mapping[str, layout.Array], written: float) -> int:
    return sum(array.disk_bytes(written) for array in arrays.values())


def output_bytes(config: RenderConfig, height: int, width: int, channels: int) -> int:
    """Of the poster's file."""
    if config.output is None:
        return 0
    return typical_bytes(config.output, height, width, channels, config.bits, config.compression)


def tiles_bytes(config: RenderConfig, height: int, width: int, channels: int) -> int:
    """Of its map tiles."""
    return 0 if config.tiles is None else typical_bytes(config.tiles, height, width, channels)
