"""The objective, the same at every resolution: relative, per-pixel terms over the whole level.

    L = style_weight * sum_r share_r * mean_l D(G_rl, A_rl)
      + content_weight * mean_l mean(w_l (F_l - C_l)^2) / energy_l
      + tv_weight * mean over pixels of |forward differences|^2
      + mean over pixels and both directions of chroma_weight * log(1 + u / g) + light_weight * log(g)
      + lines * mean over pixels of e |forward differences of the pixels less the recoloured content|^2
      - dream_weight * mean(F_d^2) / energy_d

The last term is DeepDream's (Mordvintsev et al. 2015): whatever layer d, or one channel of it, sees is amplified.
D is ||G - A||^2 / ||A||^2, or another of `tiler.style.statistics`. G_r is taken over region r of the whole level (all
of it where nothing is guided), A_r from the region's styles. energy_l is the mean square of the features of the styles
of the cell's region, for the dream of all styles: what is next to nothing on land is much at sea. w_l weighs the cells:
1, and more where the content is to be kept. A region's share is that of its area, so that a pixel's style weighs as
much against its content in a small region as in a large one. Since each term is a relative error or a mean per pixel,
no term's balance changes with the size, and a small preview minimises what the poster minimises.
u is the square of a forward difference less its mean over R, G and B, over the mean of that in the styles of the
pixel's region; g is 1 + the square of the rest over their mean of that, and held where u is over it: what changes in
colour alone, and by little, is a speck. Large changes add little more than small ones: what a style has of them goes
where there are some.
e is how much of an edge the content has at a pixel (see `lines_of`). It is compared in the style's colours: sea that is
paler than land may be darker in the style, and the line between them is where it was.
Gradients are those of L times the level's pixels: of order 1 at any size, which keeps Adam's epsilon and half
precision out of trouble. Losses are tensors on the backbone's device: whoever reads one waits for a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import torch

import kernels
from tiler.geometry import Rect
from tiler.style.backbone import Activations
from tiler.style.grams import StyleTarget
from tiler.style.guides import EVERYWHERE, Areas, Guides, level_cells, pooled
from tiler.style.layers import stride_of
from tiler.style.roughness import spread
from tiler.style.statistics import style_term
from tiler.style.terms import Terms

# A difference between neighbours, as a length in RGB, that is half an edge.
_FAINT = 0.1
# Least mean square of features that anything is divided by.
_DARK = 1e-12


def lines_of(content: torch.Tensor, recoloured: torch.Tensor) -> torch.Tensor:
    """[4, h, w]: a content [3, h, w] in the style's colours, and how much of an edge it has at each pixel, 0..1: its
    forward differences' squares over these and _FAINT's."""
    steep = torch.zeros_like(content[:1])
    for axis in (1, 2):
        steps = content.diff(dim=axis).square().sum(0, keepdim=True)
        steep.narrow(axis, 0, steps.shape[axis]).add_(steps)
    return torch.cat([recoloured, steep / (steep + _FAINT**2)])


@dataclass(frozen=True)
class Objective:
    """What one level minimises. target, areas: of every region, the target's tensors on the backbone's device.
    height, width: the level's pixels. grey: whether only pixels without colour are looked for."""

    target: StyleTarget
    terms: Terms
    height: int
    width: int
    areas: Areas
    grey: bool = False

    def within(self, regions: Sequence[int]) -> Objective:
        """The same objective as a tile sees it that holds only some regions."""
        if len(regions) == len(self.areas.shares):
            return self
        key = tuple(regions)
        if key not in self._parts:
            grams = {layer: gram[list(regions)] for layer, gram in self.target.grams.items()}
            units, areas = tuple(self.target.units[region] for region in regions), self.areas.within(regions)
            self._parts[key] = replace(self, target=replace(self.target, grams=grams, units=units), areas=areas)
        return self._parts[key]

    @cached_property
    def _parts(self) -> dict[tuple[int, ...], Objective]:
        """By regions: what each has on the device is sent there once, and not in every round of every tile."""
        return {}

    @cached_property
    def _shares(self) -> torch.Tensor:
        """[R] on the device, once: a copy to it in each step would wait for it."""
        gram = self.target.grams[self.terms.style_layers[0]]
        return gram.new_tensor(self.areas.shares)

    @cached_property
    def _roughness(self) -> torch.Tensor:
        """[R, 2], likewise."""
        gram = self.target.grams[self.terms.style_layers[0]]
        return gram.new_tensor([units.roughness for units in self.target.units])

    def usual(self, planes: torch.Tensor | None) -> torch.Tensor:
        """How much neighbours differ in the styles, in chroma and light: of each pixel of the guides [R, h, w]
        [2, h, w], of all alike [2, 1, 1]."""
        return spread(self._roughness, planes)

    def content_weights(self, planes: torch.Tensor | None, protected: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """How much the content counts in the cells of its layers [1, h, w], beside `content_scale`; empty where all
        count alike. planes: guides [R, h, w]; protected: how much of a pixel's content is to be kept [1, h, w]."""
        layers: tuple[str, ...] = self.terms.compared
        found: dict[str, torch.Tensor] = {}
        if planes is not None:
            for layer, cells in pooled(planes, layers).items():
                factors = [self.energy(layer) / max(one.energies[layer], _DARK) for one in self.target.units]
                found[layer] = (cells * cells.new_tensor(factors)[:, None, None]).sum(0, keepdim=True)
        if protected is not None:
            for layer, cells in pooled(protected, layers).items():
                found[layer] = found.get(layer, 1) * (1 + self.terms.protect_strength * cells)
        return found

    def energy(self, layer: str) -> float:
        """Mean square of the styles' features; dark styles have one near 0, hence the floor."""
        return max(self.target.energies[layer], _DARK)

    @cached_property
    def _densities(self) -> dict[str, torch.Tensor]:
        """Of each layer [R, 1, 1]: a region's share, times the mean weight of a cell over the region's own."""
        found = {}
        for layer in self.terms.style_layers:
            cells = level_cells(layer, self.height, self.width)
            pairs = zip(self.areas.shares, self.areas.weights[layer], strict=True)
            factors = [share * cells / area if area else 0.0 for share, area in pairs]
            found[layer] = self.target.grams[layer].new_tensor(factors)[:, None, None]
        return found

    def style_terms(self, grams: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """(relative error [], slopes) of each layer, for the regions' statistics [R, C or C + 1, C] of the whole level.

        The error is the regions' mean by share. slopes, as many, are dL/dG and dL/dmu, times the mean weight of a cell
        in place of the region's own, so that one scale (`style_scale`) leads from each to the features' gradient.
        """
        errors, slopes = {}, {}
        layers, shares = self.terms.style_layers, sum(self.areas.shares)
        weight = self.terms.style_weight / len(layers)
        for layer in layers:
            loss, slope = style_term(self.terms.statistics, grams[layer], self.target.grams[layer], weight)
            slopes[layer] = slope.mul_(self._densities[layer])
            errors[layer] = (loss * self._shares).sum() / (weight * shares) if weight else loss.new_zeros(())
        return errors, slopes

    def style_scale(self, layer: str) -> float:
        return self.height * self.width / level_cells(layer, self.height, self.width)

    def _per_pixel(self, scale: float) -> float:
        return scale / (self.height * self.width)

    def content_scale(self, layer: str, channels: int) -> float:
        """Factor of ||F - C||^2 summed over cells."""
        weight = self.terms.content_weight / len(self.terms.content_layers)
        return weight / (channels * self.energy(layer)) * self.style_scale(layer)

    def _content(
        self,
        grad: torch.Tensor,
        features: torch.Tensor,
        wanted: torch.Tensor,
        layer: str,
        cells: Rect,
        weights: torch.Tensor | None,
        alone: bool,
    ) -> torch.Tensor:
        """Add the term's gradient to that of features [C, h, w], with the ReLU's mask where it is the layer's only
        term; the loss of the cells in `cells`."""
        box = (cells.y0, cells.x0, cells.y1, cells.x1)
        scale = self.content_scale(layer, len(features))
        return kernels.content_term_(grad, features, wanted, scale, box, weights, alone) * self._per_pixel(1)

    def _dream(self, features: torch.Tensor, inner: tuple[slice, slice]) -> tuple[torch.Tensor, torch.Tensor]:
        """(gradient of features [C, h, w], loss of their inner box)."""
        dream = self.terms.dream
        assert dream is not None
        seen = slice(None) if dream.channel is None else slice(dream.channel, dream.channel + 1)
        scale = -dream.weight / (len(features[seen]) * self.energy(dream.layer)) * self.style_scale(dream.layer)
        gradient = torch.zeros_like(features)
        gradient[seen] = features[seen] * (2 * scale)
        wide = torch.promote_types(features.dtype, torch.float32)
        loss = features[(seen, *inner)].to(wide).pow(2).sum() * self._per_pixel(scale)
        return gradient, loss

    def features_gradient(
        self,
        activations: Activations,
        slopes: dict[str, torch.Tensor],
        content: Mapping[str, torch.Tensor],
        core: Rect,
        guides: Guides = EVERYWHERE,
        content_weights: Mapping[str, torch.Tensor] = MappingProxyType({}),
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Back-propagate the style, content and dream terms; consumes `activations`.

        content_weights: of a content layer's cells, [1, h, w]; 1 where it is not in there. core: the tile's core in the
        read area's pixels. Returns (gradient of the read area's pixels [3, h, w], content and dream loss of the core
        [], which adds over tiles).
        """
        dreamt = self.terms.dream.layer if self.terms.dream else None
        parts: list[torch.Tensor] = []

        def inject(layer: str, features: torch.Tensor, grad: torch.Tensor | None) -> torch.Tensor:
            cells = core.strided(stride_of(layer))
            masked = layer not in slopes and layer != dreamt
            if layer in content:
                grad = torch.zeros_like(features) if grad is None else grad
                weights = content_weights.get(layer)
                parts.append(self._content(grad, features, content[layer], layer, cells, weights, masked))
            if layer == dreamt:
                gradient, loss = self._dream(features, cells.slices)
                parts.append(loss)
                grad = gradient if grad is None else grad.add_(gradient)
            if layer in slopes:
                plane = guides.at(layer)
                slope = slopes[layer][0] if plane is None else slopes[layer]
                return kernels.gram_backward_(grad, features, slope, self.style_scale(layer), plane)
            assert grad is not None
            if not masked:
                torch.ops.aten.threshold_backward.grad_input(grad, features, 0, grad_input=grad)
            return grad

        terms = {*slopes, *content, *([dreamt] if dreamt else [])}
        gradient = activations.backward(inject, terms)
        return gradient, torch.stack(parts).sum() if parts else gradient.new_zeros((), dtype=torch.float32)

    def keep_lines_(
        self, gradient: torch.Tensor, pixels: torch.Tensor, wanted: torch.Tensor, core: Rect
    ) -> torch.Tensor:
        """Add the lines' gradient to one of pixels [3, h, w]; their loss in the core []. wanted: see `lines_of`."""
        apart, strength, total = pixels - wanted[:3], wanted[3:], pixels.new_zeros(())
        for axis, last in ((1, pixels.shape[1]), (2, pixels.shape[2])):
            steps = apart.diff(dim=axis)
            weighted = steps * strength.narrow(axis, 0, last - 1)
            slope = weighted * (2 * self.terms.lines)
            gradient.narrow(axis, 1, last - 1).add_(slope)
            gradient.narrow(axis, 0, last - 1).sub_(slope)
            total += self.terms.lines * (weighted * steps)[(slice(None), *core.slices)].sum()
        return total * self._per_pixel(1)

    @property
    def _variation(self) -> tuple[float, float, float]:
        """Weights of the total variation and, for the sum over both directions, of chroma's and light's changes."""
        return self.terms.tv_weight, self.terms.chroma_weight / 2, self.terms.light_weight / 2

    def smoothness(self, pixels: torch.Tensor, core: Rect, usual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Total variation (squared forward differences) of pixels [3, h, w], and their changes of chroma and light ->
        (gradient, loss of the core []). usual: see `usual`."""
        usual = usual.expand(2, *pixels.shape[1:])
        gradient, total = torch.zeros_like(pixels), pixels.new_zeros(())
        smooth, chroma, light = self._variation
        for axis, last in ((1, pixels.shape[1]), (2, pixels.shape[2])):
            steps = pixels.diff(dim=axis)
            units = usual.narrow(axis, 0, steps.shape[axis])
            changes, along = kernels.changes(steps, chroma, light, units)
            slope = steps * (2 * smooth) + along
            gradient.narrow(axis, 1, last - 1).add_(slope)
            gradient.narrow(axis, 0, last - 1).sub_(slope)
            total += smooth * steps[(slice(None), *core.slices)].pow(2).sum() + changes[core.slices].sum()
        return gradient, total * self._per_pixel(1)

    def descend_(
        self,
        pixels: torch.Tensor,
        moments: tuple[torch.Tensor, torch.Tensor],
        gradient: torch.Tensor,
        pace: torch.Tensor,
        betas: tuple[float, float],
        epsilon: float,
        blend: Rect,
        core: Rect,
        usual: torch.Tensor,
    ) -> torch.Tensor:
        """One update by Adam of the pixels [3, h, w] in `blend`, along the other terms' gradient there and the
        variations', all in one pass; the variations' loss of the core [], before it. pace: see
        `kernels.adam_step_`; usual: see `usual`."""
        inner, kept = ((box.y0, box.x0, box.y1, box.x1) for box in (blend, core))
        smooth, chroma, light = self._variation
        variation = kernels.adam_step_(
            pixels, *moments, gradient, pace, betas, epsilon, smooth, chroma, inner, kept, usual, light
        )
        return variation * self._per_pixel(1)
