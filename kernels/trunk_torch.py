"""The trunk's operations in torch, for any device: the ring as two strips an axis, pooling as torch has it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.reference import Axes

WINDOW = ([2, 2], [2, 2], [0, 0])


def image(planes: Tensor) -> Tensor:
    """[1, C, H, W]; of channels-last planes with the strides that torch knows channels-last by, unlike planes[None]."""
    return planes.permute(1, 2, 0)[None].permute(0, 3, 1, 2)


def _line(planes: Tensor, axis: int, at: int) -> Tensor:
    return planes.narrow(axis, at, 1)


def ring_(features: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor, axes: Axes) -> None:
    """features[ring] <- relu(bias + 3 x 3 convolution of the inputs, whose border repeats outwards along `axes`)."""
    for axis in (1, 2):
        if not axes[axis - 1]:
            continue
        last = inputs.shape[axis] - 1
        edges = ((0, 0, min(1, last)), (max(0, last - 1), last, last))
        strips = torch.stack([torch.cat([_line(inputs, axis, at) for at in edge], axis) for edge in edges])
        sides = (1, 1, 0, 0) if axis == 1 else (0, 0, 1, 1)
        strips = F.pad(strips, sides, mode="replicate" if axes[2 - axis] else "constant")
        for at, found in zip((0, last), F.conv2d(strips, weight, bias).relu_(), strict=True):
            _line(features, axis, at).copy_(found)


def ring_backward_(grad: Tensor, upstream: Tensor, turned: Tensor, axes: Axes) -> None:
    """grad <- grad + what comes back to the inputs from the cells outside that repeat them. turned: the weights whose
    convolution of `upstream`, the gradient of the results, is that of the inputs."""
    corners = 1 if all(axes) else 0
    for axis in (1, 2):
        if not axes[axis - 1]:
            continue
        # What the rows outside pass on holds the corners' share; the columns' is then that of the rows inside alone.
        more = corners if axis == 1 else 0
        padding = (0, 1 + more) if axis == 1 else (1, 0)
        for at, tap in ((0, 2), (-1, 0)):
            at %= grad.shape[axis]
            found = F.conv2d(_line(upstream, axis, at)[None], _line(turned, 1 + axis, tap), padding=padding)[0]
            if more:
                found[..., 1].add_(found[..., 0])
                found[..., -2].add_(found[..., -1])
                found = found[..., 1:-1]
            _line(grad, axis, at).add_(found)


def pool(features: Tensor, largest: bool) -> Tensor:
    """Mean, or largest, of every 2 x 2 cells: [C, ceil(H / 2), ceil(W / 2)]. The last row and column of an odd size
    count as they are."""
    if largest:
        return torch.ops.aten.max_pool2d_with_indices(image(features), *WINDOW, [1, 1], True)[0][0]
    return F.avg_pool2d(image(features), 2, ceil_mode=True, count_include_pad=False)[0]


def _spread(planes: Tensor, like: Tensor) -> Tensor:
    """Each value into four cells, laid out as `like` [C, H, W], H and W even. torch's own backward writes zeros first,
    then adds cell by cell (2 to 4 times as long in bfloat16)."""
    found = torch.empty_like(like)
    c, h, w = like.shape
    cells = found.permute(1, 2, 0).view(h // 2, 2, w // 2, 2, c)
    cells.copy_(planes.permute(1, 2, 0)[:, None, :, None])
    return found


def pool_backward(grad: Tensor, features: Tensor, largest: bool, relu: bool) -> Tensor:
    """Gradient of what was pooled, zero where relu and F <= 0. Of several that are largest the first, row by row, gets
    the gradient."""
    if largest:
        _, at = torch.ops.aten.max_pool2d_with_indices(image(features), *WINDOW, [1, 1], True)
        arguments = (image(grad), image(features), *WINDOW, [1, 1], True, at)
        found = torch.ops.aten.max_pool2d_with_indices_backward(*arguments)[0]
    elif any(side % 2 for side in features.shape[1:]):
        found = torch.ops.aten.avg_pool2d_backward(image(grad), image(features), *WINDOW, True, False, None)[0]
    else:
        found = _spread(grad / 4, features)
    if relu:
        torch.ops.aten.threshold_backward.grad_input(found, features, 0, grad_input=found)
    return found
