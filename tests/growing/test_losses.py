"""What networks are told, by numbers that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tiler.errors import ConfigError
from tiler.geometry import Rect
from tiler.growing import learn, shares, spatial
from tiler.growing.architectures import ARCHITECTURES
from tiler.growing.land import Facts
from tiler.growing.noise import Plane
from tiler.growing.photos import Photos
from tiler.growing.shares import Labelled
from tiler.growing.training import Training


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def test_losses_of_both_architectures() -> None:
    """Two judgements, one of two places."""
    real, fake = (
        [torch.tensor([[2.0, -1.0]]), torch.tensor([0.5])],
        [torch.tensor([[-3.0, 1.0]]), torch.tensor([0.25])],
    )
    spatial_land, dcgan = ARCHITECTURES["spatial"], ARCHITECTURES["dcgan"]
    assert float(spatial_land.judged(real, fake)) == pytest.approx((0 + 2) / 2 + (0 + 2) / 2 + 0.5 + 1.25)
    assert float(spatial_land.liked(fake)) == pytest.approx(1 - 0.25)
    told = (softplus(-2) + softplus(1)) / 2 + (softplus(-3) + softplus(1)) / 2 + softplus(-0.5) + softplus(0.25)
    assert float(dcgan.judged(real, fake)) == pytest.approx(told, rel=1e-5)
    assert float(dcgan.liked(fake)) == pytest.approx((softplus(3) + softplus(-1)) / 2 + softplus(-0.25), rel=1e-5)


def test_a_layer_adds_noise_then_evens_out_each_place() -> None:
    torch.manual_seed(1)
    layer = spatial._Layer(2, 3)
    x, noise = torch.randn(1, 2, 6, 5), torch.randn(1, 1, 4, 3)
    with torch.no_grad():
        plain = F.conv2d(x, layer.conv.weight, layer.conv.bias) + layer.strength * noise
        plain = torch.where(plain > 0, plain, 0.2 * plain)
        expected = plain / (plain.square().mean(1, keepdim=True) + 1e-6).sqrt()
        torch.testing.assert_close(layer(x, noise), expected)
        assert (layer(x, noise) - layer(x, 2 * noise)).abs().max() > 1e-3


def test_the_average_is_that_of_all_steps_at_first_and_of_the_last_ones_in_the_end(photos) -> None:
    pictures = Photos.read(photos[:1], 64)
    facts = Facts("spatial", 2, pictures.names, pictures.colours(), 64, 2, 0, pictures.digests, 0, 0.0, {})
    training = Training(facts, pictures)
    mean, now = next(training.average.parameters()), next(training.generator.parameters())
    for steps, share in ((0, 1.0), (10, 0.5), (90, 0.1), (10_000, 0.005)):
        with torch.no_grad():
            mean.fill_(3.0)
            now.fill_(7.0)
        training.steps = steps
        training._average()
        torch.testing.assert_close(mean, torch.full_like(mean, 3 + 4 * share))


@pytest.mark.parametrize(
    ("there", "found"),
    [(True, {"auto": "cuda", "cuda": "cuda", "cpu": "cpu"}), (False, {"auto": "cpu", "cuda": None, "cpu": "cpu"})],
)
def test_where_a_land_is_learned(there: bool, found: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    for asked, device in found.items():
        if device is None:
            with pytest.raises(ConfigError, match="no GPU that torch can use"):
                learn._device(asked)
        else:
            assert learn._device(asked) == device


class Halves:
    """In place of `label_bands`: so many rows at a time, the upper half of one land."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __call__(self, picture: object, palette: object, height: int, width: int, rows: int, blend: float):
        upper = np.zeros((height, width), np.float32)
        upper[: height // 2] = 1
        for y in range(0, height, self.rows):
            yield np.stack([upper, 1 - upper])[:, y : y + self.rows]


@pytest.mark.parametrize("rows", [1, 3, 10])
def test_labels_lie_where_they_do_however_they_are_read(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "label_bands", Halves(rows))
    colours = [((0, 0, 0), 2), ((255, 255, 255), 0)]
    labelled = Labelled(None, colours, 3, Rect(5, 7, 15, 11), 0.0, (False, False))  # type: ignore[arg-type]
    found = labelled(Plane(0), Rect(3, 7, 17, 11))
    assert found.shape == (3, 14, 4)
    assert (found[2, :7] == 1).all()
    assert (found[0, 7:] == 1).all()
    assert (found.sum(0) == 1).all()


@pytest.mark.parametrize("name", ["spatial", "dcgan"])
def test_made_ones_are_judged_alike_in_both_halves_of_a_step(name: str) -> None:
    """Once beside real ones and once alone: batch norms of both together would let them be told apart by these."""
    kind = ARCHITECTURES[name]
    torch.manual_seed(1)
    discriminator = kind.discriminator(2, 1)
    made, real = torch.rand(2, 4, 3, 64, 64)
    with torch.no_grad():
        for _ in range(50):  # until spectral norms have settled
            discriminator(made)
        (_, beside), alone = kind.seen(discriminator, real + 3, made), discriminator(made)
    for one, other in zip(beside, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
