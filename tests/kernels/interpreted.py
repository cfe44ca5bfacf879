"""The Triton kernels in Triton's interpreter, on CPU tensors; run by test_triton.py with TRITON_INTERPRET=1."""

from __future__ import annotations

import itertools

import gram_cases as cases
import interpreting  # noqa: F401
import pytest
import torch

import kernels
from kernels import gram_launch

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SHAPES = [
    (1, 1, 1, "planes", 0, False),
    (1, 25, 40, "pixels", 2, True),
    (3, 1, 7, "pixels", 0, False),
    (3, 25, 40, "strided", 2, True, True),
    (63, 1, 7, "strided", 0, True),
    (65, 1, 1, "planes", 0, False),
    (65, 11, 20, "pixels", 0, False, True),
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
    cases.check_style(case, kernels.gram_style, rounded_once=True)


@pytest.mark.parametrize("shape", [(1, 1), (65, 65), (2, 3, 3)], ids=str)
def test_term(shape: tuple[int, ...]) -> None:
    cases.check_term(shape, kernels.style_term, rounded_once=True)


def test_several_channel_blocks() -> None:
    """The last of them nearly empty."""
    case = cases.Case(130, 1, 7, torch.bfloat16)
    cases.check_sums(case, kernels.gram_sums)
    cases.check_backward(case, kernels.gram_backward_)


def test_small_s_in_float16() -> None:
    features, s = torch.rand(8, 5, 5).half() + 1, torch.full((8, 8), 1e-9)
    result = kernels.gram_backward_(None, features, s, 1e5)
    exact = cases.reference.gram_backward(features.double(), s.double(), 1e5, None, True)
    assert cases.errors([result], [exact])[0] < 2e-3


@pytest.mark.parametrize("processors", [1, 3, 100])
def test_every_pixel_is_in_one_split(processors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers, whose sums are exact in any order: one program, a few, and as many as there are blocks for."""
    monkeypatch.setattr(gram_launch, "_processors", lambda device: processors)
    counted = torch.randint(0, 4, (3, 20, 103), generator=torch.Generator().manual_seed(0)).float()
    for dtype, least in ((torch.float32, 16), (torch.bfloat16, 128)):
        part, _ = gram_launch._partials(counted.to(dtype), None, None)
        blocks = -(-20 * 103 // least)
        assert part.shape[1] == min(2 * processors, -(-blocks // gram_launch.LEAST_BLOCKS))
        assert torch.equal(part[0].sum(0).triu(), (counted.flatten(1) @ counted.flatten(1).mT).triu())


def test_several_blocks_of_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the reduction, as on a GPU from 129 channels on: mirrored ones whole, on and beside the diagonal, and not."""
    monkeypatch.setattr(gram_launch, "COLUMNS", 16)
    for case in (cases.Case(35, 3, 7, torch.float32), cases.Case(18, 5, 7, torch.float32, "pixels", 2, True)):
        cases.check_style(case, kernels.gram_style, rounded_once=True)
    cases.check_term((2, 35, 35), kernels.style_term, rounded_once=True)


@pytest.mark.parametrize("odd", ["features", "guides", "grad"])
def test_one_strided_plane_is_enough_to_walk_row_by_row(odd: str) -> None:
    """Only where the rows of all planes follow each other are they walked as one."""
    given = cases.draw(cases.Case(3, 9, 11, torch.float32, regions=2), 0)
    assert given.guides is not None
    features, guides, grad = (
        cases.arrange(plane, "strided" if name == odd else "planes")
        for name, plane in (("features", given.features), ("guides", given.guides), ("grad", given.grad))
    )
    expected = given.grad.double()
    cases.reference.gram_backward_(expected, features.double(), given.s.double(), 0.3, guides.double(), True)
    sums = cases.reference.gram_sums(features.double(), None, guides.double())
    torch.testing.assert_close(kernels.gram_sums(features, None, guides).double(), sums, rtol=1e-6, atol=1e-6)
    found = kernels.gram_backward_(grad, features, given.s, 0.3, guides)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_long_sums_are_as_good_as_short_ones() -> None:
    """In float32: what adding up 16 terms after 16 terms rounds off is carried along. Without: 1.8e-7 and 2.2e-7."""
    features = cases.draw(cases.Case(2, 1, 8000, torch.float32), 0).features
    exact = cases.reference.gram_sums(features.double(), None, None)
    assert cases.errors([kernels.gram_sums(features)], [exact])[1] < 6e-8
    given = cases.draw(cases.Case(512, 1, 2, torch.float32), 0)
    exact = cases.reference.gram_backward(given.features.double(), given.s.double(), 0.3, None, True)
    found = kernels.gram_backward_(None, given.features, given.s, 0.3)
    assert cases.errors([found], [exact])[1] < 1.5e-7


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_results_are_off_to_neither_side(dtype: torch.dtype) -> None:
    """0.6 in float32 alone is off by a third of a unit, always upwards; cutting digits off, by half a unit."""
    features = (0.5 + torch.rand(1, 1, 500, generator=torch.Generator().manual_seed(1))).to(dtype)
    found = kernels.gram_backward_(None, features, torch.ones(1, 1), 0.3)
    bias = (found.double() / (0.6 * features.double()) - 1).mean()
    assert abs(bias) < 0.1 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_an_error_there_is_no_gradient(dtype: torch.dtype) -> None:
    found = kernels.gram_backward_(None, torch.ones(3, 2, 5, dtype=dtype), torch.zeros(3, 3), 0.5)
    assert (found == 0).all()


def test_a_dead_target_gives_numbers() -> None:
    loss, s = kernels.style_term(torch.ones(2, 2), torch.zeros(2, 2), 3.0)
    assert loss.item() == 12
    assert torch.equal(s, torch.full((2, 2), 6.0))
