"""The Gram operations in torch for any device, arranged for speed; on a CPU faster than the reference.

What makes the difference on a CPU, in this order: matrices are read where they lie (either memory format), the
product is taken by oneDNN where it can (MKL reaches half its rate on AMD) and else block row by block row of the
upper triangle only, bfloat16 uses the processor's own products where it has them, and the backward is a single product
accumulated into the upstream gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import torch
from torch import Tensor

from kernels.gram_products import NARROW, add_products, as_images, suits_onednn
from kernels.gram_regions import gathered, picked, pixel_rows
from kernels.reference import Box, accumulation_dtype, crop

# Elements in a scratch block: big enough to hide the cost of a call, small enough to stay in the last-level cache.
BLOCK_ELEMENTS = 1 << 20
# Terms of a sum that oneDNN may add up one after the other; with 256 its rounding error is twice that of BLAS.
TERMS = 128


@cache
def fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware (AVX512-BF16, AMX, or ARM's BF16)."""
    x86 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    arm = not torch.cpu._is_avx2_supported() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return bool(torch.backends.mkldnn.is_available() and (x86 or arm))


def product_dtype(features: Tensor) -> torch.dtype:
    """The type in which products are taken: the features' own, or float32 where that is faster or safer."""
    if features.dtype == torch.float16:
        return torch.float32  # slow on a CPU, and S is often below its smallest number anywhere
    if features.dtype == torch.bfloat16 and features.device.type != "cuda" and not _multiplies(features):
        return torch.float32
    return features.dtype


def _multiplies(features: Tensor) -> bool:
    return features.device.type == "cpu" and fast_bfloat16()


def as_matrix(planes: Tensor) -> Tensor | None:
    """[C, H, W] as a [C, H*W] view that BLAS reads in place, or None where only a copy would do."""
    c, h, w = planes.shape
    if h > 1 and w > 1 and planes.stride(1) != w * planes.stride(2):
        return None
    matrix = planes.view(c, h * w)
    return matrix if 1 in (matrix.stride(0), matrix.stride(1)) or matrix.numel() == 1 else None


def _scratch(planes: Tensor, rows: int, channels: int, dtype: torch.dtype) -> Tensor:
    """Empty [channels, rows, W] in the memory format of `planes` [C, H, W], so that copies run along memory."""
    w = planes.shape[2]
    if planes.stride(0) == 1 and planes.shape[0] >= NARROW:
        return torch.empty(rows, w, channels, dtype=dtype, device=planes.device).permute(2, 0, 1)
    return torch.empty(channels, rows, w, dtype=dtype, device=planes.device)


