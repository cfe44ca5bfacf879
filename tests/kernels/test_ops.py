"""The Gram operations as citizens of torch, and what they say to bad input."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import kernels
from kernels import checks, choice

FOLDER = Path(kernels.__file__).parent
OPS = torch.ops.tiler_kernels


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("differentiable", [False, True])
def test_opcheck(guided: bool, boxed: bool, differentiable: bool) -> None:
    f = torch.rand(3, 4, 5).permute(0, 2, 1).requires_grad_(differentiable)
    g = torch.rand(2, 5, 4) if guided else None
    box = [1, 0, 4, 3] if boxed else None
    s = torch.rand(2, 3, 3) if guided else torch.rand(3, 3)
    torch.library.opcheck(OPS.gram_sums.default, (f, box, g))
    torch.library.opcheck(OPS.gram_style.default, (f, s + s.mT, [0.5] * (1 + guided), 0.1, box, g, None))
    f = f.detach()
    torch.library.opcheck(OPS.style_term.default, (s, s.mT.contiguous(), [0.5] * (1 + guided)))
    torch.library.opcheck(OPS.gram_backward_.default, (torch.rand_like(f), f, s, 0.5, g, True))
    torch.library.opcheck(OPS.gram_backward.default, (f, s, 0.5, g, False))


def test_whole_graph_compiles() -> None:
    def step(grad: torch.Tensor, f: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _, loss, s = kernels.gram_style(f, target, 2.0)
        return loss, kernels.gram_backward_(grad, f, s, 0.5)

    f, grad, target = torch.rand(3, 4, 5), torch.rand(3, 4, 5), torch.eye(3)
    expected = step(grad.clone(), f, target)
    found = torch.compile(step, backend="aot_eager", fullgraph=True)(grad, f, target)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert torch.equal(grad, expected[1])


F, A, G = torch.rand(3, 4, 5), torch.rand(3, 3), torch.rand(2, 4, 5)
BAD: list[tuple[str, Any, str]] = [
    ("gram_sums", (F[0],), "features have shape (4, 5): must be [C, H, W], each at least 1"),
    ("gram_sums", (F[:, :0],), "features have shape (3, 0, 5): must be [C, H, W], each at least 1"),
    ("gram_sums", (F.int(),), "features are torch.int32: must be one of torch.float64"),
    ("gram_sums", (F, (0, 0, 5, 5)), "box (0, 0, 5, 5): must be (y0, x0, y1, x1), not empty, inside [0, 4) x [0, 5)"),
    ("gram_sums", (F, (2, 0, 2, 5)), "box (2, 0, 2, 5): must be"),
    ("gram_sums", (F, (0, 0, 4)), "box (0, 0, 4): must be"),
    ("gram_sums", (F, (2, 3, 4, 3)), "box (2, 3, 4, 3): must be"),
    ("gram_sums", (F, (-1, 0, 4, 5)), "box (-1, 0, 4, 5): must be"),
    ("gram_sums", (F, (0, -1, 4, 5)), "box (0, -1, 4, 5): must be"),
    ("gram_sums", (F, (0, 0, 4, 6)), "box (0, 0, 4, 6): must be"),
    ("gram_sums", (F, (0, 0, 4, 5, 6)), "box (0, 0, 4, 5, 6): must be"),
    ("gram_sums", (F[None],), "features have shape (1, 3, 4, 5): must be [C, H, W], each at least 1"),
    ("gram_sums", (F, None, G[:0]), "guides have shape (0, 4, 5): must be [R, 4, 5]"),
    ("gram_sums", (F, None, G[:, :, :4]), "guides have shape (2, 4, 4): must be [R, 4, 5]"),
    ("gram_sums", (F, None, G[None]), "guides have shape (1, 2, 4, 5): must be [R, 4, 5]"),
    ("gram_sums", (F, None, G[:, :3]), "guides have shape (2, 3, 5): must be [R, 4, 5]"),
    ("gram_sums", (F, None, G > 0), "guides are torch.bool: must be floating"),
    ("gram_sums", (F, None, G.clone().requires_grad_()), "guides requires a gradient"),
    ("gram_sums", (F, None, G.to("meta")), "guides is on meta: must be on cpu"),
    ("style_term", (A[:2], A[:2]), "gram has shape (2, 3): must be [C, C] or [R, C, C]"),
    ("style_term", (A[:0, :0], A[:0, :0]), "gram has shape (0, 0): must be [C, C] or [R, C, C]"),
    ("style_term", (A[None, None], A[None, None]), "gram has shape (1, 1, 3, 3): must be [C, C] or [R, C, C]"),
    ("style_term", (A.half(), A.half()), "gram is torch.float16: must be torch.float32 or torch.float64"),
    ("style_term", (A, A[None]), "target has shape (1, 3, 3): must be (3, 3)"),
    ("style_term", (A, A.double()), "target is torch.float64: must be torch.float32"),
    ("style_term", (A, A.to("meta")), "target is on meta: must be on cpu"),
    ("style_term", (A, A, [1.0, 2.0]), "weight has 2 values: must be one number or 1 of them"),
    (
        "style_term",
        (A.expand(2, 3, 3), A.expand(2, 3, 3), torch.ones(3)),
        "weight has 3 values: must be one number or 2",
    ),
    ("gram_style", (F, A[:2, :2]), "target has shape (2, 2): must be (3, 3)"),
    ("gram_backward_", (F.half(), F, A, 1.0), "grad is torch.float16: must be torch.float32"),
    ("gram_backward_", (F[:2], F, A, 1.0), "grad has shape (2, 4, 5): must be (3, 4, 5)"),
    ("gram_backward_", (F[:1].expand(3, 4, 5), F, A, 1.0), "elements that share memory can't be written in place"),
    ("gram_backward_", (torch.zeros(99).as_strided((3, 4, 5), (5, 5, 1)), F, A, 1.0), "(5, 5, 1): elements that share"),
    ("gram_backward_", (None, F.clone().requires_grad_(), A, 1.0), "features requires a gradient: there is none of it"),
    ("gram_backward_", (None, F, A.clone().requires_grad_(), 1.0), "s requires a gradient: there is none of it"),
    ("gram_style", (F, A.clone().requires_grad_()), "target requires a gradient: there is none of it"),
    ("style_term", (A.clone().requires_grad_(), A), "gram requires a gradient: there is none of it"),
    ("style_term", (A, A.clone().requires_grad_()), "target requires a gradient: there is none of it"),
    ("gram_sums", (F, (0.0, 0.0, 2.0, 2.0)), "box (0.0, 0.0, 2.0, 2.0): must be four whole numbers"),
    ("gram_backward_", (F.to("meta"), F, A, 1.0), "grad is on meta: must be on cpu"),
    ("gram_backward_", (None, F, A.to("meta"), 1.0), "s is on meta: must be on cpu"),
    ("gram_backward_", (None, F, A, 1.0, G), "s has shape (3, 3): must be (2, 3, 3)"),
    ("gram_backward_", (None, F, torch.rand(4, 3), 1.0, G), "s has shape (4, 3): must be (2, "),
    ("gram_backward_", (None, F, torch.rand(5, 3), 1.0), "s has shape (5, 3): must be (3, 3)"),
    ("gram_backward_", (None, F, torch.rand(3), 1.0), "s has shape (3,): must be (3, 3)"),
    ("gram_backward_", (None, F.half(), A.half(), 1.0), "s is torch.float16: must be torch.float32"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), BAD, ids=[f"{bad[0]}-{i}" for i, bad in enumerate(BAD)])
def test_bad_input(name: str, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        getattr(kernels, name)(*arguments)
    assert "\n" not in str(caught.value)


def test_what_is_just_allowed() -> None:
    """A box up to the edges, memory that is expanded along one element only, and as many weights as regions."""
    checks.box((0, 0, 4, 5), F)
    checks.box((3, 4, 4, 5), F)
    checks.written("grad", torch.rand(5).as_strided((1, 5), (0, 1)))
    assert checks.pixels(F, None) == 20
    assert checks.pixels(F, (1, 0, 3, 5)) == 10
    assert checks.weights(2, A) == [2.0]
    assert checks.weights(2.5, A.expand(3, 3, 3)) == [2.5] * 3
    assert checks.weights((1, 2, 3), A.expand(3, 3, 3)) == [1.0, 2.0, 3.0]
    assert checks.weights(torch.tensor(0.5), A.expand(2, 3, 3)) == [0.5, 0.5]
    assert checks.weights(torch.tensor([0.5, 4]), A.expand(2, 3, 3)) == [0.5, 4.0]
    checks.sums("s", torch.rand(4, 3), F, None, means=True)
    checks.sums("s", torch.rand(2, 4, 3), F, G, means=True)
    with pytest.raises(ValueError, match=re.escape("s has shape (4, 3): must be (3, 3)")):
        checks.sums("s", torch.rand(4, 3), F, None)
    for inner in (None, (1, 2, 3, 4), (2, 3, 2, 3)):
        checks.within("core", inner, (1, 2, 3, 4))
    checks.within("core", (0, 0, 9, 9), None)


@pytest.mark.parametrize("inner", [(0, 2, 3, 4), (1, 1, 3, 4), (1, 2, 4, 4), (1, 2, 3, 5)])
def test_a_box_that_reaches_out_of_another_on_one_side(inner: tuple[int, ...]) -> None:
    message = f"core {inner}: must lie inside the box (1, 2, 3, 4)"
    with pytest.raises(ValueError, match=re.escape(message)):
        checks.within("core", inner, (1, 2, 3, 4))


def test_where_triton_failed_it_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """On that device, for the reason that its first line gives; a kind of device fails where any of it did."""
    monkeypatch.delenv("TILER_KERNELS", raising=False)
    monkeypatch.setattr(choice, "_failed_devices", {})
    for number, (error, text) in enumerate((("\n a line\nmore ", "a line"), (KeyError(), "KeyError"))):
        gpu = torch.device("cuda", number)
        with pytest.warns(
            RuntimeWarning, match=f"^Triton can't run on cuda:{number}, using plain torch there: {text}$"
        ):
            choice._give_up(gpu, error)
        assert kernels.implementation(gpu, torch.float16) == "torch"
        assert choice.why_not_triton(gpu) == text
    assert kernels.implementation(torch.device("cuda", 2), torch.float16) == "triton"
    assert choice._failure(torch.device("cuda")) == "a line"
    assert choice._failure(torch.device("cuda", 2)) == choice._failure(torch.device("cpu")) == ""
    assert choice.why_not_triton(torch.device("cpu")) == ""


def test_a_device_is_asked_whether_triton_runs_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []

    def require(device: torch.device) -> None:
        asked.append(device)
        if device.index:
            raise RuntimeError("too old")

    monkeypatch.delenv("TILER_KERNELS", raising=False)
    monkeypatch.setattr(choice, "_failed_devices", {})
    monkeypatch.setattr(
        choice, "_triton", lambda family="gram": SimpleNamespace(require=require, gram_sums=lambda *_: family)
    )
    first, second = torch.device("cuda", 0), torch.device("cuda", 1)
    assert choice.why_not_triton(first) == ""
    with pytest.warns(RuntimeWarning, match="too old"):
        assert choice.why_not_triton(second) == "too old"
    assert asked == [first, second]
    assert choice.why_not_triton(second) == "too old"
    assert choice.run("gram", "gram_sums", first, torch.float32) == "gram"
    assert asked == [first, second, first]
    monkeypatch.setenv("TILER_KERNELS", "torch")
    monkeypatch.setattr(choice, "_failed_devices", {})
    assert choice.why_not_triton(second) == ""
    assert asked == [first, second, first]


def test_forced_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for name in ("reference", "torch"):
        monkeypatch.setenv("TILER_KERNELS", name)
        assert kernels.implementation(cpu, torch.float32) == name
    monkeypatch.setenv("TILER_KERNELS", "cuda")
    with pytest.raises(ValueError, match="TILER_KERNELS='cuda': allowed are reference, torch, triton"):
        kernels.gram_sums(F)
    monkeypatch.setenv("TILER_KERNELS", "triton")
    with pytest.raises(ValueError, match=r"triton with torch.float64: allowed are torch.float32"):
        kernels.gram_sums(F.double())


def test_forced_choice_is_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILER_KERNELS", "reference")
    monkeypatch.setattr(choice.reference, "gram_sums", lambda *_: torch.full((3, 3), 7.0))
    assert kernels.gram_sums(F)[0, 0] == 7


def test_choice_without_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TILER_KERNELS", raising=False)
    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    assert kernels.implementation(cpu, torch.float32) == "torch"
    assert kernels.implementation(gpu, torch.bfloat16) == "triton"
    assert kernels.implementation(gpu, torch.float64) == "torch"


def test_one_warning_where_triton_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise ImportError("No module named 'triton'")

    monkeypatch.delenv("TILER_KERNELS", raising=False)
    monkeypatch.setattr(choice, "_triton", missing)
    monkeypatch.setattr(choice, "_failed_devices", {})
    gpu = torch.device("cuda", 7)
    expected = "Triton can't run on cuda:7, using plain torch there: No module named 'triton'"
    with pytest.warns(RuntimeWarning, match=re.escape(expected)):
        sums = choice.run("gram", "gram_sums", gpu, torch.float32, F, None, None)
    torch.testing.assert_close(sums, F.flatten(1) @ F.flatten(1).mT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choice.run("gram", "gram_sums", gpu, torch.float32, F, None, None)


def test_what_cannot_be_recorded_is_no_failure_of_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a CUDA graph: the caller does without it, and Triton runs on."""

    def forbidden() -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.delenv("TILER_KERNELS", raising=False)
    monkeypatch.setattr(choice, "_triton", forbidden)
    monkeypatch.setattr(choice, "_failed_devices", {})
    monkeypatch.setattr(choice, "capturing", lambda: True)
    with pytest.raises(RuntimeError, match="not permitted"):
        choice.run("gram", "gram_sums", torch.device("cuda", 7), torch.float32, F, None, None)
    assert not choice._failed_devices


def test_running_out_of_memory_is_no_failure_of_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> Any:
        raise torch.OutOfMemoryError("full")

    monkeypatch.delenv("TILER_KERNELS", raising=False)
    monkeypatch.setattr(choice, "_triton", full)
    monkeypatch.setattr(choice, "_failed_devices", {})
    with pytest.raises(torch.OutOfMemoryError):
        choice.run("gram", "gram_sums", torch.device("cuda", 7), torch.float32, F, None, None)
    assert not choice._failed_devices


def test_import_brings_neither_triton_nor_the_engine() -> None:
    code = "import sys, kernels; print(sorted({'triton', 'tiler'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=FOLDER.parent, check=True)
    assert done.stdout.strip() == "[]"


def test_only_the_kernels_import_triton_and_none_the_engine() -> None:
    found: dict[str, set[str]] = {"triton": set(), "tiler": set()}
    for file in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                found.get(name.split(".")[0], set()).add(file.name)
    assert found == {"triton": {f"{family}_triton.py" for family in choice.PLAIN}, "tiler": set()}
