"""The kernels of an optimiser's step in Triton: the content's term, and Adam with total variation and the pixels'
range, each in one pass. Losses are left as one number a program, for a sum in a fixed order."""

# ruff: noqa: N803
# mypy: disallow-untyped-defs=False

from __future__ import annotations

import triton
import triton.language as tl

from kernels.gram_triton import narrowed

# Of the update, whatever differs from tile to tile: see gram_triton.
PLACES = (
    "out_ptr", "p_ptr", "first_ptr", "second_ptr", "g_ptr", "u_ptr", "h", "w", "top", "left", "rows", "width",
    "y0", "x0", "y1", "x1", "p_c", "p_y", "m_c", "m_y", "v_c", "v_y", "g_c", "g_y", "u_c", "u_y",
)  # fmt: skip


@triton.jit(do_not_specialize=["k_ptr", "h", "w", "y0", "x0", "y1", "x1", "k_y"])
def content_term(
    grad_ptr, f_ptr, t_ptr, k_ptr, loss_ptr, c, h, w, twice, y0, x0, y1, x1,
    g_c, g_y, g_x, f_c, f_y, f_x, t_c, t_y, t_x, k_y, k_x,
    WEIGHTED: tl.constexpr, RELU: tl.constexpr, UPCAST: tl.constexpr, BC: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """grad = (grad + twice * k * (f - t)) where f > 0; sums of k * (f - t)^2 inside the box; grid (blocks of cells,
    channel blocks). t: what is wanted, k: weights of the cells."""
    p = tl.program_id(0) * BP + tl.arange(0, BP)
    i = tl.program_id(1) * BC + tl.arange(0, BC)
    y = (p // w).to(tl.int64)
    x = (p % w).to(tl.int64)
    use = (p < h * w)[:, None] & (i < c)[None, :]
    channels = i.to(tl.int64)[None, :]
    grad_at = grad_ptr + channels * g_c + (y * g_y + x * g_x)[:, None]
    f = tl.load(f_ptr + channels * f_c + (y * f_y + x * f_x)[:, None], mask=use, other=0.0).to(tl.float32)
    t = tl.load(t_ptr + channels * t_c + (y * t_y + x * t_x)[:, None], mask=use, other=0.0).to(tl.float32)
    difference = f - t
    weighted = difference
    if WEIGHTED:
        k = tl.load(k_ptr + y * k_y + x * k_x, mask=p < h * w, other=0.0).to(tl.float32)
        weighted = difference * k[:, None]
    total = tl.load(grad_at, mask=use, other=0.0).to(tl.float32) + twice * weighted
    if RELU:
        total = tl.where(f <= 0.0, 0.0, total)
    tl.store(grad_at, narrowed(total, grad_ptr.dtype.element_ty, UPCAST), mask=use)
    inside = (y >= y0) & (y < y1) & (x >= x0) & (x < x1)
    loss = tl.sum(tl.sum(tl.where(inside[:, None], difference * weighted, 0.0), 1), 0)
    tl.store(loss_ptr + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), loss)


@triton.jit
def log1p(x):
    """Which Triton has for some devices only (Goldberg 1991, theorem 4)."""
    more = 1.0 + x
    return tl.where(more == 1.0, x, tl.log(more) * x / tl.where(more == 1.0, 1.0, more - 1.0))


@triton.jit
def change(place, other, units, c, use, p_c, u_c, smooth, chroma, light, C: tl.constexpr):
    """Of the difference d from pixels to others, for channel c: half the variation's gradient along it, d^2, and what
    all channels together add. units: where the pixels' own are."""
    d = tl.load(other + c * p_c, mask=use, other=0.0) - tl.load(place + c * p_c, mask=use, other=0.0)
    slope = smooth * d
    grown = d * 0.0
    if chroma + light > 0.0:
        mean = d * 0.0
        for k in tl.static_range(C):
            mean += tl.load(other + k * p_c, mask=use, other=0.0) - tl.load(place + k * p_c, mask=use, other=0.0)
        mean = mean / C
        amount = d * 0.0
        for k in tl.static_range(C):
            one = tl.load(other + k * p_c, mask=use, other=0.0) - tl.load(place + k * p_c, mask=use, other=0.0)
            amount += (one - mean) * (one - mean)
        usual_chroma = tl.load(units, mask=use, other=1.0)
        usual_light = tl.load(units + u_c, mask=use, other=1.0)
        amount = amount / usual_chroma
        more = C * mean * mean / usual_light
        gate = 1.0 + more
        slope += chroma * (d - mean) / (usual_chroma * (gate + amount)) + light * mean / (usual_light * gate)
        grown = chroma * log1p(amount / gate) + light * log1p(more)
    return slope, d * d, grown


@triton.jit(do_not_specialize=PLACES)
def adam_step(
    out_ptr, p_ptr, first_ptr, second_ptr, g_ptr, u_ptr, pace_ptr, loss_ptr, h, w, top, left, rows, width,
    y0, x0, y1, x1, gained1, kept2, gained2, epsilon, smooth, chroma, light,
    p_c, p_y, p_x, m_c, m_y, m_x, v_c, v_y, v_x, g_c, g_y, g_x, u_c, u_y, u_x,
    C: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """out = the pixels [C, rows, width] at (top, left) of [C, h, w] after an update; the variation of the differences
    to the next row and column inside the box; grid (blocks of pixels, C).

    Written beside the pixels, since their neighbours' gradient of the total variation is still to be taken.
    """
    c = tl.program_id(1).to(tl.int64)
    n = tl.program_id(0) * BP + tl.arange(0, BP)
    use = n < rows * width
    down = (n // width).to(tl.int64)
    right = (n % width).to(tl.int64)
    y = top + down
    x = left + right
    place = p_ptr + y * p_y + x * p_x
    units = u_ptr + y * u_y + x * u_x
    here = tl.load(place + c * p_c, mask=use, other=0.0)
    to_below, square_below, grown_below = change(
        place, place + p_y, units, c, use & (y < h - 1), p_c, u_c, smooth, chroma, light, C
    )
    to_after, square_after, grown_after = change(
        place, place + p_x, units, c, use & (x < w - 1), p_c, u_c, smooth, chroma, light, C
    )
    from_above, _, _ = change(place - p_y, place, units - u_y, c, use & (y > 0), p_c, u_c, smooth, chroma, light, C)
    from_before, _, _ = change(place - p_x, place, units - u_x, c, use & (x > 0), p_c, u_c, smooth, chroma, light, C)
    slope = 2.0 * (from_above - to_below + from_before - to_after)
    g = tl.load(g_ptr + c * g_c + down * g_y + right * g_x, mask=use, other=0.0).to(tl.float32) + slope
    first_at = first_ptr + c * m_c + down * m_y + right * m_x
    second_at = second_ptr + c * v_c + down * v_y + right * v_x
    first = tl.load(first_at, mask=use, other=0.0)
    first += gained1 * (g - first)
    second = tl.load(second_at, mask=use, other=0.0) * kept2 + gained2 * (g * g)
    tl.store(first_at, first, mask=use)
    tl.store(second_at, second, mask=use)
    scale = tl.sqrt_rn(tl.div_rn(second, tl.load(pace_ptr + 1))) + epsilon
    moved = here - tl.div_rn(tl.load(pace_ptr) * first, scale)
    moved = tl.clamp(moved, 0.0, 1.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(out_ptr + (c * rows + down) * width + right, moved, mask=use)
    inside = use & (y >= y0) & (y < y1) & (x >= x0) & (x < x1)
    # Each channel's program adds its part of what all of them have in common.
    weighted = smooth * (square_below + square_after) + (grown_below + grown_after) / C
    loss = tl.sum(tl.where(inside, weighted, 0.0), 0)
    tl.store(loss_ptr + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0), loss)
