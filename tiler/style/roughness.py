"""How much neighbouring pixels of a style differ, in colour alone and in light: the unit of the smoothness of
both, at each pixel of its region's styles. Sums add over tiles, like the Grams they are kept beside."""

from __future__ import annotations

import numpy as np
import torch

from tiler.geometry import Rect
from tiler.style.guides import added_up

# Of a style without any colour, or of one colour: a step of eight bits.
_LEAST = (1 / 255) ** 2


def roughness_sums(pixels: torch.Tensor, core: Rect, guide: torch.Tensor | None) -> torch.Tensor:
    """[1, 1, 2], float64: over the core of pixels [3, h, w], and in the mean of both directions, the squares of forward
    differences less their mean over the channels, and of that mean. guide: [1, h, w], how much each pixel counts."""
    found = []
    for axis in (1, 2):
        steps = pixels.diff(dim=axis)[(slice(None), *core.slices)]
        light = steps.mean(0)
        squares = torch.stack([(steps - light).square().sum(0), len(steps) * light.square()])
        if guide is not None:
            squares *= guide[(slice(None), *core.slices)][:, : squares.shape[1], : squares.shape[2]]
        found.append(added_up(squares))
    return (found[0] + found[1]).view(1, 1, 2) / 2


def usual(roughness: np.ndarray) -> tuple[float, float]:
    """(chroma, light) of a style's normalised sums [1, 1, 2], neither below a step of eight bits."""
    chroma, light = roughness.flatten().tolist()
    return max(chroma, _LEAST), max(light, _LEAST)


def spread(roughness: torch.Tensor, planes: torch.Tensor | None) -> torch.Tensor:
    """(chroma, light) of each pixel [2, h, w], the mean of its regions' [R, 2] by their guides [R, h, w], which sum to
    1; [2, 1, 1] where one region is everywhere."""
    if planes is None:
        return roughness.view(2, 1, 1)
    return (roughness[:, :, None, None] * planes[:, None]).sum(0).clamp_(min=_LEAST)
