"""What benchmarks render: made pictures of any size, and a backbone whose steps cost next to nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from tiler.pictures.stream import load_vips
from tiler.style.weights import _torchvision_indices

CHANNELS = (4, 4, 6, 6, 8, 8, 8, 8, 10, 10, 10, 10, 10, 10, 10, 10)


def tiny_backbone(path: Path) -> None:
    """VGG-19's shape with few channels and random weights."""
    generator, state, before = torch.Generator().manual_seed(3), {}, 3
    for index, channels in zip(_torchvision_indices(), CHANNELS, strict=True):
        spread = (2 / (9 * before)) ** 0.5
        state[f"features.{index}.weight"] = torch.randn(channels, before, 3, 3, generator=generator) * spread
        state[f"features.{index}.bias"] = torch.rand(channels, generator=generator) * 0.1
        before = channels
    save_file(state, path)


def picture(path: Path, edge: int, seed: int) -> None:
    """Hills of all sizes."""
    draw, hills = np.random.default_rng(seed), np.zeros((edge, edge, 3))
    for side in (4, 16, 64, edge):
        small = Image.fromarray(draw.integers(0, 256, (side, side, 3), np.uint8))
        hills += np.asarray(small.resize((edge, edge), Image.Resampling.BICUBIC)) / 4
    Image.fromarray(hills.astype(np.uint8)).save(path, quality=95)


def large_picture(path: Path, height: int, width: int, seed: int) -> None:
    """Hills of all sizes down to a few pixels, as a JPEG, in seconds however large."""
    draw, vips = np.random.default_rng(seed), load_vips()
    hills = vips.Image.black(width, height, bands=3)
    for cells in (4, 16, 64, 512):
        rows, columns = min(cells, height), min(cells, width)
        small = vips.Image.new_from_array(draw.integers(0, 256, (rows, columns, 3), np.uint8))
        hills += small.resize(width / columns, vscale=height / rows, kernel="linear").crop(0, 0, width, height) / 4
    hills.cast("uchar").copy(interpretation="srgb").jpegsave(str(path), Q=95)
