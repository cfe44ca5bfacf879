"""The Gram kernels in Triton, for NVIDIA sm_80 and later. Only files named so import Triton.

Three kernels. Partial sums: the pixels are split over the GPU, each program leaves a float32 block of the upper
triangle in a workspace. Reduction: adds the partials in a fixed order, mirrors i <= j to the rest and, in the same
pass, takes scale, target, loss and S. Backward: reads F and the upstream gradient once, writes the gradient once.
No atomics anywhere: the same input gives the same bits.

Precision of tl.dot: 16-bit operands with float32 accumulation; float32 operands as "ieee", since "tf32x3" keeps only
about 22 of the 24 bits and its accumulation truncates, and the results are held to torch's own float32 error. A dot of
float32 operands adds its terms up one after the other, and goes on from the accumulator it is given: over a whole
matrix that loses several times what a BLAS loses that splits its sums. Hence dots are 16 deep and start from zero, and
what adding up the dots would round off is carried along (Kahan 1965): the error is that of 16 terms whatever the size.
Partials are reduced, and scale, target, loss and S taken, in float64, where it costs nothing, and rounded once.

Triton compiles a kernel anew for every size that is 1 or divisible by 16, half a second each time, and the tiles of a
picture differ in all their sizes: what differs from tile to tile is not specialized. Channels and their strides are;
the loads are as wide as these allow.

The interpreter (TRITON_INTERPRET=1 before this import) runs them on CPU tensors; there tl.dot of bfloat16 returns
garbage and conversion to it cuts instead of rounding, hence UPCAST and `narrowed`.
"""

# Constants are upper case to tell them from values of the device; an `if` on one is settled when it is compiled.
# ruff: noqa: N803, SIM102, SIM108, SIM300
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED = bool(triton.knobs.runtime.interpret)


@triton.jit
def grown(total, missed, term):
    """(total + term, what that sum rounded off), where `missed` was rounded off before. In this order: an addition of
    the bare dot would be made its accumulator by the compiler."""
    term = term - missed
    larger = total + term
    return larger, (larger - total) - term


