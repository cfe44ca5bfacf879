"""The pixels of a region, picked out of a CPU's channels-last planes: a pixel that a guide leaves out costs nothing.

Regions share few pixels, so all regions' products together take about as long as one of everything does. A pixel that
lies in a region wholly is copied as it is; only where regions pass into each other is it multiplied. Blocks are of one
size, whatever the regions' shapes: oneDNN keeps what it has prepared for sizes that it knows.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kernels.reference import accumulation_dtype


def pixel_rows(planes: Tensor) -> Tensor | None:
    """[n, C], a view: row y * n / H + x is the pixel (y, x) of [C, H, W], whose rows may lie apart. None where pixels
    are not the rows of a CPU's memory."""
    c, h, w = planes.shape
    pitch, odd = divmod(planes.stride(1), c)
    if planes.device.type != "cpu" or planes.stride(0) != 1 or planes.stride(2) != c or odd or pitch < w:
        return None
    return planes.as_strided(((h - 1) * pitch + w, c), (c, 1))


def picked(planes: Tensor, weights: Tensor, block: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows [n] of `pixel_rows`, their weights [n]) of the pixels with a weight in [H, W], up to `block` at once."""
    y, x = weights.nonzero(as_tuple=True)
    rows = y * (planes.stride(1) // planes.shape[0]) + x
    yield from zip(rows.split(block), weights[y, x].split(block), strict=True) if len(rows) else ()


def gathered(pixels: Tensor, rows: Tensor, weights: Tensor, dtype: torch.dtype) -> Tensor:
    """[n, C]: some rows of [.., C], each times its weight, rounded once."""
    found = pixels.index_select(0, rows)
    partial = (weights != 1).nonzero()[:, 0]
    if not len(partial):
        return found.to(dtype)
    mixed = found[partial].to(accumulation_dtype(found.dtype)) * weights[partial, None]
    return found.to(dtype).index_copy_(0, partial, mixed.to(dtype))
