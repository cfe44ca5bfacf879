"""Launches the trunk's Triton kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels import trunk_triton
from kernels.gram_launch import EXACT_DEPTH, INTERPRETED, Config, ceil_div, on, power_of_2
from kernels.reference import Axes, halved

# Numbers that a program of the pooling reads of each plane.
POOLED = 2048


def ring_config(channels: int, depth: int, dtype: torch.dtype) -> Config:
    """Cut of the ring for a convolution of `depth` channels to `channels`."""
    if dtype == torch.float32:
        return Config(32, 64, 4, 2, EXACT_DEPTH)
    return Config(min(64, max(16, power_of_2(channels))), 64, 4, 3, min(64, max(16, power_of_2(depth))))


def _strides(planes: Tensor, axis: int) -> tuple[int, int, int]:
    """Of [C, H, W]: channels, along the lines that are outermost on `axis`, and across them."""
    return planes.stride(0), planes.stride(3 - axis), planes.stride(axis)


def _taps(weight: Tensor, axis: int) -> tuple[int, int, int, int]:
    """Of [out, in, 3, 3]: out, in, along and across."""
    return weight.stride(0), weight.stride(1), weight.stride(4 - axis), weight.stride(1 + axis)


def ring_(features: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor, axes: Axes) -> None:
    """features[ring] <- relu(bias + 3 x 3 convolution of the inputs, whose border repeats outwards along `axes`)."""
    channels, depth = weight.shape[:2]
    cut = ring_config(channels, depth, features.dtype)
    for axis in (axis for axis in (1, 2) if axes[axis - 1]):
        along, across = features.shape[3 - axis], features.shape[axis]
        skipped = 1 if axis == 2 and axes[0] else 0  # the corners are in the rows
        grid = (ceil_div(along, cut.pixels), ceil_div(channels, cut.channels), min(2, across))
        with on(features.device):
            trunk_triton.ring_line[grid](
                features, inputs, weight, bias, channels, depth, along, across,
                *_strides(features, axis), *_strides(inputs, axis), *_taps(weight, axis),
                SKIPPED=skipped, REPEAT=bool(axes[2 - axis]), UPCAST=INTERPRETED,
                BP=cut.pixels, BC=cut.channels, BK=cut.depth,
                num_warps=cut.warps, num_stages=cut.stages,
            )  # fmt: skip


def ring_backward_(grad: Tensor, upstream: Tensor, turned: Tensor, axes: Axes) -> None:
    """grad <- grad + what comes back to the inputs from the cells outside that repeat them. turned: the weights whose
    convolution of `upstream`, the gradient of the results, is that of the inputs."""
    channels, depth = turned.shape[:2]
    cut = ring_config(channels, depth, grad.dtype)
    for axis in (axis for axis in (1, 2) if axes[axis - 1]):
        along, across = grad.shape[3 - axis], grad.shape[axis]
        lines = min(2, across)
        corners = axis == 1 and bool(axes[1])
        grid = (ceil_div(along, cut.pixels), ceil_div(channels, cut.channels), lines)
        with on(grad.device):
            trunk_triton.ring_line_backward[grid](
                grad, upstream, turned, channels, depth, along, across, 3 - lines,
                *_strides(grad, axis), *_strides(upstream, axis), *_taps(turned, axis),
                CORNERS=corners, UPCAST=INTERPRETED, BP=cut.pixels, BC=cut.channels, BK=cut.depth,
                num_warps=cut.warps, num_stages=cut.stages,
            )  # fmt: skip


def blocks(cells: int, channels: int) -> tuple[tuple[int, int], dict[str, int]]:
    """Grid and cut of a kernel that reads each number of [C, cells] once."""
    wide = min(512, max(4, power_of_2(channels)))
    cut = {"BC": wide, "BP": POOLED // wide}
    return (ceil_div(cells, cut["BP"]), ceil_div(channels, wide)), cut


def pool(features: Tensor, largest: bool) -> Tensor:
    """Mean, or largest, of every 2 x 2 cells: [C, ceil(H / 2), ceil(W / 2)]. The last row and column of an odd size
    count as they are."""
    c, h, w = features.shape
    out = halved(features)
    grid, cut = blocks(out.shape[1] * out.shape[2], c)
    with on(features.device):
        trunk_triton.pool[grid](
            out, features, c, h, w, *out.stride(), *features.stride(), LARGEST=largest, UPCAST=INTERPRETED, **cut
        )
    return out


def pool_backward(grad: Tensor, features: Tensor, largest: bool, relu: bool) -> Tensor:
    """Gradient of what was pooled, zero where relu and F <= 0. Of several that are largest the first, row by row, gets
    the gradient."""
    c, h, w = features.shape
    out = torch.empty_like(features)
    grid, cut = blocks(h * w, c)
    with on(features.device):
        trunk_triton.pool_backward[grid](
            out, grad, features, c, h, w, *out.stride(), *grad.stride(), *features.stride(),
            LARGEST=largest, RELU=relu, UPCAST=INTERPRETED, **cut,
        )  # fmt: skip
    return out
