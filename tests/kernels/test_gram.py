"""The public Gram operations on a CPU: precision, layouts, boxes, guides, symmetry, repeatability, autograd."""

from __future__ import annotations

import itertools

import gram_cases as cases
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import kernels
from kernels import gram_products, gram_torch, reference

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SIZES = [(c, h, w) for c in (1, 3, 63, 65) for h, w in ((1, 1), (1, 7), (25, 40))] + [(512, 1, 7), (512, 9, 11)]
CASES = [
    cases.Case(*size, dtype, layout, regions, boxed, means)
    for size, dtype, (layout, regions, boxed, means) in itertools.product(
        SIZES,
        DTYPES,
        [
            ("planes", 0, False, False),
            ("pixels", 0, False, True),
            ("strided", 0, True, True),
            ("pixels", 2, True, False),
            ("planes", 2, False, True),
        ],
    )
]


@pytest.fixture(params=["reference", "torch"])
def forced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TILER_KERNELS", request.param)
    return str(request.param)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sums(case: cases.Case) -> None:
    cases.check_sums(case, kernels.gram_sums)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward(case: cases.Case) -> None:
    cases.check_backward(case, kernels.gram_backward_)


@pytest.mark.parametrize("case", [c for c in CASES if c.c in (1, 65)], ids=str)
def test_style(case: cases.Case) -> None:
    cases.check_style(case, kernels.gram_style)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (512, 512), (4, 65, 65)], ids=str)
def test_term(shape: tuple[int, ...]) -> None:
    cases.check_term(shape, kernels.style_term)


@pytest.mark.parametrize("dtype", DTYPES)
def test_path_without_bfloat16_hardware(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_torch, "fast_bfloat16", lambda: False)
    for case in (cases.Case(65, 25, 40, dtype), cases.Case(65, 25, 40, dtype, "pixels", 2, True)):
        cases.check_sums(case, kernels.gram_sums)
        cases.check_backward(case, kernels.gram_backward_)


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_blocks(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_torch, "BLOCK_ELEMENTS", 3 * 7 * 40)
    for layout in cases.LAYOUTS:
        case = cases.Case(3, 25, 40, dtype, layout, 2, True)
        cases.check_sums(case, kernels.gram_sums)
        cases.check_backward(case, kernels.gram_backward_)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("regions", [0, 2])
def test_parts_and_blocks_of_onednn(threads: int, regions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More channels than it may add up at once, in blocks that don't divide the pixels, with each way of threading."""
    monkeypatch.setattr(gram_torch, "BLOCK_ELEMENTS", 70 * gram_torch.TERMS)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for c in (gram_torch.TERMS, 300):
            case = cases.Case(c, 25, 41, torch.float32, "pixels", regions, True)
            cases.check_sums(case, kernels.gram_sums)
            cases.check_backward(case, kernels.gram_backward_)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("layout", "side", "bound"),
    [("planes", 77, 1e-5), ("pixels", 40, 1e-5), ("pixels", 64, 2e-4), ("pixels", 131, 2e-4)],
)
def test_bfloat16_sums_are_better_than_bfloat16(layout: str, side: int, bound: float) -> None:
    """The common bound allows bfloat16's own error, 2e-3; this holds the promise that sums stay well below it."""
    features = cases.draw(cases.Case(64, side, side, torch.bfloat16, layout), 0).features
    exact = reference.gram_sums(features.double(), None, None)
    assert cases.errors([kernels.gram_sums(features)], [exact])[0] < bound


@pytest.mark.parametrize("period", [2, 7, 8, 11, 13])
def test_bfloat16_sums_of_regular_patterns(period: int) -> None:
    """Bright in every so many columns only: a sample in step with the pattern would be far off."""
    features = torch.zeros(64, 91, 8 * 7 * 11)
    features[:, :, ::period] = torch.rand(64, 91, len(range(0, 616, period))) + 1
    features = cases.arrange(features.bfloat16(), "pixels")
    exact = reference.gram_sums(features.double(), None, None)
    assert cases.errors([kernels.gram_sums(features)], [exact])[0] < 5e-4


def test_small_s_in_float16() -> None:
    """Entries of S far below float16's smallest number still count."""
    features, s = torch.rand(8, 5, 5).half() + 1, torch.full((8, 8), 1e-9)
    result = kernels.gram_backward_(None, features, s, 1e5)
    exact = reference.gram_backward(features.double(), s.double(), 1e5, None, True)
    assert cases.errors([result], [exact])[0] < 2e-3


