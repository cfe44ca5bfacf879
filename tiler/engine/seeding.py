"""What a level starts from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from tiler.engine.blend import noise, repeated, upscale
from tiler.engine.colours import recoloured
from tiler.engine.contents import BEFORE, TOUCHED
from tiler.engine.workplace import Workplace
from tiler.geometry import Rect
from tiler.style.colour import recolour


def start(here: Workplace, level: int, rect: Rect) -> torch.Tensor:
    """State 0 of a level [3, h, w] over `rect`, which may reach beyond an edge that wraps; however it is cut."""
    size = here.job.cut.levels[level]
    found = repeated(rect, (size.height, size.width), lambda part: _start(here, level, part))
    if here.job.look.grey:
        found = found.mean(0, keepdim=True).repeat(len(found), 1, 1)
    return kept_outside(found, *before(here, level, rect)) if here.job.cut.touched is not None else found


def before(here: Workplace, level: int, rect: Rect) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a finished poster that changes in part: a level as it was [3, h, w], and how much of it is to be new
    [1, h, w]."""
    size = here.job.cut.levels[level]
    was = repeated(
        rect, (size.height, size.width), lambda part: here.tensor(here.store.read_image(level, part, BEFORE))
    )
    return was, here.tensor(here.picture(level, f"levels/{level}/{TOUCHED}", rect))


def kept_outside(pixels: torch.Tensor, was: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """What is not to be new as it was: exactly, where `new` is 0, and exactly `pixels` where it is 1."""
    return pixels * new + was * (1 - new)


def _start(here: Workplace, level: int, part: Rect) -> torch.Tensor:
    """The finished level before, enlarged; on the coarsest what --init says."""
    store, job, size = here.store, here.job, here.job.cut.levels[level]
    if level > 0:
        enlarged = _enlarged(here, level, part, partial(_finished, here, level - 1))
        kept = 1 if job.look.keep_detail else here.protected(level, part)
        if kept is None:
            return enlarged
        coarse = _enlarged(here, level, part, partial(store.read_picture, f"levels/{level}/coarse"))
        seen = here.optimised(store.read_picture(f"levels/{level}/content", part))
        detail = here.tensor(seen) - here.tensor(here.optimised(coarse.cpu().numpy()))
        return (enlarged + (kept if isinstance(kept, int) else here.tensor(kept)) * detail).clamp_(0, 1)
    if job.look.init == "picture":
        return here.tensor(here.optimised(store.read_picture("init", part)))
    if job.look.init == "noise":
        begun = noise(part, size.width, job.look.seed).numpy()
    else:
        begun = here.optimised(store.read_picture("levels/0/content", part))
    # In the style's colours. The content's regions keep the order of their colours, sea bluest and desert palest, and
    # the optimiser need not guess which is which; noise that varies as the style does ends with half the style loss.
    regions, guides = here.level_guides(0, part)
    maps = [here.colours[r] for r in regions]
    if job.look.transfer == "style":
        return here.tensor(recolour(begun, maps, guides))
    return here.tensor(recoloured(store, part, begun, maps, guides))


def ground(here: Workplace, level: int, rect: Rect) -> torch.Tensor:
    """[3, h, w] of a level where its tiles are not worked on: the level before, enlarged, or as it was."""
    if here.job.cut.touched is not None:
        return before(here, level, rect)[0]
    size = here.job.cut.levels[level]
    read = partial(_finished, here, level - 1)
    return repeated(rect, (size.height, size.width), lambda part: _enlarged(here, level, part, read))


def _finished(here: Workplace, level: int, rect: Rect) -> np.ndarray:
    """[3, h, w] of a finished level, on it."""
    grid, store = here.job.cut.grid(level), here.store
    if not here.job.cut.estimates(level):
        return store.read_image(level, rect)
    cores = (tile.core.intersection(rect) for tile, _ in grid.overlapping(rect) if tile.index in grid)
    rendered = [part for part in cores if part]
    if rendered == [rect]:
        return store.read_image(level, rect)
    found = ground(here, level, rect).cpu().numpy()
    for part in rendered:
        found[(slice(None), *part.relative_to(rect).slices)] = store.read_image(level, part)
    return found


def _enlarged(here: Workplace, level: int, part: Rect, read: Callable[[Rect], np.ndarray]) -> torch.Tensor:
    """A part of a level, from an image of the size of the level before."""
    size, before, grid = here.job.cut.levels[level], here.job.cut.levels[level - 1], here.job.cut.grid(level)
    small = before.height, before.width
    return upscale(
        part,
        (size.height, size.width),
        small,
        lambda rect: repeated(rect, small, lambda inside: here.tensor(read(inside))),
        (grid.wrap_y, grid.wrap_x),
    )
