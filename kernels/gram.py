"""Public Gram operations: validation, torch custom ops, autograd.

Words: features F are [C, H, W] activations, f(p) the C numbers at pixel p, N the pixels summed over. A Gram sum is
sum_p f(p) f(p)^T, a Gram G that sum times a scale (1 / N), A the target, S = dloss/dG. A guide is a mask in 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kernels import checks
from kernels.choice import run
from kernels.operators import operator
from kernels.reference import accumulation_dtype


@operator("gram_sums")
def _gram_sums(features: Tensor, box: Sequence[int] | None, guides: Tensor | None, means: bool = False) -> Tensor:
    return run("gram", "gram_sums", features.device, features.dtype, features, box, guides, means)


@torch.library.register_fake("tiler_kernels::gram_sums")
def _(features: Tensor, box: Sequence[int] | None, guides: Tensor | None, means: bool = False) -> Tensor:
    c = features.shape[0]
    rows = c + means
    shape = (rows, c) if guides is None else (guides.shape[0], rows, c)
    return features.new_empty(shape, dtype=accumulation_dtype(features.dtype))


@operator("style_term")
def _style_term(gram: Tensor, target: Tensor, weight: Sequence[float]) -> tuple[Tensor, Tensor]:
    return run("gram", "style_term", gram.device, gram.dtype, gram, target, weight)


@torch.library.register_fake("tiler_kernels::style_term")
def _(gram: Tensor, target: Tensor, weight: Sequence[float]) -> tuple[Tensor, Tensor]:
    return gram.new_empty(gram.shape[:-2]), gram.new_empty(gram.shape)


@operator("gram_style")
def _gram_style(
    features: Tensor, target: Tensor, weight: Sequence[float], scale: float,
    box: Sequence[int] | None, guides: Tensor | None, offset: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    arguments = (features, target, weight, scale, box, guides, offset)
    return run("gram", "gram_style", features.device, features.dtype, *arguments)


@torch.library.register_fake("tiler_kernels::gram_style")
def _(
    features: Tensor, target: Tensor, weight: Sequence[float], scale: float,
    box: Sequence[int] | None, guides: Tensor | None, offset: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return target.new_empty(target.shape), target.new_empty(target.shape[:-2]), target.new_empty(target.shape)


@operator("gram_backward_", mutates=("grad",))
def _gram_backward_(
    grad: Tensor, features: Tensor, s: Tensor, scale: float, guides: Tensor | None, relu: bool
) -> None:  # fmt: skip
    run("gram", "gram_backward_", features.device, features.dtype, grad, features, s, scale, guides, relu)


@torch.library.register_fake("tiler_kernels::gram_backward_")
def _(grad: Tensor, features: Tensor, s: Tensor, scale: float, guides: Tensor | None, relu: bool) -> None:
    return None


@operator("gram_backward")
def _gram_backward(features: Tensor, s: Tensor, scale: float, guides: Tensor | None, relu: bool) -> Tensor:
    return run("gram", "gram_backward", features.device, features.dtype, features, s, scale, guides, relu)


@torch.library.register_fake("tiler_kernels::gram_backward")
def _(features: Tensor, s: Tensor, scale: float, guides: Tensor | None, relu: bool) -> Tensor:
    return torch.empty_like(features)


def _feature_gradient(cotangent: Tensor, features: Tensor, box: Sequence[int] | None, guides: Tensor | None) -> Tensor:
    """Gradient of the features from that of their sums, which need not be symmetric; zero outside the box."""
    sums, mean = cotangent[..., : len(features), :], cotangent[..., len(features) :, :]
    s = torch.cat([(sums + sums.mT) / 2, mean], -2)
    if box is None:
        return _gram_backward(features, s, 1.0, guides, False)
    y0, x0, y1, x1 = box
    h, w = features.shape[1:]
    inner = None if guides is None else guides[:, y0:y1, x0:x1]
    gradient = _gram_backward(features[:, y0:y1, x0:x1], s, 1.0, inner, False)
    return torch.nn.functional.pad(gradient, (x0, w - x1, y0, h - y1))


def _save_sums(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, ctx.box, guides, _ = inputs
    ctx.save_for_backward(features, guides)


def _sums_backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None, None, None]:
    features, guides = ctx.saved_tensors
    return _feature_gradient(cotangent, features, ctx.box, guides), None, None, None


def _save_style(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    features, _, _, ctx.scale, ctx.box, guides, _ = inputs
    ctx.save_for_backward(features, guides, output[2])
    ctx.mark_non_differentiable(output[2])


def _style_backward(ctx: Any, of_sums: Tensor, of_loss: Tensor, of_s: Tensor) -> tuple[Tensor | None, ...]:
    features, guides, s = ctx.saved_tensors
    cotangent = of_sums + (ctx.scale * of_loss)[..., None, None] * s
    return _feature_gradient(cotangent, features, ctx.box, guides), None, None, None, None, None, None


torch.library.register_autograd("tiler_kernels::gram_sums", _sums_backward, setup_context=_save_sums)
torch.library.register_autograd("tiler_kernels::gram_style", _style_backward, setup_context=_save_style)


def gram_sums(
    features: Tensor, box: Sequence[int] | None = None, guides: Tensor | None = None, means: bool = False
) -> Tensor:
    """Unnormalised Gram sums of a feature map over a box: sum_p f(p) f(p)^T. They add over tiles.

    Args:
        features: [C, H, W], float64, float32, bfloat16 or float16, any strides; contiguous and channels-last
            are read without a copy. Differentiable.
        box: (y0, x0, y1, x1) in features' pixels, half-open; all of [H, W] when None.
        guides: [R, H, W], floating, 0..1; pixel p counts g_r(p) times. Not differentiable. Values below 0 give NaN.
        means: whether the features' own sums, sum_p f(p), follow as a row more.

    Returns:
        [C, C], or [R, C, C] with guides, where C rows are C + 1 with means; float64 for float64, else float32. Bitwise
        symmetric, but for that row, and repeatable.

    Raises:
        ValueError: a shape, dtype, device or box that does not fit.
    """
    checks.features(features)
    checks.box(box, features)
    checks.guides(guides, features)
    return _gram_sums(features, box, guides, means)


def style_term(gram: Tensor, target: Tensor, weight: float | Sequence[float] | Tensor = 1.0) -> tuple[Tensor, Tensor]:
    """Style loss weight * ||G - A||^2 / ||A||^2 and S = dloss/dG = 2 * weight * (G - A) / ||A||^2.

    A relative form of Gatys et al. 2016, eq. 4: its size depends neither on resolution nor on the layer. Where A is
    all zero the error counts in full (it is divided by 1), so that a dead layer gives no NaN.

    Args:
        gram: Gram G, [C, C] or [R, C, C], float32 or float64.
        target: A, same shape and dtype.
        weight: one number, or one for each of the R matrices; reading a tensor waits for a GPU.

    Returns:
        (loss, S): loss [] or [R], S like `gram` and, for symmetric input, bitwise symmetric.

    Raises:
        ValueError: a shape, dtype or device that does not fit.
    """
    checks.grams(gram, target)
    return _style_term(gram, target, checks.weights(weight, gram))


def gram_style(
    features: Tensor,
    target: Tensor,
    weight: float | Sequence[float] | Tensor = 1.0,
    scale: float | None = None,
    box: Sequence[int] | None = None,
    guides: Tensor | None = None,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`gram_sums` and, from G = scale * (sums + offset), `style_term`, with one pass over what the sums leave.

    Args:
        features, box, guides: as in `gram_sums`. Differentiable in the features, through the loss and the sums.
        target, weight: as in `style_term`; the target's shape and dtype are those of the sums, and it is symmetric.
        scale: from Gram sums to a Gram; 1 / (pixels in the box) when None.
        offset: Gram sums of what lies outside `features` (other tiles), shape and dtype of the sums; symmetric.

    Returns:
        (sums, loss, S): sums without the offset; S = dloss/dG, the input of `gram_backward_` with this scale.

    Raises:
        ValueError: a shape, dtype, device or box that does not fit.
    """
    checks.features(features)
    checks.box(box, features)
    checks.guides(guides, features)
    checks.sums("target", target, features, guides)
    if offset is not None:
        checks.sums("offset", offset, features, guides)
    scale = 1 / checks.pixels(features, box) if scale is None else float(scale)
    return _gram_style(features, target, checks.weights(weight, target), scale, box, guides, offset)