@pytest.mark.parametrize("dtype", DTYPES)
def test_repeatable_with_threads(dtype: torch.dtype) -> None:
    torch.set_num_threads(2)
    drawn = cases.draw(cases.Case(64, 96, 131, dtype, "pixels", 2), 0)
    first, second = (kernels.gram_style(drawn.features, drawn.target, 1.0, guides=drawn.guides) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)
    plain, again = (kernels.gram_sums(drawn.features) for _ in range(2))
    assert torch.equal(plain, again)
    assert torch.equal(plain, plain.mT)
    grads = [kernels.gram_backward_(drawn.grad.clone(), drawn.features, drawn.s[0], 0.1) for _ in range(2)]
    assert torch.equal(*grads)


@pytest.mark.parametrize(
    ("pixels", "step"), [(4095, 1), (4096, 3), (6144, 5), (6145, 7), (10240, 7), (10241, 13), (2048 * 13, 31)]
)
def test_a_guess_is_made_of_some_two_thousand_pixels_in_every_column(pixels: int, step: int) -> None:
    """Every few of them, by a prime that does not divide their number; of few pixels, or of rows, it is all."""
    left, right = torch.rand(2, pixels, 3, dtype=torch.float64)
    wanted = left[::step].T @ right[::step] * pixels / len(right[::step])
    torch.testing.assert_close(gram_products._guess(left.T, right), wanted)
    torch.testing.assert_close(gram_products._guess(left.T.contiguous(), right), left.T @ right)


@pytest.mark.parametrize(
    ("shape", "dtype", "suits"),
    [
        ((16, 16), torch.float32, True), ((15, 16), torch.float32, False), ((16, 15), torch.float32, False),
        ((17, 40), torch.float32, True), ((16, 16), torch.float64, False), ((16, 16), torch.bfloat16, False),
    ],
)  # fmt: skip
def test_what_onednn_takes_as_it_is(shape: tuple[int, int], dtype: torch.dtype, suits: bool) -> None:
    c, n = shape
    assert gram_products.suits_onednn(torch.zeros(n, c, dtype=dtype).T) is suits
    assert not gram_products.suits_onednn(torch.zeros(c + 1, n, dtype=dtype))
    assert not gram_products.suits_onednn(torch.zeros(n, c + 1, dtype=dtype)[:, :c].T)


def test_sums_add_over_tiles() -> None:
    features = torch.randn(5, 9, 11, dtype=torch.float64)
    whole = kernels.gram_sums(features)
    parts = [(0, 0, 4, 6), (4, 0, 9, 6), (0, 6, 4, 11), (4, 6, 9, 11)]
    torch.testing.assert_close(sum(kernels.gram_sums(features, part) for part in parts), whole)


def test_guides_that_sum_to_one_split_the_sums() -> None:
    features, first = torch.randn(5, 9, 11, dtype=torch.float64), torch.rand(1, 9, 11, dtype=torch.float64)
    split = kernels.gram_sums(features, guides=torch.cat([first, 1 - first]))
    torch.testing.assert_close(split.sum(0), kernels.gram_sums(features))


