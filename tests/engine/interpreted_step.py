"""A tile's step as it runs on CUDA, rings, filled channels and Triton's kernels included, on CPU tensors in Triton's
interpreter; run by test_ringed.py with TRITON_INTERPRET=1.

Judged by the step in float64: no further from it than twice what the CPU's own way is in the same type.
"""

from __future__ import annotations

from collections.abc import Callable

import interpreting  # noqa: F401
import pytest
import torch
from step_problem import BLEND, moments, tile_problem

from tiler.engine import optimize
from tiler.style.weights import load_weights

PARTS = [
    ("plain", torch.float32, "avg"),
    ("regions", torch.bfloat16, "avg"),
    ("jitter", torch.float16, "max"),
    ("regions", torch.float32, "max"),
    ("w2", torch.bfloat16, "avg"),
]


def border(planes: torch.Tensor) -> torch.Tensor:
    """Where the read area ends: there the ring shows."""
    assert (BLEND.y0, BLEND.x1) == (0, 14)
    return torch.cat([planes[:, :2].flatten(), planes[:, :, -2:].flatten()])


@pytest.fixture
def run(small_weights: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, torch.Tensor]]:
    convs = load_weights(small_weights)

    def found(implementation: str, dtype: torch.dtype, kind: str, pooling: str) -> dict[str, torch.Tensor]:
        monkeypatch.setenv("TILER_KERNELS", implementation)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        problem = tile_problem(convs, dtype, wide, ringed=implementation == "triton", kind=kind, pooling=pooling)
        first, second = moments(problem)
        sums, losses = problem.update(1, optimize.paces(0, [0.01], problem.pixels)[0], first, second)
        return {
            "gradient": first, "border": border(first), "losses": losses.packed(), "moved": problem.state_pixels,
            "sums": torch.cat([one.flatten() for one in sums.sums.values()]),
        }  # fmt: skip

    return found


@pytest.mark.parametrize(("kind", "dtype", "pooling"), PARTS, ids=str)
def test_a_step(kind: str, dtype: torch.dtype, pooling: str, run: Callable[..., dict[str, torch.Tensor]]) -> None:
    exact = run("torch", torch.float64, kind, pooling)
    own, ours = run("torch", dtype, kind, pooling), run("triton", dtype, kind, pooling)
    for name, right in exact.items():
        error, owns = (float((one[name].double() - right).norm() / right.norm()) for one in (ours, own))
        assert error <= 2 * max(owns, torch.finfo(torch.float32).eps), f"{name}: error {error:.2e}, own {owns:.2e}"
