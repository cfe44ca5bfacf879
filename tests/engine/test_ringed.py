"""The step as it runs on CUDA, on a CPU: in Triton's interpreter, and what it falls back to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from step_problem import moments, tile_problem

import kernels
from tiler.engine import optimize
from tiler.style import convolutions
from tiler.style.weights import load_weights

HERE = Path(__file__).parent


def test_a_step_in_the_interpreter() -> None:
    """In a Python of its own: whether Triton interprets is settled when it is first imported."""
    pytest.importorskip("triton")
    file = str(HERE / "interpreted_step.py")
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", file]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("TILER_ALL_TESTS", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=HERE.parents[1], timeout=250)
    assert re.search(r"^\d+ passed in", done.stdout, re.MULTILINE), done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize("kind", ["plain", "regions", "jitter", "w2"])
@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_rounds_are_those_of_the_other_way(kind: str, pooling: str, small_weights: str) -> None:
    found = []
    for ringed in (False, True):
        problem = tile_problem(load_weights(small_weights), *[torch.float64] * 2, "cpu", ringed, kind, pooling)
        state, sums, losses = optimize.relax(problem, *moments(problem), 0, [0.02, 0.03])
        last = losses()
        found.append((state.pixels, sums.sums["relu2_1"], torch.tensor([*last.style.values(), last.content])))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_where_cudnn_fails_torch_convolves_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias = torch.rand(1, 8, 9, 9), torch.rand(4, 8, 3, 3), torch.rand(4)
    expected = convolutions.fused(x, weight, bias)
    monkeypatch.setattr(convolutions, "_unfused", {})
    monkeypatch.setattr(convolutions, "_suits", lambda x: x.device not in convolutions._unfused)
    with pytest.warns(RuntimeWarning, match=r"^cuDNN's convolution with ReLU can't run on cpu, using torch's: .*$"):
        assert torch.equal(convolutions.fused(x, weight, bias), expected)
    assert list(convolutions._unfused) == [torch.device("cpu")]
    assert torch.equal(convolutions.fused(x, weight, bias), expected)


def test_what_cudnn_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros outside on every side, no stride, one group, in this order."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(convolutions, "_suits", lambda x: True)
    monkeypatch.setattr(torch.ops.aten, "cudnn_convolution_relu", lambda *given: asked.append(given))
    x, weight, bias = torch.rand(3, 1, 8, 9, 9).unbind()[0], torch.rand(4, 8, 3, 3), torch.rand(4)
    convolutions.fused(x, weight, bias)
    [(*tensors, stride, padding, dilation, groups)] = asked
    assert all(one is other for one, other in zip(tensors, (x, weight, bias), strict=True))
    assert (stride, padding, dilation, groups) == ([1, 1], [1, 1], [1, 1], 1)


def test_running_out_of_memory_is_no_failure_of_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(convolutions, "_unfused", {})
    monkeypatch.setattr(convolutions, "_suits", lambda x: True)
    monkeypatch.setattr(torch.ops.aten, "cudnn_convolution_relu", full)
    with pytest.raises(torch.OutOfMemoryError):
        convolutions.fused(torch.rand(1, 8, 9, 9), torch.rand(4, 8, 3, 3), torch.rand(4))
    assert not convolutions._unfused


def test_what_cannot_be_recorded_is_no_failure_of_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*given: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(convolutions, "_unfused", {})
    monkeypatch.setattr(convolutions, "_suits", lambda x: True)
    monkeypatch.setattr(torch.ops.aten, "cudnn_convolution_relu", forbidden)
    monkeypatch.setattr(kernels, "capturing", lambda: True)
    with pytest.raises(RuntimeError, match="not permitted"):
        convolutions.fused(torch.rand(1, 8, 9, 9), torch.rand(4, 8, 3, 3), torch.rand(4))
    assert not convolutions._unfused