@triton.jit(do_not_specialize=["g_ptr", "width", "row_blocks", "blocks", "blocks_each", "g_r", "g_y"])
def partial_sums(
    f_ptr, g_ptr, part_ptr, mean_ptr, c, width, row_blocks, blocks, blocks_each,
    f_c, f_y, f_x, g_r, g_y, g_x,
    GUIDED: tl.constexpr, ONE: tl.constexpr, MEANS: tl.constexpr, UPCAST: tl.constexpr,
    BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """part[r, split, i, j] = sum over the split's pixels of g_r f_i f_j, and with MEANS mean[r, split, i] that of
    g_r f_i; grid (pairs of channel blocks, splits, R)."""
    side = tl.cdiv(c, BC)
    i0 = tl.program_id(0) // side * BC
    j0 = tl.program_id(0) % side * BC
    if i0 > j0:
        return
    split = tl.program_id(1)
    region = tl.program_id(2)
    i = i0 + tl.arange(0, BC)
    j = j0 + tl.arange(0, BC)
    rows = f_ptr + i.to(tl.int64)[:, None] * f_c
    columns = f_ptr + j.to(tl.int64)[:, None] * f_c
    total = tl.zeros((BC, BC), tl.float32)
    missed = tl.zeros((BC, BC), tl.float32)
    # The features' own sums as a product, too, all of whose columns are the same.
    means = tl.zeros((BC, 16), tl.float32)
    means_missed = tl.zeros((BC, 16), tl.float32)
    ones = tl.full((BP, 16), 1.0, tl.float32).to(tl.float32 if UPCAST else f_ptr.dtype.element_ty)
    for block in range(split * blocks_each, min((split + 1) * blocks_each, blocks)):
        y = (block // row_blocks).to(tl.int64)
        x = block % row_blocks * BP + tl.arange(0, BP)
        inside = (x < width)[None, :]
        at = (y * f_y + x.to(tl.int64) * f_x)[None, :]
        left = tl.load(rows + at, mask=(i < c)[:, None] & inside, other=0.0)
        if ONE:
            right = left
        else:
            right = tl.load(columns + at, mask=(j < c)[:, None] & inside, other=0.0)
        counted = left
        if GUIDED:
            guide_at = g_ptr + region.to(tl.int64) * g_r + y * g_y + x.to(tl.int64) * g_x
            guide = tl.load(guide_at, mask=x < width, other=0.0)[None, :]
            root = tl.sqrt_rn(guide)
            counted = left * guide
            left = left * root
            right = right * root
        left = left.to(tl.float32 if UPCAST else f_ptr.dtype.element_ty)
        right = right.to(tl.float32 if UPCAST else f_ptr.dtype.element_ty)
        if f_ptr.dtype.element_ty == tl.float32:
            total, missed = grown(total, missed, tl.dot(left, tl.trans(right), input_precision="ieee"))
        else:
            total = tl.dot(left, tl.trans(right), total)
        if MEANS:
            counted = counted.to(tl.float32 if UPCAST else f_ptr.dtype.element_ty)
            if f_ptr.dtype.element_ty == tl.float32:
                term = tl.dot(counted, ones, input_precision="ieee")
                means, means_missed = grown(means, means_missed, term)
            else:
                means = tl.dot(counted, ones, means)
    if MEANS:
        if i0 == j0:
            at = mean_ptr + (region * tl.num_programs(1) + split).to(tl.int64) * c + i
            tl.store(at, tl.max(means, 1), mask=i < c)
    base = part_ptr + (region * tl.num_programs(1) + split).to(tl.int64) * c * c
    tl.store(base + i[:, None] * c + j[None, :], total, mask=(i < c)[:, None] & (j < c)[None, :])


@triton.jit(do_not_specialize=["splits"])
def reduce_sums(
    part_ptr, sums_ptr, offset_ptr, target_ptr, factor_ptr, s_ptr, loss_ptr, c, splits, high, low,
    SUMS: tl.constexpr, STYLE: tl.constexpr, OFFSET: tl.constexpr, MIRROR: tl.constexpr,
    BS: tl.constexpr, BJ: tl.constexpr,
):  # fmt: skip
    """sums = partials added up; d = (high + low) * (sums + offset) - target; S = 2 factor d; loss parts of d * d.

    Grid (c, blocks of columns, R). MIRROR reads i <= j only and writes both halves. Factors and loss parts are float64.
    """
    i = tl.program_id(0)
    region = tl.program_id(2).to(tl.int64)
    j0 = tl.program_id(1) * BJ
    loss_at = loss_ptr + (region * c + i) * tl.num_programs(1) + tl.program_id(1)
    if MIRROR:
        if j0 + BJ <= i:
            if STYLE:
                tl.store(loss_at, 0.0)
            return
    j = j0 + tl.arange(0, BJ)
    use = (j < c) & ((j >= i) | (not MIRROR))
    total = tl.zeros((BJ,), tl.float64)
    for first in range(0, splits, BS):
        split = first + tl.arange(0, BS)
        at = (region * splits + split)[:, None] * c * c + i * c + j[None, :]
        part = tl.load(part_ptr + at, mask=(split < splits)[:, None] & use[None, :], other=0.0)
        total += tl.sum(part.to(tl.float64), 0)
    sums = total.to(tl.float32)
    at = region * c * c + i * c + j
    mirrored = region * c * c + j * c + i
    if SUMS:
        tl.store(sums_ptr + at, sums, mask=use)
        if MIRROR:
            tl.store(sums_ptr + mirrored, sums, mask=use)
    if STYLE:
        total = sums.to(tl.float64)
        if OFFSET:
            total += tl.load(offset_ptr + at, mask=use, other=0.0).to(tl.float64)
        total = total * high + total * low
        error = total - tl.load(target_ptr + at, mask=use, other=0.0).to(tl.float64)
        error = tl.where(use, error, 0.0)
        s = (2.0 * tl.load(factor_ptr + region) * error).to(tl.float32)
        tl.store(s_ptr + at, s, mask=use)
        power = error * error
        if MIRROR:
            tl.store(s_ptr + mirrored, s, mask=use)
            power = tl.where(j > i, 2.0 * power, power)
        tl.store(loss_at, tl.sum(power, 0))


@triton.jit
def narrowed(values, DTYPE: tl.constexpr, UPCAST: tl.constexpr):
    """float32 `values` in DTYPE, rounded to nearest even also where the interpreter would cut."""
    if UPCAST and DTYPE == tl.bfloat16:
        bits = values.to(tl.int32, bitcast=True)
        values = ((bits + 0x7FFF + ((bits >> 16) & 1)) & -0x10000).to(tl.float32, bitcast=True)
    return values.to(DTYPE)


@triton.jit(do_not_specialize=["g_ptr", "width", "row_blocks", "g_r", "g_y"])
def backward(
    out_ptr, f_ptr, s_ptr, g_ptr, gain_ptr, shift_ptr, c, width, row_blocks, steps, high, low,
    o_c, o_y, o_x, f_c, f_y, f_x, g_r, g_y, g_x,
    GUIDED: tl.constexpr, UPSTREAM: tl.constexpr, RELU: tl.constexpr, SHIFT: tl.constexpr, UPCAST: tl.constexpr,
    BC: tl.constexpr, BK: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """out = (out + sum_r g_r ((high + low) * gain * S_r F + shift_r)) where F > 0; grid (channel blocks x pixel
    blocks), channels first. SHIFT: without it that is 0.

    `steps` counts R times the blocks of BK channels: the products' whole depth, one accumulator for all of it.
    """
    side = tl.cdiv(c, BC)
    deep = tl.cdiv(c, BK)
    i = tl.program_id(0) % side * BC + tl.arange(0, BC)
    block = tl.program_id(0) // side
    y = (block // row_blocks).to(tl.int64)
    x = block % row_blocks * BP + tl.arange(0, BP)
    here = (y * f_y + x.to(tl.int64) * f_x)[None, :]
    inside = (x < width)[None, :]
    total = tl.zeros((BC, BP), tl.float32)
    missed = tl.zeros((BC, BP), tl.float32)
    for step in range(steps):
        region = (step // deep).to(tl.int64)
        k = step % deep * BK + tl.arange(0, BK)
        s_at = region * c * c + i[:, None] * c + k[None, :]
        s = tl.load(s_ptr + s_at, mask=(i < c)[:, None] & (k < c)[None, :], other=0.0)
        f = tl.load(f_ptr + k.to(tl.int64)[:, None] * f_c + here, mask=(k < c)[:, None] & inside, other=0.0)
        if GUIDED:
            guide_at = g_ptr + region * g_r + y * g_y + x.to(tl.int64) * g_x
            guide = tl.load(guide_at, mask=x < width, other=0.0)[None, :]
            f = f * guide
        s = s.to(tl.float32 if UPCAST else f_ptr.dtype.element_ty)
        f = f.to(tl.float32 if UPCAST else f_ptr.dtype.element_ty)
        if f_ptr.dtype.element_ty == tl.float32:
            total, missed = grown(total, missed, tl.dot(s, f, input_precision="ieee"))
        else:
            total = tl.dot(s, f, total)
    gain = tl.load(gain_ptr)
    total = tl.fma(total, high * gain, total * (low * gain))
    if SHIFT:
        if GUIDED:
            for one in range(steps // deep):
                shift = tl.load(shift_ptr + tl.cast(one, tl.int64) * c + i, mask=i < c, other=0.0)
                guide_at = g_ptr + tl.cast(one, tl.int64) * g_r + y * g_y + x.to(tl.int64) * g_x
                total += shift[:, None] * tl.load(guide_at, mask=x < width, other=0.0)[None, :]
        else:
            total += tl.load(shift_ptr + i, mask=i < c, other=0.0)[:, None]
    use = (i < c)[:, None] & inside
    out_at = out_ptr + i.to(tl.int64)[:, None] * o_c + (y * o_y + x.to(tl.int64) * o_x)[None, :]
    if UPSTREAM:
        total += tl.load(out_at, mask=use, other=0.0)
    if RELU:
        mask = tl.load(f_ptr + i.to(tl.int64)[:, None] * f_c + here, mask=use, other=0.0)
        total = tl.where(mask <= 0.0, 0.0, total)
    tl.store(out_at, narrowed(total, out_ptr.dtype.element_ty, UPCAST), mask=use)