def gram_backward_(
    grad: Tensor | None,
    features: Tensor,
    s: Tensor,
    scale: float,
    guides: Tensor | None = None,
    relu: bool = True,
) -> Tensor:
    """Backward of the style term, fused into the upstream gradient: grad <- grad + 2 * scale * S @ F, in place.

    With guides S @ F becomes sum_r g_r * (S_r @ F). Where S has a row more, that of the features' sums, as much of it
    is added: scale * sum_r g_r * S_r[C]. It covers all of [H, W], not only the box of the sums: a halo's
    pixels get the gradient that their owner gives them.

    Args:
        grad: upstream gradient, shape, dtype and device of the features; overwritten. None: there is none.
        features: F [C, H, W], what the ReLU gave.
        s: dloss/dG [C, C] or, with guides, [R, C, C]; float32 (float64 for float64 features); must be symmetric. Of
            C + 1 rows the last is the gradient of the features' mean.
        scale: from Gram sums to the Gram that S belongs to (1 / N of the whole level).
        guides: [R, H, W], floating, 0..1.
        relu: zero the result where F <= 0, which is the ReLU's own backward.

    Returns:
        `grad`, or a new tensor laid out as the features where it was None.

    Raises:
        ValueError: a shape, dtype or device that does not fit.
    """
    checks.features(features)
    checks.guides(guides, features)
    checks.sums("s", s, features, guides, means=True)
    checks.constant("features", features)
    if grad is None:
        return _gram_backward(features, s, float(scale), guides, relu)
    checks.gradient(grad, features)
    _gram_backward_(grad, features, s, float(scale), guides, relu)
    return grad


def gram(
    features: Tensor,
    box: Sequence[int] | None = None,
    guides: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Normalised Gram, `gram_sums` times `scale` (1 / (pixels in the box) when None); differentiable."""
    sums = gram_sums(features, box, guides)
    return sums * (1 / checks.pixels(features, box) if scale is None else scale)


def style_loss(
    features: Tensor,
    target: Tensor,
    weight: float | Sequence[float] | Tensor = 1.0,
    scale: float | None = None,
    box: Sequence[int] | None = None,
    guides: Tensor | None = None,
) -> Tensor:
    """The loss of `gram_style` alone, [] or [R]; differentiable in the features."""
    return gram_style(features, target, weight, scale, box, guides)[1]
