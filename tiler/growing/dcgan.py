"""DCGAN (Radford et al. 2015), as in its paper: scenes of 64 px, each from 100 numbers. On a plane each cell is one."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from tiler.geometry import Rect
from tiler.growing.architecture import Architecture, Judgement, Numbers
from tiler.growing.noise import Noise

CELL, LATENTS = 64, 100
# Channels of each layer of 4, 8, 16 and 32 px, in multiples of the finest's.
_TIMES = (8, 4, 2, 1)
_SLOPE, _DEVIATION = 0.2, 0.02


def _initialised(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0, _DEVIATION)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1, _DEVIATION)
    return module


class Generator(nn.Module):
    """See `Architecture.generator`. channels: of the layer of 32 px; 128 in the paper."""

    def __init__(self, channels: int, lands: int) -> None:
        super().__init__()
        widths = [times * channels for times in _TIMES]
        first = nn.ConvTranspose2d(LATENTS + (lands if lands > 1 else 0), widths[0], 4, 1, 0, bias=False)
        layers: list[nn.Module] = [first, nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for before, after in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers.append(nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1))
        self.layers = _initialised(nn.Sequential(*layers))

    def forward(self, numbers: Numbers, box: Rect) -> torch.Tensor:
        n, channels, height, width = numbers.cells.shape
        each = numbers.cells.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
        # Colours have a deviation of 1 here: tanh, which ends at 1, would not reach the brighter ones.
        scenes = 3 * torch.tanh(self.layers(each) / 3)
        plane = scenes.reshape(n, height, width, 3, CELL, CELL).permute(0, 3, 1, 4, 2, 5)
        plane = plane.reshape(n, 3, height * CELL, width * CELL)
        y, x = box.y0 % CELL, box.x0 % CELL
        return plane[:, :, y : y + box.height, x : x + box.width]


class Discriminator(nn.Module):
    def __init__(self, channels: int, lands: int) -> None:
        super().__init__()
        widths = [times * channels for times in _TIMES[::-1]]
        layers: list[nn.Module] = [
            nn.Conv2d(3 + (lands if lands > 1 else 0), widths[0], 4, 2, 1),
            nn.LeakyReLU(_SLOPE),
        ]
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(_SLOPE)]
        layers.append(nn.Conv2d(widths[-1], 1, 4))
        self.layers = _initialised(nn.Sequential(*layers))

    def forward(self, pixels: torch.Tensor) -> Judgement:
        return [self.layers(pixels)]


class Dcgan(Architecture):
    name = "dcgan"
    cell = window = CELL
    channels, patch, batch = 128, CELL, 32
    rates, betas = (2e-4, 2e-4), (0.5, 0.999)
    matched = textured = 0.0

    def generator(self, channels: int, lands: int) -> nn.Module:
        return Generator(channels, lands)

    def discriminator(self, channels: int, lands: int) -> nn.Module:
        return Discriminator(channels, lands)

    def cells(self, box: Rect) -> Rect:
        whole = box.aligned(CELL)
        return Rect(whole.y0 // CELL, whole.x0 // CELL, whole.y1 // CELL, whole.x1 // CELL)

    def numbers(self, noise: Noise, box: Rect) -> Numbers:
        return Numbers(torch.from_numpy(noise.nodes(0, self.cells(box), LATENTS, 1))[None], [])

    def seen(self, discriminator: nn.Module, real: torch.Tensor, made: torch.Tensor) -> tuple[Judgement, Judgement]:
        """Apart, as the generator's step shows it made ones alone: of a batch of both the norms are others, and what is
        found by them says nothing there."""
        return discriminator(real), discriminator(made)

    def judged(self, real: Judgement, fake: Judgement) -> torch.Tensor:
        losses = [F.softplus(-a).mean() + F.softplus(b).mean() for a, b in zip(real, fake, strict=True)]
        return torch.stack(losses).sum()

    def liked(self, fake: Judgement) -> torch.Tensor:
        return torch.stack([F.softplus(-one).mean() for one in fake]).sum()