def _row_blocks(planes: Tensor, channels: int) -> Iterator[slice]:
    """Slices of rows of which `channels` planes are about BLOCK_ELEMENTS; all rows at once off the CPU."""
    h, w = planes.shape[1:]
    rows = max(1, BLOCK_ELEMENTS // (channels * w)) if planes.device.type == "cpu" else h
    for y in range(0, h, rows):
        yield slice(y, min(y + rows, h))


def _block_pixels(channels: int, dtype: torch.dtype) -> int:
    """In each of oneDNN's calls, of float32, threads wait for each other, milliseconds on a busy machine: few large
    blocks."""
    return BLOCK_ELEMENTS // channels * (4 if dtype == torch.float32 else 1)


def _idle(guide: Tensor) -> bool:
    """Whether a block of a guide is all zero and can be skipped; never asked off the CPU, where it would wait."""
    return guide.device.type == "cpu" and not bool(guide.any())


def _matrices(planes: Tensor, root: Tensor | None, dtype: torch.dtype) -> Iterator[Tensor]:
    """`planes` [C, H, W], times `root` [H, W], as matrices [C, n] in `dtype` that together hold every pixel once.

    A yielded matrix may be scratch space that the next one overwrites.
    """
    pixels = pixel_rows(planes) if root is not None and planes.shape[0] >= NARROW else None
    if pixels is not None and root is not None:
        for rows, weights in picked(planes, root, _block_pixels(planes.shape[0], dtype)):
            yield gathered(pixels, rows, weights, dtype).mT
        return
    whole = as_matrix(planes) if root is None and planes.dtype == dtype else None
    if whole is not None and (whole.shape[0] >= NARROW or whole.stride(1) == 1):
        yield whole
        return
    scratch: Tensor | None = None
    c = planes.shape[0]
    large = dtype == torch.float32 and planes.stride(0) == 1 and c >= NARROW
    for part in _row_blocks(planes, c // 4 if large else c):
        source = planes[:, part]
        if root is not None and _idle(root[part]):
            continue
        if scratch is None or scratch.shape[1] != source.shape[1]:
            scratch = _scratch(planes, source.shape[1], c, dtype)
        if root is None:
            scratch.copy_(source)
        else:
            scratch.copy_(source * root[part])  # `out=` of another type takes a hundred times as long
        yield scratch.view(c, -1)


def _feature_sums(inner: Tensor, guides: Tensor | None) -> Tensor:
    """Sum of f(p) [1, C], or of g_r(p) f(p) [R, C]."""
    wide = accumulation_dtype(inner.dtype)
    total = torch.zeros(1 if guides is None else len(guides), len(inner), dtype=wide, device=inner.device)
    if guides is None:
        for matrix in _matrices(inner, None, inner.dtype):
            for part in matrix.split(max(1, BLOCK_ELEMENTS // len(inner)), 1):  # a tenth of the time of all at once
                total.add_(part.to(wide).sum(1))
        return total
    for rows in _row_blocks(inner, len(inner)):
        total.addmm_(guides[:, rows].flatten(1), inner[:, rows].to(wide).flatten(1).mT)
    return total


def gram_sums(features: Tensor, box: Box | None, guides: Tensor | None, means: bool = False) -> Tensor:
    """Sum over the box of f(p) f(p)^T, or of g_r(p) f(p) f(p)^T for each guide: [C, C] or [R, C, C]. means: those of
    f(p) or g_r(p) f(p) follow as a row more."""
    inner = crop(features, box)
    c, wide = features.shape[0], accumulation_dtype(features.dtype)
    roots: Sequence[Tensor | None] = [None]
    if guides is not None:
        roots = list(crop(guides, box).to(wide).sqrt())
    total = torch.zeros(len(roots), c, c, dtype=wide, device=features.device)
    for sums, root in zip(total, roots, strict=True):
        for matrix in _matrices(inner, root, product_dtype(features)):
            add_products(sums, matrix)
    upper = torch.ones(c, c, dtype=torch.bool, device=total.device).triu_()
    total = torch.where(upper, total, total.mT)  # a third of the time of adding the two halves
    if means:
        planes = None if guides is None else crop(guides, box).to(wide)
        total = torch.cat([total, _feature_sums(inner, planes)[:, None]], 1)
    return total[0] if guides is None else total


def style_term(gram: Tensor, target: Tensor, weight: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Loss weight * ||G - A||^2 / ||A||^2 of each [C, C] matrix, and S = dloss/dG; an all-zero A divides by 1."""
    power = target.square().sum((-2, -1))
    power.masked_fill_(power <= 0, 1.0)
    if len(set(weight)) == 1:
        factor = weight[0] / power
    else:
        factor = torch.tensor(weight, dtype=power.dtype, device=power.device) / power
    s = gram - target
    loss = s.square().sum((-2, -1)).mul_(factor)
    return loss, s.mul_(2 * factor[..., None, None])


def gram_style(
    features: Tensor, target: Tensor, weight: Sequence[float], scale: float,
    box: Box | None, guides: Tensor | None, offset: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gram sums and, from G = scale * (sums + offset), the style term: (sums, loss, S)."""
    sums = gram_sums(features, box, guides)
    gram = scale * (sums if offset is None else sums + offset)
    return (sums, *style_term(gram, target, weight))


def _multiply_add(into: Tensor, factors: Tensor, matrix: Tensor, beta: int) -> None:
    """into <- beta * into + factors @ matrix."""
    if not (suits_onednn(into) and suits_onednn(matrix)):
        into.addmm_(factors, matrix, beta=beta)
        return
    if not beta:
        into.zero_()
    plain = ([0, 0], [1, 1], [1, 1], 1)
    weights = [part[:, :, None, None].contiguous() for part in factors.split(TERMS, 1)]
    # as oneDNN reads dense pixels only, a part of their channels is copied, in blocks for the cache's sake
    pixels = BLOCK_ELEMENTS // TERMS if len(weights) > 1 else matrix.shape[1]
    for out, block in zip(into.split(pixels, 1), matrix.split(pixels, 1), strict=True):
        for weight, part in zip(weights, block.split(TERMS), strict=True):
            images = as_images(out, 1), as_images(part.mT.contiguous().mT, 1)
            torch.ops.mkldnn._convolution_pointwise_.binary(*images, weight, None, *plain, "add", 1, None, [], None)


def _add_blocks(
    grad: Tensor, features: Tensor, factors: Tensor, shift: Tensor | None, guides: Tensor | None, beta: int
) -> None:
    """grad <- beta * grad + sum_r g_r * (factors[r] @ F + shift[r]) through scratch space, for what BLAS can't do in
    place."""
    c = features.shape[0]
    for rows in _row_blocks(features, c * len(factors)):
        source, upstream = features[:, rows], grad[:, rows]
        active = [r for r in range(len(factors)) if guides is None or not _idle(guides[r, rows])]
        if not active:
            if not beta:
                upstream.zero_()
            continue
        stacked = _scratch(features, source.shape[1], c * len(active), factors.dtype)
        for part, r in zip(stacked.split(c), active, strict=True):
            if guides is None:
                part.copy_(source)
            else:
                part.copy_(source * guides[r, rows])
        out = _scratch(features, source.shape[1], c, factors.dtype)
        if beta:
            out.copy_(upstream)
        if shift is not None:
            moved = shift[0, :, None] if guides is None else shift[active].mT @ guides[active, rows].flatten(1)
            into = out.view(c, -1)
            moved = moved.to(into.dtype)  # with operands of two types torch takes seventy times as long
            into.add_(moved) if beta else into.copy_(moved)
        left = torch.cat([factors[r] for r in active], 1)
        _multiply_add(out.view(c, -1), left, stacked.view(left.shape[1], -1), beta if shift is None else 1)
        upstream.copy_(out)


def _add_regions(
    grad: Tensor, features: Tensor, factors: Tensor, shift: Tensor | None, guides: Tensor, beta: int
) -> bool:
    """`_add_blocks` of regions, one after the other, each where it is; False where pixels can't be picked out."""
    seen, changed, c = pixel_rows(features), pixel_rows(grad), len(features)
    same = grad.stride() == features.stride() and grad.dtype == factors.dtype
    if seen is None or changed is None or c < NARROW or not same:
        return False
    if not beta:
        grad.zero_()
    for region, guide in enumerate(guides):
        moved = None if shift is None else shift[region].to(grad.dtype)
        for rows, weights in picked(features, guide, _block_pixels(c, factors.dtype)):
            part = gathered(seen, rows, weights, factors.dtype)
            out = changed.index_select(0, rows)
            if moved is not None:
                out.add_(moved if bool((weights == 1).all()) else weights[:, None].to(grad.dtype) * moved)
            _multiply_add(out.mT, factors[region], part.mT, 1)
            changed.index_copy_(0, rows, out)
    return True


def _backward_into(
    grad: Tensor, features: Tensor, s: Tensor, scale: float, guides: Tensor | None, relu: bool, beta: int
) -> None:
    dtype, c, wide = product_dtype(features), len(features), accumulation_dtype(features.dtype)
    factors = (2 * scale * s[..., :c, :]).to(dtype)
    shift = (scale * s[..., c, :]).view(-1, c) if s.shape[-2] > c else None
    matrix, into = as_matrix(features), as_matrix(grad)
    if guides is None and matrix is not None and into is not None and features.dtype == dtype:
        if shift is not None:
            moved = shift.mT.to(dtype)  # with operands of two types torch takes seventy times as long
            into.add_(moved) if beta else into.copy_(moved)
        _multiply_add(into, factors, matrix, beta if shift is None else 1)
    else:
        regions = None if guides is None else guides.to(wide)
        factors = factors.view(-1, c, c)
        if regions is None or not _add_regions(grad, features, factors, shift, regions, beta):
            _add_blocks(grad, features, factors, shift, regions, beta)
    if relu:
        torch.ops.aten.threshold_backward.grad_input(grad, features, 0, grad_input=grad)


def gram_backward_(
    grad: Tensor, features: Tensor, s: Tensor, scale: float, guides: Tensor | None, relu: bool
) -> None:  # fmt: skip
    """grad <- (grad + scale * sum_r g_r * (2 * S_r[:C] @ F + S_r[C])), zero where relu and F <= 0. S[C]: 0 where S has
    C rows."""
    _backward_into(grad, features, s, scale, guides, relu, beta=1)


def gram_backward(features: Tensor, s: Tensor, scale: float, guides: Tensor | None, relu: bool) -> Tensor:
    """`gram_backward_` without an upstream gradient, into a new tensor laid out as the features."""
    grad = torch.empty_like(features)
    _backward_into(grad, features, s, scale, guides, relu, beta=0)
    return grad
