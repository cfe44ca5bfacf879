"""Inputs for the tests of the trunk's operations. They are held to the bound of the Gram tests, by float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from gram_cases import arrange, assert_as_good
from torch import Tensor

from kernels import reference

NUMBERS = 1000
BOTH, ROWS, COLUMNS, NEITHER = (True, True), (True, False), (False, True), (False, False)


@dataclass(frozen=True)
class Case:
    """A convolution of `depth` channels to `c`. axes: (y, x), along which the border repeats."""

    depth: int
    c: int
    h: int
    w: int
    dtype: torch.dtype
    layout: str = "pixels"
    axes: tuple[bool, bool] = BOTH

    def __str__(self) -> str:
        axes = "".join(name for name, repeats in zip("yx", self.axes, strict=True) if repeats) or "none"
        return f"{self.depth}to{self.c}-{self.h}x{self.w}-{str(self.dtype)[6:]}-{self.layout}-{axes}"

    @property
    def draws(self) -> int:
        return min(20, 1 + NUMBERS // (self.c * self.h * self.w))

    @property
    def ring(self) -> Tensor:
        """[H, W] bool: the cells that the operations may change."""
        found = torch.zeros(self.h, self.w, dtype=torch.bool)
        if self.axes[0]:
            found[[0, -1]] = True
        if self.axes[1]:
            found[:, [0, -1]] = True
        return found


@dataclass(frozen=True)
class Draw:
    """inputs [D, H, W], weight [C, D, 3, 3], bias [C]; for the way back upstream [C, H, W], grad [D, H, W] and the
    weights turned [D, C, 3, 3]."""

    inputs: Tensor
    weight: Tensor
    bias: Tensor
    upstream: Tensor
    grad: Tensor

    @property
    def turned(self) -> Tensor:
        return self.weight.transpose(0, 1).flip(2, 3).contiguous(memory_format=torch.channels_last)


def draw(case: Case, seed: int, device: str = "cpu") -> Draw:
    generator = torch.Generator().manual_seed(1000 * seed + case.c)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(case.dtype).to(device)

    size = case.h, case.w
    weight = (normal(case.c, case.depth, 3, 3) / (4.5 * case.depth) ** 0.5).contiguous(
        memory_format=torch.channels_last
    )
    inputs, bias = arrange(normal(case.depth, *size).relu(), case.layout), normal(case.c)
    way_back = (arrange(normal(n, *size), case.layout) for n in (case.c, case.depth))
    return Draw(inputs, weight.contiguous(memory_format=torch.channels_last), bias, *way_back)


def padded(planes: Tensor, axes: tuple[bool, bool]) -> Tensor:
    """[C, H + 2, W + 2]: cell by cell, what lies outside."""
    c, h, w = planes.shape
    around = planes.new_zeros(c, h + 2, w + 2)
    for y in range(-1, h + 1):
        for x in range(-1, w + 1):
            if (axes[0] or 0 <= y < h) and (axes[1] or 0 <= x < w):
                around[:, y + 1, x + 1] = planes[:, min(max(y, 0), h - 1), min(max(x, 0), w - 1)]
    return around


def convolved(given: Draw, axes: tuple[bool, bool]) -> Tensor:
    """relu(bias + convolution) of the inputs in their type; with `axes` NEITHER, what the operation starts from."""
    return F.conv2d(padded(given.inputs, axes)[None], given.weight, given.bias)[0].relu()


def brought_back(given: Draw, axes: tuple[bool, bool]) -> Tensor:
    """Gradient of the inputs for `upstream` behind the convolution, in its type: what lies outside is added to the cell
    that it repeats."""
    full = F.conv2d(given.upstream[None], given.turned, padding=2)[0]
    for axis, repeats in ((1, axes[0]), (2, axes[1])):
        if repeats:
            full.select(axis, 1).add_(full.select(axis, 0))
            full.select(axis, -2).add_(full.select(axis, -1))
        full = full.narrow(axis, 1, full.shape[axis] - 2)
    return full


def wide(given: Draw) -> Draw:
    return Draw(*(value.double() for value in (given.inputs, given.weight, given.bias, given.upstream, given.grad)))


def check_ring(case: Case, operation: Callable[..., Tensor], device: str = "cpu") -> None:
    """Right on the ring, repeatable, and no other cell touched."""
    triples, ring = [], case.ring.to(device)
    for seed in range(case.draws):
        given = draw(case, seed, device)
        before = arrange(convolved(given, NEITHER), case.layout)
        arguments = (given.inputs, given.weight, given.bias, case.axes)
        after = before.clone()
        assert operation(after, *arguments) is after
        assert seed or torch.equal(after, operation(before.clone(), *arguments))
        assert torch.equal(after[:, ~ring], before[:, ~ring])
        triples.append(
            (after[:, ring], convolved(given, case.axes)[:, ring], convolved(wide(given), case.axes)[:, ring])
        )
    assert_as_good(triples)


def check_ring_backward(case: Case, operation: Callable[..., Tensor], device: str = "cpu") -> None:
    """Right on the ring, repeatable, and no other cell touched."""
    triples, ring = [], case.ring.to(device)
    for seed in range(case.draws):
        given = draw(case, seed, device)
        before = arrange(brought_back(given, NEITHER), case.layout)
        after = before.clone()
        assert operation(after, given.upstream, given.turned, case.axes) is after
        again = None if seed else operation(before.clone(), given.upstream, given.turned, case.axes)
        assert again is None or torch.equal(after, again)
        assert torch.equal(after[:, ~ring], before[:, ~ring])
        more = wide(given)
        exact = before.double() + brought_back(more, case.axes) - brought_back(more, NEITHER)
        own = before + (brought_back(given, case.axes) - brought_back(given, NEITHER))
        triples.append((after[:, ring], own[:, ring], exact[:, ring]))
    assert_as_good(triples)


def check_pool(case: Case, operation: Callable[..., Tensor], device: str = "cpu") -> None:
    """Both kinds right to the last bit of one rounding, laid out as the features are."""
    for kind, seed in (("avg", 0), ("max", 1)):
        features = draw(case, seed, device).inputs
        found = operation(features, kind)
        exact = reference.pool(features.double(), kind == "max")
        assert found.dtype == case.dtype
        assert found.shape == exact.shape
        assert found.stride(0) == 1 or case.layout != "pixels" or case.depth == 1
        assert_as_good([(found, exact.to(case.dtype), exact)])
        if kind == "max":
            assert torch.equal(found.double(), exact)


def check_pool_backward(case: Case, operation: Callable[..., Tensor], device: str = "cpu") -> None:
    """Of both kinds, with and without the ReLU's mask; features after a ReLU have many largest cells, all 0."""
    for kind, relu, seed in (("avg", True, 0), ("avg", False, 1), ("max", True, 2), ("max", False, 3)):
        given = draw(case, seed, device)
        features = given.inputs
        grad = arrange(reference.pool(given.grad, False), case.layout)
        found = operation(grad, features, kind, relu)
        exact = reference.pool_backward(grad.double(), features.double(), kind == "max", relu)
        assert found.dtype == case.dtype
        assert_as_good([(found, exact.to(case.dtype), exact)])
        if relu:
            assert not found[features <= 0].any()
