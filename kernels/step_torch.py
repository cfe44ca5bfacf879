"""The operations of an optimiser's step in torch, for any device. Nothing is read back: numbers that change from step
to step are tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels.reference import Box, accumulation_dtype, crop


def content_term_(
    grad: Tensor, features: Tensor, wanted: Tensor, scale: float, box: Box | None, weights: Tensor | None, relu: bool
) -> Tensor:
    """grad <- grad + 2 * scale * w * (F - C), zero where relu and F <= 0; the loss scale * sum over the box of
    w * (F - C)^2, []. w: [1, H, W], or 1."""
    difference = features - wanted
    squares = crop(difference, box).to(accumulation_dtype(features.dtype)).square()
    if weights is not None:
        squares.mul_(crop(weights, box).to(squares.dtype))
        difference.mul_(weights.to(difference.dtype))
    grad.add_(difference.mul_(2 * scale))
    if relu:
        torch.ops.aten.threshold_backward.grad_input(grad, features, 0, grad_input=grad)
    return squares.sum().mul_(scale)


def variation_(steps: Tensor, smooth: float, chroma: float, light: float, usual: Tensor, box: Box | None) -> Tensor:
    """smooth * sum d^2 + sum of `reference.changes` over the box of differences d [C, H, W], []; these become its
    gradient along them."""
    found = crop(steps, box).square().sum().mul_(smooth)
    if not chroma and not light:
        steps.mul_(2 * smooth)
        return found
    mean = steps.mean(0)
    apart = steps - mean
    more = mean.square().mul_(len(steps)).div_(usual[1])
    gate, amount = more + 1, apart.square().sum(0).div_(usual[0])
    found.add_(crop((amount / gate)[None], box).log1p().sum(), alpha=chroma)
    found.add_(crop(more[None], box).log1p().sum(), alpha=light)
    steps.mul_(2 * smooth).add_(mean.div_(gate * usual[1]), alpha=2 * light)
    steps.add_(apart.div_(gate.add_(amount).mul_(usual[0])), alpha=2 * chroma)
    return found


def adam_step_(
    pixels: Tensor, first: Tensor, second: Tensor, gradient: Tensor, pace: Tensor, betas: Sequence[float],
    epsilon: float, smooth: float, chroma: float, box: Box | None, core: Box | None,
    usual: Tensor, light: float,
) -> Tensor:  # fmt: skip
    """One update of the pixels in the box, then kept in 0..1; the variation that they had in the core, [].

    g = gradient + dV/dpixels; m <- m + (1 - beta1) (g - m); v <- beta2 v + (1 - beta2) g^2;
    pixels <- pixels - pace[0] * m / (sqrt(v / pace[1]) + epsilon). V: see `variation_`, of the forward differences.
    """
    slope, variation = torch.zeros_like(pixels), pixels.new_zeros(())
    for axis in (1, 2):
        steps = pixels.diff(dim=axis)
        units = crop(usual, (0, 0, *steps.shape[1:]))
        variation += variation_(steps, smooth, chroma, light, units, core or box)
        slope.narrow(axis, 1, steps.shape[axis]).add_(steps)
        slope.narrow(axis, 0, steps.shape[axis]).sub_(steps)
    inner, total = crop(pixels, box), crop(slope, box)
    total.add_(gradient.to(total.dtype))
    first.lerp_(total, 1 - betas[0])
    second.mul_(betas[1]).addcmul_(total, total, value=1 - betas[1])
    scale = second.div(pace[1]).sqrt_().add_(epsilon)
    inner.sub_(first.mul(pace[0]).div_(scale)).clamp_(0, 1)
    return variation
