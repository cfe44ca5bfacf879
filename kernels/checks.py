"""What the operations accept. Each check raises a one-line ValueError that quotes the value and what is allowed.

Of tensors only shapes, types and devices are looked at, never values: that would wait for a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real

import torch
from torch import Tensor

from kernels.reference import accumulation_dtype

FEATURE_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def _same_device(name: str, tensor: Tensor, other: Tensor) -> None:
    if tensor.device != other.device:
        raise ValueError(f"{name} is on {tensor.device}: must be on {other.device}")


def _like(name: str, tensor: Tensor, shape: Sequence[int], dtype: torch.dtype) -> None:
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}: must be {tuple(shape)}")
    if tensor.dtype != dtype:
        raise ValueError(f"{name} is {tensor.dtype}: must be {dtype}")


def features(tensor: Tensor) -> None:
    """[C, H, W], none of them zero, of a floating type that has kernels."""
    if tensor.ndim != 3 or 0 in tensor.shape:
        raise ValueError(f"features have shape {tuple(tensor.shape)}: must be [C, H, W], each at least 1")
    if tensor.dtype not in FEATURE_DTYPES:
        raise ValueError(f"features are {tensor.dtype}: must be one of {', '.join(map(str, FEATURE_DTYPES))}")


def box(value: Sequence[int] | None, tensor: Tensor) -> None:
    """(y0, x0, y1, x1) inside [H, W] and not empty."""
    if value is None:
        return
    h, w = tensor.shape[1:]
    if not all(isinstance(edge, Integral) for edge in value):
        raise ValueError(f"box {tuple(value)}: must be four whole numbers (y0, x0, y1, x1)")
    if len(value) != 4 or not (0 <= value[0] < value[2] <= h and 0 <= value[1] < value[3] <= w):
        raise ValueError(f"box {tuple(value)}: must be (y0, x0, y1, x1), not empty, inside [0, {h}) x [0, {w})")


def guides(tensor: Tensor | None, of: Tensor) -> None:
    """[R, H, W] with the features' H and W, floating, and no gradient asked of them."""
    if tensor is None:
        return
    if tensor.ndim != 3 or tensor.shape[0] == 0 or tensor.shape[1:] != of.shape[1:]:
        raise ValueError(f"guides have shape {tuple(tensor.shape)}: must be [R, {of.shape[1]}, {of.shape[2]}]")
    if not tensor.is_floating_point():
        raise ValueError(f"guides are {tensor.dtype}: must be floating, 0..1")
    constant("guides", tensor)
    _same_device("guides", tensor, of)


def cells(weights: Tensor | None, of: Tensor) -> None:
    """[1, H, W] with the features' H and W, floating, and no gradient asked of them."""
    if weights is None:
        return
    if tuple(weights.shape) != (1, *of.shape[1:]):
        raise ValueError(f"weights have shape {tuple(weights.shape)}: must be [1, {of.shape[1]}, {of.shape[2]}]")
    if not weights.is_floating_point():
        raise ValueError(f"weights are {weights.dtype}: must be floating")
    constant("weights", weights)
    _same_device("weights", weights, of)


def sums(name: str, tensor: Tensor, of: Tensor, masks: Tensor | None, means: bool = False) -> None:
    """Shape and type of the Gram sums of these features under these guides. means: a row more is allowed."""
    c = of.shape[0]
    rows = c + 1 if means and tensor.ndim > 1 and tensor.shape[-2] == c + 1 else c
    shape = (rows, c) if masks is None else (masks.shape[0], rows, c)
    _like(name, tensor, shape, accumulation_dtype(of.dtype))
    _same_device(name, tensor, of)
    constant(name, tensor)


def gradient(tensor: Tensor, of: Tensor) -> None:
    """Shape, type and device of the features, and memory of its own for every element."""
    planes("grad", tensor, of.shape, of)
    written("grad", tensor)


def grams(gram: Tensor, target: Tensor) -> None:
    """[C, C] or [R, C, C], float32 or float64, both alike."""
    if gram.ndim not in (2, 3) or gram.shape[-1] != gram.shape[-2] or 0 in gram.shape:
        raise ValueError(f"gram has shape {tuple(gram.shape)}: must be [C, C] or [R, C, C]")
    if gram.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"gram is {gram.dtype}: must be torch.float32 or torch.float64")
    _like("target", target, gram.shape, gram.dtype)
    _same_device("target", target, gram)
    constant("gram", gram)
    constant("target", target)