@pytest.mark.parametrize("layout", cases.LAYOUTS)
def test_rows_that_no_guide_reaches(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of rows in which all guides are 0 add nothing: zeros where there is no gradient from above."""
    monkeypatch.setattr(gram_torch, "BLOCK_ELEMENTS", 3 * 2 * 7)
    given = cases.draw(cases.Case(3, 9, 7, torch.float32, layout, 1), 0)
    assert given.guides is not None
    alone = kernels.gram_backward_(None, given.features, given.s, 0.5, given.guides)
    assert (alone[:, :5] == 0).all()
    assert alone[:, 5:].any()
    upstream = kernels.gram_backward_(given.grad.clone(), given.features, given.s, 0.5, given.guides, relu=False)
    assert torch.equal(upstream[:, :5], given.grad[:, :5])
    assert not torch.equal(upstream[:, 5:], given.grad[:, 5:])


@pytest.mark.parametrize("layout", ["pixels", "strided"])
@pytest.mark.parametrize("means", [False, True])
def test_pixels_of_regions_are_picked_out(layout: str, means: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wholly inside, outside and between; a box whose rows lie apart; blocks that end amid a region."""
    monkeypatch.setattr(gram_torch, "BLOCK_ELEMENTS", 20 * 7)
    given = cases.draw(cases.Case(20, 9, 8, torch.float64, layout, 2, layout == "strided", means), 0)
    assert given.guides is not None
    guides = ((given.guides * 4).round() / 2 - 0.5).clamp(0, 1)
    assert guides.unique().tolist() == [0, 0.5, 1]
    for box in (None, (1, 2, 8, 7)):
        found, wanted = (of(given.features, box, guides, means) for of in (kernels.gram_sums, reference.gram_sums))
        torch.testing.assert_close(found, wanted)
    for grad in (given.grad, torch.zeros_like(given.grad)):
        wanted = grad.clone()
        reference.gram_backward_(wanted, given.features, given.s, 0.3, guides, False)
        upstream = grad.clone(memory_format=torch.preserve_format) if grad.any() else None
        found = kernels.gram_backward_(upstream, given.features, given.s, 0.3, guides, relu=False)
        torch.testing.assert_close(found, wanted)
        nowhere = guides.sum(0) == 0
        assert nowhere.any()
        assert torch.equal(found[:, nowhere], grad[:, nowhere])


def test_without_relu_every_pixel_has_a_gradient() -> None:
    features, s = -torch.rand(3, 4, 5, dtype=torch.float64) - 1, torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(kernels.gram_backward_(None, features, s, 0.5, relu=False), features)
    assert not kernels.gram_backward_(None, features, s, 0.5).any()


def test_weights_are_1_and_all_pixels_count_unless_said_otherwise() -> None:
    features, target = torch.full((1, 2, 3), 2.0), torch.ones(1, 1)
    assert kernels.gram(features).item() == 4
    assert kernels.gram(features, scale=0.5).item() == 12
    assert kernels.style_loss(features, target).item() == 9
    assert [one.item() for one in kernels.gram_style(features, target)] == [24, 9, 6]
    assert [one.item() for one in kernels.gram_style(features, target, box=(0, 0, 1, 3))] == [12, 9, 6]
    assert [one.item() for one in kernels.style_term(torch.full((1, 1), 4.0), target)] == [9, 6]


def test_a_dead_target_gives_numbers() -> None:
    loss, s = kernels.style_term(torch.ones(2, 2), torch.zeros(2, 2), 3.0)
    assert loss.item() == 12
    assert torch.equal(s, torch.full((2, 2), 6.0))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_box_and_layout(data: st.DataObject) -> None:
    c, h, w = (data.draw(st.integers(1, high)) for high in (6, 9, 9))
    y0, x0 = data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1))
    box = (y0, x0, data.draw(st.integers(y0 + 1, h)), data.draw(st.integers(x0 + 1, w)))
    layout = data.draw(st.sampled_from(cases.LAYOUTS))
    case = cases.Case(c, h, w, torch.float64, layout, data.draw(st.integers(0, 2)))
    drawn = cases.draw(case, data.draw(st.integers(0, 99)))
    expected = reference.gram_sums(drawn.features, box, drawn.exact_guides)
    torch.testing.assert_close(kernels.gram_sums(drawn.features, box, drawn.guides), expected)
    expected = drawn.grad.clone()
    reference.gram_backward_(expected, drawn.features, drawn.s, 0.5, drawn.exact_guides, True)
    kernels.gram_backward_(drawn.grad, drawn.features, drawn.s, 0.5, drawn.guides)
    torch.testing.assert_close(drawn.grad, expected)


@pytest.mark.parametrize("regions", [0, 2])
def test_reference_backward_is_the_gradient_through_the_relu(regions: int) -> None:
    """The hand-written backward against autograd on relu -> Gram -> loss, with a random cotangent of the features."""
    case = cases.Case(4, 5, 6, torch.float64, regions=regions)
    drawn = cases.draw(case, 0)
    z = torch.randn(4, 5, 6, dtype=torch.float64, requires_grad=True)
    features = z.relu()
    _, loss, s = reference.gram_style(features, drawn.target, drawn.weight, 0.1, None, drawn.exact_guides, None)
    (expected,) = torch.autograd.grad([loss.sum(), features], [z], [torch.ones(()).double(), drawn.grad])
    grad = drawn.grad.clone()
    reference.gram_backward_(grad, features.detach(), s.detach(), 0.1, drawn.exact_guides, True)
    torch.testing.assert_close(grad, expected)


def test_gradcheck_of_the_reference() -> None:
    drawn = cases.draw(cases.Case(3, 4, 5, torch.float64, regions=2), 0)
    features = drawn.features.requires_grad_()
    for guides, box in ((None, None), (drawn.exact_guides, (1, 0, 3, 4))):
        assert torch.autograd.gradcheck(lambda f, b=box, g=guides: reference.gram_sums(f, b, g), (features,))
    gram = drawn.s.requires_grad_()
    assert torch.autograd.gradcheck(lambda m: reference.style_term(m, drawn.target, [0.5, 2.0])[0], (gram,))


def test_gradcheck_of_the_operations(forced: str) -> None:
    drawn = cases.draw(cases.Case(3, 4, 5, torch.float64, "pixels", regions=2), 0)
    features, target = drawn.features.requires_grad_(), drawn.target

    def style(f: Tensor) -> tuple[Tensor, Tensor]:
        return kernels.gram_style(f, target, [0.5, 2.0], box=(1, 0, 3, 4), guides=drawn.guides)[:2]

    assert torch.autograd.gradcheck(lambda f: kernels.gram(f, (1, 0, 3, 4)), (features,))
    assert torch.autograd.gradcheck(lambda f: kernels.style_loss(f, target[0], 3.0), (features,))
    assert torch.autograd.gradcheck(style, (features,))
