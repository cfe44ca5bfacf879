"""Every operation on a CPU and in the reference, on numbers that were worked out by hand, with what is left out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import kernels

WHOLE = torch.float64


@pytest.fixture(autouse=True, params=["reference", "torch"])
def forced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILER_KERNELS", request.param)


def _of(*rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=WHOLE)


def _near(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype), rtol=1e-12, atol=1e-12)


# Three pixels in a row: (1, 3), (2, 0) and (0, -1).
F = _of([[1.0, 2, 0]], [[3, 0, -1]])
LAST_TWO = (0, 1, 1, 3)
GUIDE = _of([[1, 0.25, 0]])
A = _of([1.0, 0], [0, 2])
S = _of([0.8, 0.6], [0.6, 1.6])


def test_gram_sums() -> None:
    _near(kernels.gram_sums(F), [[5, 3], [3, 10]])
    _near(kernels.gram_sums(F, LAST_TWO), [[4, 0], [0, 1]])
    _near(kernels.gram_sums(F, guides=GUIDE), [[[2, 3], [3, 9]]])
    _near(kernels.gram_sums(F, means=True), [[5, 3], [3, 10], [3, 2]])
    _near(kernels.gram_sums(F, LAST_TWO, GUIDE, True), [[[1, 0], [0, 0], [0.5, 0]]])
    _near(kernels.gram(F), [[5 / 3, 1], [1, 10 / 3]])
    _near(kernels.gram(F, LAST_TWO), [[2, 0], [0, 0.5]])
    _near(kernels.gram(F, scale=0.5), [[2.5, 1.5], [1.5, 5]])
    _near(kernels.gram(F, guides=GUIDE, scale=2.0), [[[4, 6], [6, 18]]])


def test_style_term() -> None:
    """G - A is 4, 3, 3, 8: 98 in squares, over 5."""
    loss, slope = kernels.style_term(_of([5.0, 3], [3, 10]), A)
    _near(loss, 19.6)
    _near(slope, [[1.6, 1.2], [1.2, 3.2]])
    loss, slope = kernels.style_term(_of([[5.0, 3], [3, 10]], [[1, 0], [0, 3]]), A.expand(2, 2, 2), [0.5, 10])
    _near(loss, [9.8, 2])
    _near(slope, [[[0.8, 0.6], [0.6, 1.6]], [[0, 0], [0, 4]]])


def test_gram_style() -> None:
    """G is a third of the sums and the offset."""
    offset = _of([10.0, 6], [6, 20])
    sums, loss, slope = kernels.gram_style(F, A, offset=offset)
    _near(sums, [[5, 3], [3, 10]])
    _near(loss, 19.6)
    _near(slope, [[1.6, 1.2], [1.2, 3.2]])
    _near(kernels.gram_style(F, A, 0.5, 1.0)[1], 9.8)
    _near(kernels.style_loss(F, A, 0.5, 1.0), 9.8)
    _near(kernels.style_loss(F, A, box=LAST_TWO), (1 + 1.5**2) / 5)
    _near(kernels.style_loss(F, A[None], [3.0], 1.0, guides=GUIDE), [3 * (1 + 9 + 9 + 49) / 5])


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, [[2.6, 1.6, 0], [5.4, 0, 0]]),
        ({"relu": False}, [[2.6, 1.6, -0.6], [5.4, 1.2, -1.6]]),
        ({"relu": False, "guides": GUIDE}, [[2.6, 0.4, 0], [5.4, 0.3, 0]]),
    ],
)
def test_gram_backward(more: dict[str, Any], expected: list[list[float]]) -> None:
    s = S[None] if "guides" in more else S
    _near(kernels.gram_backward_(None, F, s, 0.5, **more)[:, 0], expected)
    grad = torch.full_like(F, 2.0)
    assert kernels.gram_backward_(grad, F, s, 0.5, **more) is grad
    kept = (F > 0) | (not more.get("relu", True))
    _near(grad, torch.where(kept, _of(*expected)[:, None] + 2, 0.0).tolist())
    mean = torch.cat([s, torch.full_like(s[..., :1, :], 10.0)], -2)
    shift = 5 * (GUIDE if "guides" in more else torch.ones_like(F))
    _near(kernels.gram_backward_(None, F, mean, 0.5, **more),
          torch.where(kept, _of(*expected)[:, None] + shift, 0.0).tolist())  # fmt: skip


def test_gradients_of_sums_and_losses() -> None:
    """Of 0.5 * tr(sums) that is F; none comes to pixels outside of the box, nor through the guide to those it lacks."""
    free = F.clone().requires_grad_()
    (0.5 * kernels.gram_sums(free, LAST_TWO).diagonal().sum()).backward()
    assert free.grad is not None
    _near(free.grad[:, 0], [[0, 2, 0], [0, 0, -1]])
    free.grad = None
    (0.5 * kernels.gram_sums(free, guides=GUIDE, means=True)[0, :2].diagonal().sum()).backward()
    _near(free.grad[:, 0], [[1, 0.5, 0], [3, 0, 0]])
    free.grad = None
    kernels.gram_sums(free, means=True)[2, 1].backward()
    _near(free.grad[:, 0], [[0, 0, 0], [1, 1, 1]])
    free.grad = None
    kernels.style_loss(free, A, 0.5, 1.0).backward()
    _near(free.grad[:, 0], [[2 * 2.6, 2 * 1.6, -1.2], [2 * 5.4, 2.4, -3.2]])


@pytest.mark.parametrize(
    ("more", "loss", "expected"),
    [
        ({}, 5.5, [[1, 0, -1], [2, -1, -2]]),
        ({"box": LAST_TWO}, 3.0, [[1, 0, -1], [2, -1, -2]]),
        ({"weights": _of([[1, 0.5, 0]])}, 2.75, [[1, 0, 0], [2, -0.5, 0]]),
        ({"relu": True}, 5.5, [[1, 0, 0], [2, 0, 0]]),
    ],
)
def test_content(more: dict[str, Any], loss: float, expected: list[list[float]]) -> None:
    wanted, grad = _of([[0.0, 2, 1]], [[1, 1, 1]]), torch.zeros_like(F)
    _near(kernels.content_term_(grad, F, wanted, 0.5, **more), loss)
    _near(grad[:, 0], expected)


# Steps ---------------------------------------------------------------------------------------------------------------

PACE, BETAS = _of(0.1, 0.01), (0.9, 0.99)


def _adam(pixels: Tensor, gradient: Tensor, epsilon: float, moments: Any = (0.0, 0.0), **more: Any) -> Any:
    first, second = (torch.full_like(gradient, one) for one in moments)
    found = kernels.adam_step_(pixels, first, second, gradient, PACE, BETAS, epsilon, **more)
    return found, first, second


def test_adam_alone() -> None:
    """The first update goes by the rate, here 0.01, whatever the gradient; epsilon damps what is small. No variation is
    added unless that is asked for, and pixels stay in 0..1."""
    pixels = _of([[0.2, 0.5, 0.004]])
    variation, first, second = _adam(pixels, _of([[2.0, -4, 1]]), 0.0)
    _near(pixels, [[[0.19, 0.51, 0]]])
    _near(variation, 0.0)
    _near(first, [[[0.2, -0.4, 0.1]]])
    _near(second, [[[0.04, 0.16, 0.01]]])
    pixels = _of([[0.2, 0.998]])
    _adam(pixels, _of([[2.0, -4]]), 2.0)
    _near(pixels, [[[0.195, 1]]])
    pixels = _of([[0.5, 0.6]])
    _, first, second = _adam(pixels, _of([[2.0, -4]]), 2.0, (1.0, 4.0))
    _near(first, [[[1.1, 0.5]]])
    _near(second, [[[4.0, 4.12]]])
    _near(pixels, [[[0.5 - 0.11 / 22, 0.6 - 0.05 / (412**0.5 + 2)]]])


def test_adam_without_variations() -> None:
    pixels = _of([[0.2, 0.7]], [[0.5, 0.1]], [[0.4, 0.3]])
    variation, first, _ = _adam(pixels, torch.zeros(3, 1, 2, dtype=WHOLE), 1.0)
    assert (float(variation), bool(first.any())) == (0.0, False)


def test_adam_in_a_box() -> None:
    pixels = torch.full((1, 3, 4), 0.5, dtype=WHOLE)
    _adam(pixels, _of([[1.0, -1]]), 0.0, box=(1, 1, 2, 3))
    _near(pixels, [[[0.5] * 4, [0.5, 0.49, 0.51, 0.5], [0.5] * 4]])


@pytest.mark.parametrize(("core", "share"), [(None, 0.09 + 0.01 + 0.04), ((0, 0, 1, 1), 0.09 + 0.01)])
def test_variation(core: Any, share: float) -> None:
    """Differences of 0.3 to the right of the first pixel, 0.1 below it, and 0.2 below the second; what is below right
    of all is where it is from there."""
    pixels = _of([[0.2, 0.5], [0.3, 0.3]])
    variation, first, _ = _adam(pixels, torch.zeros(1, 2, 2, dtype=WHOLE), 1.0, smooth=2.0, core=core)
    _near(variation, 2 * share)
    _near(first, [[[-0.4 * (0.3 + 0.1), 0.4 * (0.3 + 0.2)], [0.4 * 0.1, -0.4 * 0.2]]])


@pytest.mark.parametrize("usual", [None, (0.5, 2.0)])
def test_changes_of_colour_and_of_light(usual: Any) -> None:
    """(0.3, 0, 0) is 0.1 of light in each channel, 0.03 in squares, and 0.06 beside it."""
    chroma, light = usual or (1.0, 1.0)
    pixels = torch.zeros(3, 1, 2, dtype=WHOLE)
    pixels[0, 0, 1] = 0.3
    more = {} if usual is None else {"usual": _of([[0.5]], [[2.0]])}
    variation, first, _ = _adam(pixels, torch.zeros(3, 1, 2, dtype=WHOLE), 1.0, chroma=3.0, light=5.0, **more)
    amount, gate = 0.06 / chroma, 1 + 0.03 / light
    _near(variation, 3 * math.log(1 + amount / gate) + 5 * math.log(gate))
    along = [6 * apart / (chroma * (gate + amount)) + 10 * 0.1 / (light * gate) for apart in (0.2, -0.1, -0.1)]
    _near(first[:, 0], [[-0.1 * one, 0.1 * one] for one in along])


# Trunk ---------------------------------------------------------------------------------------------------------------


def test_a_single_cell_repeats_all_around() -> None:
    weight = torch.arange(9.0, dtype=WHOLE).view(1, 1, 3, 3)
    for axes, factor in (((True, True), 36), ((True, False), 1 + 4 + 7), ((False, True), 3 + 4 + 5)):
        features, grad = _of([[7.0]]), _of([[4 * 2.0]])
        assert kernels.ring_(features, _of([[2.0]]), weight, _of(-1.0), axes) is features
        _near(features, [[[2.0 * factor - 1]]])
        assert kernels.ring_backward_(grad, _of([[2.0]]), weight, axes) is grad
        _near(grad, [[[2.0 * factor]]])
    features, grad = _of([[7.0]]), _of([[8.0]])
    _near(kernels.ring_(features, _of([[2.0]]), weight, _of(-80.0)), [[[0.0]]])
    _near(kernels.ring_backward_(grad, _of([[2.0]]), weight), [[[72.0]]])
    inner = torch.full((1, 3, 5), 7.0, dtype=WHOLE)
    kernels.ring_(inner, torch.ones(1, 3, 5, dtype=WHOLE), weight, _of(0.0))
    _near(inner, [[[36] * 5, [36, 7, 7, 7, 36], [36] * 5]])


def test_pools() -> None:
    planes, grad = _of([[1.0, 5, 2], [3, 3, 8], [-4, -6, 0]]), _of([[4.0, 6], [10, 1]])
    _near(kernels.pool(planes), [[[3, 5], [-5, 0]]])
    _near(kernels.pool(planes, "max"), [[[5, 8], [-4, 0]]])
    _near(kernels.pool_backward(grad, planes), [[[1, 1, 3], [1, 1, 3], [5, 5, 1]]])
    _near(kernels.pool_backward(grad, planes, relu=True), [[[1, 1, 3], [1, 1, 3], [0, 0, 0]]])
    _near(kernels.pool_backward(grad, planes, "max"), [[[0, 4, 0], [0, 0, 6], [10, 0, 1]]])
    free = planes.clone().requires_grad_()
    kernels.pool(free, "max").sum().backward()
    assert free.grad is not None
    _near(free.grad, [[[0, 1, 0], [0, 0, 1], [1, 0, 1]]])
