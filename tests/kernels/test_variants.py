"""How often the Triton kernels are compiled: not once more for every size of a tile."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import torch

pytest.importorskip("triton")
from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend
from triton.runtime import jit

from kernels import gram_launch, step_launch, trunk_launch

CHANNELS = 64
# What Triton tells apart: 1, divisible by 16, neither.
SIZES = [(48, 64), (33, 17), (16, 1), (1, 31), (97, 32)]


def planes(c: int, h: int, w: int) -> torch.Tensor:
    """[c, h, w] with channels last, as features are."""
    return torch.rand(h, w, c).to(torch.bfloat16).permute(2, 0, 1)


def launch_all(h: int, w: int) -> None:
    """Every kernel, as a step on a tile whose features are [64, h, w] would."""
    features, other = planes(CHANNELS, h, w), planes(CHANNELS, h, w)
    weight = torch.rand(CHANNELS, 3, 3, CHANNELS).to(torch.bfloat16).permute(0, 3, 1, 2)
    bias, square = torch.rand(CHANNELS).to(torch.bfloat16), torch.rand(1, CHANNELS, CHANNELS)
    trunk_launch.ring_(features, other, weight, bias, (True, True))
    trunk_launch.ring_backward_(features, other, weight, (True, True))
    trunk_launch.pool_backward(trunk_launch.pool(features, False), features, False, True)
    box, guides = (0, 0, h, (w + 1) // 2), torch.rand(2, h, w)
    gram_launch.gram_style(features, square, [1.0], 1.0, box, None, square)
    gram_launch.gram_sums(features, box, guides)
    gram_launch.gram_backward_(features, other, square, 1.0, None, True)
    gram_launch.gram_backward_(features, other, square.expand(2, -1, -1), 1.0, guides, True)
    step_launch.content_term_(features, other, planes(CHANNELS, h, w), 1.0, box, torch.rand(1, h, w), True)
    pixels, gradient = torch.rand(3, h, w), planes(8, h, w)[:3]
    first, second = torch.rand(2, 3, h, w)
    pace = torch.ones(2)
    step_launch.adam_step_(
        pixels, first, second, gradient, pace, (0.9, 0.99), 1e-8, 0.1, 0.1, (0, 0, h, w), box, torch.ones(2, h, w), 0.1
    )


def test_sizes_compile_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second each: with one for every kind of size, the first tiles of a level waited for ten."""
    backend = make_backend(GPUTarget("cuda", 90, 32))
    seen: defaultdict[Any, set[str]] = defaultdict(set)

    def record(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **constants: Any) -> None:
        binder = jit.create_function_from_signature(kernel.signature, kernel.params, backend)
        _, special, options = binder(*arguments, **constants)
        fixed = tuple(one for one in special if one[0] == "constexpr")
        seen[kernel.__name__, str(fixed), str(options)].add(str(special))

    monkeypatch.setattr(jit.JITFunction, "run", record)
    for h, w in SIZES:
        launch_all(h, w)
    kernels = {name for name, *_ in seen}
    assert len(kernels) == 9, kernels
    assert {name: variants for name, variants in seen.items() if len(variants) > 1} == {}
