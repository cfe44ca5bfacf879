"""The objective, the same at every resolution: relative, per-pixel terms over the whole level.

    L = style_weight * sum_r share_r * mean_l ||G_rl - A_rl||^2 / ||A_rl||^2
      + content_weight * mean_l mean(w_l (F_l - C_l)^2) / energy_l
      + tv_weight * mean over pixels of |forward differences|^2
      - dream_weight * mean(F_d^2) / energy_d

The last term is DeepDream's (Mordvintsev et al. 2015): whatever layer d, or one channel of it, sees is amplified.
G_r is taken over region r of the whole level (all of it where nothing is guided), A_r from the region's styles, the
energies from all. w_l weighs the cells: 1, and more where the content is to be kept. A region's share is that of its
area, so that a pixel's style weighs as much against its content in a small region as in a large one. Since each term is
a relative error or a mean per pixel, no term's balance changes with the size, and a small preview minimises what the
poster minimises.
Gradients are those of L times the level's pixels: of order 1 at any size, which keeps Adam's epsilon and half
precision out of trouble.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch

import kernels
from tiler.geometry import Rect
from tiler.style.backbone import Activations, stride_of
from tiler.style.grams import StyleTarget
from tiler.style.guides import EVERYWHERE, Areas, Guides, level_cells


@dataclass(frozen=True)
class Dream:
    """What is amplified: a layer, or one channel of it."""

    layer: str
    channel: int | None
    weight: float


@dataclass(frozen=True)
class Objective:
    """What one level minimises. target, areas: of every region, the target's tensors on the backbone's device.
    height, width: the level's pixels."""

    target: StyleTarget
    style_layers: tuple[str, ...]
    content_layers: tuple[str, ...]
    style_weight: float
    content_weight: float
    tv_weight: float
    height: int
    width: int
    areas: Areas
    dream: Dream | None = None

    def within(self, regions: Sequence[int]) -> Objective:
        """The same objective as a tile sees it that holds only some regions."""
        if len(regions) == len(self.areas.shares):
            return self
        grams = {layer: gram[list(regions)] for layer, gram in self.target.grams.items()}
        return replace(self, target=replace(self.target, grams=grams), areas=self.areas.within(regions))

    def style_terms(self, grams: dict[str, torch.Tensor]) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        """(relative error, slopes) of each layer, for the regions' Grams [R, C, C] of the whole level.

        The error is the regions' mean by share. slopes [R, C, C] are dL/dG, times the mean weight of a cell in place of
        the region's own, so that one scale (`style_scale`) leads from each to the features' gradient.
        """
        errors, slopes = {}, {}
        weight, shares = self.style_weight / len(self.style_layers), self.areas.shares
        for layer in self.style_layers:
            weights = [weight * share for share in shares]
            loss, slope = kernels.style_term(grams[layer], self.target.grams[layer], weights)
            cells = level_cells(layer, self.height, self.width)
            factor = slope.new_tensor([cells / area if area else 0.0 for area in self.areas.weights[layer]])
            slopes[layer] = slope.mul_(factor[:, None, None])
            errors[layer] = float(loss.sum()) / (weight * sum(shares)) if weight else 0.0
        return errors, slopes

    def style_scale(self, layer: str) -> float:
        return self.height * self.width / level_cells(layer, self.height, self.width)

    def content_scale(self, layer: str, channels: int) -> float:
        """Factor of ||F - C||^2 summed over cells; dark styles have an energy near 0, hence the floor."""
        energy = max(self.target.energies[layer], 1e-12)
        return self.content_weight / len(self.content_layers) / (channels * energy) * self.style_scale(layer)

    def _content(
        self,
        features: torch.Tensor,
        wanted: torch.Tensor,
        layer: str,
        inner: tuple[slice, slice],
        weights: torch.Tensor | None,
    ) -> tuple[torch.Tensor, float]:
        """(gradient of features [C, h, w], loss of their inner box)."""
        scale, difference = self.content_scale(layer, len(features)), features - wanted
        wide = torch.promote_types(difference.dtype, torch.float32)
        squares = difference[(slice(None), *inner)].to(wide).pow(2)
        if weights is not None:
            squares *= weights[(slice(None), *inner)].to(wide)
            difference *= weights.to(difference.dtype)
        loss = scale * float(squares.sum()) / (self.height * self.width)
        return difference.mul_(2 * scale), loss

    def _dream(self, features: torch.Tensor, inner: tuple[slice, slice]) -> tuple[torch.Tensor, float]:
        """(gradient of features [C, h, w], loss of their inner box)."""
        assert self.dream is not None
        seen = slice(None) if self.dream.channel is None else slice(self.dream.channel, self.dream.channel + 1)
        energy = max(self.target.energies[self.dream.layer], 1e-12)
        scale = -self.dream.weight / (len(features[seen]) * energy) * self.style_scale(self.dream.layer)
        gradient = torch.zeros_like(features)
        gradient[seen] = features[seen] * (2 * scale)
        wide = torch.promote_types(features.dtype, torch.float32)
        loss = scale * float(features[(seen, *inner)].to(wide).pow(2).sum()) / (self.height * self.width)
        return gradient, loss

    def features_gradient(
        self,
        activations: Activations,
        slopes: dict[str, torch.Tensor],
        content: dict[str, torch.Tensor],
        core: Rect,
        guides: Guides = EVERYWHERE,
        content_weights: Mapping[str, torch.Tensor] = MappingProxyType({}),
    ) -> tuple[torch.Tensor, float]:
        """Back-propagate the style, content and dream terms; consumes `activations`.

        content_weights: of a content layer's cells, [1, h, w]; 1 where it is not in there. core: the tile's core in the
        read area's pixels. Returns (gradient of the read area's pixels [3, h, w], content and dream loss of the core,
        which adds over tiles).
        """
        content_loss = 0.0

        def inject(layer: str, features: torch.Tensor, grad: torch.Tensor | None) -> torch.Tensor | None:
            nonlocal content_loss
            if layer in content:
                difference, loss = self._content(
                    features, content[layer], layer, core.strided(stride_of(layer)).slices, content_weights.get(layer)
                )
                content_loss += loss
                grad = difference if grad is None else grad.add_(difference)
            if self.dream and layer == self.dream.layer:
                dreamt, loss = self._dream(features, core.strided(stride_of(layer)).slices)
                content_loss += loss
                grad = dreamt if grad is None else grad.add_(dreamt)
            if layer in slopes:
                plane = guides.at(layer)
                slope = slopes[layer][0] if plane is None else slopes[layer]
                return kernels.gram_backward_(grad, features, slope, self.style_scale(layer), plane)
            if grad is not None:
                torch.ops.aten.threshold_backward.grad_input(grad, features, 0, grad_input=grad)
            return grad

        return activations.backward(inject), content_loss

    def smoothness(self, pixels: torch.Tensor, core: Rect) -> tuple[torch.Tensor, float]:
        """Total variation (squared forward differences) of pixels [3, h, w] -> (gradient, loss of the core)."""
        gradient = torch.zeros_like(pixels)
        loss = 0.0
        for axis, here, last in ((1, core.slices, pixels.shape[1]), (2, core.slices, pixels.shape[2])):
            steps = pixels.diff(dim=axis)
            gradient.narrow(axis, 1, last - 1).add_(steps, alpha=2 * self.tv_weight)
            gradient.narrow(axis, 0, last - 1).sub_(steps, alpha=2 * self.tv_weight)
            loss += float(steps[(slice(None), *here)].pow(2).sum())
        return gradient, self.tv_weight * loss / (self.height * self.width)
