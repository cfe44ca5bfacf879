"""A tile's problem with every term in it, on any device and by either way of convolving."""

from __future__ import annotations

import torch

from tiler.engine import optimize
from tiler.geometry import Rect
from tiler.style.backbone import Backbone
from tiler.style.grams import StyleTarget, Units
from tiler.style.guides import EVERYWHERE, Areas, Guides
from tiler.style.losses import Objective
from tiler.style.terms import STATISTICS, Dream, Terms
from tiler.style.weights import Conv

# relu1_2 has no term of its own, and is pooled.
STYLE, CONTENT, DREAM = ("relu1_1", "relu2_1"), ("relu2_2",), "relu2_2"
LAYERS = (*STYLE, *CONTENT)
READ, CORE, BLEND = (9, 14), Rect(0, 4, 6, 12), Rect(0, 2, 8, 14)
LEVEL = (40, 60)


def tile_problem(
    convs: list[Conv],
    dtype: torch.dtype,
    state: torch.dtype = torch.float32,
    device: str = "cpu",
    ringed: bool | None = None,
    kind: str = "plain",
    pooling: str = "avg",
) -> optimize.TileProblem:
    """The same numbers for the same kind, whatever the types. kind: plain; regions, with a layer that is amplified and
    weights of the content; jitter, without content, of which every update sees other cells; moments, w2, of the style
    beside its Grams, and w2 with regions."""
    regions = 2 if kind in ("regions", "w2") else 1
    statistics = kind if kind in STATISTICS else "gram"
    backbone = Backbone(convs, LAYERS, pooling, dtype, device, ringed)
    generator = torch.Generator().manual_seed(5)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(device, state)

    def grams(scale: float) -> dict[str, torch.Tensor]:
        halves = {layer: scale * drawn(regions, *2 * (backbone.channels(layer),)) for layer in STYLE}
        return {layer: half + half.mT for layer, half in halves.items()}

    def moments(scale: float) -> dict[str, torch.Tensor]:
        found = {}
        for layer in STYLE:
            features = drawn(regions, backbone.channels(layer), 40).sub(0.5).relu()
            sums = features @ features.mT, features.sum(-1)[:, None]
            found[layer] = scale / 40 * torch.cat(sums, 1)
        return found

    sums = grams if statistics == "gram" else moments
    guides, areas = EVERYWHERE, Areas.everywhere(STYLE, *LEVEL)
    if regions > 1:
        planes = drawn(regions, *READ)
        planes = planes / planes.sum(0)
        guides = Guides.of(range(regions), planes, STYLE)
        areas = Areas((0.7, 0.3), dict.fromkeys(STYLE, (1700.0, 700.0)))
    dream = None if kind in ("plain", "moments") else Dream(DREAM, None, 0.1)
    layers = () if kind == "jitter" else CONTENT
    units = Units(dict.fromkeys(LAYERS, 0.5), (0.02, 0.05)), Units(dict.fromkeys(LAYERS, 2.0), (0.1, 0.01))
    target = StyleTarget(sums(1.0), dict.fromkeys(LAYERS, 0.5), units[:regions])
    objective = Objective(
        target, Terms(STYLE, layers, 1.3, 0.3, 0.2, dream=dream, statistics=statistics), *LEVEL, areas
    )
    content = optimize.content_features(backbone, drawn(3, *READ), layers)
    pixels, inputs = drawn(3, *READ), optimize.Inputs(content)
    if regions > 1:
        weights, usual = objective.content_weights(planes, drawn(1, *READ)), {"all": objective.usual(planes)}
        inputs = optimize.Inputs(content, weights, guides, usual=usual)
    given = pixels, inputs, optimize.Extent(CORE, BLEND), optimize.Exchanged(sums(0.4), sums(30.0))
    jitter = [lambda step: (step % 3, step % 2)] if kind == "jitter" else []
    return optimize.TileProblem(backbone, objective, *given, *jitter)


def moments(problem: optimize.TileProblem) -> tuple[torch.Tensor, torch.Tensor]:
    """Of updates that have not begun."""
    zeros = torch.zeros_like(problem.state_pixels)
    return zeros, zeros.clone()
