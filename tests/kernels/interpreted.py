"""The Triton kernels in Triton's interpreter, on CPU tensors; run by test_triton.py with TRITON_INTERPRET=1."""

from __future__ import annotations

import itertools

import gram_cases as cases
import pytest
import torch

import kernels
from kernels import gram_launch

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SHAPES = [
    (1, 1, 1, "planes", 0, False),
    (1, 25, 40, "pixels", 2, True),
    (3, 1, 7, "pixels", 0, False),
    (3, 25, 40, "strided", 2, True),
    (63, 1, 7, "strided", 0, True),
    (65, 1, 1, "planes", 0, False),
    (65, 25, 40, "pixels", 0, False),
]
CASES = [cases.Case(*shape[:3], dtype, *shape[3:]) for shape, dtype in itertools.product(SHAPES, DTYPES)]


@pytest.fixture(autouse=True)
def _force(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gram_launch.INTERPRETED
    monkeypatch.setenv("TILER_KERNELS", "triton")
    monkeypatch.setattr(cases, "NUMBERS", 100)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sums(case: cases.Case) -> None:
    cases.check_sums(case, kernels.gram_sums)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward(case: cases.Case) -> None:
    cases.check_backward(case, kernels.gram_backward_)


@pytest.mark.parametrize("case", [c for c in CASES if c.c == 3], ids=str)
def test_style(case: cases.Case) -> None:
    cases.check_style(case, kernels.gram_style)


@pytest.mark.parametrize("shape", [(1, 1), (65, 65), (2, 3, 3)], ids=str)
def test_term(shape: tuple[int, ...]) -> None:
    cases.check_term(shape, kernels.style_term)


@pytest.mark.parametrize("c", [130, 512])
def test_several_channel_blocks(c: int) -> None:
    case = cases.Case(c, 1, 7, torch.bfloat16)
    cases.check_sums(case, kernels.gram_sums)
    cases.check_backward(case, kernels.gram_backward_)


def test_small_s_in_float16() -> None:
    features, s = torch.rand(8, 5, 5).half() + 1, torch.full((8, 8), 1e-9)
    result = kernels.gram_backward_(None, features, s, 1e5)
    exact = cases.reference.gram_backward(features.double(), s.double(), 1e5, None, True)
    assert cases.errors([result], [exact])[0] < 2e-3


def test_many_splits_are_used() -> None:
    part = gram_launch._partials(torch.rand(3, 40, 200).bfloat16(), None, None)
    assert part.shape[1] > 2
    torch.testing.assert_close(part[0].sum(0).triu(), part[0].double().sum(0).float().triu())
