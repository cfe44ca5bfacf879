"""The operations on a CUDA device, where one is at hand."""

from __future__ import annotations

import itertools

import gram_cases as cases
import pytest
import step_cases
import torch
import trunk_cases

import kernels

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
SIZES = [(c, h, w) for c in (1, 3, 63, 65, 512) for h, w in ((1, 1), (1, 7), (25, 40), (129, 257))]
# Memory layout, guides, whether only a box is summed, whether the features' own sums are wanted.
LAYOUTS = [
    ("planes", 0, False, False),
    ("pixels", 0, False, True),
    ("strided", 0, True, False),
    ("pixels", 2, True, True),
    ("planes", 2, False, False),
]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.fixture(autouse=True, params=["torch", "triton"])
def force(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TILER_KERNELS", request.param)
    return str(request.param)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_all(size: tuple[int, int, int], force: str) -> None:
    for dtype, layout in itertools.product(DTYPES, LAYOUTS):
        case = cases.Case(*size, dtype, *layout)
        cases.check_sums(case, kernels.gram_sums, "cuda")
        cases.check_backward(case, kernels.gram_backward_, "cuda")
        cases.check_style(case, kernels.gram_style, "cuda", rounded_once=force == "triton")


def test_style_term(force: str) -> None:
    cases.check_term((2, 65, 65), kernels.style_term, "cuda", rounded_once=force == "triton")


@pytest.mark.parametrize("channels", [(1, 1), (8, 64), (65, 3), (512, 512)], ids=str)
def test_ring(channels: tuple[int, int]) -> None:
    for size, dtype in itertools.product(((1, 1), (1, 9), (9, 1), (2, 2), (65, 130)), DTYPES):
        if max(size) * max(channels) < 64 * 512:
            for axes in (trunk_cases.BOTH, trunk_cases.ROWS, trunk_cases.COLUMNS):
                case = trunk_cases.Case(*channels, *size, dtype, axes=axes)
                trunk_cases.check_ring(case, kernels.ring_, "cuda")
                trunk_cases.check_ring_backward(case, kernels.ring_backward_, "cuda")


def test_pool() -> None:
    for c, size, dtype in itertools.product((1, 3, 64, 513), ((1, 1), (1, 9), (9, 1), (129, 66)), DTYPES):
        case = trunk_cases.Case(c, 1, *size, dtype, "planes" if c == 3 else "pixels")
        trunk_cases.check_pool(case, kernels.pool, "cuda")
        trunk_cases.check_pool_backward(case, kernels.pool_backward, "cuda")


def test_content() -> None:
    for size, dtype, layout in itertools.product(SIZES, DTYPES, LAYOUTS):
        step_cases.check_content(cases.Case(*size, dtype, *layout), kernels.content_term_, "cuda")


def test_adam() -> None:
    for size in ((1, 1), (1, 9), (9, 1), (140, 131)):
        step_cases.check_adam(size, None, None, kernels.adam_step_, "cuda")
    boxes = (3, 2, 137, 131), (5, 7, 136, 130)
    step_cases.check_adam((140, 131), *boxes, kernels.adam_step_, "cuda", torch.bfloat16)


def test_graph_capture() -> None:
    """The ops allocate nothing that a CUDA graph can't hold and never wait for the device."""
    f = torch.randn(64, 40, 50, device="cuda").relu().bfloat16()
    target, grad = torch.eye(64, device="cuda"), torch.zeros_like(f)
    _, loss, s = kernels.gram_style(f, target)
    expected = kernels.gram_backward_(grad.clone(), f, s, 0.5)
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        _, captured, s = kernels.gram_style(f, target)
        kernels.gram_backward_(grad, f, s, 0.5)
    grad.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(captured, loss)
    assert torch.equal(grad, expected)
