"""How far what is computed on a device is from float64: a few operations and a whole backbone, on noise."""

from __future__ import annotations

import torch

import kernels
from kernels import reference
from tiler.style.backbone import Backbone
from tiler.style.weights import load_weights

_SIDE, _CHANNELS = 96, 64


def _noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def _apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double().cpu() - expected).norm() / expected.norm())


def of_kernels(device: str, dtype: torch.dtype) -> float:
    """The largest relative error of Gram sums, their slope, and pooling."""
    features = (_noise(_CHANNELS, _SIDE, _SIDE) - 0.3).relu().to(dtype)
    target = reference.gram_sums(_noise(_CHANNELS, 9, 9), None, None) / 81
    ours, scale, exact = features.to(device), 1 / _SIDE**2, features.double()
    sums, _, slope = kernels.gram_style(ours, target.float().to(device), 1.0, scale)
    expected, _, wanted = reference.gram_style(exact, target, [1.0], scale, None, None, None)
    pooled = _apart(kernels.pool(ours), reference.pool(exact, False))
    return max(_apart(sums, expected), _apart(slope, wanted), pooled)


def of_backbone(device: str, dtype: torch.dtype) -> float:
    """The relative error of the bundled VGG-19's relu5_1."""
    convs, layers, pixels = load_weights("bundled"), ("relu5_1",), _noise(3, _SIDE, _SIDE)
    found = Backbone(convs, layers, "avg", dtype, device).forward(pixels.to(device))["relu5_1"]
    return _apart(found, Backbone(convs, layers, "avg", torch.float64).forward(pixels)["relu5_1"])
