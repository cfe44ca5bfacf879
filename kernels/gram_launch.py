"""Launches the Triton kernels: how each is cut, workspaces, and the Gram operations made of them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from kernels.gram_triton import INTERPRETED, backward, partial_sums, reduce_sums
from kernels.reference import Box, crop

OLDEST = (8, 0)
ROOMY = ((8, 0), (9, 0), (10, 0), (10, 3))
# Pixel blocks that a program of the partial sums should have at least: below, the workspace outweighs the features.
LEAST_BLOCKS = 4
# Columns of a program of the reduction; the interpreter pays by the program.
COLUMNS = 512 if INTERPRETED else 128
# Depth of a product of float32 operands: their terms are added up one after the other.
EXACT_DEPTH = 16
_HERE: AbstractContextManager[object] = nullcontext()


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up, for positive integers."""
    return -(-a // b)


def power_of_2(n: int) -> int:
    """The smallest power of two that is at least `n`."""
    return 1 << (n - 1).bit_length()


@dataclass(frozen=True)
class Config:
    """How a kernel is cut: channels and pixels a block, warps a program, stages of its load pipeline. depth: channels
    that a product of the backward adds up."""

    channels: int
    pixels: int
    warps: int
    stages: int
    depth: int = 0


def sums_config(c: int, dtype: torch.dtype, capability: tuple[int, int], guided: bool, means: bool = False) -> Config:
    """Cut of the partial sums for `c` channels; 8.6, 8.9 and 12.x have 99 KiB of shared memory, the others more. means:
    with the features' own sums, for which, guided, registers would not be enough."""
    if dtype == torch.float32:
        return Config(32 if c <= 32 or guided else 64, EXACT_DEPTH, 4, 2)
    stages = 3 if capability in ROOMY else 2
    if c <= 64:
        return Config(max(16, power_of_2(c)), 128, 4, stages)
    return Config(128, 32 if guided and means else 64, 8, stages)


def backward_config(c: int, dtype: torch.dtype, capability: tuple[int, int], guided: bool) -> Config:
    """Cut of the backward for `c` channels."""
    if dtype == torch.float32:
        return Config(16 if c <= 16 or guided else 32, 64, 4, 2, EXACT_DEPTH)
    channels = min(64, max(16, power_of_2(c)))
    stages = 3 if c > 64 and capability in ROOMY else 2
    return Config(channels, 128, 4, stages, channels)


def require(device: torch.device) -> None:
    """Raise RuntimeError where the device is older than these kernels."""
    capability = _capability(device)
    if capability < OLDEST:
        raise RuntimeError(f"compute capability {capability[0]}.{capability[1]}: must be at least 8.0")


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else OLDEST


@cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2


def on(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on the current device, whatever device its tensors are on."""
    if device.type != "cuda" or device.index in (None, torch.cuda.current_device()):
        return _HERE
    return torch.cuda.device(device)


def blocks_each(blocks: int, parts: int, processors: int) -> int:
    """Pixel blocks that a program adds up, so that `parts` times the splits are two programs a processor."""
    return max(LEAST_BLOCKS, ceil_div(blocks, ceil_div(2 * processors, parts)))


def _flat(*planes: Tensor | None) -> bool:
    """Whether the rows of all [.., H, W] follow each other, so that H * W pixels can be walked as one row."""
    given = [plane for plane in planes if plane is not None]
    return all(plane.shape[-2] == 1 or plane.stride(-2) == plane.shape[-1] * plane.stride(-1) for plane in given)


def _extent(planes: Tensor, flat: bool) -> tuple[int, int]:
    h, w = planes.shape[-2:]
    return (1, h * w) if flat else (h, w)


def _split(number: float) -> tuple[float, float]:
    """Two numbers of float32 that add up to about 48 bits of `number`: kernels are given no longer ones."""
    high = ctypes.c_float(number).value
    return high, number - high


def _float_guides(guides: Tensor | None) -> Tensor | None:
    return None if guides is None else guides.float()


def _partials(features: Tensor, box: Box | None, guides: Tensor | None, means: bool = False) -> tuple[Tensor, Tensor]:
    """Workspace [R, splits, C, C] of which only blocks on and above the diagonal are written; the features' own sums
    [R, splits, C] with `means`, else something else."""
    f = crop(features, box)
    g = _float_guides(None if guides is None else crop(guides, box))
    c, regions = f.shape[0], 1 if g is None else g.shape[0]
    cut = sums_config(c, f.dtype, _capability(f.device), g is not None, means)
    h, w = _extent(f, _flat(f, g))
    side, row_blocks = ceil_div(c, cut.channels), ceil_div(w, cut.pixels)
    blocks = h * row_blocks
    each = blocks_each(blocks, side * (side + 1) // 2 * regions, _processors(f.device))
    part = torch.empty(regions, ceil_div(blocks, each), c, c, dtype=torch.float32, device=f.device)
    mean = part.new_empty(*part.shape[:3]) if means else part
    with on(f.device):
        partial_sums[(side * side, part.shape[1], regions)](
            f, f if g is None else g, part, mean, c, w, row_blocks, blocks, each,
            *f.stride(), *((0, 0, 0) if g is None else g.stride()),
            GUIDED=g is not None, ONE=side == 1, MEANS=means, UPCAST=INTERPRETED, BC=cut.channels, BP=cut.pixels,
            num_warps=cut.warps, num_stages=cut.stages,
        )  # fmt: skip
    return part, mean


def _reduce(
    part: Tensor, sums: Tensor | None, mirror: bool, scale: float = 1.0, offset: Tensor | None = None,
    target: Tensor | None = None, weight: Sequence[float] = (),
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Launch the reduction into `sums` and, with a target, give back (loss [R], S [R, C, C])."""
    regions, splits, c = part.shape[:3]
    width = min(COLUMNS, max(16, power_of_2(c)))
    columns = ceil_div(c, width)
    s, losses, factor = part, part, part
    if target is not None:
        s = torch.empty(regions, c, c, dtype=part.dtype, device=part.device)
        losses = torch.empty(regions, c * columns, dtype=torch.float64, device=part.device)
        factor = _factors(target.reshape(regions, c, c), weight)
    with on(part.device):
        reduce_sums[(c, columns, regions)](
            part, part if sums is None else sums, part if offset is None else offset.contiguous(),
            part if target is None else target.contiguous(), factor, s, losses, c, splits, *_split(scale),
            SUMS=sums is not None, STYLE=target is not None, OFFSET=offset is not None, MIRROR=mirror,
            BS=16 if splits > 1 else 1, BJ=width, num_warps=4,
        )  # fmt: skip
    return ((factor * losses.sum(1)).to(part.dtype) if target is not None else losses), s


def _factors(target: Tensor, weight: Sequence[float]) -> Tensor:
    """weight / ||A||^2 of each matrix, [R] float64."""
    power = target.double().square().sum((-2, -1))
    power.masked_fill_(power <= 0, 1.0)
    if len(set(weight)) == 1:
        return weight[0] / power
    return torch.tensor(weight, dtype=power.dtype, device=power.device) / power


def gram_sums(features: Tensor, box: Box | None, guides: Tensor | None, means: bool = False) -> Tensor:
    """Sum over the box of f(p) f(p)^T, or of g_r(p) f(p) f(p)^T for each guide: [C, C] or [R, C, C]. means: those of
    f(p) or g_r(p) f(p) follow as a row more."""
    part, mean = _partials(features, box, guides, means)
    sums = torch.empty_like(part[:, 0], memory_format=torch.contiguous_format)
    _reduce(part, sums, mirror=True)
    if means:
        sums = torch.cat([sums, mean.double().sum(1, keepdim=True).to(sums.dtype)], 1)
    return sums[0] if guides is None else sums


def style_term(gram: Tensor, target: Tensor, weight: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Loss weight * ||G - A||^2 / ||A||^2 of each [C, C] matrix, and S = dloss/dG; an all-zero A divides by 1."""
    part = gram.contiguous().view(-1, 1, *gram.shape[-2:])
    loss, s = _reduce(part, None, mirror=False, target=target, weight=weight)
    return (loss[0], s[0]) if gram.ndim == 2 else (loss, s)


def gram_style(
    features: Tensor, target: Tensor, weight: Sequence[float], scale: float,
    box: Box | None, guides: Tensor | None, offset: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gram sums and, from G = scale * (sums + offset), the style term: (sums, loss, S)."""
    part, _ = _partials(features, box, guides)
    sums = torch.empty_like(part[:, 0], memory_format=torch.contiguous_format)
    loss, s = _reduce(part, sums, True, scale, offset, target, weight)
    return (sums[0], loss[0], s[0]) if guides is None else (sums, loss, s)


def _operand(s: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """S in the products' type, and the number it must be multiplied by: float16 would lose entries below 6e-8."""
    if dtype != torch.float16:
        return s.to(dtype).contiguous(), torch.ones(1, dtype=torch.float32, device=s.device)
    peak = s.abs().amax()
    peak = torch.where(peak > 0, peak, 1.0)
    return (s / peak).to(dtype).contiguous(), peak


def _backward_into(
    out: Tensor, f: Tensor, s: Tensor, scale: float, guides: Tensor | None, relu: bool, upstream: bool
) -> None:
    g = _float_guides(guides)
    c, regions = f.shape[0], 1 if g is None else g.shape[0]
    cut = backward_config(c, f.dtype, _capability(f.device), g is not None)
    h, w = _extent(f, _flat(f, g, out))
    side, deep, row_blocks = ceil_div(c, cut.channels), ceil_div(c, cut.depth), ceil_div(w, cut.pixels)
    operand, gain = _operand(s[..., :c, :], f.dtype)
    shift = (scale * s[..., c, :]).contiguous() if s.shape[-2] > c else operand
    with on(f.device):
        backward[(side * h * row_blocks,)](
            out, f, operand, f if g is None else g, gain, shift, c, w, row_blocks, deep * regions, *_split(2 * scale),
            *out.stride(), *f.stride(), *((0, 0, 0) if g is None else g.stride()),
            GUIDED=g is not None, UPSTREAM=upstream, RELU=relu, SHIFT=s.shape[-2] > c, UPCAST=INTERPRETED,
            BC=cut.channels, BK=cut.depth, BP=cut.pixels, num_warps=cut.warps, num_stages=cut.stages,
        )  # fmt: skip


def gram_backward_(
    grad: Tensor, features: Tensor, s: Tensor, scale: float, guides: Tensor | None, relu: bool
) -> None:  # fmt: skip
    """grad <- (grad + scale * sum_r g_r * (2 * S_r[:C] @ F + S_r[C])), zero where relu and F <= 0. S[C]: 0 where S has
    C rows."""
    _backward_into(grad, features, s, scale, guides, relu, upstream=True)


def gram_backward(features: Tensor, s: Tensor, scale: float, guides: Tensor | None, relu: bool) -> Tensor:
    """`gram_backward_` without an upstream gradient, into a new tensor laid out as the features."""
    grad = torch.empty_like(features)
    _backward_into(grad, features, s, scale, guides, relu, upstream=False)
    return grad
