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


def variation_of(steps: Tensor, smooth: float, chroma: float) -> Tensor:
    """smooth * sum d^2 + chroma * sum (d - mean of d over channels)^2 of differences d [C, H, W], []."""
    found = steps.square().sum().mul_(smooth)
    return found.add_((steps - steps.mean(0)).square_().sum(), alpha=chroma) if chroma else found


def adam_step_(
    pixels: Tensor, first: Tensor, second: Tensor, gradient: Tensor, pace: Tensor, betas: Sequence[float],
    epsilon: float, smooth: float, chroma: float, box: Box | None, core: Box | None,
) -> Tensor:  # fmt: skip
    """One update of the pixels in the box, then kept in 0..1; the variation that they had in the core, [].

    g = gradient + dV/dpixels; m <- m + (1 - beta1) (g - m); v <- beta2 v + (1 - beta2) g^2;
    pixels <- pixels - pace[0] * m / (sqrt(v / pace[1]) + epsilon). V = smooth * sum d^2 + chroma * sum (d - mean of d
    over channels)^2 over the forward differences d.
    """
    slope, variation = torch.zeros_like(pixels), pixels.new_zeros(())
    for axis in (1, 2):
        steps = pixels.diff(dim=axis)
        slope.narrow(axis, 1, steps.shape[axis]).add_(steps)
        slope.narrow(axis, 0, steps.shape[axis]).sub_(steps)
        variation += variation_of(crop(steps, core or box), smooth, chroma)
    inner, total = crop(pixels, box), crop(slope, box)
    # Differences and the mean over channels commute: the gradient of the one part is in that of the other.
    mean = total.mean(0) if chroma else None
    total.mul_(2 * (smooth + chroma))
    if mean is not None:
        total.sub_(mean, alpha=2 * chroma)
    total.add_(gradient.to(total.dtype))
    first.lerp_(total, 1 - betas[0])
    second.mul_(betas[1]).addcmul_(total, total, value=1 - betas[1])
    scale = second.div(pace[1]).sqrt_().add_(epsilon)
    inner.sub_(first.mul(pace[0]).div_(scale)).clamp_(0, 1)
    return variation
