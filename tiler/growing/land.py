"""A learned land as a file: the generator's numbers as safetensors, and what made them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import nn

from tiler.engine.plain import typed
from tiler.errors import LandError
from tiler.growing.architecture import Architecture
from tiler.growing.architectures import ARCHITECTURES
from tiler.pictures.held import named
from tiler.pictures.replace import new_file

SUFFIX = ".safetensors"
MOST_CHANNELS, MOST_LANDS = 512, 64
_KEY, _HEADER_BYTES, _LARGEST = "tiler", 2**24, 2**31
# The least deviation of a colour axis, as a share of the largest: what a photo hardly has is not to be learned as if it
# were all that counts.
_LEAST = 0.1
_NAME = re.compile(r"[^\x00-\x1f\x7f,=]{1,100}")


@dataclass(frozen=True)
class Colours:
    """Units in which a land's colours have a mean of 0 and a deviation of about 1 in every direction. mean: sRGB in
    0..1; axes: [3][3], whose columns are the three directions."""

    mean: tuple[float, ...]
    axes: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, pixels: np.ndarray) -> Colours:
        """Of pixels [3, n] in 0..1."""
        values, vectors = np.linalg.eigh(np.cov(pixels.astype(np.float64)))
        deviations = np.sqrt(np.maximum(values, 0))
        axes = vectors * np.maximum(deviations, max(_LEAST * deviations.max(), 1e-3))
        return cls(tuple(pixels.mean(1, dtype=np.float64).tolist()), tuple(map(tuple, axes.tolist())))

    def units(self, pixels: torch.Tensor) -> torch.Tensor:
        """[n, 3, h, w] from sRGB."""
        mean = torch.tensor(self.mean).view(3, 1, 1).to(pixels)
        return torch.einsum("ij,njyx->niyx", torch.tensor(self.axes).to(pixels).inverse(), pixels - mean)

    def pixels(self, units: torch.Tensor) -> torch.Tensor:
        """sRGB in 0..1 from [n, 3, h, w]."""
        mean = torch.tensor(self.mean).view(3, 1, 1).to(units)
        return (torch.einsum("ij,njyx->niyx", torch.tensor(self.axes).to(units), units) + mean).clamp(0, 1)


@dataclass(frozen=True)
class Facts:
    """What a land is, and what made it. lands: the names of its kinds, one for each photo. photos: their SHA-256.
    steps, seconds: how long it has learned. versions: of what computed it."""

    architecture: str
    channels: int
    lands: tuple[str, ...]
    colours: Colours
    patch: int
    batch: int
    seed: int
    photos: tuple[str, ...]
    steps: int
    seconds: float
    versions: dict[str, str]

    def __post_init__(self) -> None:
        """Raises ValueError for what no land can be."""
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture is {self.architecture[:40]!r}; known: {', '.join(ARCHITECTURES)}")
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise ValueError(f"channels are {self.channels}; allowed: 1 to {MOST_CHANNELS}")
        if not 1 <= len(self.lands) <= MOST_LANDS or len({*self.lands}) < len(self.lands):
            raise ValueError(f"lands are {len(self.lands)}; allowed: 1 to {MOST_LANDS}, each once")
        if not all(_NAME.fullmatch(name) for name in self.lands):
            raise ValueError("lands: a name is none")
        if len(self.colours.mean) != 3 or [len(row) for row in self.colours.axes] != [3, 3, 3]:
            raise ValueError("colours are not three")

    @property
    def kind(self) -> Architecture:
        return ARCHITECTURES[self.architecture]


@dataclass(frozen=True)
class Land:
    """facts: what it is. generator: a module of (Numbers, box), in evaluation mode."""

    facts: Facts
    generator: nn.Module

    @classmethod
    def of(cls, data: bytes, name: str) -> Land:
        """From a file's bytes. Raises LandError for anything but a whole land."""
        facts, tensors = unpacked(data, name)
        try:
            generator = facts.kind.generator(facts.channels, len(facts.lands))
            load_into(generator, tensors)
        except ValueError as error:
            raise LandError(f"{name}: is no land of tiler learn: {error}") from None
        return cls(facts, generator.eval().requires_grad_(False))


def load_into(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError unless they are just the module's, finite."""
    wanted = module.state_dict()
    if {*wanted} != {*tensors}:
        odd = sorted({*wanted} ^ {*tensors})[0]
        raise ValueError(f"{odd[:60]} is {'missing' if odd in wanted else 'unknown'}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
            raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, not {list(wanted[name].shape)}")
        if not tensor.isfinite().all():
            raise ValueError(f"{name} holds numbers that are not finite")
    module.load_state_dict(dict(tensors))


def read(path: str) -> bytes:
    """A file's bytes. Raises LandError."""
    try:
        with named(path, _LARGEST) as file:
            return file.read(_LARGEST)
    except ValueError:
        raise LandError(f"{path}: is no land: allowed is a file of tiler learn, up to {_LARGEST} bytes") from None
    except OSError as error:
        raise LandError(f"{path}: cannot be read: {error.strerror}; a land comes from tiler learn") from None


def unpacked(data: bytes, name: str) -> tuple[Facts, dict[str, torch.Tensor]]:
    """What a file of ours says and holds. Raises LandError."""
    try:
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        if length > _HEADER_BYTES:
            raise ValueError("its header is too long")
        said = json.loads(data[8 : 8 + length])["__metadata__"][_KEY]
        return typed(json.loads(said), Facts, "land"), tensors
    except Exception as error:  # every reader raises its own kinds; none may reach the user as a traceback
        line = (str(error).splitlines() or [""])[0][:160]
        raise LandError(f"{name}: is no land of tiler learn: {type(error).__name__}: {line}") from None


def packed(facts: Facts, tensors: Mapping[str, torch.Tensor]) -> bytes:
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    data: bytes = safetensors.torch.save(plain, {_KEY: json.dumps(asdict(facts))})
    return data


def write(path: Path, facts: Facts, tensors: Mapping[str, torch.Tensor]) -> None:
    """Whole or not at all. Raises LandError."""
    try:
        with new_file(path) as temporary:
            temporary.write_bytes(packed(facts, tensors))
    except OSError as error:
        raise LandError(f"{path}: cannot be written: {error.strerror}") from None
