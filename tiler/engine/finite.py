"""Measuring and relaxing a tile in the job's precision, and in a longer one where that does not reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch

from tiler.engine import optimize
from tiler.engine.later import Later, Span
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
        whole = torch.stack([torch.isfinite(value).all() for value in found.sums.values()]).tolist()
        wrong = [layer for layer, finite in zip(found.sums, whole, strict=True) if not finite]
        if not wrong:
            return found
    precision = list(backbones)[-1]
    raise NotFiniteError(f"{what}: the statistics of {wrong[0]} are not finite in {precision}; are the weights right?")


class Relaxed:
    """What one round made of a tile, once the device is there: pixels [3, h, w] and moments [6, h, w] over its blend
    area; the sums of its core in its regions, by layer. steps: of the device's time."""

    def __init__(
        self,
        pixels: torch.Tensor,
        moments: torch.Tensor,
        sums: Mapping[str, torch.Tensor],
        regions: tuple[int, ...],
        losses: Callable[[], optimize.TileLosses],
        steps: Span,
    ) -> None:
        self.pixels, self.moments, self.sums, self.regions, self.steps = pixels, moments, sums, regions, steps
        self._losses = losses
        # In one pass, and without a mask as large as the values.
        self._extremes = Later(torch.stack([*pixels.aminmax(), *moments.aminmax()]))

    @property
    def losses(self) -> optimize.TileLosses:
        """Waits for them."""
        return self._losses()

    def not_finite(self) -> str:
        """What of it is not finite; empty if all is. Waits for it."""
        losses, extremes = self.losses, self._extremes.read()
        parts = {
            "loss": [*losses.style.values(), losses.content, losses.tv],
            "pixels": extremes[:2],
            "moments": extremes[2:],
        }
        return ", ".join(name for name, values in parts.items() if not all(map(math.isfinite, values)))


class Relaxing:
    """A round of a tile, begun: relax(precision, scale of the steps) in the first precision. What comes out not finite
    is done again in the next, then with a tenth of the step. What is done depends on the state before alone, so a
    render that was interrupted does the same. steps: those of the round, in words. send: is told of each that failed.
    """

    def __init__(
        self,
        precisions: Sequence[str],
        relax: Callable[[str, float], Relaxed],
        level: int,
        tile: int,
        steps: str,
        send: Callable[[dict[str, Any]], None],
    ) -> None:
        self._tries = [*((precision, 1.0) for precision in precisions), (precisions[-1], 0.1)]
        self._relax, self._where, self._send = relax, {"level": level, "tile": tile}, send
        self._words = f"level {level + 1}, tile {tile}, {steps}"
        self._first = relax(*self._tries[0])

    def end(self) -> Relaxed:
        """What came of it. Waits for it. Raises NotFiniteError where no try is enough."""
        found, seen = self._first, self._first.not_finite()
        for failed, (precision, scale) in pairwise(self._tries):
            if not seen:
                return found
            self._tell(*failed, seen)
            found = self._relax(precision, scale)
            seen = found.not_finite()
        if seen:
            self._tell(precision, scale, seen)
            raise NotFiniteError(f"{self._words}: not finite, even in {precision} with a tenth of the step: {seen}")
        return found

    def _tell(self, precision: str, scale: float, seen: str) -> None:
        text = f"{self._words}: not finite in {precision} with {scale:g} of the step: {seen}"
        self._send({"event": "not finite", **self._where, "text": text})
