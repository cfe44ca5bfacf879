"""The trunk's and the step's operations on a CPU: their meaning by autograd, precision, layouts, bad input."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import gram_cases
import numpy as np
import pytest
import step_cases
import torch
import torch.nn.functional as F
import trunk_cases as cases
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels import reference

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
OPS = torch.ops.tiler_kernels
SIZES = [(1, 1), (1, 7), (6, 1), (2, 2), (5, 8), (9, 4)]
AXES = (cases.BOTH, cases.ROWS, cases.COLUMNS, cases.NEITHER)
CASES = [
    *(cases.Case(3, 8, *size, dtype) for size, dtype in itertools.product(SIZES, DTYPES)),
    *(cases.Case(2, 3, 4, 5, dtype, layout) for layout in gram_cases.LAYOUTS for dtype in DTYPES),
    *(cases.Case(4, 2, *size, torch.float32, axes=axes) for size in SIZES for axes in AXES[1:]),
    *(cases.Case(*channels, 3, 4, torch.bfloat16) for channels in ((1, 1), (512, 64), (8, 512))),
]


@pytest.fixture(params=["reference", "torch"])
def forced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILER_KERNELS", request.param)


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_ring(case: cases.Case) -> None:
    cases.check_ring(case, kernels.ring_)
    cases.check_ring_backward(case, kernels.ring_backward_)


@pytest.mark.parametrize("case", [case for case in CASES if case.axes == cases.BOTH], ids=str)
def test_pool(case: cases.Case) -> None:
    cases.check_pool(case, kernels.pool)
    cases.check_pool_backward(case, kernels.pool_backward)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1, "planes", 0), (3, 5, 7, "strided", 2), (512, 3, 5, "pixels", 1)], ids=str)
def test_content(shape: tuple[int, int, int, str, int], dtype: torch.dtype) -> None:
    step_cases.check_content(gram_cases.Case(*shape[:3], dtype, *shape[3:], boxed=True), kernels.content_term_)


@pytest.mark.parametrize("grad", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 1), (40, 31)], ids=str)
@pytest.mark.parametrize("operation", [kernels.adam_step_, reference.adam_step_], ids=["ours", "reference"])
def test_adam(size: tuple[int, int], grad: torch.dtype, operation: Callable[..., torch.Tensor]) -> None:
    step_cases.check_adam(size, None, None, operation, grad=grad)
    if size == (40, 31):
        step_cases.check_adam(size, (3, 2, 37, 31), (5, 7, 36, 30), operation, grad=grad)


def repeated(planes: torch.Tensor, axes: tuple[bool, bool]) -> torch.Tensor:
    """One cell more around, differentiable."""
    for pad, repeats in (((0, 0, 1, 1), axes[0]), ((1, 1, 0, 0), axes[1])):
        planes = F.pad(planes, pad, mode="replicate") if repeats else F.pad(planes, pad)
    return planes


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("axes", AXES, ids=str)
def test_rings_are_those_of_a_border_that_repeats(size: tuple[int, int], axes: tuple[bool, bool]) -> None:
    """Forward the convolution of the padded inputs, backward its gradient by autograd; here and by the reference."""
    given = cases.draw(cases.Case(3, 4, *size, torch.float64), 0)
    free = given.inputs.clone().requires_grad_()
    before = F.conv2d(repeated(free[None], axes), given.weight, given.bias)
    (expected,) = torch.autograd.grad(before, free, given.upstream[None])
    features = F.conv2d(given.inputs[None], given.weight, given.bias, padding=1)[0].relu()
    grad = F.conv2d(given.upstream[None], given.turned, padding=1)[0]
    for ring, backward in (
        (kernels.ring_, kernels.ring_backward_), (reference.ring_, reference.ring_backward_)
    ):  # fmt: skip
        for found, right, arguments, operation in (
            (features.clone(), before[0].detach().relu(), (given.inputs, given.weight, given.bias), ring),
            (grad.clone(), expected, (given.upstream, given.turned), backward),
        ):
            operation(found, *arguments, axes)
            torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.usefixtures("forced")
def test_pooling_is_differentiable(kind: str, size: tuple[int, int]) -> None:
    features = torch.randn(2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: kernels.pool(f, kind), (features,))
    relu = features.relu()
    kernels.pool(relu, kind).sum().backward()
    grad = torch.ones_like(kernels.pool(features, kind))
    found = kernels.pool_backward(grad, relu.detach(), kind, relu=True)
    torch.testing.assert_close(found, features.grad)


def test_content_is_the_gradient_of_its_loss() -> None:
    given = gram_cases.draw(gram_cases.Case(3, 4, 5, torch.float64, regions=2), 0)
    features, weights = given.features.clone().requires_grad_(), given.exact_guides[:1]
    loss = 0.3 * (weights * (features - given.grad).square()).sum()
    (expected,) = torch.autograd.grad(loss, features)
    grad = torch.ones_like(given.grad)
    found = kernels.content_term_(grad, given.features, given.grad, 0.3, None, weights)
    torch.testing.assert_close(found, loss.detach())
    torch.testing.assert_close(grad, 1 + expected)


def test_adam_goes_along_the_gradient_of_the_variations() -> None:
    """From moments of nothing: the first holds a tenth of the gradient. What the light does is held."""
    pixels, zeros = torch.rand(3, 6, 5, dtype=torch.float64), torch.zeros(2, 3, 6, 5, dtype=torch.float64)
    free, usual = pixels.clone().requires_grad_(), 0.01 + torch.rand(2, 6, 5, dtype=torch.float64)
    variation = free.new_zeros(())
    for steps, (of_chroma, of_light) in ((free.diff(dim=1), usual[:, :-1]), (free.diff(dim=2), usual[:, :, :-1])):
        light = steps.mean(dim=0, keepdim=True)
        gate = 1 + light.expand(3, -1, -1).square().sum(0) / of_light
        variation = variation + 0.7 * steps.square().sum()
        variation = variation + 0.4 * (1 + (steps - light).square().sum(0) / of_chroma / gate.detach()).log().sum()
        variation = variation + 0.6 * gate.log().sum()
    (expected,) = torch.autograd.grad(variation, free)
    nothing, pace = torch.zeros_like(pixels), torch.ones(2, dtype=torch.float64)
    found = kernels.adam_step_(pixels, *zeros, nothing, pace, (0.9, 0.99), 1e-8, 0.7, 0.4, usual=usual, light=0.6)
    torch.testing.assert_close(found, variation.detach())
    torch.testing.assert_close(zeros[0], 0.1 * expected)


def test_units_of_all_pixels_are_those_of_each() -> None:
    state = [torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(number)) for number in range(4)]
    runs = []
    for usual in (torch.ones(2, 1, 1), torch.ones(2, 4, 5), None):
        moved = [one.clone() for one in state]
        options = {"usual": usual, "light": 0.2}
        runs.append([*moved, kernels.adam_step_(*moved, torch.ones(2), (0.9, 0.99), 1e-8, 0.1, 0.3, **options)])
    for run in runs[1:]:
        assert all(torch.equal(one, other) for one, other in zip(runs[0], run, strict=True))


def test_numbers_may_be_numpy_s() -> None:
    state = [torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(number)) for number in range(4)]
    pace = torch.tensor([0.03, 0.2])
    runs = []
    for kind in (float, np.float32):
        moved = [one.clone() for one in state]
        smooth, chroma, light = kind(0.5), kind(0.25), kind(0.125)
        variation = kernels.adam_step_(*moved, pace, (0.9, 0.99), kind(2**-20), smooth, chroma, light=light)
        runs.append([*moved, variation])
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


@settings(max_examples=30)
@given(st.data())
def test_agrees_with_the_reference(data: st.DataObject) -> None:
    numbers = [data.draw(st.integers(1, 6)) for _ in range(4)]
    layout, axes = data.draw(st.sampled_from(gram_cases.LAYOUTS)), data.draw(st.sampled_from(AXES))
    drawn = cases.draw(cases.Case(*numbers, torch.float64, layout, axes), data.draw(st.integers(0, 99)))
    features = cases.convolved(drawn, cases.NEITHER)
    grad = cases.brought_back(drawn, cases.NEITHER)
    for name, start, arguments in (
        ("ring_", features, (drawn.inputs, drawn.weight, drawn.bias, axes)),
        ("ring_backward_", grad, (drawn.upstream, drawn.turned, axes)),
    ):
        found, expected = start.clone(), start.clone()
        getattr(kernels, name)(found, *arguments)
        getattr(reference, name)(expected, *arguments)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("layout", ["planes", "pixels"])
def test_opcheck(layout: str) -> None:
    drawn = cases.draw(cases.Case(3, 2, 5, 4, torch.float32, layout), 0)
    inputs, grad, axes = drawn.inputs, drawn.grad, [True, False]
    torch.library.opcheck(OPS.ring_.default, (drawn.upstream, inputs, drawn.weight, drawn.bias, axes))
    torch.library.opcheck(OPS.ring_backward_.default, (grad, drawn.upstream, drawn.turned, axes))
    for largest in (False, True):
        torch.library.opcheck(OPS.pool.default, (inputs.clone().requires_grad_(), largest))
        torch.library.opcheck(OPS.pool_backward.default, (kernels.pool(grad), inputs, largest, True))
    torch.library.opcheck(OPS.content_term_.default, (grad, inputs, inputs + 1, 0.5, [1, 0, 4, 3], grad[:1] ** 2, True))
    state, usual = (torch.rand(3, 5, 4), *torch.rand(3, 3, 3, 2), torch.ones(2)), torch.rand(2, 5, 4)
    torch.library.opcheck(
        OPS.adam_step_.default, (*state, [0.9, 0.99], 1e-8, 0.1, 0.3, [1, 1, 4, 3], [1, 2, 3, 3], usual, 0.5)
    )


X, Y, W, B = torch.rand(2, 4, 5), torch.rand(3, 4, 5), torch.rand(3, 2, 3, 3), torch.rand(3)
S = torch.rand(2, 2, 3)
PACE = (B[:2], (0.9, 0.99), 1e-8)
BAD: list[tuple[str, tuple[Any, ...], str]] = [
    ("ring_", (Y[0], X, W, B), "features have shape (4, 5): must be [C, H, W], each at least 1"),
    ("ring_", (Y, X[:, :3], W, B), "inputs have shape (2, 3, 5): must be [C, 4, 5]"),
    ("ring_", (Y, X[0], W, B), "inputs have shape (4, 5): must be [C, 4, 5]"),
    ("ring_", (Y, X[:0], W[:, :0], B), "inputs have shape (0, 4, 5): must be [C, 4, 5]"),
    ("ring_", (Y, X[:, :, :4], W, B), "inputs have shape (2, 4, 4): must be [C, 4, 5]"),
    ("ring_", (Y, X, W.double(), B), "weight is torch.float64: must be torch.float32"),
    ("ring_", (Y, X, W, B.double()), "bias is torch.float64: must be torch.float32"),
    ("ring_", (Y, X.to("meta"), W, B), "inputs is on meta: must be on cpu"),
    ("ring_", (Y, X, W, B, (True, True, True)), "axes (True, True, True): must be two"),
    ("ring_backward_", (X.clone().requires_grad_(), Y, W.transpose(0, 1)), "grad requires a gradient: there is none"),
    ("ring_", (Y, X.half(), W, B), "inputs is torch.float16: must be torch.float32"),
    ("ring_", (Y, X, W[:, :1], B), "weight has shape (3, 1, 3, 3): must be (3, 2, 3, 3)"),
    ("ring_", (Y, X, W, B[:2]), "bias has shape (2,): must be (3,)"),
    ("ring_", (Y, X, W, B, (True,)), "axes (True,): must be two, whether the border repeats along y and along x"),
    ("ring_", (Y[:1].expand(3, 4, 5), X, W, B), "features has strides (0, 5, 1): elements that share"),
    ("ring_backward_", (X, Y, W), "weight has shape (3, 2, 3, 3): must be (2, 3, 3, 3)"),
    ("pool", (X, "mean"), "kind 'mean': must be avg or max"),
    ("pool", (X.int(),), "features are torch.int32: must be one of torch.float64"),
    ("pool_backward", (X, X), "grad has shape (2, 4, 5): must be (2, 2, 3)"),
    ("pool_backward", (X, X.int()), "features are torch.int32: must be one of torch.float64"),
    ("content_term_", (X, X, Y, 1.0), "wanted has shape (3, 4, 5): must be (2, 4, 5)"),
    ("content_term_", (X, X, X, 1.0, (0, 0, 5, 5)), "box (0, 0, 5, 5): must be (y0, x0, y1, x1)"),
    ("content_term_", (X, X, X, 1.0, None, Y[:1, :2]), "weights have shape (1, 2, 5): must be [1, 4, 5]"),
    ("content_term_", (X, X, X, 1.0, None, Y[:1].to("meta")), "weights is on meta: must be on cpu"),
    ("pool_backward", (S.clone().requires_grad_(), X), "grad requires a gradient: there is none of it"),
    ("pool_backward", (S, X.clone().requires_grad_()), "features requires a gradient: there is none of it"),
    ("adam_step_", (X, X, X, X, B[:2], (0.9,), 1e-8), "betas (0.9,): must be two numbers"),
    ("content_term_", (X.clone().requires_grad_(), X, X, 1.0), "grad requires a gradient: there is none of what"),
    ("adam_step_", (X.half(), X, X, X, *PACE), "pixels are torch.float16: must be torch.float32"),
    ("adam_step_", (X, X, Y, X, *PACE), "second has shape (3, 4, 5): must be (2, 4, 5)"),
    ("adam_step_", (X, X, X, Y, *PACE), "gradient has shape (3, 4, 5): must be (2, 4, 5)"),
    ("adam_step_", (X, X, X, X.to("meta"), *PACE), "gradient is on meta: must be on cpu"),
    ("adam_step_", (X, X.double(), X, X, *PACE), "first is torch.float64: must be torch.float32"),
    ("adam_step_", (X.clone().requires_grad_(), X, X, X, *PACE), "pixels requires a gradient"),
    ("adam_step_", (X, S, S, X[:, :2, :4], *PACE, 0, 0, (1, 1, 3, 4)), "gradient has shape (2, 2, 4): must be (2, 2"),
    ("adam_step_", (X, S, S, S, *PACE, 0, 0, (1, 1, 3, 5)), "first has shape (2, 2, 3): must be (2, 2, 4)"),
    ("adam_step_", (X, Y, X, X, *PACE), "first has shape (3, 4, 5): must be (2, 4, 5)"),
    ("adam_step_", (X, X[:1].expand(2, 4, 5), X, X, *PACE), "first has strides (0, 5, 1): elements that share"),
    ("adam_step_", (X, X, X.clone().requires_grad_(), X, *PACE), "second requires a gradient"),
    ("adam_step_", (X, X, X, X.clone().requires_grad_(), *PACE), "gradient requires a gradient: there is none of it"),
    ("content_term_", (X, X.clone().requires_grad_(), X, 1.0), "features requires a gradient: there is none of it"),
    ("content_term_", (X, X, X.clone().requires_grad_(), 1.0), "wanted requires a gradient: there is none of it"),
    ("content_term_", (X, X, X, 1.0, None, X), "weights have shape (2, 4, 5): must be [1, 4, 5]"),
    ("content_term_", (X, X, X, 1.0, None, torch.tensor(1.0)), "weights have shape (): must be [1, 4, 5]"),
    ("content_term_", (X, X, X, 1.0, None, torch.ones(1, 4, 5).int()), "weights are torch.int32: must be floating"),
    ("adam_step_", (X, X, X, X.int(), *PACE), "gradient is torch.int32: must be floating"),
    ("adam_step_", (X, X, X, X, B, (0.9, 0.99), 1e-8), "pace has shape (3,): must be (2,)"),
    ("adam_step_", (X, X, X, X, *PACE, 0.0, 0.0, (0, 0, 4, 6)), "box (0, 0, 4, 6): must be (y0, x0, y1, x1)"),
    ("adam_step_", (X, X, X, X, *PACE, 0.0, 0.0, None, (3, 0, 3, 4)), "box (3, 0, 3, 4): must be (y0, x0, y1, x1)"),
    ("adam_step_", (X, X, X, X, *PACE, 0.0, 0.0, (1, 1, 3, 4), (0, 1, 3, 4)), "core (0, 1, 3, 4): must lie inside"),
    ("adam_step_", (X, X, X, X, *PACE, 0.0, 0.0, None, None, B), "usual has shape (3,): must be (2, 4, 5)"),
    ("adam_step_", (X, X, X, X, *PACE, 0.0, 0.0, None, None, X[:, :1]), "usual has shape (2, 1, 5): must be (2, 4, 5)"),
    ("adam_step_", (X, X, X, X, *PACE, 0.0, 0.0, None, None, X.double()), "usual is torch.float64: must be torch.flo"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "message"), BAD, ids=[f"{bad[0]}-{i}" for i, bad in enumerate(BAD)])
def test_bad_input(name: str, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        getattr(kernels, name)(*arguments)
    assert "\n" not in str(caught.value)
