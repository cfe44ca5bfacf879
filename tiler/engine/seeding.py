"""What a level starts from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from tiler.engine.blend import noise, repeated, upscale
from tiler.engine.workplace import Workplace
from tiler.geometry import Rect
from tiler.style.colour import recolour


def start(here: Workplace, level: int, rect: Rect) -> torch.Tensor:
    """State 0 of a level [3, h, w] over `rect`, which may reach beyond an edge that wraps; however it is cut."""
    size = here.job.cut.levels[level]
    return repeated(rect, (size.height, size.width), lambda part: _start(here, level, part))


def _start(here: Workplace, level: int, part: Rect) -> torch.Tensor:
    """The finished level before, enlarged; on the coarsest what --init says."""
    store, job, size = here.store, here.job, here.job.cut.levels[level]
    if level > 0:
        before = _enlarged(here, level, part, partial(store.read_image, level - 1))
        kept = 1 if job.look.keep_detail else here.protected(level, part)
        if kept is None:
            return before
        coarse = _enlarged(here, level, part, partial(store.read_picture, f"levels/{level}/coarse"))
        seen = here.optimised(store.read_picture(f"levels/{level}/content", part))
        detail = here.tensor(seen) - here.tensor(here.optimised(coarse.cpu().numpy()))
        return (before + (kept if isinstance(kept, int) else here.tensor(kept)) * detail).clamp_(0, 1)
    if job.look.init == "picture":
        return here.tensor(here.optimised(store.read_picture("init", part)))
    if job.look.init == "noise":
        begun = noise(part, size.width, job.look.seed).numpy()
    else:
        begun = here.optimised(store.read_picture("levels/0/content", part))
    # In the style's colours. The content's regions keep the order of their colours, sea bluest and desert palest, and
    # the optimiser need not guess which is which; noise that varies as the style does ends with half the style loss.
    regions, guides = here.level_guides(0, part)
    return here.tensor(recolour(begun, [here.colours[r] for r in regions], guides))


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
