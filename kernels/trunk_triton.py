"""The trunk's kernels in Triton: the ring of cells that a convolution with zeros around its input gets wrong where the
border repeats outwards, and pooling.

A ring kernel walks one axis: its two outermost lines, of `along` cells each, `across` cells apart; strides are named
likewise. Products as in gram_triton. No atomics: every cell is written by one program.
"""

# ruff: noqa: N803
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import triton
import triton.language as tl

from kernels.gram_triton import grown, narrowed


@triton.jit
def added(total, missed, left, right, UPCAST: tl.constexpr):
    """(total + left @ right, what that sum rounded off)."""
    if left.dtype == tl.float32:
        total, missed = grown(total, missed, tl.dot(left, right, input_precision="ieee"))
    elif UPCAST:
        total = tl.dot(left.to(tl.float32), right.to(tl.float32), total)
    else:
        total = tl.dot(left, right, total)
    return total, missed


@triton.jit(do_not_specialize=["along", "across"])
def ring_line(
    f_ptr, x_ptr, w_ptr, b_ptr, channels, depth, along, across,
    f_c, f_a, f_b, x_c, x_a, x_b, w_c, w_k, w_a, w_b,
    SKIPPED: tl.constexpr, REPEAT: tl.constexpr, UPCAST: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """f[line] = relu(b + convolution of x); grid (cells of a line, channels, lines). SKIPPED cells at each end are
    not written. REPEAT: whether x repeats beyond the ends of its lines, too."""
    p = SKIPPED + tl.program_id(0) * BP + tl.arange(0, BP)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    line = tl.program_id(2) * (across - 1)
    deep = tl.cdiv(depth, BK)
    total = tl.zeros((BP, BC), tl.float32)
    missed = tl.zeros((BP, BC), tl.float32)
    for step in range(9 * deep):
        a = step // deep % 3
        b = step // deep // 3
        k = step % deep * BK + tl.arange(0, BK)
        at = p + a - 1
        seen = p < along
        if REPEAT:
            at = tl.minimum(tl.maximum(at, 0), along - 1)
        else:
            seen = seen & (at >= 0) & (at < along)
        beside = tl.minimum(tl.maximum(line + b - 1, 0), across - 1).to(tl.int64)
        cells = x_ptr + beside * x_b + at.to(tl.int64)[:, None] * x_a
        left = tl.load(cells + k[None, :] * x_c, mask=seen[:, None] & (k < depth)[None, :], other=0.0)
        taps = w_ptr + a * w_a + b * w_b + k.to(tl.int64)[:, None] * w_k + c.to(tl.int64)[None, :] * w_c
        right = tl.load(taps, mask=(k < depth)[:, None] & (c < channels)[None, :], other=0.0)
        total, missed = added(total, missed, left, right, UPCAST)
    total += tl.load(b_ptr + c, mask=c < channels, other=0.0).to(tl.float32)[None, :]
    total = tl.where(total <= 0.0, 0.0, total)
    cells = f_ptr + line.to(tl.int64) * f_b + p.to(tl.int64)[:, None] * f_a + c[None, :] * f_c
    use = (p < along - SKIPPED)[:, None] & (c < channels)[None, :]
    tl.store(cells, narrowed(total, f_ptr.dtype.element_ty, UPCAST), mask=use)


@triton.jit(do_not_specialize=["along", "across"])
def ring_line_backward(
    grad_ptr, u_ptr, w_ptr, channels, depth, along, across, lines,
    g_c, g_a, g_b, u_c, u_a, u_b, w_c, w_k, w_a, w_b,
    CORNERS: tl.constexpr, UPCAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """grad[line] += convolution of u, the upstream gradient, at the line outside; grid (cells of a line, channels, 2,
    or 1 where one line is at both edges: `lines` of them come back to it).

    With CORNERS the ends of the line outside lie beyond the line's own and come back to these: two ways more, in the
    programs that hold an end.
    """
    block = tl.program_id(0)
    p = block * BP + tl.arange(0, BP)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    line = tl.program_id(2) * (across - 1)
    deep = tl.cdiv(depth, BK)
    ends = (block == 0) | ((block + 1) * BP >= along)
    ways = tl.where(ends & CORNERS, 5, 3)
    total = tl.zeros((BP, BC), tl.float32)
    missed = tl.zeros((BP, BC), tl.float32)
    for step in range(lines * ways * deep):
        way = step // deep % ways
        edge = tl.program_id(2) + step // deep // ways
        k = step % deep * BK + tl.arange(0, BK)
        # Ways 0..2 are the kernel's own; 3 and 4 the line's ends, seen by the first and last cell through the outer
        # taps alone.
        a = tl.where(way < 3, way, tl.where(way == 3, 2, 0))
        at = tl.where(way < 3, p + way - 1, p)
        end = tl.where(way == 3, 0, along - 1)
        seen = (at >= 0) & (at < along) & ((way < 3) | (p == end))
        cells = u_ptr + line.to(tl.int64) * u_b + at.to(tl.int64)[:, None] * u_a
        left = tl.load(cells + k[None, :] * u_c, mask=seen[:, None] & (k < depth)[None, :], other=0.0)
        taps = w_ptr + a * w_a + (2 - 2 * edge) * w_b + k.to(tl.int64)[:, None] * w_k + c.to(tl.int64)[None, :] * w_c
        right = tl.load(taps, mask=(k < depth)[:, None] & (c < channels)[None, :], other=0.0)
        total, missed = added(total, missed, left, right, UPCAST)
    cells = grad_ptr + line.to(tl.int64) * g_b + p.to(tl.int64)[:, None] * g_a + c[None, :] * g_c
    use = (p < along)[:, None] & (c < channels)[None, :]
    total += tl.load(cells, mask=use, other=0.0).to(tl.float32)
    tl.store(cells, narrowed(total, grad_ptr.dtype.element_ty, UPCAST), mask=use)


@triton.jit(do_not_specialize=["h", "w"])
def pool(
    out_ptr, f_ptr, c, h, w, o_c, o_y, o_x, f_c, f_y, f_x,
    LARGEST: tl.constexpr, UPCAST: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """out = mean, or largest, of 2 x 2 cells of f; grid (blocks of out's cells, channel blocks). At the end of an odd
    size the last row or column is read twice, which changes neither."""
    across = (w + 1) // 2
    p = tl.program_id(0) * BP + tl.arange(0, BP)
    i = tl.program_id(1) * BC + tl.arange(0, BC)
    y = (p // across).to(tl.int64)
    x = (p % across).to(tl.int64)
    use = (p < across * ((h + 1) // 2))[:, None] & (i < c)[None, :]
    channels = f_ptr + i.to(tl.int64)[None, :] * f_c
    found = tl.zeros((BP, BC), tl.float32)
    for cell in tl.static_range(4):
        beside = tl.minimum(2 * y + cell // 2, h - 1) * f_y + tl.minimum(2 * x + cell % 2, w - 1) * f_x
        f = tl.load(channels + beside[:, None], mask=use, other=0.0).to(tl.float32)
        if LARGEST and cell > 0:
            found = tl.maximum(found, f, propagate_nan=tl.PropagateNan.ALL)
        else:
            found += f
    if not LARGEST:
        found *= 0.25
    at = i.to(tl.int64)[None, :] * o_c + (y * o_y + x * o_x)[:, None]
    tl.store(out_ptr + at, narrowed(found, out_ptr.dtype.element_ty, UPCAST), mask=use)


@triton.jit(do_not_specialize=["h", "w"])
def pool_backward(
    out_ptr, g_ptr, f_ptr, c, h, w, o_c, o_y, o_x, g_c, g_y, g_x, f_c, f_y, f_x,
    LARGEST: tl.constexpr, RELU: tl.constexpr, UPCAST: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """out = the pooled cell's gradient g by how many cells it is the mean of, or where f is the first of the largest;
    with RELU 0 where f is; grid (blocks of f's cells, channel blocks)."""
    p = tl.program_id(0) * BP + tl.arange(0, BP)
    i = tl.program_id(1) * BC + tl.arange(0, BC)
    y = (p // w).to(tl.int64)
    x = (p % w).to(tl.int64)
    use = (p < h * w)[:, None] & (i < c)[None, :]
    channels = i.to(tl.int64)[None, :]
    total = tl.load(g_ptr + channels * g_c + (y // 2 * g_y + x // 2 * g_x)[:, None], mask=use, other=0.0).to(tl.float32)
    if LARGEST or RELU:
        f = tl.load(f_ptr + channels * f_c + (y * f_y + x * f_x)[:, None], mask=use, other=0.0).to(tl.float32)
    if LARGEST:
        own = y % 2 * 2 + x % 2
        for cell in tl.static_range(4):
            row = y // 2 * 2 + cell // 2
            column = x // 2 * 2 + cell % 2
            seen = use & ((row < h) & (column < w))[:, None]
            other = tl.load(f_ptr + channels * f_c + (row * f_y + column * f_x)[:, None], mask=seen, other=0.0)
            larger = (other.to(tl.float32) > f) | ((other.to(tl.float32) == f) & (own > cell)[:, None])
            total = tl.where(larger & seen, 0.0, total)
    else:
        alone_y = (y == h - 1) & (h % 2 == 1)
        alone_x = (x == w - 1) & (w % 2 == 1)
        total *= (tl.where(alone_y, 1.0, 0.5) * tl.where(alone_x, 1.0, 0.5))[:, None]
    if RELU:
        total = tl.where(f <= 0.0, 0.0, total)
    at = channels * o_c + (y * o_y + x * o_x)[:, None]
    tl.store(out_ptr + at, narrowed(total, out_ptr.dtype.element_ty, UPCAST), mask=use)
