"""Statistics that add over tiles, and the style's target.

Normalised Grams G = F F^T / (H*W) as in Gatys et al. 2016, or sum_p g(p) f(p) f(p)^T / sum_p g(p) of a region with the
guide g (Gatys et al. 2017); the unnormalised sum over a box is a *Gram sum*. Sums of disjoint boxes add up to the sum
of their union, which is all that tiling the style loss needs. So do sums of the features themselves, which follow the
Gram sums as a row more where they are compared: [C + 1, C] for [C, C] (see `tiler.style.statistics`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

import kernels
from tiler.geometry import Rect
from tiler.style.backbone import Activations, Backbone
from tiler.style.guides import EVERYWHERE, Guides
from tiler.style.layers import deepest, stride_of


@dataclass(frozen=True)
class GramSums:
    """Sums of some layers over one box, of the regions that lie there. sums[layer]: [R, C, C], or [R, C + 1, C] with
    the features' own. weights[layer]: [R], the sum of each guide over the box; the number of feature cells where
    nothing is guided."""

    sums: dict[str, torch.Tensor]
    weights: dict[str, torch.Tensor]

    def __post_init__(self) -> None:
        weights = {layer: len(weight) for layer, weight in self.weights.items()}
        if weights != {layer: len(total) for layer, total in self.sums.items()}:
            raise ValueError(f"layers {sorted(self.sums)} with weights of {weights} regions: each Gram sum needs one")

    def copied(self) -> GramSums:
        """The same in memory of its own."""
        return GramSums(*({layer: one.clone() for layer, one in part.items()} for part in (self.sums, self.weights)))

    def take(self, other: GramSums) -> None:
        """Become another's, in place."""
        for mine, its in ((self.sums, other.sums), (self.weights, other.weights)):
            for layer, one in mine.items():
                one.copy_(its[layer])

    def normalised(self) -> dict[str, torch.Tensor]:
        """Grams, and the features' means where their sums are there, shaped as the sums."""
        return {layer: total / self.weights[layer].to(total)[:, None, None] for layer, total in self.sums.items()}


@dataclass(frozen=True)
class Units:
    """What differences in a region are measured in, which is what its styles have. energies[layer]: mean square of
    their features, for the content's. roughness: (chroma, light), for the smoothness of both (see
    `tiler.style.roughness`)."""

    energies: dict[str, float]
    roughness: tuple[float, float]


@dataclass(frozen=True)
class StyleTarget:
    """grams[layer]: the Gram to reach in each region, [R, C, C], and the means [R, C + 1, C]. units: of each region.
    energies[layer]: of all regions, also where these are only some of them."""

    grams: dict[str, torch.Tensor]
    energies: dict[str, float]
    units: tuple[Units, ...]

    @classmethod
    def blended(
        cls,
        grams: Sequence[dict[str, torch.Tensor]],
        roughness: Sequence[tuple[float, float]],
        weights: Sequence[float],
        layer_weights: Sequence[Mapping[str, float]] | None = None,
    ) -> StyleTarget:
        """One region's target from several styles: at every layer the weighted mean of their Grams [1, C, C], and of
        their means [1, C + 1, C]: the moments of their mixture. The loss of Grams differs from the weighted sum of the
        single losses by a constant only. So with their roughness.

        weights: of each style, non-negative. layer_weights: factors to them at some layers, 1 elsewhere. Not all 0 at
        any layer.
        """
        factors = layer_weights or [{}] * len(grams)
        mean = {}
        for layer in grams[0]:
            here = [weight * factor.get(layer, 1.0) for weight, factor in zip(weights, factors, strict=True)]
            pairs = zip(here, grams, strict=True)
            mean[layer] = torch.stack([weight / sum(here) * gram[layer] for weight, gram in pairs]).sum(0)
        energies = {layer: float(gram.diagonal(0, -2, -1).mean()) for layer, gram in mean.items()}
        return cls(mean, energies, (Units(energies, _mean(roughness, weights)),))

    @classmethod
    def joined(cls, regions: Sequence[StyleTarget], shares: Sequence[float]) -> StyleTarget:
        """The target of several regions, in order; energies are their mean by shares, which sum to 1."""
        pairs = list(zip(shares, regions, strict=True))
        return cls(
            {layer: torch.cat([one.grams[layer] for one in regions]) for layer in regions[0].grams},
            {layer: sum(share * one.energies[layer] for share, one in pairs) for layer in regions[0].energies},
            tuple(units for one in regions for units in one.units),
        )


def _mean(pairs: Sequence[tuple[float, float]], weights: Sequence[float]) -> tuple[float, float]:
    first, second = (
        sum(weight * pair[n] for weight, pair in zip(weights, pairs, strict=True)) / sum(weights) for n in (0, 1)
    )
    return first, second


def measure(
    backbone: Backbone,
    pixels: torch.Tensor,
    layers: Sequence[str],
    box: Rect,
    guides: Guides = EVERYWHERE,
    to: str | None = None,
    means: bool = False,
) -> tuple[Activations, GramSums]:
    """The forward pass of pixels [3, H, W] in 0..1, up to layer `to`, and on its way the Gram sums over `box`, which is
    in pixels and starts on multiples of the stride; with `means` the features' own, too."""
    found: dict[str, torch.Tensor] = {}
    cells = {layer: box.strided(stride_of(layer)) for layer in layers}

    def see(layer: str, features: torch.Tensor) -> None:
        if layer in cells:
            inner = cells[layer]
            of = (inner.y0, inner.x0, inner.y1, inner.x1) if inner.area else None
            total = kernels.gram_sums(features, of, guides.at(layer), means)
            total = total if inner.area else torch.zeros_like(total)
            found[layer] = total.view(-1, *total.shape[-2:])

    activations = backbone.forward(pixels, to, see)
    weights = {layer: guides.weights(layer, cells[layer]) for layer in layers}
    return activations, GramSums({layer: found[layer] for layer in layers}, weights)


def measure_pixels(
    backbone: Backbone,
    pixels: torch.Tensor,
    layers: Sequence[str],
    box: Rect,
    guides: Guides = EVERYWHERE,
    means: bool = False,
) -> GramSums:
    """As `measure`, where only the sums are wanted."""
    return measure(backbone, pixels, layers, box, guides, deepest(layers), means)[1]
