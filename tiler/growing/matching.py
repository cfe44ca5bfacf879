"""How far made pictures are from real ones in what small patches of them look like, at several scales: the sliced
Wasserstein distance of patches of a Laplacian pyramid (Karras et al. 2018 measure with it; here it is learned from).

A discriminator needs many steps until what it says is of use. This says from the first one which colours, grain and
edges are missing, and what it has no eye for, how things lie beside each other, is left to the discriminator.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

BANDS = 4
# Sides of a patch, patches of each band, and directions in which they are compared, new ones each time.
_SIDE, PATCHES, _DIRECTIONS = 7, 2048, 48


def pyramid(pixels: torch.Tensor) -> list[torch.Tensor]:
    """[n, 3, h, w] as bands, finest first: what each halving loses, and what is left after the last."""
    found = []
    for _ in range(BANDS - 1):
        even = pixels[:, :, : pixels.shape[2] // 2 * 2, : pixels.shape[3] // 2 * 2]
        less = F.avg_pool2d(even, 2)
        found.append(even - F.interpolate(less, scale_factor=2, mode="bilinear"))
        pixels = less
    return [*found, pixels]


def mismatch(made: torch.Tensor, real: torch.Tensor, rng: np.random.Generator, patches: int = PATCHES) -> torch.Tensor:
    """0 where patches look alike; about 1 in each band where nothing is there yet. made: [n, 3, h, w], real: [m, 3, h,
    w], with at least 56 px a side. patches: of each band, that are compared."""
    losses = []
    for ours, theirs in zip(pyramid(made), pyramid(real), strict=True):
        directions = torch.from_numpy(rng.standard_normal((_DIRECTIONS, 3 * _SIDE**2), np.float32)).to(made.device)
        one, other = (torch.sort(directions @ _patches(band, rng, patches).T).values for band in (ours, theirs))
        losses.append(((one - other).square().mean(1) / (other.var(1) + 1e-6)).mean())
    return torch.stack(losses).mean()


def _patches(band: torch.Tensor, rng: np.random.Generator, count: int) -> torch.Tensor:
    """[count, 3 * side * side] from anywhere in the band."""
    n, _, height, width = band.shape
    number, y, x = (
        torch.from_numpy(rng.integers(0, high, count)).to(band.device)
        for high in (n, height - _SIDE + 1, width - _SIDE + 1)
    )
    reach = torch.arange(_SIDE, device=band.device)
    rows, columns = (y[:, None] + reach)[:, :, None], (x[:, None] + reach)[:, None, :]
    return band[number[:, None, None], :, rows, columns].reshape(count, -1)
