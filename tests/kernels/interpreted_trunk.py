"""The trunk's and the step's Triton kernels in Triton's interpreter, on CPU tensors; run by test_triton.py with
TRITON_INTERPRET=1."""

from __future__ import annotations

import itertools

import gram_cases
import interpreting  # noqa: F401
import pytest
import step_cases
import torch
import trunk_cases as cases

import kernels
from kernels import trunk_launch

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SHAPES = [
    (1, 1, 1, 1, "planes", cases.BOTH),
    (3, 17, 1, 9, "pixels", cases.BOTH),
    (8, 5, 9, 1, "pixels", cases.BOTH),
    (65, 3, 2, 2, "strided", cases.BOTH),
    (3, 8, 5, 6, "planes", cases.ROWS),
    (5, 70, 4, 3, "pixels", cases.COLUMNS),
]
DEEP = {torch.float32: 20}  # 16 at a time are multiplied, of the shorter types 64
CASES = [
    cases.Case(min(shape[0], DEEP.get(dtype, 65)), *shape[1:4], dtype, *shape[4:])
    for shape, dtype in itertools.product(SHAPES, DTYPES)
]


@pytest.fixture(autouse=True)
def _force(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trunk_launch.INTERPRETED
    monkeypatch.setenv("TILER_KERNELS", "triton")
    monkeypatch.setattr(cases, "NUMBERS", 10)
    monkeypatch.setattr(gram_cases, "NUMBERS", 100)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_ring(case: cases.Case) -> None:
    cases.check_ring(case, kernels.ring_)
    cases.check_ring_backward(case, kernels.ring_backward_)


@pytest.mark.parametrize("dtype", DTYPES)
def test_lines_of_several_blocks(dtype: torch.dtype) -> None:
    """The last of them of one cell: the ends of a line are in two programs."""
    case = cases.Case(3, 4, 2, 65, dtype)
    cases.check_ring(case, kernels.ring_)
    cases.check_ring_backward(case, kernels.ring_backward_)


@pytest.mark.parametrize("case", [case for case in CASES if case.axes == cases.BOTH], ids=str)
def test_pool(case: cases.Case) -> None:
    cases.check_pool(case, kernels.pool)
    cases.check_pool_backward(case, kernels.pool_backward)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1, "planes", 0), (3, 5, 7, "strided", 2), (513, 3, 5, "pixels", 1)], ids=str)
def test_content(shape: tuple[int, int, int, str, int], dtype: torch.dtype) -> None:
    step_cases.check_content(gram_cases.Case(*shape[:3], dtype, *shape[3:], boxed=True), kernels.content_term_)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (40, 31)], ids=str)
def test_adam(size: tuple[int, int]) -> None:
    step_cases.check_adam(size, None, None, kernels.adam_step_)
    if size == (40, 31):
        step_cases.check_adam(size, (3, 2, 37, 31), (5, 7, 36, 30), kernels.adam_step_, grad=torch.bfloat16)


def test_what_is_not_a_number_stays_so() -> None:
    """For the engine to notice it: a maximum, a ReLU or a range must not make numbers of it."""
    nan = torch.full((1, 2, 2), torch.nan)
    assert kernels.pool(nan, "max").isnan().all()
    assert kernels.ring_(torch.zeros(1, 2, 2), nan, torch.ones(1, 1, 3, 3), torch.zeros(1)).isnan().all()
    pixels, zeros = torch.full((1, 2, 2), 0.5), torch.zeros(2, 1, 2, 2)
    kernels.adam_step_(pixels, *zeros, nan, torch.ones(2), (0.9, 0.99), 1e-8)
    assert pixels.isnan().all()
