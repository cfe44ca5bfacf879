"""What the kinds of networks have in common, of which one learns to make pictures that the other takes for real."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from tiler.geometry import Rect
from tiler.growing.noise import Noise

# What a discriminator says of a batch: tensors of whatever shape, each as large as the pictures are real.
Judgement = Sequence[torch.Tensor]


class Numbers(NamedTuple):
    """All that boxes of pixels are made of. cells: [n, latents, h, w], and after these the share of each land, where
    there are several. own: what else an architecture needs, [n, 1, h, w] each."""

    cells: torch.Tensor
    own: list[torch.Tensor]

    def of(self, shares: torch.Tensor) -> Numbers:
        """With the lands' shares, [n, lands, h, w] or the same for all cells, where there are several."""
        if shares.shape[1] == 1:
            return self
        spread = shares.expand(len(self.cells), -1, *self.cells.shape[2:])
        return Numbers(torch.cat([self.cells, spread], 1), self.own)

    def to(self, device: str) -> Numbers:
        return Numbers(self.cells.to(device), [one.to(device) for one in self.own])

    @classmethod
    def joined(cls, many: Sequence[Numbers]) -> Numbers:
        """Of several boxes of one size and one place in their cells."""
        own = zip(*(one.own for one in many), strict=True)
        return cls(torch.cat([one.cells for one in many]), [torch.cat(list(parts)) for parts in own])


class Architecture(ABC):
    """cell: its side in pixels. window: side of the pictures by which it is looked at (see `likeness`), each of them
    one as a whole. channels, patch (its side in pixels), batch: what is chosen where nothing is said. rates, betas: of
    the generator's and the discriminator's Adam, and of both. matched, textured: the weights that the generator gives
    to how its small patches look (see `matching`) and to their texture (see `texture`), beside the discriminator's
    judgement."""

    name: str
    cell: int
    window: int
    channels: int
    patch: int
    batch: int
    rates: tuple[float, float]
    betas: tuple[float, float]
    matched: float
    textured: float

    @abstractmethod
    def generator(self, channels: int, lands: int) -> nn.Module:
        """A module of (Numbers, box) that gives [n, 3, h, w] of the box's pixels, in units of the land's colours.
        lands: how many kinds of land it knows."""

    @abstractmethod
    def discriminator(self, channels: int, lands: int) -> nn.Module:
        """A module of pixels [n, 3, h, w], which planes with the lands' shares follow where there are several, that
        gives a Judgement."""

    @abstractmethod
    def cells(self, box: Rect) -> Rect:
        """Those that a box of pixels is made from."""

    @abstractmethod
    def numbers(self, noise: Noise, box: Rect) -> Numbers:
        """Of one box, without shares."""

    def seen(self, discriminator: nn.Module, real: torch.Tensor, made: torch.Tensor) -> tuple[Judgement, Judgement]:
        """What it says of as many real and made pictures, in one pass."""
        found = discriminator(torch.cat([real, made]))
        return [one[: len(real)] for one in found], [one[len(real) :] for one in found]

    @abstractmethod
    def judged(self, real: Judgement, fake: Judgement) -> torch.Tensor:
        """The discriminator's loss."""

    @abstractmethod
    def liked(self, fake: Judgement) -> torch.Tensor:
        """The generator's loss."""
