"""Inputs for the Gram tests, torch's own results at the same precision, and the bound both are held to.

Every result is judged against the reference in float64 on the very same (already rounded) numbers. The error may be
at most twice torch's own, or half a unit in the last place of the result's type where torch happened to do better
than any rounding guarantees; both are taken over a few draws, over more where a draw is few numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kernels import reference

NUMBERS = 1000
LAYOUTS = ("planes", "pixels", "strided")


@dataclass(frozen=True)
class Case:
    """One input: size, precision, memory layout, number of guides, and whether only an inner box is summed."""

    c: int
    h: int
    w: int
    dtype: torch.dtype
    layout: str = "planes"
    regions: int = 0
    boxed: bool = False
    means: bool = False

    def __str__(self) -> str:
        more = f"-R{self.regions}" * bool(self.regions) + "-box" * self.boxed + "-means" * self.means
        return f"C{self.c}-{self.h}x{self.w}-{str(self.dtype)[6:]}-{self.layout}{more}"

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """An inner box that touches no edge where the size allows."""
        if not self.boxed:
            return None
        return min(2, self.h // 2), min(3, self.w // 2), max(self.h - 1, self.h // 2 + 1), self.w

    @property
    def draws(self) -> int:
        """How many inputs the error is taken over: about NUMBERS numbers' worth."""
        return min(20, 1 + NUMBERS // (self.c * self.h * self.w))

    @property
    def wide(self) -> torch.dtype:
        """Type of the sums."""
        return reference.accumulation_dtype(self.dtype)


@dataclass(frozen=True)
class Draw:
    """Random tensors of a case: features after a ReLU, an upstream gradient, S, a target, an offset and guides. s: with
    the means' row, where the case has them."""

    features: Tensor
    grad: Tensor
    s: Tensor
    target: Tensor
    offset: Tensor
    guides: Tensor | None
    weight: list[float]

    @property
    def exact_guides(self) -> Tensor | None:
        """The guides in float64."""
        return None if self.guides is None else self.guides.double()


def arrange(planes: Tensor, layout: str) -> Tensor:
    """The same numbers [C, H, W] in another memory layout."""
    if layout == "pixels":
        return planes.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    if layout == "strided":
        c, h, w = planes.shape
        room = planes.new_zeros(c, 2 * h + 1, 3 * w)
        room[:, 1::2, ::3] = planes
        return room[:, 1::2, ::3]
    return planes.contiguous()


def draw(case: Case, seed: int, device: str = "cpu") -> Draw:
    """Tensors of `case`; the same for the same seed."""
    generator = torch.Generator().manual_seed(1000 * seed + case.c)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def symmetric() -> Tensor:
        shape = (case.regions, case.c, case.c) if case.regions else (case.c, case.c)
        half = normal(*shape)
        return (half + half.mT).to(case.wide).to(device)

    shape = (case.c, case.h, case.w)
    features = arrange(normal(*shape).relu().to(case.dtype).to(device), case.layout)
    grad = arrange(normal(*shape).to(case.dtype).to(device), case.layout)
    guides = torch.rand(case.regions, case.h, case.w, generator=generator) if case.regions else None
    if guides is not None:
        guides[-1, : (case.h + 1) // 2] = 0
        guides = guides.to(device)
    weight = [0.5 + r for r in range(max(1, case.regions))]
    s, target, offset = symmetric(), symmetric(), symmetric()
    if case.means:
        s = torch.cat([s, normal(*s.shape[:-2], 1, case.c).to(s)], -2)
    return Draw(features, grad, s, target, offset, guides, weight)


def own_sums(case: Case, given: Draw) -> Tensor:
    """What plain torch gives at this precision."""
    matrix = reference.crop(given.features, case.box).flatten(1)
    if given.guides is None:
        sums, ones = matrix @ matrix.mT, matrix.new_ones(1, matrix.shape[1])
    else:
        root = reference.crop(given.guides, case.box).sqrt().to(case.dtype).flatten(1)
        sums, ones = torch.stack([(one * matrix) @ (one * matrix).mT for one in root]), (root * root)[:, None]
    return torch.cat([sums, ones @ matrix.mT], -2) if case.means else sums


def own_backward(case: Case, given: Draw, scale: float, upstream: bool) -> Tensor:
    """What plain torch gives at this precision."""
    matrix = given.features.flatten(1)
    s = given.s.to(case.dtype)
    if case.means:  # a feature more, 1 / 2 everywhere
        matrix = torch.cat([matrix, matrix.new_full((1, matrix.shape[1]), 0.5)])
        s = s.mT
    if given.guides is None:
        product = s @ matrix
    else:
        masks = given.guides.to(case.dtype).flatten(1)
        product = sum((mask * (one @ matrix) for one, mask in zip(s, masks, strict=True)), matrix.new_zeros(()))
    result = (2 * scale * product).view(given.features.shape)
    return ((given.grad + result) if upstream else result).masked_fill(given.features <= 0, 0.0)


def errors(results: Sequence[Tensor], exact: Sequence[Tensor]) -> tuple[float, float]:
    """Relative error of all draws in the Frobenius norm, and their worst entry relative to the largest."""
    truth = torch.cat([one.double().flatten() for one in exact])
    difference = torch.cat([one.double().flatten() for one in results]) - truth
    if not bool(truth.any()):
        return (0.0, 0.0) if not bool(difference.any()) else (float("inf"), float("inf"))
    return (
        float(difference.norm() / truth.norm()),
        float(difference.abs().max() / truth.abs().max()),
    )


def assert_as_good(triples: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
    """Hold results to the bound; each of `triples` is (result, torch's own, float64) of one draw. Where torch's own is
    far from the float64, that one is wrong, and no bound."""
    results, plain, exact = zip(*triples, strict=True)
    least = torch.finfo(results[0].dtype).eps / 2
    for name, ours, own in zip(("norm", "worst entry"), errors(results, exact), errors(plain, exact), strict=True):
        assert own < 0.02, f"{name}: torch's own error is {own:.2e}"
        assert ours <= 2 * max(own, least), f"{name}: error {ours:.2e}, torch's own {own:.2e}"


def check_sums(case: Case, operation: Callable[..., Tensor], device: str = "cpu") -> None:
    """Right, symmetric and repeatable, of the promised type."""
    triples = []
    for seed in range(case.draws):
        given = draw(case, seed, device)
        sums = operation(given.features, case.box, given.guides, case.means)
        exact = reference.gram_sums(given.features.double(), case.box, given.exact_guides, case.means)
        assert sums.dtype == case.wide
        assert sums.shape == exact.shape
        assert torch.equal(sums[..., : case.c, :], sums[..., : case.c, :].mT)
        assert seed or torch.equal(sums, operation(given.features, case.box, given.guides, case.means))
        triples.append((sums, own_sums(case, given), exact))
    assert_as_good(triples)


def check_backward(case: Case, operation: Callable[..., Tensor], device: str = "cpu", relu: bool = True) -> None:
    """Right with and without an upstream gradient, in place, repeatable, zero behind the ReLU."""
    scale = 0.3
    for upstream in (True, False):
        triples = []
        for seed in range(case.draws):
            given = draw(case, seed, device)
            grad = given.grad if upstream else None
            own = own_backward(case, given, scale, upstream)
            exact_grad = given.grad.double() if upstream else torch.zeros_like(given.features.double())
            exact_inputs = (exact_grad, given.features.double(), given.s.double(), scale, given.exact_guides, True)
            reference.gram_backward_(*exact_inputs)
            before = None if grad is None else grad.clone()
            result = operation(grad, given.features, given.s, scale, given.guides)
            assert result is grad or not upstream
            assert result.dtype == case.dtype
            assert seed or torch.equal(result, operation(before, given.features, given.s, scale, given.guides))
            assert not result[given.features <= 0].any()
            triples.append((result, own, exact_grad))
        assert_as_good(triples)


def assert_rounded_once(result: Tensor, exact: Tensor) -> None:
    """Every number within half a unit in the last place of its type, and a thousandth of it for float64's own error."""
    half = torch.finfo(result.dtype).eps / 2
    worst = ((result.double() - exact).abs() / exact.abs().clamp(min=torch.finfo(result.dtype).tiny)).max()
    assert worst <= 1.001 * half, f"worst number: {worst / half / 2:.3f} units in the last place"


def check_style(
    case: Case,
    operation: Callable[..., tuple[Tensor, Tensor, Tensor]],
    device: str = "cpu",
    rounded_once: bool = False,
) -> None:
    """Sums, loss and S of the fused form, which has no means; S bitwise symmetric. rounded_once: loss and S follow in
    float64."""
    case = replace(case, means=False)
    scale, parts = 0.01, ([], [], [])
    for seed in range(case.draws):
        given = draw(case, seed, device)
        sums, loss, s = operation(
            given.features, given.target, given.weight, scale, case.box, given.guides, given.offset
        )  # fmt: skip
        exact_sums = reference.gram_sums(given.features.double(), case.box, given.exact_guides)
        parts[0].append((sums, own_sums(case, given), exact_sums))
        gram = scale * (sums + given.offset)
        own = reference.style_term(gram, given.target, given.weight)
        gram = scale * (sums.double() + given.offset.double())
        exact = reference.style_term(gram, given.target.double(), given.weight)
        assert torch.equal(s, s.mT)
        parts[1].append((loss, own[0], exact[0]))
        parts[2].append((s, own[1], exact[1]))
        if rounded_once:
            assert_rounded_once(loss, exact[0])
            assert_rounded_once(s, exact[1])
    for part in parts:
        assert_as_good(part)


def check_term(
    shape: tuple[int, ...],
    operation: Callable[..., tuple[Tensor, Tensor]],
    device: str = "cpu",
    rounded_once: bool = False,
) -> None:
    """Loss and S of Grams in float32, whether or not they are symmetric."""
    losses, slopes = [], []
    for seed in range(1 + NUMBERS // (shape[-1] * shape[-1])):
        generator = torch.Generator().manual_seed(seed)
        gram, target = torch.rand(2, *shape, generator=generator, dtype=torch.float32).to(device)
        weight = [0.5 + r for r in range(shape[0] if len(shape) == 3 else 1)]
        loss, s = operation(gram, target, weight)
        exact = reference.style_term(gram.double(), target.double(), weight)
        own = reference.style_term(gram, target, weight)
        assert loss.shape == shape[:-2]
        if rounded_once:
            assert_rounded_once(loss, exact[0])
            assert_rounded_once(s, exact[1])
        losses.append((loss, own[0], exact[0]))
        slopes.append((s, own[1], exact[1]))
    assert_as_good(losses)
    assert_as_good(slopes)
