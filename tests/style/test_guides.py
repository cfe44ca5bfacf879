"""Guides and areas in numbers: small planes whose sums are known, and one that float32 would add up wrongly."""

import itertools

import pytest
import torch

from tiler.geometry import Rect
from tiler.style.guides import EVERYWHERE, Areas, Guides, level_cells, pooled

LAYERS = ("relu1_2", "relu2_1", "relu3_1")
# Three rows, five columns; a region in the left, one in the right half, and both in the middle column.
LEFT = torch.tensor([[1, 1, 0.25, 0, 0], [1, 1, 0.25, 0, 0], [1, 0, 0.75, 0, 0]], dtype=torch.float64)
PLANES = torch.stack([LEFT, 1 - LEFT])


def test_a_guide_shrinks_two_by_two_and_its_edges_are_means_of_what_is_there():
    found = pooled(PLANES, LAYERS)
    assert {layer: tuple(plane.shape) for layer, plane in found.items()} == {
        "relu1_2": (2, 3, 5),
        "relu2_1": (2, 2, 3),
        "relu3_1": (2, 1, 2),
    }
    assert torch.equal(found["relu1_2"], PLANES)
    assert found["relu2_1"][0].tolist() == [[1, 0.125, 0], [0.5, 0.375, 0]]
    assert found["relu3_1"].tolist() == [[[0.5, 0]], [[0.5, 1]]]


def test_weights_are_sums_over_a_box_of_cells():
    guides = Guides.of([2, 5], PLANES, LAYERS)
    assert guides.regions == (2, 5)
    assert guides.weights("relu1_2", Rect(0, 1, 2, 3)).tolist() == [2.5, 1.5]
    assert guides.weights("relu2_1", Rect(1, 0, 2, 3)).tolist() == [0.875, 2.125]
    assert guides.at("relu2_1") is guides.planes["relu2_1"]
    assert EVERYWHERE.weights("relu3_1", Rect(1, 2, 4, 9)).tolist() == [21]
    assert EVERYWHERE.weights("relu3_1", Rect(1, 2, 4, 9)).dtype == torch.float64
    assert EVERYWHERE.at("relu3_1") is None
    assert EVERYWHERE.regions == (0,)


@pytest.mark.parametrize("box", [Rect(0, 0, 4, 4), Rect(4, 0, 7, 8), Rect(0, 8, 7, 11), Rect(0, 0, 7, 11)])
def test_a_part_of_guides_is_the_guides_of_the_part(box):
    planes = torch.rand(3, 7, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    part, alone = (
        Guides.of([1, 4, 6], planes, LAYERS).within([1, 6], box),
        Guides.of([1, 6], planes[[0, 2]][(slice(None), *box.slices)], LAYERS),
    )
    assert part.regions == alone.regions
    for layer in LAYERS:
        assert torch.equal(part.planes[layer], alone.planes[layer])
    assert EVERYWHERE.within([0], box) is EVERYWHERE


@pytest.mark.parametrize("cuts", [(0, 3), (0, 2, 3)])
def test_areas_of_bands_are_those_of_the_whole(cuts):
    bands = [PLANES[:, a:b] for a, b in itertools.pairwise(cuts)]
    areas = Areas.summed(bands, LAYERS[:2])
    assert areas.shares == pytest.approx((6.25 / 15, 8.75 / 15), rel=1e-15)
    assert areas.weights == {"relu1_2": (6.25, 8.75), "relu2_1": (2.0, 4.0)}


def test_areas_of_some_regions():
    areas = Areas((0.5, 0.2, 0.3), {"relu1_1": (5.0, 2.0, 3.0)}).within([2, 0])
    assert areas == Areas((0.3, 0.5), {"relu1_1": (3.0, 5.0)})
    assert Areas.everywhere(["relu1_1", "relu4_1"], 17, 40) == Areas((1.0,), {"relu1_1": (680.0,), "relu4_1": (15.0,)})


def test_sums_are_in_float64():
    """Exact there, as the numbers have 24 bits each; in float32 the last of them are lost."""
    plane = torch.full((1, 300, 256), 0.1, dtype=torch.float32)
    exact = float(plane[0, 0, 0]) * 300 * 256
    assert exact != float(torch.tensor(exact, dtype=torch.float32)), "nothing to lose"
    areas = Areas.summed([plane[:, :100], plane[:, 100:]], ("relu1_1",))
    assert areas.weights["relu1_1"] == (exact,)
    assert areas.shares == (exact / (300 * 256),)
    weights = Guides.of([0], plane, ("relu1_1",)).weights("relu1_1", Rect(0, 0, 300, 256))
    assert weights.dtype == torch.float64
    assert weights.tolist() == [exact]


@pytest.mark.parametrize(
    ("layer", "size", "cells"),
    [("relu1_2", (5, 9), 45), ("relu2_1", (5, 9), 15), ("relu3_4", (9, 5), 6), ("relu5_1", (16, 17), 2)],
)
def test_cells_of_a_level(layer, size, cells):
    assert level_cells(layer, *size) == cells
