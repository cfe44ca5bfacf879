"""One step after the other of a generator and a discriminator that learn from each other.

All that a step draws is a function of the seed and the step's number, so that the state is the networks', their
averages', and the optimisers', and nothing else: who goes on from it comes to the same.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from tiler.geometry import Rect
from tiler.growing.architecture import Numbers
from tiler.growing.land import Facts, load_into
from tiler.growing.likeness import Likeness
from tiler.growing.matching import PATCHES, mismatch
from tiler.growing.noise import Drawn
from tiler.growing.photos import Photos, augmented
from tiler.growing.texture import Textures

# Of the generator's moving average, per step, at its end; it begins as the mean of all steps before.
_DECAY = 0.995
_PARTS = ("generator", "average", "discriminator", "kept")
_SEEN = "seen"  # of the state: the distance of what is kept, and its step
_LATELY = "lately/"  # and what the textures of what was made were
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_REAL = 4
# Pixels of a step whose texture is looked at, in whole patches: that takes longer than all else of a patch together.
_LOOKED_AT = 2**16
_NOW = 0.1  # of the running mean of what they look like, per step; it begins as the mean of all steps before, too
_GENERATOR_SEED = 1  # streams of the seed: of the first weights, and of the steps


class Losses(NamedTuple):
    """Of one step."""

    discriminator: float
    generator: float


@dataclass
class Training:
    """facts: of the land as it was begun, but for its steps. photos: what is learned from. kept: of the averages that
    were looked at, the nearest to the photos, as it was after `kept_at` steps; 0 before the first look."""

    facts: Facts
    photos: Photos
    device: str = "cpu"

    def __post_init__(self) -> None:
        facts, lands = self.facts, len(self.facts.lands)
        kind = facts.kind
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(facts.seed % 2**63)
            self.generator = kind.generator(facts.channels, lands).to(self.device)
            self.discriminator = kind.discriminator(facts.channels, lands).to(self.device)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.kept, self.kept_at, self._distance = copy.deepcopy(self.average), 0, math.inf
        self._textures = Textures(facts, self.photos, self.device) if kind.textured else None
        self.optimisers = {
            name: torch.optim.Adam(getattr(self, name).parameters(), rate, kind.betas)
            for name, rate in zip(("generator", "discriminator"), kind.rates, strict=True)
        }
        self.steps = 0

    def step(self) -> Losses:
        """One of each network's. Raises FloatingPointError where it came to nothing finite."""
        facts, kind = self.facts, self.facts.kind
        rng = np.random.Generator(np.random.Philox(key=np.array([facts.seed, _GENERATOR_SEED + self.steps], np.uint64)))
        lands = rng.integers(0, len(facts.lands), facts.batch).tolist()
        real = facts.colours.units(self.photos.drawn(rng, facts.patch, lands).to(self.device))
        shares = torch.eye(len(facts.lands), device=self.device)[lands][:, :, None, None]
        made = self._made(rng, shares)
        seen = self._seen(augmented(torch.cat([real, made.detach()]), rng), shares.repeat(2, 1, 1, 1))
        judged = kind.judged(*kind.seen(self.discriminator, *seen.split(facts.batch)))
        self._update("discriminator", judged)
        self.discriminator.requires_grad_(False)
        liked = kind.liked(self.discriminator(self._seen(augmented(made, rng), shares)))
        if kind.matched:
            liked = liked + kind.matched * self._mismatch(made, lands, rng)
        if self._textures:
            liked = liked + kind.textured * self._texture(self._textures, made, lands)
        self._update("generator", liked)
        self.discriminator.requires_grad_(True)
        self.steps += 1
        self._average()
        losses = Losses(float(judged.detach()), float(liked.detach()))
        if not np.isfinite(losses).all():
            raise FloatingPointError(f"step {self.steps}: the losses are {losses.discriminator}, {losses.generator}")
        return losses

    def _made(self, rng: np.random.Generator, shares: torch.Tensor) -> torch.Tensor:
        """[batch, 3, patch, patch] of the generator's, at any place in their cells."""
        facts, kind = self.facts, self.facts.kind
        y, x = (int(rng.integers(0, kind.cell)) if facts.patch > kind.cell else 0 for _ in range(2))
        box = Rect(y, x, y + facts.patch, x + facts.patch)
        numbers = Numbers.joined([kind.numbers(Drawn(rng), box) for _ in range(facts.batch)]).to(self.device)
        made: torch.Tensor = self.generator(numbers.of(shares), box)
        return made

    def _mismatch(self, made: torch.Tensor, lands: list[int], rng: np.random.Generator) -> torch.Tensor:
        """Each land's for itself: patches of several together do not tell which is which. From more real patches than
        made ones: they cost little, and few are not all."""
        facts, found = self.facts, []
        there = sorted({*lands})
        for land in there:
            mine = [number for number, one in enumerate(lands) if one == land]
            real = self.photos.drawn(rng, facts.patch, [land] * _REAL * len(mine)).to(self.device)
            share = len(mine) / len(lands)
            found.append(share * mismatch(made[mine], facts.colours.units(real), rng, PATCHES // len(there)))
        return torch.stack(found).sum()

    def _texture(self, textures: Textures, made: torch.Tensor, lands: list[int]) -> torch.Tensor:
        """Of some of the patches, each land's for itself."""
        count = max(1, _LOOKED_AT // self.facts.patch**2)
        pixels, there, found = self.facts.colours.pixels(made[:count]), lands[:count], []
        for land in sorted({*there}):
            mine = [number for number, one in enumerate(there) if one == land]
            now = max(_NOW, 1 / (self.steps + 1))
            found.append(len(mine) / len(there) * textures.mismatch(pixels[mine], land, now))
        return torch.stack(found).sum()

    def _seen(self, units: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """With what the discriminator is told of them."""
        if shares.shape[1] == 1:
            return units
        return torch.cat([units, shares.expand(-1, -1, *units.shape[2:])], 1)

    def _update(self, name: str, loss: torch.Tensor) -> None:
        self.optimisers[name].zero_grad()
        loss.backward()
        self.optimisers[name].step()

    def _average(self) -> None:
        decay = min(_DECAY, self.steps / (self.steps + 10))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
            for held, other in zip(self.average.buffers(), self.generator.buffers(), strict=True):
                held.copy_(other)

    @property
    def best(self) -> nn.Module:
        """What a land is to be grown with."""
        return self.kept if self.kept_at else self.average

    def look(self, likeness: Likeness) -> float:
        """How far the average is from the photos now; it is kept where none was nearer."""
        distance = likeness.distance(self.average)
        if distance < self._distance:
            self.kept.load_state_dict(self.average.state_dict())
            self.kept_at, self._distance = self.steps, distance
        return distance

    def tensors(self) -> dict[str, torch.Tensor]:
        """The whole state."""
        found = {
            f"{part}/{name}": tensor
            for part in _PARTS
            for name, tensor in getattr(self, part).state_dict().items()
        }  # fmt: skip
        for part, optimiser in self.optimisers.items():
            for number, moments in optimiser.state_dict()["state"].items():
                found.update({f"adam/{part}/{number}/{name}": moments[name] for name in _MOMENTS})
        if self._textures:
            found.update({_LATELY + name: tensor for name, tensor in self._textures.tensors().items()})
        found[_SEEN] = torch.tensor([self._distance, self.kept_at], dtype=torch.float64)
        return found

    def load(self, tensors: Mapping[str, torch.Tensor], steps: int) -> None:
        """Go on from a state after so many steps. Raises ValueError where it is not one of such networks."""
        if steps < 1:
            raise ValueError(f"steps are {steps}")
        for part in _PARTS:
            load_into(getattr(self, part), _below(tensors, f"{part}/"))
        for part, optimiser in self.optimisers.items():
            saved = optimiser.state_dict()
            saved["state"] = _moments(_below(tensors, f"adam/{part}/"), getattr(self, part))
            optimiser.load_state_dict(saved)
        if self._textures:
            self._textures.load(_below(tensors, _LATELY))
        seen = tensors.get(_SEEN)
        if seen is None or seen.shape != (2,) or not (seen[0] >= 0 and 0 <= seen[1] <= steps):
            raise ValueError("it does not say what of it is kept")
        self._distance, self.kept_at, self.steps = float(seen[0]), int(seen[1]), steps


def _below(tensors: Mapping[str, torch.Tensor], path: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(path): tensor for name, tensor in tensors.items() if name.startswith(path)}


def _moments(tensors: Mapping[str, torch.Tensor], module: nn.Module) -> dict[int, dict[str, torch.Tensor]]:
    found: dict[int, dict[str, torch.Tensor]] = {}
    for number, parameter in enumerate(module.parameters()):
        found[number] = {}
        for name in _MOMENTS:
            tensor, shape = tensors.get(f"{number}/{name}"), torch.Size() if name == "step" else parameter.shape
            if tensor is None or tensor.shape != shape or not tensor.isfinite().all():
                raise ValueError(f"the optimiser's {name} of parameter {number} is missing, or of another shape")
            found[number][name] = tensor.clone()
    return found
