"""Public operations of an optimiser's step: validation, torch custom ops. Losses stay on the device, as tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels import checks
from kernels.choice import run
from kernels.operators import operator
from kernels.reference import accumulation_dtype


@operator("content_term_", mutates=("grad",))
def _content_term_(
    grad: Tensor, features: Tensor, wanted: Tensor, scale: float,
    box: Sequence[int] | None, weights: Tensor | None, relu: bool,
) -> Tensor:  # fmt: skip
    arguments = (grad, features, wanted, scale, box, weights, relu)
    return run("step", "content_term_", features.device, features.dtype, *arguments)


@torch.library.register_fake("tiler_kernels::content_term_")
def _(
    grad: Tensor, features: Tensor, wanted: Tensor, scale: float,
    box: Sequence[int] | None, weights: Tensor | None, relu: bool,
) -> Tensor:  # fmt: skip
    return features.new_empty((), dtype=accumulation_dtype(features.dtype))


@operator("adam_step_", mutates=("pixels", "first", "second"))
def _adam_step_(
    pixels: Tensor, first: Tensor, second: Tensor, gradient: Tensor, pace: Tensor, betas: Sequence[float],
    epsilon: float, smooth: float, chroma: float, box: Sequence[int] | None, core: Sequence[int] | None,
    usual: Tensor, light: float,
) -> Tensor:  # fmt: skip
    arguments = (pixels, first, second, gradient, pace, betas, epsilon, smooth, chroma, box, core, usual, light)
    return run("step", "adam_step_", pixels.device, pixels.dtype, *arguments)


@torch.library.register_fake("tiler_kernels::adam_step_")
def _(
    pixels: Tensor, first: Tensor, second: Tensor, gradient: Tensor, pace: Tensor, betas: Sequence[float],
    epsilon: float, smooth: float, chroma: float, box: Sequence[int] | None, core: Sequence[int] | None,
    usual: Tensor, light: float,
) -> Tensor:  # fmt: skip
    return pixels.new_empty(())


def content_term_(
    grad: Tensor,
    features: Tensor,
    wanted: Tensor,
    scale: float,
    box: Sequence[int] | None = None,
    weights: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """Backward of the content's term, fused into the upstream gradient, and its loss (Gatys et al. 2016, eq. 1).

    grad <- grad + 2 * scale * w * (F - C), in place, over all of [H, W]: a halo's cells get the gradient that their
    owner gives them.

    Args:
        grad: upstream gradient, shape, dtype and device of the features; overwritten.
        features: F [C, H, W].
        wanted: C, the content's features, like the features.
        scale: of the squared differences' sum.
        box: (y0, x0, y1, x1) of the cells whose loss is taken; all of [H, W] when None.
        weights: w [1, H, W], floating, of each cell; 1 when None.
        relu: zero the result where F <= 0, which is the ReLU's own backward.

    Returns:
        scale * sum over the box of w * (F - C)^2, []; float64 for float64, else float32.

    Raises:
        ValueError: a shape, dtype, device or box that does not fit.
    """
    checks.features(features)
    checks.box(box, features)
    checks.gradient(grad, features)
    checks.planes("wanted", wanted, features.shape, features)
    checks.constant("features", features)
    checks.constant("wanted", wanted)
    checks.cells(weights, features)
    return _content_term_(grad, features, wanted, float(scale), box, weights, relu)


def adam_step_(
    pixels: Tensor,
    first: Tensor,
    second: Tensor,
    gradient: Tensor,
    pace: Tensor,
    betas: Sequence[float],
    epsilon: float,
    smooth: float = 0.0,
    chroma: float = 0.0,
    box: Sequence[int] | None = None,
    core: Sequence[int] | None = None,
    usual: Tensor | None = None,
    light: float = 0.0,
) -> Tensor:
    """One update by Adam (Kingma & Ba 2015) of the pixels in a box, total variation and range included, in place.

    Args:
        pixels: [C, H, W], float32 or float64; changed in the box only, and kept in 0..1 there.
        first, second: Adam's moments over the box, the pixels' type; overwritten.
        gradient: of all other terms, over the box, floating, any strides.
        pace: [2] on the pixels' device and of their type: (rate / (1 - beta1^t), 1 - beta2^t) of update t. Numbers
            that change from step to step are read on the device, so that a captured graph serves all.
        betas, epsilon: Adam's.
        smooth: weight of the total variation, sum of squared forward differences over all pixels; none beyond the edge.
        chroma: weight of the sum of log(1 + u / g) over these differences, which only changes of colour add to: u is
            the square of what differs from the mean over the channels, over usual[0]; g, which is held as the gradient
            is taken, 1 + the square of the rest over usual[1]. A large change, or one where the light changes as well,
            adds little (a Lorentzian, Black & Rangarajan 1996).
        box: (y0, x0, y1, x1) in pixels; all when None.
        core: the same, inside the box, of what the variation is returned of; the box when None.
        usual: (chroma, light) [2, H, W], or of all pixels [2, 1, 1], positive, of the pixels' type: squares of a
            pixel's differences to the next that are as large as usual; 1 when None.
        light: weight of the sum of log(g), which is not held here.

    Returns:
        The weighted variation in the core before the update, [], the pixels' type.

    Raises:
        ValueError: a shape, dtype, device or box that does not fit.
    """
    checks.features(pixels)
    checks.box(box, pixels)
    checks.box(core, pixels)
    checks.within("core", core, box)
    checks.state(pixels, {"first": first, "second": second}, gradient, box)
    checks.planes("pace", pace, (2,), pixels)
    if len(betas) != 2:
        raise ValueError(f"betas {tuple(betas)}: must be two numbers")
    usual = checks.spread("usual", pixels.new_ones(2, 1, 1) if usual is None else usual, 2, pixels)
    return _adam_step_(pixels, first, second, gradient, pace, betas, epsilon, smooth, chroma, box, core, usual, light)
