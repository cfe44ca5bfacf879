"""Every operation once at awkward shapes, for CUDA's memory checker, under which whole tests take too long:
`python benchmarks/_gpu_ops.py DEVICE`. A line as soon as one has run; results are the tests' business."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

import torch
from torch import Tensor

import kernels

# Channels, in and out, and cells: one row, one column, odd sizes, above and below what a program takes at once.
SHAPES = ((1, 1, 1, 1), (3, 8, 1, 9), (64, 65, 9, 1), (65, 3, 33, 67), (128, 64, 70, 130))
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def operations(device: str) -> Iterator[str]:
    """The name of each, once it has run."""
    for channels, depth, h, w in SHAPES:
        for dtype in DTYPES:
            for name in _once(channels, depth, h, w, dtype, device):
                if device == "cuda":
                    torch.cuda.synchronize()
                yield f"{name} {channels} {depth} {h} x {w} {dtype}"


def _once(c: int, depth: int, h: int, w: int, dtype: torch.dtype, device: str) -> Iterator[str]:
    def planes(channels: int, height: int = h, width: int = w, kind: torch.dtype = dtype) -> Tensor:
        """Channels last, as the engine's are."""
        return torch.rand(height, width, channels, device=device).to(kind).permute(2, 0, 1)

    features, inputs, guides = planes(c), planes(depth), torch.rand(2, h, w, device=device)
    weight, turned = torch.rand(2, c, depth, 3, 3, device=device).to(dtype), torch.rand(depth, c, 3, 3, device=device)
    bias, gram = torch.rand(c, device=device).to(dtype), torch.rand(2, c, c, device=device)
    gram, box = gram + gram.mT, (h // 2, w // 3, h, w)
    for axes in ((True, True), (True, False), (False, True)):
        kernels.ring_(features, inputs, weight[0], bias, axes)
        yield "ring"
        kernels.ring_backward_(inputs, features, turned.to(dtype), axes)
        yield "ring, backward"
    for kind in ("avg", "max"):
        pooled = kernels.pool(features, kind)
        yield f"pool, {kind}"
        kernels.pool_backward(pooled, features, kind, relu=True)
        yield f"pool, {kind}, backward"
    for masks, rows in ((None, gram[0]), (guides, torch.cat([gram, gram[:, :1]], 1))):
        kernels.gram_sums(features, box, masks, means=masks is not None)
        yield "gram sums"
        kernels.gram_backward_(features.clone(), features, rows, 0.5, masks)
        yield "gram, backward"
    kernels.style_term(gram, gram * 2, [1.0, 0.5])
    kernels.gram_style(features, gram[0], box=box)
    yield "style term"
    kernels.content_term_(features.clone(), features, planes(c), 0.5, box, planes(1), relu=True)
    yield "content term"
    image, pace = torch.rand(3, h, w, device=device), torch.rand(2, device=device) + 0.1
    inner = (3, h - box[0], w - box[1])
    first, second, slope = (torch.rand(inner, device=device) for _ in range(3))
    kernels.adam_step_(image, first, second, slope.to(dtype), pace, (0.9, 0.99), 1e-8, 0.1, 0.3, box, box)
    yield "update"


if __name__ == "__main__":
    for line in operations(sys.argv[1]):
        print(line, flush=True)