def weights(value: float | Sequence[float] | Tensor, gram: Tensor) -> list[float]:
    """One weight for each matrix of `gram` [C, C] or [R, C, C]."""
    count = 1 if gram.ndim == 2 else gram.shape[0]
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, int | float | Real):
        value = [float(value)] * count
    given = [float(one) for one in value]
    if len(given) != count:
        raise ValueError(f"weight has {len(given)} values: must be one number or {count} of them")
    return given


def pixels(tensor: Tensor, inner: Sequence[int] | None) -> int:
    """Pixels in the box, or in all of the features."""
    if inner is None:
        return tensor.shape[1] * tensor.shape[2]
    return (inner[2] - inner[0]) * (inner[3] - inner[1])


def planes(name: str, tensor: Tensor, shape: Sequence[int], of: Tensor) -> None:
    """This shape, and the type and device of the features."""
    _like(name, tensor, shape, of.dtype)
    _same_device(name, tensor, of)


def constant(name: str, tensor: Tensor) -> None:
    """Nobody asks for a gradient of what there is none of."""
    if tensor.requires_grad:
        raise ValueError(f"{name} requires a gradient: there is none of it, detach it")


def written(name: str, tensor: Tensor) -> None:
    """Memory of its own for every element, and no gradient asked of what is overwritten."""
    reach = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride <= reach:
            text = f"strides {tuple(tensor.stride())}: elements that share memory can't be written in place"
            raise ValueError(f"{name} has {text}")
        reach += (size - 1) * stride
    if tensor.requires_grad:
        raise ValueError(f"{name} requires a gradient: there is none of what is written in place, detach it")


def convolution(results: Tensor, inputs: Tensor, weight: Tensor) -> None:
    """Features of a 3 x 3 convolution that keeps height and width, of the inputs' type."""
    features(results)
    c, h, w = results.shape
    if inputs.ndim != 3 or 0 in inputs.shape or inputs.shape[1:] != results.shape[1:]:
        raise ValueError(f"inputs have shape {tuple(inputs.shape)}: must be [C, {h}, {w}]")
    planes("inputs", inputs, inputs.shape, results)
    planes("weight", weight, (c, inputs.shape[0], 3, 3), results)


def axes(value: Sequence[bool]) -> list[bool]:
    """(y, x), whether the border repeats along each."""
    if len(value) != 2:
        raise ValueError(f"axes {tuple(value)}: must be two, whether the border repeats along y and along x")
    return [bool(one) for one in value]


def kind(value: str) -> bool:
    """Whether pooling takes the largest."""
    if value not in ("avg", "max"):
        raise ValueError(f"kind {value!r}: must be avg or max")
    return value == "max"


def state(pixels: Tensor, moments: Mapping[str, Tensor], gradient: Tensor, box: Sequence[int] | None) -> None:
    """Pixels [C, H, W] in float32 or float64, moments of the same type over the box, and a gradient there."""
    if pixels.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"pixels are {pixels.dtype}: must be torch.float32 or torch.float64")
    y0, x0, y1, x1 = box or (0, 0, *pixels.shape[1:])
    shape = (pixels.shape[0], y1 - y0, x1 - x0)
    for name, moment in moments.items():
        planes(name, moment, shape, pixels)
        written(name, moment)
    if not gradient.is_floating_point():
        raise ValueError(f"gradient is {gradient.dtype}: must be floating")
    _like("gradient", gradient, shape, gradient.dtype)
    constant("gradient", gradient)
    _same_device("gradient", gradient, pixels)
    written("pixels", pixels)


def spread(name: str, tensor: Tensor, count: int, of: Tensor) -> Tensor:
    """[count, H, W] of a tensor of this shape or [count, 1, 1], of the type and device of [C, H, W]."""
    shape = (count, *of.shape[1:])
    planes(name, tensor, (count, 1, 1) if tuple(tensor.shape) == (count, 1, 1) else shape, of)
    return tensor.expand(shape)


def within(name: str, inner: Sequence[int] | None, outer: Sequence[int] | None) -> None:
    """One box inside another; None is all there is."""
    if inner is None or outer is None:
        return
    if not (outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]):
        raise ValueError(f"{name} {tuple(inner)}: must lie inside the box {tuple(outer)}")
