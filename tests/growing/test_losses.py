"""What networks are told, by numbers that can be worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_land import of_lands

from tiler.errors import ConfigError
from tiler.geometry import Rect
from tiler.growing import learn, likeness, matching, shares, spatial
from tiler.growing.architecture import Numbers
from tiler.growing.architectures import ARCHITECTURES
from tiler.growing.land import Facts
from tiler.growing.likeness import Likeness
from tiler.growing.noise import Plane
from tiler.growing.photos import Photos
from tiler.growing.shares import Everywhere, Labelled, Wild
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


def test_a_box_of_pixels_needs_boxes_of_each_level() -> None:
    """Every 3 x 3 convolution needs a place more on each side, and what is half as fine covers what lies above."""
    assert spatial.boxes(Rect(-5, 64, 33, 129)) == [
        Rect(-4, 0, 6, 12), Rect(-2, 2, 4, 10), Rect(-2, 6, 6, 18), Rect(-3, 14, 10, 34), Rect(-4, 31, 18, 66)
    ]  # fmt: skip


class Recorded:
    """Noise that says what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def nodes(self, stream: int, box: Rect, channels: int, scale: int) -> np.ndarray:
        self.asked.append(("nodes", stream, box, channels, scale))
        return np.full((channels, box.height, box.width), stream % 16, np.float32)

    def slow(self, stream: int, cells: Rect, channels: int, spacing: int) -> np.ndarray:
        self.asked.append(("slow", stream, cells, channels, spacing))
        return np.full((channels, cells.height, cells.width), stream % 16, np.float32)


def test_each_octave_and_each_layer_has_noise_of_its_own() -> None:
    noise = Recorded()
    cells, *levels = spatial.boxes(Rect(0, 0, 64, 128))
    found = ARCHITECTURES["spatial"].numbers(noise, Rect(0, 0, 64, 128))
    assert noise.asked == [
        ("nodes", 16, cells, 16, 1), ("slow", 17, cells, 8, 4), ("slow", 18, cells, 8, 16),
        ("nodes", 1, levels[0].grown(1), 1, 1), ("nodes", 0, levels[0], 1, 1), ("nodes", 2, levels[1], 1, 2),
        ("nodes", 4, levels[2], 1, 4), ("nodes", 7, levels[3].grown(1), 1, 8), ("nodes", 6, levels[3], 1, 8),
    ]  # fmt: skip
    assert found.cells[0, :, 0, 0].tolist() == [0] * 16 + [1] * 8 + [2] * 8
    assert [one.shape[:2] for one in found.own] == [(1, 1)] * 6
    scenes = Recorded()
    assert ARCHITECTURES["dcgan"].numbers(scenes, Rect(-1, 64, 65, 192)).cells.shape == (1, 100, 3, 2)
    assert scenes.asked == [("nodes", 0, Rect(-1, 1, 2, 3), 100, 1)]


@pytest.mark.parametrize(("lands", "more"), [(1, 0), (2, 2), (5, 5)])
def test_a_file_of_this_version_is_one_of_the_next(lands: int, more: int) -> None:
    """What networks are made of: only where there are several lands are they told apart."""
    shapes = {
        (name, part): [tuple(one.shape) for one in getattr(kind, part)(2, lands).parameters() if one.ndim == 4]
        for name, kind in ARCHITECTURES.items()
        for part in ("generator", "discriminator")
    }
    widths = (16, 16, 12, 8, 4, 4)
    befores = (32 + more, *widths[:-1])
    layers = [(after, before, 3, 3) for before, after in zip(befores, widths, strict=True)]
    assert shapes["spatial", "generator"] == [*layers, (12, 4, 3, 3)]
    assert shapes["spatial", "discriminator"] == [
        (4, 3 + more, 4, 4), (8, 4, 4, 4), (12, 8, 4, 4), (16, 12, 4, 4), (1, 8, 3, 3), (1, 16, 3, 3)
    ]  # fmt: skip
    assert shapes["dcgan", "generator"] == [
        (100 + more, 16, 4, 4), (16, 8, 4, 4), (8, 4, 4, 4), (4, 2, 4, 4), (2, 3, 4, 4)
    ]  # fmt: skip
    assert shapes["dcgan", "discriminator"] == [
        (2, 3 + more, 4, 4), (4, 2, 4, 4), (8, 4, 4, 4), (16, 8, 4, 4), (1, 16, 4, 4)
    ]  # fmt: skip


