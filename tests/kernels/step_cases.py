"""Inputs for the tests of a step's operations, and what they are held to: the bound of the Gram tests, by float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from gram_cases import Case, arrange, assert_as_good, draw
from torch import Tensor

from kernels import reference

BETAS, EPSILON, SMOOTH, CHROMA, LIGHT = (0.9, 0.99), 1e-8, 0.05, 0.7, 0.4
Box = tuple[int, int, int, int]


def check_content(case: Case, operation: Callable[..., Tensor], device: str = "cpu") -> None:
    """Gradient and loss right and repeatable, with weights where the case has regions; zero behind the ReLU."""
    for relu in (True, False):
        gradients, losses = [], []
        for seed in range(case.draws):
            given = draw(case, seed, device)
            features, wanted = given.features, arrange(draw(case, seed + 50, device).grad, case.layout)
            weights = None if given.guides is None else 1 + 3 * given.guides[:1]
            arguments = (0.7, case.box, weights, relu)
            after = given.grad.clone()
            loss = operation(after, features, wanted, *arguments)
            if not seed:
                again = given.grad.clone()
                assert torch.equal(loss, operation(again, features, wanted, *arguments))
                assert torch.equal(after, again)
            assert loss.dtype == case.wide
            exact = given.grad.double()
            double = None if weights is None else weights.double()
            exact_loss = reference.content_term_(
                exact, features.double(), wanted.double(), 0.7, case.box, double, relu
            )  # fmt: skip
            own = given.grad.clone()
            difference = features - wanted
            own.add_(1.4 * (difference if weights is None else weights.to(case.dtype) * difference))
            if relu:
                own.masked_fill_(features <= 0, 0.0)
                assert not after[features <= 0].any()
            squares = reference.crop(difference, case.box).to(case.wide).square()
            if weights is not None:
                squares = squares * reference.crop(weights, case.box)
            gradients.append((after, own, exact))
            losses.append((loss, 0.7 * squares.sum(), exact_loss))
        assert_as_good(gradients)
        assert_as_good(losses)


def alike(gradient: Tensor, seed: int) -> Tensor:
    """Of one seed the same for all channels, which takes no more room than one."""
    return gradient[:1].expand_as(gradient) if seed == 2 else gradient


def state(size: tuple[int, int], box: Box | None, seed: int, grad: torch.dtype, wide: bool = False) -> list[Tensor]:
    """Pixels, moments and gradient in float32's numbers; some pixels will leave 0..1. The second moment is small where
    steps are large, and nowhere so small that how one pixel's gradient was rounded decides."""
    generator = torch.Generator().manual_seed(seed)
    y0, x0, y1, x1 = box or (0, 0, *size)
    inner = (3, y1 - y0, x1 - x0)
    pixels = torch.rand(3, *size, generator=generator)
    first, gradient = torch.randn(2, *inner, generator=generator)
    second = 0.001 + torch.rand(*inner, generator=generator) ** 4
    found = [pixels, first, second, alike(gradient.to(grad), seed)]
    return [one.double() for one in found] if wide else found


def units(size: tuple[int, int], seed: int) -> Tensor:
    """What is usual, [2, H, W]: everywhere the same, or of two regions that pass into each other."""
    here, there = torch.tensor([0.08, 0.3]).view(2, 1, 1), torch.tensor([0.5, 0.02]).view(2, 1, 1)
    if not seed:
        return here.expand(2, *size)
    share = torch.rand(1, *size, generator=torch.Generator().manual_seed(seed))
    return share * here + (1 - share) * there


def plain(given: Sequence[Tensor], pace: Tensor, box: Box | None, core: Box | None, usual: Tensor) -> list[Tensor]:
    """The update and the variation as one would write them, in the tensors' own type."""
    pixels, first, second, gradient = (one.clone() for one in given)
    slope, variation = torch.zeros_like(pixels), torch.zeros_like(pixels)
    for end, start in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, :, 1:], np.s_[:, :, :-1])):
        steps = pixels[end] - pixels[start]
        light, (of_chroma, of_light) = steps.mean(0), usual[start]
        change, gate = steps - light, 1 + 3 * light**2 / of_light
        amount = (change**2).sum(0) / of_chroma
        along = 2 * SMOOTH * steps + 2 * CHROMA * change / (of_chroma * (gate + amount))
        along += 2 * LIGHT * light / (of_light * gate)
        slope[end] += along
        slope[start] -= along
        variation[start] += SMOOTH * steps**2 + CHROMA / 3 * torch.log1p(amount / gate) + LIGHT / 3 * torch.log(gate)
    total = gradient.to(pixels.dtype) + reference.crop(slope, box)
    first = BETAS[0] * first + (1 - BETAS[0]) * total
    second = BETAS[1] * second + (1 - BETAS[1]) * total**2
    inner = reference.crop(pixels, box)
    inner.copy_((inner - pace[0] * first / ((second / pace[1]) ** 0.5 + EPSILON)).clamp(0, 1))
    return [pixels, first, second, reference.crop(variation, core or box).sum()]


def check_adam(
    size: tuple[int, int], box: Box | None, core: Box | None, operation: Callable[..., Tensor],
    device: str = "cpu", grad: torch.dtype = torch.float32,
) -> None:  # fmt: skip
    """Pixels, both moments and the variation right and repeatable; nothing outside the box touched."""
    parts: list[list[Any]] = [[], [], [], []]
    pace = torch.tensor([0.03, 0.2])
    for seed in range(3):
        given, usual = state(size, box, seed, grad), units(size, seed)
        exact = plain(state(size, box, seed, grad, wide=True), pace.double(), box, core, usual.double())
        own = plain(given, pace, box, core, usual)
        runs = []
        for _ in range(2):
            moved = [one.clone().to(device) for one in given]
            moved[3] = alike(moved[3], seed)
            there = pace.to(device), BETAS, EPSILON, SMOOTH, CHROMA, box, core, usual.to(device), LIGHT
            variation = operation(*moved, *there)
            runs.append([*(one.cpu() for one in moved[:3]), variation.cpu()])
        assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))
        outside = torch.ones(size, dtype=torch.bool)
        reference.crop(outside, box).fill_(False)
        assert torch.equal(runs[0][0][:, outside], given[0][:, outside])
        inner = reference.crop(runs[0][0], box)
        assert 0 <= inner.min() <= inner.max() <= 1
        for part, triple in zip(parts, zip(runs[0], own, exact, strict=True), strict=True):
            part.append(triple)
    for part in parts:
        assert_as_good(part)
