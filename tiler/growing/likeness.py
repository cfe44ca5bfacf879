"""How near a land comes to its photos as a whole, by what the engine's own network sees in both.

A contest of two networks goes on for ever, and what comes of it gets worse as well as better: losses don't say which.
So the land is looked at now and then, and the best of what was seen is kept. In a quarter of an hour on one picture the
distance below rose and fell by half, and with it, in step (rank correlation 0.83 over 22 looks), the sliced Wasserstein
distance of features that it does not use (measured before a generator learned from textures, too).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from tiler.geometry import Rect
from tiler.growing.land import Facts
from tiler.growing.noise import Plane
from tiler.growing.photos import Photos
from tiler.growing.texture import LAYERS, backbone
from tiler.style.grams import measure_pixels

# Pixels of windows laid side by side, of all lands together, and of one land at least. With a third of them the
# correlation above was 0.47.
_LENGTH, _LEAST = 24 * 256, 8 * 256
# Pixels between two windows of the plane, so that they have nothing in common.
_APART = 4096


class Likeness:
    """Of what generators grow to these photos; each land for itself. The windows are always the same."""

    def __init__(self, facts: Facts, photos: Photos, device: str) -> None:
        self._facts, self._device, lands = facts, device, len(facts.lands)
        self._side = facts.kind.window
        self._count = max(_LEAST, _LENGTH // lands) // self._side
        self._backbone = backbone(device)
        self._photos = [self._grams(self._drawn(photos, land)) for land in range(lands)]

    def distance(self, generator: nn.Module) -> float:
        """Mean over lands and layers of ||G - A||^2 / ||A||^2, of Gram matrices of the growth and of the photo; 0 where
        both are alike. generator: in evaluation mode."""
        found = []
        for land, grams in enumerate(self._photos):
            grown = self._grams(self._grown(generator, land))
            found += [(one - grams[layer]).square().sum() / grams[layer].square().sum() for layer, one in grown.items()]
        return float(torch.stack(found).mean())

    def _drawn(self, photos: Photos, land: int) -> Iterator[torch.Tensor]:
        """Twice as many, since they are looked at once."""
        rng = np.random.default_rng([self._facts.seed, land])
        side = min(self._side, *photos.pixels[land].shape[1:])
        for _ in range(2 * self._count):
            yield photos.drawn(rng, side, [land])[0]

    def _grown(self, generator: nn.Module, land: int) -> Iterator[torch.Tensor]:
        facts, plane = self._facts, Plane(self._facts.seed)
        shares = torch.eye(len(facts.lands), device=self._device)[land][None, :, None, None]
        for number in range(self._count):
            box = Rect(0, number * _APART, self._side, number * _APART + self._side)
            with torch.no_grad():
                units = generator(facts.kind.numbers(plane, box).to(self._device).of(shares), box)
            yield facts.colours.pixels(units)[0]

    def _grams(self, windows: Iterator[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Means over windows [3, h, w] in 0..1."""
        found = [
            measure_pixels(self._backbone, window.to(self._device), LAYERS, Rect(0, 0, *window.shape[1:])).normalised()
            for window in windows
        ]
        return {layer: torch.stack([one[layer] for one in found]).mean(0) for layer in LAYERS}