def test_the_plain_architecture_begins_and_learns_as_in_its_paper() -> None:
    kind = ARCHITECTURES["dcgan"]
    assert (kind.rates, kind.betas, kind.cell, kind.window) == ((2e-4, 2e-4), (0.5, 0.999), 64, 64)
    torch.manual_seed(0)
    for network in (kind.generator(8, 1), kind.discriminator(8, 1)):
        for part in network.modules():
            if isinstance(part, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                assert float(part.weight.detach().mean()) == pytest.approx(0, abs=0.003)
                assert float(part.weight.detach().std()) == pytest.approx(0.02, rel=0.2)
            elif isinstance(part, torch.nn.BatchNorm2d):
                assert float(part.weight.detach().mean()) == pytest.approx(1, abs=0.02)
                assert float(part.weight.detach().std()) == pytest.approx(0.02, rel=0.5)
            elif isinstance(part, torch.nn.LeakyReLU):
                assert part.negative_slope == 0.2


def test_a_scene_reaches_the_brightest_colours() -> None:
    """Three deviations, which all but the last are gone up to evenly."""
    kind = ARCHITECTURES["dcgan"]
    generator = kind.generator(2, 1).eval()
    box = Rect(-10, 100, 3, 140)
    for value, wanted in ((0.3, 3 * math.tanh(0.1)), (-2.0, 3 * math.tanh(-2 / 3)), (99.0, 3.0)):
        with torch.no_grad():
            generator.layers[-1].weight.zero_()  # type: ignore[union-attr,operator]
            generator.layers[-1].bias.fill_(value)  # type: ignore[union-attr,operator]
            found = generator(kind.numbers(Plane(1), box), box)
        torch.testing.assert_close(found, torch.full((1, 3, 13, 40), wanted))


def test_shares_follow_the_numbers_of_each_cell() -> None:
    numbers = Numbers(torch.zeros(2, 4, 3, 5), [torch.ones(2, 1, 3, 5)])
    assert numbers.of(torch.ones(1, 1, 1, 1)) is numbers
    found = numbers.of(torch.tensor([0.25, 0.75]).view(1, 2, 1, 1))
    assert found.cells[1, :, 2, 4].tolist() == [0, 0, 0, 0, 0.25, 0.75]
    assert found.own is numbers.own
    each = torch.arange(60.0).view(2, 2, 3, 5)
    assert torch.equal(numbers.of(each).cells[:, 4:], each)
    both = Numbers.joined([numbers, Numbers(numbers.cells + 1, [numbers.own[0] + 1])])
    assert [one[:, 0, 0, 0].tolist() for one in (both.cells, *both.own)] == [[0, 0, 1, 1], [1, 1, 2, 2]]


def test_one_land_or_chance_in_each_cell() -> None:
    assert Everywhere(1, 3)(Plane(0), Rect(2, 3, 4, 8)).tolist() == [[[float(land == 1)] * 5] * 2 for land in range(3)]
    box, noise = Rect(-2, 3, 4, 8), Recorded()
    assert (Wild(3)(noise, box) == np.float32(1 / 3)).all()
    assert noise.asked == [("slow", 64, box, 3, 24)]
    found, likely = Wild(2)(Plane(4), box), Plane(4).slow(64, box, 2, 24).astype(np.float64)
    np.testing.assert_allclose(found[0], 1 / (1 + np.exp(5 * (likely[1] - likely[0]))), rtol=1e-4)
    np.testing.assert_allclose(found.sum(0), 1, rtol=1e-6)


@pytest.mark.parametrize("wraps", [(False, False), (True, False), (False, True), (True, True)])
def test_beyond_labels_it_goes_on_or_around(wraps: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell, of a picture of 2 x 3 cells, each of them partly of a land of its own."""
    own = np.arange(1, 7, dtype=np.float32).reshape(2, 3) / 8

    def bands(picture: object, palette: object, height: int, width: int, rows: int, blend: float):
        assert (picture, palette, height, width, rows, blend) == ("map", [(9, 8, 7), (0, 0, 0)], 2, 3, 64, 1.5)
        yield np.stack([own, 1 - own])

    monkeypatch.setattr(shares, "label_bands", bands)
    labelled = Labelled("map", [((9, 8, 7), 1), ((0, 0, 0), 0)], 2, Rect(4, -1, 6, 2), 1.5, wraps)  # type: ignore[arg-type]
    box = Rect(1, -5, 9, 6)
    found = labelled(Plane(0), box)
    for y in range(box.y0, box.y1):
        for x in range(box.x0, box.x1):
            row = (y - 4) % 2 if wraps[0] else min(max(y - 4, 0), 1)
            column = (x + 1) % 3 if wraps[1] else min(max(x + 1, 0), 2)
            assert found[:, y - box.y0, x - box.x0].tolist() == [1 - own[row, column], own[row, column]]


def test_labels_of_one_land_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "label_bands", Halves(2))
    labelled = Labelled(None, [((0, 0, 0), 1), ((1, 1, 1), 1)], 2, Rect(0, 0, 6, 4), 0.0, (False, False))  # type: ignore[arg-type]
    assert labelled(Plane(0), Rect(0, 0, 6, 4)).tolist() == [[[0.0] * 4] * 6, [[1.0] * 4] * 6]


@pytest.mark.parametrize("size", [(64, 72), (67, 57), (71, 95)])
def test_bands_of_a_pyramid_add_up_to_the_picture(size: tuple[int, int]) -> None:
    """Each is what the next coarser one lacks; an odd row or column at the edge is left out."""
    pixels = torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bands = matching.pyramid(pixels)
    height, width = size
    sides = [(height // 2**n // 2 * 2, width // 2**n // 2 * 2) for n in range(3)] + [(height // 8, width // 8)]
    assert [tuple(band.shape[2:]) for band in bands] == sides
    y, x = (side // 8 * 8 for side in size)
    means = pixels[:, :, :y, :x].unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).mean((3, 5))
    torch.testing.assert_close(bands[3], means)
    half = pixels[:, :, : height // 2 * 2, : width // 2 * 2].unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
    again = bands[0] + F.interpolate(half, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(again, pixels[:, :, : sides[0][0], : sides[0][1]])


@pytest.mark.parametrize("size", [(7, 7), (7, 9), (8, 7)])
def test_patches_that_are_compared_come_from_everywhere(size: tuple[int, int]) -> None:
    band = torch.arange(2.0 * 3 * size[0] * size[1]).view(2, 3, *size)
    found = matching._patches(band, np.random.default_rng(0), 200)
    assert found.shape == (200, 147)
    every = band.unfold(2, 7, 1).unfold(3, 7, 1).permute(0, 2, 3, 4, 5, 1).reshape(-1, 147)
    assert torch.equal(found.unique(dim=0), every.unique(dim=0))


def test_where_nothing_is_there_yet_patches_are_as_far_as_they_vary() -> None:
    """In each band, so that the mean is, too; twice as far is four times as much."""
    real = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    nothing, more = (float(matching.mismatch(a * real, real, np.random.default_rng(1))) for a in (0, 3))
    assert nothing == pytest.approx(1, abs=0.05)
    assert more == pytest.approx(4, abs=0.4)
    few = [float(matching.mismatch(0 * real, real, np.random.default_rng(1), count)) for count in (3, 2048)]
    assert few[1] == nothing != few[0]


@pytest.mark.parametrize(
    ("kind", "lands", "windows", "side"),
    [("spatial", 1, 24, 256), ("spatial", 2, 12, 256), ("spatial", 4, 8, 256), ("dcgan", 3, 32, 64)],
)
def test_a_look_is_at_the_same_windows_of_each_land(
    kind: str, lands: int, windows: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as many of the photos; and those of the plane have nothing in common."""
    monkeypatch.setattr(likeness, "backbone", lambda device: None)
    monkeypatch.setattr(Likeness, "_grams", lambda self, shown: {"layer": torch.stack([*shown]).mean((0, 2, 3))})
    facts = of_lands(kind, *map(str, range(lands)))
    # A photo smaller than a window gives windows of its own size.
    pictures = Photos(facts.lands, tuple(np.full((3, 64, 70), 51 * land, np.uint8) for land in range(lands)))
    drawn: list[tuple[int, list[int]]] = []
    monkeypatch.setattr(Photos, "drawn", lambda self, rng, patch, lands: (
        drawn.append((patch, lands)) or torch.full((1, 3, patch, patch), 51 * lands[0] / 255)
    ))  # fmt: skip
    looked = Likeness(facts, pictures, "cpu")
    assert drawn == [(64, [land]) for land in range(lands) for _ in range(2 * windows)]
    grown: list[tuple[int, Rect]] = []

    def generator(numbers: Numbers, box: Rect) -> torch.Tensor:
        shares = numbers.cells[0, -lands:, 0, 0]
        grown.append((int(shares.argmax()) if lands > 1 else 0, box))
        return torch.full((1, 3, box.height, box.width), 0.25)

    looked.distance(generator)  # type: ignore[arg-type]
    boxes = [Rect(0, 4096 * number, side, 4096 * number + side) for number in range(windows)]
    assert grown == [(land, box) for land in range(lands) for box in boxes]
    looked._photos = [{"layer": torch.full((3,), 0.5 + land)} for land in range(lands)]
    wanted = [
        sum((one - 0.5 - land) ** 2 for one in (0.75, 0.5, 0.375)) / (3 * (0.5 + land) ** 2) for land in range(lands)
    ]
    assert looked.distance(generator) == pytest.approx(sum(wanted) / lands)  # type: ignore[arg-type]
