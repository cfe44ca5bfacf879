"""What is learned from, and the file that comes of it: photos, their colours and patches, facts and their limits."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from tiler.errors import ConfigError, PictureError
from tiler.growing import photos as module
from tiler.growing.land import Colours, Facts, load_into
from tiler.growing.photos import Photos, augmented


def saved(folder: Path, name: str, height: int, width: int, seed: int = 0) -> tuple[str, np.ndarray]:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(folder / name)
    return str(folder / name), pixels.transpose(2, 0, 1)


def of(*pixels: np.ndarray) -> Photos:
    return Photos(tuple(f"land {number}" for number in range(len(pixels))), pixels)


def test_photos_are_held_as_they_are(tmp_path: Path) -> None:
    """Also such as are read in more than one go; and a name is one that a label can have."""
    (portrait, tall), (landscape, wide) = saved(tmp_path, "a,b=c.png", 300, 65), saved(tmp_path, "d.e.png", 64, 70, 1)
    found = Photos.read([portrait, landscape], 64)
    assert found.names == ("a b c", "d.e")
    assert [np.array_equal(*pair) for pair in zip(found.pixels, (tall, wide), strict=True)] == [True, True]
    told = b"(3, 64, 70)" + wide.tobytes()
    assert found.digests[1] == hashlib.sha256(told).hexdigest() != found.digests[0]


def test_photos_of_16_bits_are_rounded(tmp_path: Path) -> None:
    values = np.array([0, 128, 129, 51340, 51400, 51528, 51529, 65535], np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", np.tile(values[None, :, None], (8, 1, 3)), photometric="rgb")
    (found,) = Photos.read([str(tmp_path / "deep.tif")], 8).pixels
    assert found[1, 5].tolist() == [0, 0, 1, 200, 200, 200, 201, 255]


@pytest.mark.parametrize("size", [(64, 65), (65, 64)])
def test_a_photo_is_as_large_as_a_patch_at_least(size: tuple[int, int], tmp_path: Path) -> None:
    file, _ = saved(tmp_path, "small.png", *size)
    assert Photos.read([file], 64).pixels[0].shape == (3, *size)
    words = f"^{file}: {size[1]} x {size[0]} px are too few to learn from with --patch 65$"
    with pytest.raises(PictureError, match=words):
        Photos.read([file], 65)


def test_as_many_photos_and_pixels_as_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [saved(tmp_path, f"{name}.png", 70, 100)[0] for name in ("one", "two", "three")]
    monkeypatch.setattr(module, "MOST_LANDS", 3)
    monkeypatch.setattr(module, "MOST_PIXELS", 21_000)
    assert len(Photos.read(files, 64).names) == 3
    monkeypatch.setattr(module, "MOST_PIXELS", 20_999)
    with pytest.raises(PictureError, match=r"one\.png, .*three\.png: 0 million pixels; allowed: up to 0, so a part"):
        Photos.read(files, 64)
    monkeypatch.setattr(module, "MOST_LANDS", 2)
    with pytest.raises(ConfigError, match=r"PHOTO... = .*one\.png, .*three\.png; allowed: 1 to 2 pictures"):
        Photos.read(files, 64)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (5, 5)])
def test_patches_come_from_everywhere_in_their_own_photo(shape: tuple[int, int]) -> None:
    numbers = np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(shape)
    pictures = of(np.stack([numbers] * 3), np.full((3, 5, 5), 255, np.uint8))
    found = pictures.drawn(np.random.default_rng(0), 5, [0, 1] * 100)
    assert found.shape == (200, 3, 5, 5)
    assert (found[1::2] == 1).all()
    corners = {(y, x) for y in range(shape[0] - 4) for x in range(shape[1] - 4)}
    seen = set()
    for patch in (found[::2, 2] * 255).round().int().numpy():
        y, x = divmod(int(patch[0, 0]), shape[1])
        assert np.array_equal(patch, numbers[y : y + 5, x : x + 5])
        seen.add((y, x))
    assert seen == corners


def test_colours_of_several_photos_count_each_as_much() -> None:
    """As many pixels of the larger one as the smaller one has, from all over it."""
    rng = np.random.default_rng(2)
    small, large = rng.integers(0, 100, (3, 8, 5), np.uint8), rng.integers(60, 256, (3, 10, 13), np.uint8)
    both = np.concatenate([small.reshape(3, 40), large.reshape(3, 130)[:, ::3][:, :40]], 1) / 255
    assert of(small, large).colours() == Colours.of(both)
    assert of(large, small).colours().mean == pytest.approx(both.mean(1).tolist())
    assert of(large).colours() == Colours.of(large.reshape(3, 130) / 255)


def test_of_large_photos_some_pixels_tell_the_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COLOURS_FROM", 20)
    large, larger = np.random.default_rng(3).integers(0, 256, (2, 3, 10, 13), np.uint8)
    parts = [one.reshape(3, 130)[:, ::6][:, :20] / 255 for one in (large, larger)]
    assert of(large).colours() == Colours.of(parts[0])
    assert of(large, larger).colours() == Colours.of(np.concatenate(parts, 1))


def test_each_patch_is_moved_and_stretched_in_its_own_way() -> None:
    """By a fifth at most: contrast for all its colours alike, each colour by itself."""
    units = torch.randn(400, 3, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = augmented(units, np.random.default_rng(1))
    spread = (found - found.mean((2, 3), keepdim=True)) / (units - units.mean((2, 3), keepdim=True)) - 1
    torch.testing.assert_close(spread, spread[:, :1, :1, :1].expand_as(spread))
    stretched = spread[:, 0, 0, 0]
    moved = (found - units * (1 + stretched[:, None, None, None]))[:, :, 0, 0]
    for drawn in (stretched, *moved.T):
        assert 0.19 < drawn.max() <= 0.2
        assert -0.2 <= drawn.min() < -0.19
    between = np.corrcoef([stretched.numpy(), *moved.T.numpy()])
    assert np.abs(between - np.eye(4)).max() < 0.2


@pytest.mark.parametrize(
    ("spread", "least"), [((0.2, 0.1, 0.001), 0.1 * 0.2), ((0.004, 1e-4, 0.0), 1e-3), ((0.0, 0.0, 0.0), 1e-3)]
)
def test_what_a_photo_hardly_has_is_a_tenth_of_what_it_has_most(spread: tuple[float, ...], least: float) -> None:
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]).T * (7 / 8) ** 0.5
    colours = Colours.of(np.array([[0.5], [0.4], [0.3]]) + np.array(spread)[:, None] * signs)
    assert colours.mean == pytest.approx((0.5, 0.4, 0.3))
    wanted = sorted(max(one, least) for one in spread)
    assert sorted(np.linalg.norm(colours.axes, axis=0)) == pytest.approx(wanted)


def test_colours_beyond_white_and_black_are_white_and_black() -> None:
    colours = Colours((0.5, 0.4, 0.3), ((0.1, 0.0, 0.0), (0.0, 0.0, 0.2), (0.05, 0.3, 0.0)))
    units = torch.tensor([1.0, 2.0, -1.0]).view(1, 3, 1, 1)
    assert colours.pixels(units).flatten().tolist() == pytest.approx([0.6, 0.2, 0.95])
    assert colours.units(colours.pixels(units)).flatten().tolist() == pytest.approx([1, 2, -1])
    assert colours.pixels(10 * units).flatten().tolist() == [1, 0, 1]


FACTS = Facts("spatial", 2, ("sea",), Colours((0.5,) * 3, ((1.0,) * 3,) * 3), 64, 2, 0, (), 1, 0.0, {})


@pytest.mark.parametrize(
    ("name", "allowed", "refused", "words"),
    [
        ("architecture", ["spatial", "dcgan"], ["vae"], "architecture is 'vae'; known: spatial, dcgan"),
        ("channels", [1, 512], [0, 513], "; allowed: 1 to 512"),
        ("lands", [("a",), (*map(str, range(64)),)], [(), (*map(str, range(65)),), ("a", "a")], "1 to 64, each once"),
        ("lands", [("x" * 100,)], [("x" * 101,), ("",), ("a", "b,c"), ("a=b",), ("a\x1fb",)], "lands: a name is none"),
        (
            "colours",
            [FACTS.colours],
            [Colours((0.5,) * 2, FACTS.colours.axes), Colours(FACTS.colours.mean, ((1.0,) * 3,) * 2),
             Colours(FACTS.colours.mean, ((1.0,) * 3, (1.0,) * 2, (1.0,) * 3))],
            "colours are not three",
        ),
    ],
)  # fmt: skip
def test_a_land_is_one_up_to_its_limits(name: str, allowed: list[Any], refused: list[Any], words: str) -> None:
    for value in allowed:
        assert getattr(replace(FACTS, **{name: value}), name) == value
    for value in refused:
        with pytest.raises(ValueError, match=words.replace("?", r"\?")):
            replace(FACTS, **{name: value})


def test_a_module_takes_its_own_numbers_only() -> None:
    module, whole = torch.nn.Linear(3, 2), {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    load_into(module, whole)
    assert module.weight.sum() == 6
    bad = {
        "bias is missing": {"weight": whole["weight"]},
        "more is unknown": {**whole, "more": torch.ones(1)},
        r"weight is torch.float32 \[3, 2\], not \[2, 3\]": {**whole, "weight": torch.ones(3, 2)},
        r"bias is torch.float64 \[2\], not \[2\]": {**whole, "bias": torch.zeros(2).double()},
        "bias holds numbers that are not finite": {**whole, "bias": torch.tensor([0, float("nan")])},
    }
    for words, tensors in bad.items():
        with pytest.raises(ValueError, match=f"^{words}$"):
            load_into(module, tensors)
