"""How the texture of made pictures differs from the photos', as the engine's own network sees both: the statistics that
a render brings nearer, here of what a generator makes (texture networks: Ulyanov et al. 2016).

They are those of what was made lately, since a handful of patches is no fair sample of a photo with seas and mountains:
each alone would have to be a bit of everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np
import torch

from tiler.geometry import Rect
from tiler.growing.land import Facts
from tiler.growing.photos import Photos
from tiler.request.config import RenderConfig
from tiler.style.backbone import DTYPES, Activations, Backbone, best_precision
from tiler.style.grams import GramSums, StyleTarget, measure
from tiler.style.guides import Areas
from tiler.style.losses import Objective
from tiler.style.terms import Terms
from tiler.style.weights import load_weights

LAYERS = RenderConfig.style_layers
_TERMS = Terms(LAYERS, (), 1.0, 0.0, 0.0, statistics="moments")
# Patches that photos are measured by: of all together at most, and as many pixels; of one at least.
_PATCHES, _PIXELS, _LEAST = 64, 2**20, 8


@cache
def backbone(device: str) -> Backbone:
    """What sees photos and what is made of them."""
    return Backbone(load_weights("bundled"), LAYERS, "avg", DTYPES[best_precision(device)], device)


class Textures:
    """lately[land][layer]: running means of the statistics [1, C + 1, C] of what was made of each land; before that
    the photo's own. seen_by: a network with LAYERS; the bundled one."""

    def __init__(self, facts: Facts, photos: Photos, device: str, seen_by: Backbone | None = None) -> None:
        self._backbone, lands = seen_by or backbone(device), len(facts.lands)
        self._box = Rect(0, 0, facts.patch, facts.patch)
        self._objectives = []
        for land in range(lands):
            rng = np.random.default_rng([facts.seed, land])
            count = max(_LEAST, min(_PATCHES, _PIXELS // facts.patch**2) // lands)
            drawn = photos.drawn(rng, facts.patch, [land] * count)
            found = [sums for _, sums in self._measured(drawn.to(self._backbone.device))]
            target = StyleTarget.blended([_mean(found)], [(1.0, 1.0)], [1.0])
            size = self._box.height, self._box.width
            self._objectives.append(Objective(target, _TERMS, *size, Areas.everywhere(LAYERS, *size)))
        self.lately = [dict(objective.target.grams) for objective in self._objectives]

    def mismatch(self, pixels: torch.Tensor, land: int, now: float) -> torch.Tensor:
        """Mean of the layers' relative errors [], 0 where both are alike. pixels: [n, 3, patch, patch] in 0..1, made
        now, which is so much of what was made lately; the gradient is as if all of that changed as they do."""
        objective, before = self._objectives[land], self.lately[land]
        seen = list(self._measured(pixels.detach()))
        own = _mean([sums for _, sums in seen])
        after = {layer: mean.lerp(own[layer], now) for layer, mean in before.items()}
        errors, slopes = objective.style_terms(after)
        gradients = [objective.features_gradient(activations, slopes, {}, self._box)[0] for activations, _ in seen]
        self.lately[land] = after
        along = torch.stack(gradients).to(pixels) / pixels[:, 0].numel()
        pull = (pixels * along).sum()
        return torch.stack([*errors.values()]).mean() + pull - pull.detach()

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on with the running means that `tensors` gave. Raises ValueError."""
        for name, mean in self.tensors().items():
            found = tensors.get(name)
            if found is None or found.shape != mean.shape or not found.isfinite().all():
                raise ValueError(f"what was made lately, {name}, is missing, or of another shape")
            land, layer = name.split("/")
            self.lately[int(land)][layer] = found.to(mean)

    def tensors(self) -> dict[str, torch.Tensor]:
        """By land and layer."""
        return {f"{land}/{layer}": mean for land, means in enumerate(self.lately) for layer, mean in means.items()}

    def _measured(self, pixels: torch.Tensor) -> Iterator[tuple[Activations, GramSums]]:
        return (measure(self._backbone, one, LAYERS, self._box, means=True) for one in pixels)


def _mean(found: list[GramSums]) -> dict[str, torch.Tensor]:
    return {layer: torch.stack([one.normalised()[layer] for one in found]).mean(0) for layer in LAYERS}
