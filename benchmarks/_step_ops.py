"""The operations of a step beside the Gram's, for `benchmarks/kernels.py`: as this device has them, and as torch does.

`bytes`: what has to move at least, each tensor read or written once; of a ring its lines and what they are made of.
`vs_torch`: median over torch's own. On a CPU both are torch's, so that the ratio says how steady the machine is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import _report
import torch
from torch import Tensor

import kernels
from kernels import step_torch, trunk_torch

# Of VGG-19: channels into and out of the layer's convolution, and its stride.
LAYERS = {"1_1": (8, 64, 1), "1_2": (64, 64, 1), "2_2": (128, 128, 2), "3_4": (256, 256, 4), "4_4": (512, 512, 8)}
WANTED = "4_2"
BOTH, BETAS = (True, True), (0.9, 0.99)
COLUMNS = (
    "tile", "layer", "dtype", "operation", "variant", "median_ms", "q25_ms", "q75_ms", "vs_torch", "bytes", "of_copy",
)  # fmt: skip
Calls = dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Operation:
    """bytes: the least that it moves."""

    name: str
    layer: str
    bytes: int
    ours: Callable[[], Any]
    torchs: Callable[[], Any]


def _pixels(c: int, side: int, dtype: torch.dtype, device: str) -> Tensor:
    """[C, side, side], channels last, as the ReLU leaves them."""
    return torch.randn(side, side, c, device=device).relu_().to(dtype).permute(2, 0, 1)


def _rings(layer: str, side: int, dtype: torch.dtype, device: str) -> Iterator[Operation]:
    inputs, outputs, _ = LAYERS[layer]
    x, f = _pixels(inputs, side, dtype, device), _pixels(outputs, side, dtype, device)
    weight = torch.randn(outputs, inputs, 3, 3, device=device).div_(3 * inputs**0.5).to(dtype)
    turned, bias = weight.transpose(0, 1).flip(2, 3).contiguous(), torch.zeros(outputs, device=device, dtype=dtype)
    line = 4 * side * f.element_size()
    # Two lines of what is convolved for each line of results; back, one of each, and the sum that is there already.
    forward, backward = line * (2 * inputs + outputs), line * (2 * inputs + outputs)
    grad = x.clone(memory_format=torch.preserve_format)
    yield Operation(
        "ring", layer, forward,
        lambda: kernels.ring_(f, x, weight, bias), lambda: trunk_torch.ring_(f, x, weight, bias, BOTH),
    )  # fmt: skip
    yield Operation(
        "ring back", layer, backward,
        lambda: kernels.ring_backward_(grad, f, turned), lambda: trunk_torch.ring_backward_(grad, f, turned, BOTH),
    )  # fmt: skip


def _pools(layer: str, side: int, dtype: torch.dtype, device: str) -> Iterator[Operation]:
    f = _pixels(LAYERS[layer][1], side, dtype, device)
    small = kernels.pool(f)
    yield Operation("pool", layer, f.nbytes + small.nbytes, lambda: kernels.pool(f), lambda: trunk_torch.pool(f, False))
    yield Operation(
        "pool back", layer, 2 * f.nbytes + small.nbytes,
        lambda: kernels.pool_backward(small, f, relu=True), lambda: trunk_torch.pool_backward(small, f, False, True),
    )  # fmt: skip


def _content(side: int, dtype: torch.dtype, device: str) -> Operation:
    f, wanted = (_pixels(512, side, dtype, device) for _ in range(2))
    grad = torch.zeros_like(f)
    return Operation(
        "content", WANTED, 4 * f.nbytes,
        lambda: kernels.content_term_(grad, f, wanted, 0.5, None, None, True),
        lambda: step_torch.content_term_(grad, f, wanted, 0.5, None, None, True),
    )  # fmt: skip


def _adam(side: int, device: str) -> Operation:
    pixels, first, second, gradient = torch.rand(4, 3, side, side, device=device)
    pace = torch.tensor([0.01, 0.1], device=device)
    # Pixels, both moments: read and written; the gradient: read.
    return Operation(
        "adam, tv, range", "pixels", 7 * pixels.nbytes,
        lambda: kernels.adam_step_(pixels, first, second, gradient, pace, BETAS, 1e-8, 0.1, 0.1, light=0.1),
        lambda: step_torch.adam_step_(
            pixels, first, second, gradient, pace, BETAS, 1e-8, 0.1, 0.1, None, None, torch.ones_like(pixels[:2]), 0.1
        ),
    )  # fmt: skip


def operations(tile: int, dtype: torch.dtype, device: str) -> Iterator[Operation]:
    """Of a square tile, one after the other, so that none keeps the others' memory."""
    for layer, (_, _, stride) in LAYERS.items():
        side = max(1, tile // stride)
        yield from _rings(layer, side, dtype, device)
        if layer not in ("1_1", "4_4"):
            yield from _pools(layer, side, dtype, device)
    yield _content(max(1, tile // 8), dtype, device)
    if dtype == torch.float32:
        yield _adam(tile, device)


def rows(
    tiles: Sequence[int], dtypes: dict[str, torch.dtype], device: str, repeats: int, bandwidth: float
) -> Iterator[_report.Row]:
    """bandwidth: bytes a second of a copy, in the same run."""
    for tile in tiles:
        for name, dtype in dtypes.items():
            for one in operations(tile, dtype, device):
                samples = _report.interleaved({"torch": one.torchs, "kernels": one.ours}, repeats, device)
                medians = {variant: _report.quantiles(times)[1] for variant, times in samples.items()}
                for variant, times in samples.items():
                    yield {
                        "tile": tile, "layer": one.layer, "dtype": name, "operation": one.name, "variant": variant,
                        **_report.timing([1e3 * t for t in times], "ms"),
                        "vs_torch": medians[variant] / medians["torch"], "bytes": one.bytes,
                        "of_copy": one.bytes / medians[variant] / bandwidth,
                        "implementation": kernels.implementation(torch.device(device), dtype),
                    }  # fmt: skip
