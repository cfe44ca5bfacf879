"""Definitions of all operations in plain torch: the meaning of each, and the oracle of its tests.

Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016, with the relative
error in place of the plain squared one. Everything here is differentiable by autograd and accumulates in float32
(float64 for float64 input). Speed is the business of the other implementations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Box = Sequence[int]
Axes = Sequence[bool]  # (y, x): along which the border repeats outwards; along the others zeros lie outside


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type sums are taken and returned in: float64 for float64, float32 for everything narrower."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def crop(planes: Tensor, box: Box | None) -> Tensor:
    """View of `planes` [..., H, W] inside `box` = (y0, x0, y1, x1), or all of it."""
    if box is None:
        return planes
    y0, x0, y1, x1 = box
    return planes[..., y0:y1, x0:x1]


def gram_sums(features: Tensor, box: Box | None, guides: Tensor | None, means: bool = False) -> Tensor:
    """Sum over the box of f(p) f(p)^T, or of g_r(p) f(p) f(p)^T for each guide: [C, C] or [R, C, C]. means: those of
    f(p) or g_r(p) f(p) follow as a row more."""
    wide = accumulation_dtype(features.dtype)
    matrix = crop(features, box).to(wide).flatten(1)
    if guides is None:
        sums = matrix @ matrix.mT
    else:
        weighted = crop(guides, box).to(wide).sqrt().flatten(1)[:, None] * matrix
        sums = weighted @ weighted.mT
    sums = sums.triu() + sums.triu(1).mT
    if not means:
        return sums
    mean = matrix.sum(1) if guides is None else crop(guides, box).to(wide).flatten(1) @ matrix.mT
    return torch.cat([sums, mean[..., None, :]], -2)


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
    c = len(features)
    product = s[..., :c, :].to(wide) @ features.to(wide).flatten(1)
    if s.shape[-2] > c:
        product = product + s[..., c, :, None].to(wide) / 2
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
    """grad <- (grad + scale * sum_r g_r * (2 * S_r[:C] @ F + S_r[C])), zero where relu and F <= 0. S[C]: 0 where S has
    C rows."""
    grad.copy_(_backward(grad, features, s, scale, guides, relu))


def gram_backward(features: Tensor, s: Tensor, scale: float, guides: Tensor | None, relu: bool) -> Tensor:
    """`gram_backward_` without an upstream gradient, into a new tensor laid out as the features."""
    return _backward(None, features, s, scale, guides, relu)


def _surrounded(planes: Tensor, axes: Axes) -> Tensor:
    """[C, H, W] with what lies one cell outside, [C, H + 2, W + 2]."""
    rows, columns = ((1, 1) if repeats else (0, 0) for repeats in axes)
    repeated = F.pad(planes[None], (*columns, *rows), mode="replicate")[0]
    return F.pad(repeated, (1 - columns[0], 1 - columns[1], 1 - rows[0], 1 - rows[1]))


def _on_ring(planes: Tensor, axes: Axes) -> Tensor:
    """[H, W] bool: the outermost cells along `axes`."""
    ring = torch.zeros(planes.shape[1:], dtype=torch.bool, device=planes.device)
    for axis in (axis for axis, repeats in enumerate(axes) if repeats):
        ring.select(axis, 0).fill_(True)
        ring.select(axis, -1).fill_(True)
    return ring


def ring_(features: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor, axes: Axes) -> None:
    """features[ring] <- relu(bias + 3 x 3 convolution of the inputs, whose border repeats outwards along `axes`)."""
    wide = accumulation_dtype(features.dtype)
    around = _surrounded(inputs.to(wide), axes)
    found = F.conv2d(around[None], weight.to(wide), bias.to(wide))[0].relu()
    features.copy_(torch.where(_on_ring(features, axes), found.to(features.dtype), features))


def ring_backward_(grad: Tensor, upstream: Tensor, turned: Tensor, axes: Axes) -> None:
    """grad <- grad + what comes back to the inputs from the cells outside that repeat them. turned: the weights whose
    convolution of `upstream`, the gradient of the results, is that of the inputs."""
    wide = accumulation_dtype(grad.dtype)
    outside = F.conv2d(upstream.to(wide)[None], turned.to(wide), padding=2)[0]
    outside[:, 1:-1, 1:-1] = 0
    for axis in (1, 2):
        if axes[axis - 1]:
            outside.select(axis, 1).add_(outside.select(axis, 0))
            outside.select(axis, -2).add_(outside.select(axis, -1))
        outside = outside.narrow(axis, 1, outside.shape[axis] - 2)
    grad.copy_(grad.to(wide) + outside)


def halved(features: Tensor) -> Tensor:
    """Room for [C, H, W] pooled, channels-last where they are."""
    c, h, w = features.shape
    size = (h + 1) // 2, (w + 1) // 2
    return features.new_empty(*size, c).permute(2, 0, 1) if features.stride(0) == 1 else features.new_empty(c, *size)


def pool(features: Tensor, largest: bool) -> Tensor:
    """Mean, or largest, of every 2 x 2 cells: [C, ceil(H / 2), ceil(W / 2)]. The last row and column of an odd size
    count as they are."""
    planes = features.to(accumulation_dtype(features.dtype))[None]
    if largest:
        found = F.max_pool2d(planes, 2, ceil_mode=True)
    else:
        found = F.avg_pool2d(planes, 2, ceil_mode=True, count_include_pad=False)
    return halved(features).copy_(found[0])


def pool_backward(grad: Tensor, features: Tensor, largest: bool, relu: bool) -> Tensor:
    """Gradient of what was pooled, zero where relu and F <= 0. Of several that are largest the first, row by row, gets
    the gradient."""
    wide = accumulation_dtype(features.dtype)
    with torch.enable_grad():
        free = features.detach().to(wide).requires_grad_()
        (found,) = torch.autograd.grad(pool(free, largest), free, grad.to(wide))
    if relu:
        found = found.masked_fill(features <= 0, 0.0)
    return torch.empty_like(features).copy_(found)


def content_term_(
    grad: Tensor, features: Tensor, wanted: Tensor, scale: float, box: Box | None, weights: Tensor | None, relu: bool
) -> Tensor:
    """grad <- grad + 2 * scale * w * (F - C), zero where relu and F <= 0; the loss scale * sum over the box of
    w * (F - C)^2, []. w: [1, H, W], or 1."""
    wide = accumulation_dtype(features.dtype)
    difference = features.to(wide) - wanted.to(wide)
    weighted = difference if weights is None else weights.to(wide) * difference
    result = grad.to(wide) + 2 * scale * weighted
    grad.copy_(result.masked_fill(features <= 0, 0.0) if relu else result)
    return scale * (crop(difference, box) * crop(weighted, box)).sum()


def changes(steps: Tensor, chroma: float, light: float, usual: Tensor) -> tuple[Tensor, Tensor]:
    """Of differences d [C, H, W] between neighbours, with l their mean over the channels, u = |d - l|^2 / usual[0] and
    g = 1 + C l^2 / usual[1]: chroma * log(1 + u / g) + light * log(g) [H, W], and its gradient [C, H, W] along d, where
    the first term holds g. usual: [2, H, W], or the same for all [2, 1, 1]."""
    mean = steps.mean(0)
    apart, more = steps - mean, len(steps) * mean.square() / usual[1]
    amount, gate = apart.square().sum(0) / usual[0], 1 + more.detach()
    along = 2 * chroma * apart / (usual[0] * (gate + amount)) + 2 * light * mean / (usual[1] * gate)
    return chroma * torch.log1p(amount / gate) + light * torch.log1p(more), along


def adam_step_(
    pixels: Tensor, first: Tensor, second: Tensor, gradient: Tensor, pace: Tensor, betas: Sequence[float],
    epsilon: float, smooth: float, chroma: float, box: Box | None, core: Box | None,
    usual: Tensor, light: float,
) -> Tensor:  # fmt: skip
    """One update of the pixels in the box, then kept in 0..1; the variation that they had in the core, [].

    g = gradient + dV/dpixels; m <- m + (1 - beta1) (g - m); v <- beta2 v + (1 - beta2) g^2;
    pixels <- pixels - pace[0] * m / (sqrt(v / pace[1]) + epsilon). V = smooth * sum d^2 + sum of `changes`
    over the forward differences d. usual [2, H, W]: of each pixel's differences to the next.
    """
    slope, variation = torch.zeros_like(pixels), pixels.new_zeros(())
    for axis in (1, 2):
        steps = pixels.diff(dim=axis)
        found, along = changes(steps, chroma, light, crop(usual, (0, 0, *steps.shape[1:])))
        along = along + 2 * smooth * steps
        slope.narrow(axis, 1, steps.shape[axis]).add_(along)
        slope.narrow(axis, 0, steps.shape[axis]).sub_(along)
        variation = variation + smooth * crop(steps, core or box).square().sum() + crop(found[None], core or box).sum()
    total = gradient.to(pixels.dtype) + crop(slope, box)
    first.add_((1 - betas[0]) * (total - first))
    second.mul_(betas[1]).add_((1 - betas[1]) * total.square())
    inner = crop(pixels, box)
    inner.copy_((inner - pace[0] * first / ((second / pace[1]).sqrt() + epsilon)).clamp(0, 1))
    return variation
