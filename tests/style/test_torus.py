"""Tiles whose halos reach over an edge against a network that pads by the opposite edge, and autograd: the oracle."""

import numpy as np
import pytest
import torch
from small_vgg import composed, random_pixels, relative_error, small_convs

from tiler.geometry import TileGrid
from tiler.style.backbone import Backbone
from tiler.style.grams import GramSums, StyleTarget, measure
from tiler.style.guides import Areas
from tiler.style.layers import gradient_halo
from tiler.style.losses import Objective
from tiler.style.terms import Terms

STYLE, CONTENT = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), ("relu4_2",)
LAYERS, WEIGHTS = (*STYLE, *CONTENT), (1.3, 0.4, 0.5, 0.3, 0.2)
ROUGH = (0.01, 0.04)
CONVS = small_convs(seed=4)
BACKBONE = Backbone(CONVS, LAYERS, dtype=torch.float64)


def gram(features):
    matrix = features.flatten(1)
    return matrix @ matrix.T / matrix.shape[1]


STYLE_FEATURES = composed(CONVS, random_pixels(24, 40, seed=3) ** 2)
TARGET = StyleTarget.blended([{layer: gram(STYLE_FEATURES[layer])[None] for layer in LAYERS}], [ROUGH], [1.0])


def forward_differences(pixels, axis, wrap):
    return pixels.roll(-1, axis) - pixels if wrap else pixels.diff(dim=axis)


def written_out(pixels, content, wrap):
    """(style, content, tv) of the objective on a cylinder or a torus."""
    ours, theirs = composed(CONVS, pixels, wrap=wrap), composed(CONVS, content, wrap=wrap)
    style = sum((gram(ours[a]) - TARGET.grams[a]).square().sum() / TARGET.grams[a].square().sum() for a in STYLE)
    content_term = sum((ours[a] - theirs[a]).square().mean() / TARGET.energies[a] for a in CONTENT)
    smooth = 0
    for i, axis in enumerate("yx"):
        steps = forward_differences(pixels, 1 + i, axis in wrap)
        light = steps.mean(0)
        bright = 1 + 3 * light.square() / ROUGH[1]
        colours = (steps - light).square().sum(0) / ROUGH[0] / bright.detach()
        smooth = smooth + WEIGHTS[2] * steps.square().sum() + WEIGHTS[3] / 2 * (1 + colours).log().sum()
        smooth = smooth + WEIGHTS[4] / 2 * bright.log().sum()
    return WEIGHTS[0] * style / len(STYLE), WEIGHTS[1] * content_term, smooth / pixels[0].numel()


def part(pixels, rect):
    """`rect` of a plane that repeats the pixels; tiles ask for nothing beyond an edge that does not wrap."""
    rows, cols = (np.arange(*edges) for edges in ((rect.y0, rect.y1), (rect.x0, rect.x1)))
    return pixels[:, rows % pixels.shape[1]][:, :, cols % pixels.shape[2]]


def by_tiles(grid, pixels, content):
    """(gradient, content loss, tv loss, level's Gram sums), each tile computed from its own read area."""
    size = grid.height, grid.width
    cores = [tile.core.relative_to(tile.read) for tile in grid]
    pairs = zip(grid, cores, strict=True)
    found = [measure(BACKBONE, part(pixels, tile.read), STYLE, core) for tile, core in pairs]
    seen, measured = zip(*found, strict=True)
    totals = {what: {a: sum(getattr(one, what)[a] for one in measured) for a in STYLE} for what in ("sums", "weights")}
    sums = GramSums(**totals)
    objective = Objective(TARGET, Terms(STYLE, CONTENT, *WEIGHTS), *size, Areas.everywhere(STYLE, *size))
    _, slopes = objective.style_terms(sums.normalised())
    whole, losses = torch.zeros_like(pixels), np.zeros(2)
    for tile, activations, core in zip(grid, seen, cores, strict=True):
        theirs = BACKBONE.forward(part(content, tile.read))
        gradient, content_loss = objective.features_gradient(activations, slopes, {a: theirs[a] for a in CONTENT}, core)
        smooth, tv_loss = objective.smoothness(part(pixels, tile.read), core, objective.usual(None))
        whole[(slice(None), *tile.core.slices)] = (gradient + smooth)[(slice(None), *core.slices)]
        losses += content_loss, tv_loss
    return whole, *losses, sums


@pytest.mark.parametrize(("size", "wrap"), [((32, 48), "xy"), ((37, 48), "x"), ((64, 23), "y")])
@pytest.mark.parametrize("tile", [32, 512])
def test_gradient_statistics_and_losses_are_those_of_the_torus(size, wrap, tile):
    """With 512 px a tile is alone, and its halo reaches several times round the level."""
    halo = gradient_halo(LAYERS)
    grid = TileGrid.balanced(*size, tile, 0, halo, 16, "y" in wrap, "x" in wrap)
    pixels, content = random_pixels(*size, seed=1), random_pixels(*size, seed=2)
    free = pixels.clone().requires_grad_()
    style, content_term, tv = written_out(free, content, wrap)
    (style + content_term + tv).backward()
    gradient, content_loss, tv_loss, sums = by_tiles(grid, pixels, content)
    features = composed(CONVS, pixels, wrap=wrap)
    for layer in STYLE:
        assert sums.weights[layer].tolist() == [features[layer][0].numel()]
        assert relative_error(sums.normalised()[layer][0], gram(features[layer])) < 1e-12
    assert relative_error(gradient, free.grad * size[0] * size[1]) < 1e-9
    assert content_loss == pytest.approx(float(content_term.detach()), rel=1e-9)
    assert tv_loss == pytest.approx(float(tv.detach()), rel=1e-9)
