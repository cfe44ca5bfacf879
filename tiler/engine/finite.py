"""Measuring and relaxing a tile in the job's precision, and in a longer one where that does not reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tiler.engine import optimize
from tiler.errors import NotFiniteError
from tiler.geometry import Rect
from tiler.style.backbone import Backbone
from tiler.style.grams import GramSums, measure_pixels
from tiler.style.guides import Guides


def measured(
    backbones: Mapping[str, Backbone],
    pixels: torch.Tensor,
    layers: tuple[str, ...],
    core: Rect,
    guides: Guides,
    means: bool,
    what: str,
) -> GramSums:
    """Sums over `core` of pixels [3, h, w], with `means` the features' own, too. backbones: by precision, in the
    order in which to try them. what: is named by the NotFiniteError that is raised where none is enough."""
    wrong: list[str] = []
    for backbone in backbones.values():
        found = measure_pixels(backbone, pixels, layers, core, guides, means)
        wrong = [layer for layer, value in found.sums.items() if not bool(torch.isfinite(value).all())]
        if not wrong:
            return found
    precision = list(backbones)[-1]
    raise NotFiniteError(f"{what}: the statistics of {wrong[0]} are not finite in {precision}; are the weights right?")


@dataclass(frozen=True)
class Relaxed:
    """What one round made of a tile: pixels [3, h, w] and moments [6, h, w] over its blend area; the sums of its core
    in its regions, by layer."""

    pixels: torch.Tensor
    moments: torch.Tensor
    sums: Mapping[str, torch.Tensor]
    regions: tuple[int, ...]
    losses: optimize.TileLosses

    def not_finite(self) -> str:
        """What of it is not finite; empty if all is."""
        losses = torch.tensor([*self.losses.style.values(), self.losses.content, self.losses.tv])
        parts = {"loss": losses, "pixels": self.pixels, "moments": self.moments}
        return ", ".join(name for name, values in parts.items() if not _is_finite(values))


def _is_finite(values: torch.Tensor) -> bool:
    """In one pass, and without a mask as large as the values."""
    return bool(torch.isfinite(torch.stack(values.aminmax())).all())


def relaxed(
    precisions: Sequence[str],
    relax: Callable[[str, float], tuple[Relaxed, float]],
    level: int,
    tile: int,
    steps: str,
    send: Callable[[dict[str, Any]], None],
) -> tuple[Relaxed, float]:
    """relax(precision, scale of the steps) in the first precision; what comes out not finite is done again in the next,
    then with a tenth of the step. What is done depends on the state before alone, so a render that was interrupted does
    the same. steps: those of the round, in words. send: is told of each that failed."""
    where = f"level {level + 1}, tile {tile}, {steps}"
    for precision, scale in (*((one, 1.0) for one in precisions), (precisions[-1], 0.1)):
        found = relax(precision, scale)
        seen = found[0].not_finite()
        if not seen:
            return found
        text = f"{where}: not finite in {precision} with {scale:g} of the step: {seen}"
        send({"event": "not finite", "level": level, "tile": tile, "text": text})
    raise NotFiniteError(f"{where}: not finite, even in {precision} with a tenth of the step: {seen}")
