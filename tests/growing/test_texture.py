"""What the engine's network sees in made patches: along its gradient, and of what was made lately."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from small_land import of_lands

from tiler.geometry import Rect
from tiler.growing.land import Facts
from tiler.growing.photos import Photos
from tiler.growing.texture import LAYERS, Textures
from tiler.growing.training import Training
from tiler.style.backbone import Backbone
from tiler.style.grams import measure
from tiler.style.statistics import BLUR
from tiler.style.weights import load_weights

BOX = Rect(0, 0, 64, 64)


def facts_of(pictures: Photos, kind: str = "spatial") -> Facts:
    return Facts(kind, 2, pictures.names, pictures.colours(), 64, 2, 0, pictures.digests, 0, 0.0, {})


@pytest.fixture
def exact(small_weights: str) -> Backbone:
    return Backbone(load_weights(small_weights), LAYERS, dtype=torch.float64)


def statistics(backbone: Backbone, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """The mean of the patches', each of which has as many cells."""
    found = [measure(backbone, one, LAYERS, BOX, means=True)[1].normalised() for one in pixels]
    return {layer: sum(one[layer] for one in found) / len(found) for layer in LAYERS}


def errors(target: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> float:
    """||G - A||^2 / ||A||^2 + (|mu - m|^2 + |sigma - s|^2) / tr A, the mean over layers: see docs, "The objective"."""
    total = 0.0
    for layer in LAYERS:
        (gram, mean), (wanted, m) = ((one[layer][0, :-1], one[layer][0, -1]) for one in (found, target))
        sigma, s = (
            ((matrix.diagonal() - middle.square()).clamp_min(0) + BLUR * wanted.diagonal().mean()).sqrt()
            for matrix, middle in ((gram, mean), (wanted, m))
        )
        total += float((gram - wanted).square().sum() / wanted.square().sum())
        total += float(((mean - m).square().sum() + (sigma - s).square().sum()) / wanted.diagonal().sum())
    return total / len(LAYERS)


def test_the_gradient_is_that_of_all_that_was_made_lately(photos, exact: Backbone) -> None:
    """By differences: the running means move as the patches' own do, though these are but a tenth of them."""
    pictures = Photos.read(photos, 64)
    textures = Textures(facts_of(pictures), pictures, "cpu", exact)
    target = {layer: one.clone() for layer, one in textures.lately[1].items()}
    generator = torch.Generator().manual_seed(1)
    pixels = (0.2 + 0.6 * torch.rand(3, 3, 64, 64, generator=generator, dtype=torch.float64)).requires_grad_()
    before, own = [{layer: one.clone() for layer, one in land.items()} for land in textures.lately], statistics
    first = own(exact, pixels.detach())
    value = textures.mismatch(pixels, 1, 0.1)
    value.backward()
    for layer in LAYERS:
        torch.testing.assert_close(textures.lately[1][layer], 0.9 * before[1][layer] + 0.1 * first[layer])
        assert torch.equal(textures.lately[0][layer], before[0][layer])
    assert float(value.detach()) == pytest.approx(errors(target, textures.lately[1]), rel=1e-6)
    assert pixels.grad is not None
    for number in range(3):
        along = torch.randn(3, 3, 64, 64, generator=generator, dtype=torch.float64)
        along[[one for one in range(3) if one != number]] = 0
        step, moved = 1e-6, []
        for sign in (1, -1):
            there = own(exact, pixels.detach() + sign * step * along)
            moved.append(errors(target, {a: textures.lately[1][a] + there[a] - first[a] for a in LAYERS}))
        slope = (moved[0] - moved[1]) / (2 * step)
        assert float((pixels.grad * along).sum()) == pytest.approx(slope, rel=1e-3)


def test_what_looks_like_its_photo_is_left_as_it_is(photos, exact: Backbone) -> None:
    pictures = Photos.read(photos, 64)
    textures = Textures(facts_of(pictures), pictures, "cpu", exact)
    real, other = (pictures.pixels[land][:, :64, :64] for land in (0, 1))
    found = []
    for patch in (real, other):
        pixels = torch.from_numpy(patch[None] / 255).repeat(2, 1, 1, 1)
        for _ in range(40):
            value = textures.mismatch(pixels, 0, 0.1)
        found.append(float(value))
    assert found[0] < 0.1 * found[1]


@pytest.mark.parametrize("wrong", ["missing", "shape", "nan"])
def test_a_state_needs_what_was_made_lately(wrong: str, photos) -> None:
    pictures = Photos.read(photos, 64)
    training = Training(facts_of(pictures), pictures)
    training.step()
    state, name = training.tensors(), "lately/1/relu3_1"
    training.load(state, 1)
    if wrong == "missing":
        del state[name]
    else:
        state[name] = state[name][:, :5] if wrong == "shape" else state[name] * float("nan")
    with pytest.raises(ValueError, match=re.escape("what was made lately, 1/relu3_1, is missing, or of another shape")):
        training.load(state, 1)


def test_the_plain_architecture_of_its_paper_has_none(photos) -> None:
    pictures = Photos.read(photos, 64)
    training = Training(facts_of(pictures, "dcgan"), pictures)
    assert not [name for name in training.tensors() if name.startswith("lately/")]


@pytest.mark.parametrize(("patch", "looked_at"), [(64, 3), (128, 3), (144, 3), (192, 1), (256, 1)])
def test_of_large_patches_fewer_are_looked_at(patch: int, looked_at: int, photos, monkeypatch) -> None:
    """At least one, and no more pixels than four of 128 px: the network takes longer than all else."""
    seen: list[tuple[int, ...]] = []

    def mismatch(textures: Textures, pixels: torch.Tensor, land: int, now: float) -> torch.Tensor:
        seen.append((land, *pixels.shape))
        return pixels.sum()

    monkeypatch.setattr(Textures, "mismatch", mismatch)
    pictures = Photos.read(photos, 64)
    training = Training(facts_of(pictures), pictures)
    training.facts = replace(training.facts, patch=patch)
    training._texture(training._textures, torch.zeros(3, 3, patch, patch), [1, 0, 1])
    assert sum(one[1] for one in seen) == looked_at
    assert [one[0] for one in seen] == ([1] if looked_at == 1 else [0, 1])


@pytest.mark.parametrize(
    ("patch", "lands", "count"),
    [(64, 1, 64), (128, 1, 64), (144, 1, 50), (256, 1, 16), (1024, 1, 8), (64, 3, 21), (128, 8, 8), (256, 2, 8)],
)
def test_photos_are_measured_by_some_patches_of_each(patch: int, lands: int, count: int, monkeypatch) -> None:
    """64 of all together and a million pixels at most, and 8 of each at least."""
    asked: list[tuple[int, list[int]]] = []

    def drawn(self: Photos, rng: object, side: int, of: list[int]) -> torch.Tensor:
        asked.append((side, of))
        raise StopIteration

    monkeypatch.setattr(Photos, "drawn", drawn)
    facts = replace(of_lands("spatial", *map(str, range(lands))), patch=patch)
    with pytest.raises(StopIteration):
        Textures(facts, Photos((), ()), "cpu", seen_by=True)  # type: ignore[arg-type]
    assert asked == [(patch, [0] * count)]
