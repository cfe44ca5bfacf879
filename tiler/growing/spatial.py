"""The spatial GAN (Jetchev et al. 2016): a generator whose every pixel is a function of the noise around it alone.

All convolutions are valid ones, without padding, and what is enlarged is enlarged by repetition, so that any box of the
plane comes from the box of noise below it, and is the same pixels whatever else is made with it. The last level makes
the pixels of each of its places at once (Shi et al. 2016), which spares the largest features. Each level adds noise of
its own (Karras et al. 2019), and a cell's numbers are made of a few octaves, the slow ones of which take the place
of PSGAN's global dimensions (Bergmann et al. 2017).
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from tiler.geometry import Rect
from tiler.growing.architecture import Architecture, Judgement, Numbers
from tiler.growing.noise import Noise

CELL = 16
# Channels of a cell's numbers, by how many cells lie between their nodes.
OCTAVES = ((1, 16), (4, 8), (16, 8))
LATENTS = sum(channels for _, channels in OCTAVES)
# Of each level from a cell to two pixels: channels, in multiples of what is asked for, and convolutions.
LEVELS = ((8, 2), (6, 1), (4, 1), (2, 2))
_PIXELS = 2  # along a place of the last level
_STREAM = 16  # of the finest octave; those of the levels' own noise come before it
_SLOPE = 0.2
# Of the noise of the levels, at first: from none (as Karras et al.) it takes many steps until anything is made of it.
_STRENGTH = 0.5


def boxes(box: Rect) -> list[Rect]:
    """What each level must make for a box of pixels, coarsest first; the first is of the cells that it is made from."""
    found = [_places(box).grown(1)]
    for number, (_, convolutions) in enumerate(LEVELS[::-1]):
        need = found[-1].grown(convolutions)
        found.append(_places(need) if number < len(LEVELS) - 1 else need)
    return found[::-1]


def _places(box: Rect) -> Rect:
    """All of the level below, half as fine, that a box comes from."""
    return Rect(box.y0 // 2, box.x0 // 2, -(-box.y1 // 2), -(-box.x1 // 2))


class _Layer(nn.Module):
    """Convolution, noise, leaky ReLU, and each place's features scaled to a mean square of 1 (Karras et al. 2018)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3)
        self.strength = nn.Parameter(_STRENGTH * torch.randn(after, 1, 1))
        nn.init.kaiming_normal_(self.conv.weight, _SLOPE)

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.conv(x) + self.strength * noise, _SLOPE)
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)


class Generator(nn.Module):
    """See `Architecture.generator`. channels: of the finest level."""

    def __init__(self, channels: int, lands: int) -> None:
        super().__init__()
        before = LATENTS + (lands if lands > 1 else 0)
        layers = []
        for times, convolutions in LEVELS:
            for _ in range(convolutions):
                layers.append(_Layer(before, times * channels))
                before = times * channels
        self.layers = nn.ModuleList(layers)
        self.colours = nn.Conv2d(before, 3 * _PIXELS**2, 3)

    def forward(self, numbers: Numbers, box: Rect) -> torch.Tensor:
        x, layers, noise = numbers.cells, iter(self.layers), iter(numbers.own)
        spans = boxes(box)[1:]
        for number, (output, (_, convolutions)) in enumerate(zip(spans, LEVELS, strict=True)):
            if number:
                need, had = output.grown(convolutions), spans[number - 1]
                x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
                y, left = need.y0 - 2 * had.y0, need.x0 - 2 * had.x0
                x = x[:, :, y : y + need.height, left : left + need.width]
            for _ in range(convolutions):
                x = next(layers)(x, next(noise))
        pixels, last = F.pixel_shuffle(self.colours(x), _PIXELS), _places(box)
        y, left = box.y0 - last.y0 * _PIXELS, box.x0 - last.x0 * _PIXELS
        return pixels[:, :, y : y + box.height, left : left + box.width]


class Discriminator(nn.Module):
    """Judges patches at two depths, what is near a pixel and what is around it: a number for each place (Isola et al.
    2017), with spectral norms (Miyato et al. 2018)."""

    def __init__(self, channels: int, lands: int) -> None:
        super().__init__()
        widths = [3 + (lands if lands > 1 else 0), *(times * channels for times in (2, 4, 6, 8))]
        self.convs = nn.ModuleList(
            spectral_norm(nn.Conv2d(before, after, 4, 2, 1)) for before, after in itertools.pairwise(widths)
        )
        self.near, self.far = (spectral_norm(nn.Conv2d(widths[depth], 1, 3)) for depth in (2, 4))

    def forward(self, pixels: torch.Tensor) -> Judgement:
        x, found = pixels, []
        for depth, conv in enumerate(self.convs, 1):
            x = F.leaky_relu(conv(x), _SLOPE)
            if depth == 2:
                found.append(self.near(x))
        return [*found, self.far(x)]


class Spatial(Architecture):
    name = "spatial"
    cell, window = CELL, 256
    channels, patch, batch = 16, 128, 4
    rates, betas = (1e-3, 4e-4), (0.5, 0.99)
    matched, textured = 10.0, 3.0

    def generator(self, channels: int, lands: int) -> nn.Module:
        return Generator(channels, lands)

    def discriminator(self, channels: int, lands: int) -> nn.Module:
        return Discriminator(channels, lands)

    def cells(self, box: Rect) -> Rect:
        return boxes(box)[0]

    def numbers(self, noise: Noise, box: Rect) -> Numbers:
        cells, *outputs = boxes(box)
        octaves = [
            noise.slow(_STREAM + number, cells, channels, spacing)
            if spacing > 1
            else noise.nodes(_STREAM + number, cells, channels, 1)
            for number, (spacing, channels) in enumerate(OCTAVES)
        ]
        own = []
        for number, (output, (_, convolutions)) in enumerate(zip(outputs, LEVELS, strict=True)):
            for left in reversed(range(convolutions)):
                own.append(noise.nodes(number * 2 + left, output.grown(left), 1, 2**number))
        return Numbers(torch.from_numpy(np.concatenate(octaves))[None], [torch.from_numpy(one)[None] for one in own])

    def judged(self, real: Judgement, fake: Judgement) -> torch.Tensor:
        """The hinge loss (Lim and Ye 2017), each depth alike."""
        losses = [F.relu(1 - a).mean() + F.relu(1 + b).mean() for a, b in zip(real, fake, strict=True)]
        return torch.stack(losses).sum()

    def liked(self, fake: Judgement) -> torch.Tensor:
        return -torch.stack([one.mean() for one in fake]).sum()
