"""Measure and relax one tile: tensors in, tensors out. No store, no scheduler."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F

from tiler.engine.later import Later, moved, sent
from tiler.geometry import Rect, Tile
from tiler.style.backbone import Backbone
from tiler.style.grams import GramSums, measure
from tiler.style.guides import EVERYWHERE, Guides
from tiler.style.layers import deepest, stride_of
from tiler.style.losses import Objective

# In a level's few steps 0.9 comes less far, and 0.7 leaves it rougher (benchmarks/results/defaults.md).
BETAS = (0.8, 0.99)
EPSILON = 1e-8
WARM_UP = 5


@dataclass(frozen=True)
class TileState:
    """The pixels a tile may change and Adam's moments for them: [3, h, w] each, over the tile's blend area."""

    pixels: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor


@dataclass(frozen=True)
class TileLosses:
    """A tile's part of the level's loss at its last step. style: the layers' relative errors as this tile foresees
    them for the whole level; content, its lines included, and tv: sums over the core, which add up over tiles.

    Of type torch.Tensor, [] each, as long as they are on the device, where reading one waits for it.
    """

    style: Mapping[str, Any]
    content: Any
    tv: Any

    def packed(self) -> torch.Tensor:
        """[layers + 2], still on the device."""
        return torch.stack([*self.style.values(), self.content, self.tv])

    @classmethod
    def unpacked(cls, layers: Iterable[str], numbers: Sequence[float]) -> TileLosses:
        """From what `packed` holds."""
        *style, content, tv = numbers
        return cls(dict(zip(layers, style, strict=True)), content, tv)


def step_rate(step: int, steps: int, peak: float) -> float:
    """Learning rate of update `step` (0-based) of a level: linear warm-up, then a cosine down to nearly 0.

    Adam's first updates move every pixel by the full rate, whatever the gradient; the warm-up keeps that shock small.
    """
    warm_up = min(WARM_UP, steps // 4)
    if step < warm_up:
        return peak * (step + 1) / (warm_up + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


def content_features(backbone: Backbone, content: torch.Tensor, layers: Sequence[str]) -> dict[str, torch.Tensor]:
    """Features of the content over the read area, [C, h, w] per layer."""
    if not layers:
        return {}
    activations = backbone.forward(content, to=deepest(layers))
    return {layer: activations[layer] for layer in layers}


@dataclass(frozen=True)
class Inputs:
    """What a tile sees and does not change, over its read area: the content's features [C, h, w] by layer, how much
    they count in each cell (see `Objective.features_gradient`), the regions, its lines (see `lines_of`) as the one
    entry of `lines`, and likewise what is usual in its regions (see `Objective.usual`), where there are any."""

    content: Mapping[str, torch.Tensor] = field(default_factory=dict)
    content_weights: Mapping[str, torch.Tensor] = field(default_factory=dict)
    guides: Guides = EVERYWHERE
    lines: Mapping[str, torch.Tensor] = field(default_factory=dict)
    usual: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Mapping[str, torch.Tensor]]:
        """All its tensors, by what they are and by layer."""
        content = {"content": self.content, "content weights": self.content_weights, "lines": self.lines}
        return {**content, "guides": self.guides.planes or {}, "usual": self.usual}

    def cloned(self) -> Inputs:
        """The same in memory of its own."""
        planes = None if self.guides.planes is None else _cloned(self.guides.planes)
        guides = replace(self.guides, planes=planes)
        others = map(_cloned, (self.lines, self.usual))
        return Inputs(_cloned(self.content), _cloned(self.content_weights), guides, *others)

    @property
    def held_bytes(self) -> int:
        return sum(one.nbytes for by_layer in self.parts.values() for one in by_layer.values())


@dataclass(frozen=True)
class Extent:
    """A tile's core and blend area, in its read area's pixels."""

    core: Rect
    blend: Rect

    @classmethod
    def of(cls, tile: Tile) -> Extent:
        return cls(tile.core.relative_to(tile.read), tile.blend.relative_to(tile.read))


@dataclass(frozen=True)
class Exchanged:
    """total: the level's normalised sums at the start of a round; reported: a tile's own, not normalised, as they
    entered `total`. Both [R, C or C + 1, C] by layer, of the regions that the tile sees."""

    total: Mapping[str, torch.Tensor]
    reported: Mapping[str, torch.Tensor]


class TileProblem:
    """One tile's view of the level's objective while the other tiles stand still.

    pixels: [3, h, w], the read area; changed in place over the blend area only. shift(step): rows and columns that the
    backbone's cells are moved by at an update.
    """

    # Of the tile's own change per pixel, what is expected of the whole level: as if every tile moved as this one does.
    # With only the tile's share (its pixels over the level's), every tile corrects the whole error alone, and together
    # they overshoot by the number of tiles.
    feedback = 1.0
    # Feature cells of a region in the core below which its own change counts by its sum: what a sliver of a region goes
    # through says nothing about the rest, and must not be divided by next to nothing.
    sliver = 1.0

    def __init__(
        self,
        backbone: Backbone,
        objective: Objective,
        pixels: torch.Tensor,
        inputs: Inputs,
        extent: Extent,
        exchanged: Exchanged,
        shift: Callable[[int], tuple[int, int]] = lambda step: (0, 0),
    ) -> None:
        self._backbone, self._of_level, self._objective = backbone, objective, objective.within(inputs.guides.regions)
        self._inputs, self._core, self._blend, self.shift = inputs, extent.core, extent.blend, shift
        self._total = total = exchanged.total
        self._weights = {layer: moved(self._own_weight(layer), total[layer])[:, None, None] for layer in total}
        self._reported = {layer: sums / self._weights[layer] for layer, sums in exchanged.reported.items()}
        self.pixels = pixels

    def _own_weight(self, layer: str) -> torch.Tensor:
        """[R] of each region: the core's part of it, or a sliver's worth where it is less than that (and the level has
        more)."""
        own = self._inputs.guides.weights(layer, self._core.strided(stride_of(layer)))
        least = [min(weight, self.sliver) for weight in self._objective.areas.weights[layer]]
        return torch.maximum(own, sent(least, own))

    def tensors(self) -> dict[str, torch.Tensor]:
        """What steps depend on that differs between tiles of one `kind`, by name."""
        parts = {"total": self._total, "weights": self._weights, "reported": self._reported, **self._inputs.parts}
        named = {f"{part} {layer}": one for part, by_layer in parts.items() for layer, one in by_layer.items()}
        return {"pixels": self.pixels, **named}

    @property
    def kind(self) -> tuple[Any, ...]:
        """What steps depend on beside: of two problems with equal kinds, both alive, one can take the other's place
        with the other's tensors."""
        tensors = tuple((name, tuple(one.shape), one.dtype, one.device) for name, one in self.tensors().items())
        numbers = self.feedback, self._core, self._blend, self._inputs.guides.regions
        return (id(self._backbone), id(self._of_level), numbers, tensors)

    def apart(self, shift: Callable[[int], tuple[int, int]]) -> TileProblem:
        """The same with tensors of its own, and moved otherwise."""
        found = copy.copy(self)
        found.pixels, found.shift, found._inputs = self.pixels.clone(), shift, self._inputs.cloned()
        found._total, found._weights, found._reported = map(_cloned, (self._total, self._weights, self._reported))
        return found

    @property
    def _usual(self) -> torch.Tensor:
        """In chroma and light, [2, h, w] or [2, 1, 1]."""
        return self._inputs.usual["all"] if self._inputs.usual else self._objective.usual(None)

    @property
    def style_layers(self) -> tuple[str, ...]:
        return self._objective.terms.style_layers

    @property
    def state_pixels(self) -> torch.Tensor:
        """View of the pixels this tile may change."""
        return self.pixels[(slice(None), *self._blend.slices)]

    def loss(self, losses: TileLosses) -> Any:
        """The objective's value, for a tile that is the whole level."""
        style = sum(losses.style.values()) / len(losses.style)
        return self._objective.terms.style_weight * style + losses.content + losses.tv

    def evaluate(self, step: int = 0) -> tuple[torch.Tensor, GramSums, TileLosses]:
        """(gradient over `blend`, own sums of the core, losses) at the present pixels, as update `step` sees
        them. Nothing is read from the device."""
        slope, sums, losses = self.slope(step)
        gradient, tv = self._objective.smoothness(self.pixels, self._core, self._usual)
        gradient = gradient[(slice(None), *self._blend.slices)]
        return gradient.add_(slope.to(gradient.dtype)), sums, replace(losses, tv=tv)

    def slope(self, step: int) -> tuple[torch.Tensor, GramSums, TileLosses]:
        """The same without the total variation."""
        objective, inputs, (down, right) = self._objective, self._inputs, self.shift(step)
        core = self._core.shifted(down, right)
        seen = F.pad(self.pixels[None], (right, 0, down, 0), "replicate")[0]
        terms = objective.terms
        activations, sums = measure(self._backbone, seen, terms.style_layers, core, inputs.guides, means=terms.means)
        expected = {
            layer: self._total[layer] + self.feedback * (own / self._weights[layer] - self._reported[layer])
            for layer, own in sums.sums.items()
        }
        errors, slopes = objective.style_terms(expected)
        gradient, content_loss = objective.features_gradient(
            activations, slopes, inputs.content, core, inputs.guides, inputs.content_weights
        )
        gradient = gradient[:, down:, right:]
        for wanted in inputs.lines.values():
            content_loss = content_loss + objective.keep_lines_(gradient, self.pixels, wanted, self._core)
        gradient = gradient[(slice(None), *self._blend.slices)]
        if objective.grey:
            gradient = gradient.mean(0, keepdim=True).expand_as(gradient)  # so channels that are equal stay so
        return gradient, sums, TileLosses(errors, content_loss, 0.0)

    def update(
        self, step: int, pace: torch.Tensor, first: torch.Tensor, second: torch.Tensor
    ) -> tuple[GramSums, TileLosses]:
        """One update by Adam (Kingma & Ba 2015) of the pixels and their moments, in place; sums and losses before it.
        Nothing is read from the device. pace: a row of `paces`."""
        gradient, sums, losses = self.slope(step)
        moments, boxes = (first, second), (self._blend, self._core)
        tv = self._objective.descend_(self.pixels, moments, gradient, pace, BETAS, EPSILON, *boxes, self._usual)
        return sums, replace(losses, tv=tv)


