"""Pixels of a region, picked out of channels-last planes, by number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels import gram_regions, reference

WHOLE = torch.float64


def _of(*rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=WHOLE)


def test_pixels_are_rows_where_they_lie_so() -> None:
    pixels = torch.arange(2 * 3 * 7, dtype=WHOLE).view(3, 7, 2).permute(2, 0, 1)  # channels last
    rows = gram_regions.pixel_rows(pixels)
    assert rows is not None
    assert (rows.shape, rows.data_ptr()) == ((21, 2), pixels.data_ptr())
    assert torch.equal(rows[1 * 7 + 4], pixels[:, 1, 4])
    part = pixels[:, 1:, 2:5]
    inner = gram_regions.pixel_rows(part)
    assert inner is not None
    assert inner.shape == (1 * 7 + 3, 2)
    assert torch.equal(inner[7 + 2], part[:, 1, 2])
    for other in (pixels.contiguous(), pixels[:, :, ::2], pixels.mT, pixels[:1], pixels.to("meta")):
        assert gram_regions.pixel_rows(other) is None
    assert gram_regions.pixel_rows(pixels[:, :1].expand(2, 3, 7)) is None


def test_pixels_with_a_weight_are_picked_in_blocks() -> None:
    pixels = torch.arange(2 * 3 * 7, dtype=WHOLE).view(3, 7, 2).permute(2, 0, 1)[:, :, 2:6]
    weights = _of([0.0, 1, 0, 0.5], [0, 0, 0, 0], [0.25, 0, 0, 1])
    found = [(rows.tolist(), some.tolist()) for rows, some in gram_regions.picked(pixels, weights, 3)]
    assert found == [([1, 3, 14], [1, 0.5, 0.25]), ([17], [1])]
    assert list(gram_regions.picked(pixels, 0 * weights, 3)) == []
    rows = gram_regions.pixel_rows(pixels)
    assert rows is not None
    taken = gram_regions.gathered(rows, torch.tensor([1, 3, 14]), _of(1, 0.5, 0.25), torch.float32)
    assert taken.dtype == torch.float32
    assert taken.tolist() == [[6, 7], [5, 5.5], [8, 8.25]]
    assert gram_regions.gathered(rows, torch.tensor([17, 1]), _of(1, 1), WHOLE).tolist() == [[38, 39], [6, 7]]


def test_what_sums_are_taken_in() -> None:
    wide = {torch.float64: torch.float64, torch.bfloat16: torch.float32, torch.float16: torch.float32}
    assert {one: reference.accumulation_dtype(one) for one in wide} == wide
