"""Public operations of the trunk, between its convolutions: validation, torch custom ops, autograd.

A convolution that pads with zeros is right everywhere but on the ring of outermost cells, where the border should
repeat outwards. cuDNN and oneDNN pad with zeros for nothing, and by repetition not at all; so the ring is taken anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kernels import checks
from kernels.choice import run
from kernels.operators import operator
from kernels.reference import halved

BOTH = (True, True)


@operator("ring_", mutates=("features",))
def _ring_(features: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor, axes: Sequence[bool]) -> None:
    run("trunk", "ring_", features.device, features.dtype, features, inputs, weight, bias, axes)


@torch.library.register_fake("tiler_kernels::ring_")
def _(features: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor, axes: Sequence[bool]) -> None:
    return None


@operator("ring_backward_", mutates=("grad",))
def _ring_backward_(grad: Tensor, upstream: Tensor, turned: Tensor, axes: Sequence[bool]) -> None:
    run("trunk", "ring_backward_", grad.device, grad.dtype, grad, upstream, turned, axes)


@torch.library.register_fake("tiler_kernels::ring_backward_")
def _(grad: Tensor, upstream: Tensor, turned: Tensor, axes: Sequence[bool]) -> None:
    return None


@operator("pool")
def _pool(features: Tensor, largest: bool) -> Tensor:
    return run("trunk", "pool", features.device, features.dtype, features, largest)


@torch.library.register_fake("tiler_kernels::pool")
def _(features: Tensor, largest: bool) -> Tensor:
    return halved(features)


@operator("pool_backward")
def _pool_backward(grad: Tensor, features: Tensor, largest: bool, relu: bool) -> Tensor:
    return run("trunk", "pool_backward", features.device, features.dtype, grad, features, largest, relu)


@torch.library.register_fake("tiler_kernels::pool_backward")
def _(grad: Tensor, features: Tensor, largest: bool, relu: bool) -> Tensor:
    return torch.empty_like(features)


def _save_pool(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, ctx.largest = inputs
    ctx.save_for_backward(features)


def _through_pool(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (features,) = ctx.saved_tensors
    return _pool_backward(grad, features, ctx.largest, False), None


torch.library.register_autograd("tiler_kernels::pool", _through_pool, setup_context=_save_pool)


def ring_(features: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor, axes: Sequence[bool] = BOTH) -> Tensor:
    """Turn relu(convolution with zeros outside) into relu(convolution whose border repeats outwards), in place.

    Args:
        features: [C, H, W] of any size from one cell on, in a floating type; what the convolution and the ReLU gave.
            The outermost rows (columns) are overwritten where the border repeats along y (x).
        inputs: [D, H, W], what was convolved; type and device of the features.
        weight: [C, D, 3, 3], the convolution's, any strides.
        bias: [C].
        axes: (y, x), whether the border repeats along each. Along the other zeros lie outside: so it is where a
            picture continues at its opposite edge, and nobody reads what the border makes of its halo.

    Returns:
        `features`.

    Raises:
        ValueError: a shape, dtype or device that does not fit.
    """
    checks.convolution(features, inputs, weight)
    checks.planes("bias", bias, features.shape[:1], features)
    checks.written("features", features)
    _ring_(features, inputs, weight, bias, checks.axes(axes))
    return features


def ring_backward_(grad: Tensor, upstream: Tensor, turned: Tensor, axes: Sequence[bool] = BOTH) -> Tensor:
    """Turn the gradient through a convolution with zeros outside into that through one whose border repeats, in place:
    the border's cells get what comes back through their repetitions.

    Args:
        grad: [D, H, W], the gradient of the inputs with zeros outside, that is the convolution of `upstream` by
            `turned` with zeros outside; its border is overwritten.
        upstream: [C, H, W], the gradient of the convolution's results; type and device of `grad`.
        turned: [D, C, 3, 3], the convolution's weights with in and out exchanged, turned by 180 degrees; any strides.
        axes: as in `ring_`.

    Returns:
        `grad`.

    Raises:
        ValueError: a shape, dtype or device that does not fit.
    """
    checks.convolution(grad, upstream, turned)
    checks.written("grad", grad)
    _ring_backward_(grad, upstream, turned, checks.axes(axes))
    return grad


def pool(features: Tensor, kind: str = "avg") -> Tensor:
    """Mean ("avg") or largest ("max") of every 2 x 2 cells: [C, H, W] -> [C, ceil(H / 2), ceil(W / 2)].

    The last row and column of an odd size count as they are. Channels-last where the features are. Differentiable.
    Raises ValueError for what are no features or another kind.
    """
    checks.features(features)
    return _pool(features, checks.kind(kind))


def pool_backward(grad: Tensor, features: Tensor, kind: str = "avg", relu: bool = False) -> Tensor:
    """Gradient of what `pool` took, laid out as the features.

    Args:
        grad: [C, ceil(H / 2), ceil(W / 2)], of the pooled features.
        features: [C, H, W], what was pooled.
        kind: as in `pool`. Of several cells that are largest the first, row by row, gets the gradient.
        relu: zero where F <= 0, which is the backward of the ReLU that made the features.

    Raises:
        ValueError: a shape, dtype or device that does not fit.
    """
    checks.features(features)
    c, h, w = features.shape
    checks.planes("grad", grad, (c, (h + 1) // 2, (w + 1) // 2), features)
    checks.constant("grad", grad)
    checks.constant("features", features)
    return _pool_backward(grad, features, checks.kind(kind), relu)
