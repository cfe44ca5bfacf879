"""Guides: masks in 0..1 that tie regions of a picture to styles (Gatys et al. 2017, "Controlling Perceptual Factors in
Neural Style Transfer"), carried to each layer's size.

A guide shrinks as the backbone pools, two by two in ceil mode, so a tile that starts on a multiple of the stride has
the guides of the whole picture. Where nothing is guided one region is everywhere, and its guide is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from tiler.geometry import Rect
from tiler.style.layers import block_of, stride_of


def pooled(planes: torch.Tensor, layers: Iterable[str]) -> dict[str, torch.Tensor]:
    """planes [R, h, w] at the size of each layer's features: [R, ceil(h / stride), ceil(w / stride)]."""
    sizes, layers = [planes], tuple(layers)
    for _ in range(max(map(block_of, layers), default=1) - 1):
        sizes.append(F.avg_pool2d(sizes[-1], 2, ceil_mode=True, count_include_pad=False))
    return {layer: sizes[block_of(layer) - 1] for layer in layers}


def added_up(planes: torch.Tensor) -> torch.Tensor:
    """[R], float64: the sum of each plane [R, h, w], on its device; on the CPU for Apple's GPUs, which have none."""
    return (planes.cpu() if planes.device.type == "mps" else planes).sum((1, 2), dtype=torch.float64)


@dataclass(frozen=True)
class Guides:
    """The regions that lie in a box of pixels, and where.

    regions: their numbers, ascending. planes[layer]: [R, h, w] in 0..1, or None where the only region is everywhere.
    """

    regions: tuple[int, ...]
    planes: Mapping[str, torch.Tensor] | None

    @classmethod
    def of(cls, regions: Sequence[int], planes: torch.Tensor | None, layers: Iterable[str]) -> Guides:
        """From the guides [R, h, w] of these regions at the pixels' size."""
        return cls(tuple(regions), None if planes is None else pooled(planes, tuple(layers)))

    def within(self, regions: Sequence[int], box: Rect) -> Guides:
        """Of some regions, in a part of the box that starts and ends on multiples of the deepest stride, or where the
        box ends."""
        if self.planes is None:
            return self
        kept = [self.regions.index(region) for region in regions]
        parts = {layer: planes[(kept, *box.strided(stride_of(layer)).slices)] for layer, planes in self.planes.items()}
        return Guides(tuple(regions), parts)

    def at(self, layer: str) -> torch.Tensor | None:
        """[R, h, w] at the layer's size, or None."""
        return None if self.planes is None else self.planes[layer]

    def weights(self, layer: str, cells: Rect) -> torch.Tensor:
        """[R] float64: the sum of each guide over a box of feature cells."""
        if self.planes is None:
            return torch.tensor([cells.height * cells.width], dtype=torch.float64)
        return added_up(self.planes[layer][(slice(None), *cells.slices)])


EVERYWHERE = Guides((0,), None)


@dataclass(frozen=True)
class Areas:
    """How much of a whole picture each region has. shares: of its pixels, [R]. weights[layer]: sum of each guide over
    the layer's feature cells, [R]. Plain numbers, since they are stored with the job."""

    shares: tuple[float, ...]
    weights: Mapping[str, tuple[float, ...]]

    @classmethod
    def everywhere(cls, layers: Iterable[str], height: int, width: int) -> Areas:
        """One region that is all of height x width pixels."""
        return cls((1.0,), {layer: (float(level_cells(layer, height, width)),) for layer in layers})

    @classmethod
    def summed(cls, bands: Iterable[torch.Tensor], layers: Sequence[str]) -> Areas:
        """From guides in bands [R, rows, w] that start on multiples of the deepest stride."""
        pixels, total, sums = 0, torch.zeros(()), {layer: torch.zeros(()) for layer in layers}
        for band in bands:
            pixels += band[0].numel()
            total = total + band.sum((1, 2), dtype=torch.float64)
            for layer, plane in pooled(band, layers).items():
                sums[layer] = sums[layer] + plane.sum((1, 2), dtype=torch.float64)
        weights = {layer: tuple(value.tolist()) for layer, value in sums.items()}
        return cls(tuple((total / pixels).tolist()), weights)

    @classmethod
    def estimated(cls, parts: Iterable[tuple[float, int, Areas]]) -> Areas:
        """Of a picture that is known in part: (how many times a part counts, its pixels, its areas). A region that has
        no part still counts by one cell, so that what lies just beside the parts is not divided by nothing."""
        found = [(weight, weight * pixels, areas) for weight, pixels, areas in parts]
        whole = sum(pixels for _, pixels, _ in found)
        shares = [sum(pixels * areas.shares[r] for _, pixels, areas in found) / whole for r in _regions(found[0][2])]
        weights = {
            layer: tuple(
                max(1.0, sum(weight * areas.weights[layer][r] for weight, _, areas in found))
                for r in _regions(found[0][2])
            )
            for layer in found[0][2].weights
        }
        return cls(tuple(shares), weights)

    def within(self, regions: Sequence[int]) -> Areas:
        """Of some regions only."""
        weights = {layer: tuple(value[r] for r in regions) for layer, value in self.weights.items()}
        return Areas(tuple(self.shares[r] for r in regions), weights)


def _regions(areas: Areas) -> range:
    return range(len(areas.shares))


def level_cells(layer: str, height: int, width: int) -> int:
    """Feature cells of a whole picture."""
    stride = stride_of(layer)
    return -(-height // stride) * -(-width // stride)
