"""Definitions of the Gram operations in plain torch: the meaning of each, and the oracle of its tests.

Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016, with the relative
error in place of the plain squared one. Everything here is differentiable by autograd and accumulates in float32
(float64 for float64 input). Speed is the business of the other implementations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Box = Sequence[int]


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type sums are taken and returned in: float64 for float64, float32 for everything narrower."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def crop(planes: Tensor, box: Box | None) -> Tensor:
    """View of `planes` [..., H, W] inside `box` = (y0, x0, y1, x1), or all of it."""
    if box is None:
        return planes
    y0, x0, y1, x1 = box
    return planes[..., y0:y1, x0:x1]


def gram_sums(features: Tensor, box: Box | None, guides: Tensor | None) -> Tensor:
    """Sum over the box of f(p) f(p)^T, or of g_r(p) f(p) f(p)^T for each guide: [C, C] or [R, C, C]."""
    wide = accumulation_dtype(features.dtype)
    matrix = crop(features, box).to(wide).flatten(1)
    if guides is None:
        sums = matrix @ matrix.mT
    else:
        weighted = crop(guides, box).to(wide).sqrt().flatten(1)[:, None] * matrix
        sums = weighted @ weighted.mT
    return sums.triu() + sums.triu(1).mT


def style_term(gram: Tensor, target: Tensor, weight: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Loss weight * ||G - A||^2 / ||A||^2 of each [C, C] matrix, and S = dloss/dG; an all-zero A divides by 1."""
    power = target.square().sum((-2, -1))
    factor = gram.new_tensor(list(weight)).view(-1 if gram.ndim == 3 else ()) / torch.where(power > 0, power, 1.0)
    error = gram - target
    return factor * error.square().sum((-2, -1)), 2 * factor[..., None, None] * error


def gram_style(
    features: Tensor, target: Tensor, weight: Sequence[float], scale: float,
    box: Box | None, guides: Tensor | None, offset: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gram sums and, from G = scale * (sums + offset), the style term: (sums, loss, S)."""
    sums = gram_sums(features, box, guides)
    gram = scale * (sums if offset is None else sums + offset)
    return (sums, *style_term(gram, target, weight))


def _backward(
    grad: Tensor | None, features: Tensor, s: Tensor, scale: float, guides: Tensor | None, relu: bool
) -> Tensor:
    wide = accumulation_dtype(features.dtype)
    product = s.to(wide) @ features.to(wide).flatten(1)
    if guides is not None:
        product = (guides.to(wide).flatten(1)[:, None] * product).sum(0)
    result = (2 * scale * product).view(features.shape)
    if grad is not None:
        result = grad.to(wide) + result
    if relu:
        result = result.masked_fill(features <= 0, 0.0)
    return torch.empty_like(features).copy_(result)


def gram_backward_(
    grad: Tensor, features: Tensor, s: Tensor, scale: float, guides: Tensor | None, relu: bool
) -> None:  # fmt: skip
    """grad <- (grad + 2 * scale * sum_r g_r * (S_r @ F)), zero where relu and F <= 0."""
    grad.copy_(_backward(grad, features, s, scale, guides, relu))


def gram_backward(features: Tensor, s: Tensor, scale: float, guides: Tensor | None, relu: bool) -> Tensor:
    """`gram_backward_` without an upstream gradient, into a new tensor laid out as the features."""
    return _backward(None, features, s, scale, guides, relu)
