"""Launches the Triton kernels of an optimiser's step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels import step_triton
from kernels.gram_launch import INTERPRETED, ceil_div, on
from kernels.reference import Box, crop
from kernels.trunk_launch import blocks

# Pixels of a program of the update.
PIXELS = 512


def content_term_(
    grad: Tensor, features: Tensor, wanted: Tensor, scale: float, box: Box | None, weights: Tensor | None, relu: bool
) -> Tensor:
    """grad <- grad + 2 * scale * w * (F - C), zero where relu and F <= 0; the loss scale * sum over the box of
    w * (F - C)^2, []. w: [1, H, W], or 1."""
    c, h, w = features.shape
    grid, cut = blocks(h * w, c)
    losses = torch.empty(grid, dtype=torch.float32, device=features.device)
    with on(features.device):
        step_triton.content_term[grid](
            grad, features, wanted, features if weights is None else weights, losses, c, h, w, 2 * scale,
            *(box or (0, 0, h, w)), *grad.stride(), *features.stride(), *wanted.stride(),
            *((0, 0) if weights is None else weights.stride()[1:]),
            WEIGHTED=weights is not None, RELU=relu, UPCAST=INTERPRETED, **cut,
        )  # fmt: skip
    return losses.sum(dtype=torch.float64).mul_(scale).float()


def adam_step_(
    pixels: Tensor, first: Tensor, second: Tensor, gradient: Tensor, pace: Tensor, betas: Sequence[float],
    epsilon: float, smooth: float, chroma: float, box: Box | None, core: Box | None,
    usual: Tensor, light: float,
) -> Tensor:  # fmt: skip
    """One update of the pixels in the box, then kept in 0..1; the variation that they had in the core, [].

    g = gradient + dV/dpixels; m <- m + (1 - beta1) (g - m); v <- beta2 v + (1 - beta2) g^2;
    pixels <- pixels - pace[0] * m / (sqrt(v / pace[1]) + epsilon). V = smooth * sum d^2 + sum of
    `reference.changes` over the forward differences d. usual: [2, H, W], any strides.
    """
    inner = crop(pixels, box)
    (c, rows, width), (h, w) = inner.shape, pixels.shape[1:]
    after = torch.empty(inner.shape, dtype=pixels.dtype, device=pixels.device)
    grid = (ceil_div(rows * width, PIXELS), c)
    losses = torch.empty(grid, dtype=torch.float32, device=pixels.device)
    top, left = (box or (0, 0))[:2]
    with on(pixels.device):
        step_triton.adam_step[grid](
            after, pixels, first, second, gradient, usual, pace, losses, h, w, top, left, rows, width,
            *(core or box or (0, 0, h, w)), 1 - betas[0], betas[1], 1 - betas[1],
            epsilon, smooth, chroma, light,
            *pixels.stride(), *first.stride(), *second.stride(), *gradient.stride(), *usual.stride(),
            C=c, BP=PIXELS,
        )  # fmt: skip
    inner.copy_(after)
    return losses.sum(dtype=torch.float64).float()