def _cloned(by_layer: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {layer: tensor.clone() for layer, tensor in by_layer.items()}


class Updates(Protocol):
    """A round's updates of one tile, one after the other."""

    def update(self, step: int, pace: torch.Tensor) -> torch.Tensor:
        """One of them; its losses, as `TileLosses.packed` has them, in memory that no later one writes to."""

    def end(self) -> GramSums:
        """Bring the problem's pixels and the moments up to date; the sums of the last update."""


class Directly:
    """Updates on the tile's own tensors."""

    def __init__(self, problem: TileProblem, first: torch.Tensor, second: torch.Tensor) -> None:
        self._problem, self._moments = problem, (first, second)
        self._sums: GramSums | None = None

    def update(self, step: int, pace: torch.Tensor) -> torch.Tensor:
        self._sums, losses = self._problem.update(step, pace, *self._moments)
        return losses.packed()

    def end(self) -> GramSums:
        assert self._sums is not None
        return self._sums


def on_cpu(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "cpu"


def paces(start: int, rates: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """[updates, 2] in the type and on the device of the pixels: what each of a round's updates needs to know."""
    beta1, beta2 = BETAS
    rows = [(rate / (1 - beta1**step), 1 - beta2**step) for step, rate in enumerate(rates, start + 1)]
    return sent(rows, like)


def relax(
    problem: TileProblem,
    first: torch.Tensor,
    second: torch.Tensor,
    start: int,
    rates: Sequence[float],
    on_step: Callable[[int, TileLosses], None] = lambda step, losses: None,
    begin: Callable[[TileProblem, torch.Tensor, torch.Tensor], Updates] = Directly,
) -> tuple[TileState, GramSums, Callable[[], TileLosses]]:
    """One round of Adam on one tile, pixels kept in 0..1. A GPU may still be at it.

    first, second: moments [3, h, w] over the blend area, changed in place. start: updates already done on this level.
    rates: one learning rate per update. The returned sums and losses are those before the last update; whoever calls
    for the losses waits for them. on_step is told of each update; of a GPU's once the losses are called for, since a
    copy from it in every step would wait for it. begin: how updates are made.
    """
    updates, layers = begin(problem, first, second), problem.style_layers
    waiting: list[torch.Tensor] = []
    told: list[TileLosses] = []

    def tell(rows: Later) -> None:
        for row in rows.read():
            told.append(TileLosses.unpacked(layers, row))
            on_step(start + len(told), told[-1])

    for step, pace in enumerate(paces(start, rates, problem.pixels), start + 1):
        waiting.append(updates.update(step, pace))
        if on_cpu(problem.pixels):
            tell(Later(torch.stack(waiting)))
            waiting.clear()
    sums, late = updates.end(), Later(torch.stack(waiting)) if waiting else None

    def losses() -> TileLosses:
        if late is not None and not told:
            tell(late)
        return told[-1]

    return TileState(problem.state_pixels, first, second), sums, losses


def relax_lbfgs(
    problem: TileProblem, steps: int, on_step: Callable[[int, TileLosses], None] = lambda step, losses: None
) -> tuple[TileState, GramSums, Callable[[], TileLosses]]:
    """The whole level by L-BFGS (Liu & Nocedal 1989), for a tile that is the whole level. Moments come back as 0."""
    pixels = problem.state_pixels
    latest: list[tuple[GramSums, TileLosses]] = []
    free = torch.nn.Parameter(pixels.clone())
    optimizer = torch.optim.LBFGS([free], lr=1, max_iter=1, history_size=20)

    def closure() -> float:
        pixels.copy_(free.detach())
        gradient, sums, losses = problem.evaluate()
        losses = TileLosses.unpacked(losses.style, losses.packed().tolist())
        free.grad = gradient.contiguous()
        latest[:] = [(sums, losses)]
        return problem.loss(losses) * pixels[0].numel()

    for step in range(1, steps + 1):
        optimizer.step(closure)
        on_step(step, latest[0][1])
        with torch.no_grad():
            free.clamp_(0, 1)
    pixels.copy_(free.detach())
    sums, last = latest[0]
    return TileState(pixels, torch.zeros_like(pixels), torch.zeros_like(pixels)), sums, lambda: last
