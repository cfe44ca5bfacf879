"""Gram statistics that add over tiles, and the style's target.

Normalised Grams G = F F^T / (H*W) as in Gatys et al. 2016; the unnormalised sum over a box is a *Gram sum*. Sums of
disjoint boxes add up to the sum of their union, which is all that tiling the style loss needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

import kernels
from tiler.geometry import Rect
from tiler.style.backbone import Activations, Backbone, deepest, stride_of


@dataclass(frozen=True)
class GramSums:
    """Gram sums of some layers over one box. sums[layer]: [C, C]; cells[layer]: feature cells counted."""

    sums: dict[str, torch.Tensor]
    cells: dict[str, int]

    def __post_init__(self) -> None:
        if self.sums.keys() != self.cells.keys() or any(n < 1 for n in self.cells.values()):
            raise ValueError(f"layers {sorted(self.sums)} with cells {self.cells}: every layer needs at least one cell")

    def normalised(self) -> dict[str, torch.Tensor]:
        """Grams per feature cell, [C, C] each."""
        return {layer: total / self.cells[layer] for layer, total in self.sums.items()}


@dataclass(frozen=True)
class StyleTarget:
    """grams[layer]: the Gram to reach, [C, C]. energies[layer]: mean square of the style's features, which is the unit
    in which content differences are measured."""

    grams: dict[str, torch.Tensor]
    energies: dict[str, float]

    @classmethod
    def blended(cls, grams: Sequence[dict[str, torch.Tensor]], weights: Sequence[float]) -> StyleTarget:
        """One target for several styles: the weighted mean of their Grams. Its loss differs from the weighted sum of
        the single losses by a constant only. weights: non-negative, not all 0."""
        share = [w / sum(weights) for w in weights]
        pairs = list(zip(share, grams, strict=True))
        mean = {layer: torch.stack([w * g[layer] for w, g in pairs]).sum(0) for layer in grams[0]}
        return cls(mean, {layer: float(g.diagonal().mean()) for layer, g in mean.items()})


def measure(activations: Activations, layers: Iterable[str], box: Rect) -> GramSums:
    """Gram sums over `box`, in pixels relative to the activations' input and starting on multiples of the stride."""
    sums, cells = {}, {}
    for layer in layers:
        inner = box.strided(stride_of(layer))
        sums[layer] = kernels.gram_sums(activations[layer], (inner.y0, inner.x0, inner.y1, inner.x1))
        cells[layer] = inner.height * inner.width
    return GramSums(sums, cells)


def level_cells(layer: str, height: int, width: int) -> int:
    """Feature cells of a whole level."""
    stride = stride_of(layer)
    return -(-height // stride) * -(-width // stride)


def measure_pixels(backbone: Backbone, pixels: torch.Tensor, layers: Sequence[str], box: Rect) -> GramSums:
    """pixels [3, H, W] in 0..1 -> Gram sums over `box`; only the forward pass runs."""
    return measure(backbone.forward(pixels, to=deepest(layers)), layers, box)
