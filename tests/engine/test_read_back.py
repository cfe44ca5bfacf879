"""No step reads a number back from its device, or sends one there: either waits for a GPU, and no graph could hold
it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from step_problem import moments, tile_problem
from torch.utils._python_dispatch import TorchDispatchMode

from tiler.engine import optimize
from tiler.style.weights import load_weights


def devices(value: Any) -> set[str]:
    if isinstance(value, torch.Tensor):
        return {value.device.type} if value.ndim else set()  # a number of the CPU's is as good as one of Python's
    if isinstance(value, torch.device):
        return {value.type}
    return set().union(*map(devices, value)) if isinstance(value, (tuple, list)) else set()


class NoReading(TorchDispatchMode):
    """Raises AssertionError at what reads a number, or goes from one device to another."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        assert function is not torch.ops.aten._local_scalar_dense.default, "a number is read"
        if function in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            seen = devices(list(args)) | devices([kwargs.get("device")])
            assert len(seen) < 2, f"{function} goes from one device to another: {seen}"
        return function(*args, **kwargs)


def test_what_reads_is_seen() -> None:
    with NoReading():
        for reading in (lambda: float(torch.ones(2).sum()), lambda: torch.ones(2, device="meta").copy_(torch.ones(2))):
            with pytest.raises(AssertionError):
                reading()


@pytest.mark.parametrize("kind", ["plain", "regions", "jitter", "moments", "w2"])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_an_update_reads_nothing(device: str, kind: str, small_weights: str) -> None:
    """On a CPU, and on a device that has no numbers, where reading one is an error of torch's own."""
    convs = load_weights(small_weights)
    problem = tile_problem(convs, torch.bfloat16, device=device, ringed=True, kind=kind)
    paces = optimize.paces(0, [0.1, 0.1, 0.1], problem.pixels)
    first, second = moments(problem)
    problem.update(1, paces[0], first, second)  # factors are sent once
    with NoReading():
        for step in (2, 3):
            _, losses = problem.update(step, paces[step - 1], first, second)
            found = losses.packed()
            problem.evaluate(step)
    assert found.shape == (4,)
    assert found.device.type == device


def test_the_operations_read_nothing_inside() -> None:
    """What the engine calls are operations of torch, which such a mode does not look into."""
    from kernels import gram_torch, step_torch, trunk_torch

    planes, weight, gram = torch.rand(4, 9, 7), torch.rand(4, 4, 3, 3), torch.rand(2, 4, 4)
    with NoReading():
        trunk_torch.ring_(planes.clone(), planes, weight, planes[:, 0, 0], (True, True))
        trunk_torch.ring_backward_(planes.clone(), planes, weight, (True, True))
        for largest in (False, True):
            trunk_torch.pool_backward(trunk_torch.pool(planes, largest), planes, largest, True)
        step_torch.content_term_(planes.clone(), planes, planes, 0.5, (0, 0, 9, 7), planes[:1], True)
        state = (planes.clone(), planes.clone(), planes.clone(), planes)
        step_torch.adam_step_(*state, torch.ones(2), (0.9, 0.99), 1e-8, 0.1, 0.3, None, None, planes[:2], 0.5)
        gram_torch.style_term(gram, gram, [1.0, 1.0])
        gram_torch.gram_sums(planes, None, None, True)
        gram_torch.gram_backward_(planes.clone(), planes, torch.rand(5, 4), 0.5, None, True)


def test_figures_of_a_gpu_are_told_after_its_round(small_weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many, with the same numbers, in one copy."""
    seen: list[tuple[int, optimize.TileLosses]] = []
    copies: list[int] = []
    real = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda one: (copies.append(len(seen)), real(one))[1])

    def run() -> list[tuple[int, optimize.TileLosses]]:
        seen.clear()
        copies.clear()
        problem = tile_problem(load_weights(small_weights), torch.float32)
        rates, tell = [0.1, 0.2, 0.1], lambda step, losses: seen.append((step, losses))
        _, _, losses = optimize.relax(problem, *moments(problem), 4, rates, tell)
        last = losses()
        assert last == losses() == seen[-1][1]
        assert isinstance(last.tv, float)
        return list(seen)

    on_cpu = run()
    assert copies == [0, 1, 2]
    monkeypatch.setattr(optimize, "on_cpu", lambda tensor: False)
    assert run() == on_cpu
    assert [step for step, _ in seen] == [5, 6, 7]
    assert copies == [0]
