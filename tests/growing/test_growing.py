"""Growing: any part of the plane is the same pixels, and the plane is as it was asked for."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from serial_pool import Here

from tiler.errors import OutputError
from tiler.geometry import Rect
from tiler.growing.architectures import ARCHITECTURES
from tiler.growing.grow import grow, rows_of
from tiler.growing.growth import Growth
from tiler.growing.land import Land
from tiler.growing.noise import Plane


def grown(land: str, folder: Path, **asked: Any) -> np.ndarray:
    output = folder / "grown.png"
    grow(Growth(land, str(output), **asked), pool=Here())
    return np.asarray(Image.open(output)).astype(int)


@settings(max_examples=15, deadline=None)
@given(y=st.integers(-99, 99), x=st.integers(-99, 99), height=st.integers(1, 40), width=st.integers(1, 40),
       kind=st.sampled_from(["spatial", "dcgan"]))  # fmt: skip
def test_any_box_is_the_same_pixels_as_in_any_other(y, x, height, width, kind) -> None:
    torch.manual_seed(0)
    architecture = ARCHITECTURES[kind]
    generator = architecture.generator(2, 1).eval()
    for name, parameter in generator.named_parameters():
        if name.endswith("strength"):
            torch.nn.init.normal_(parameter)

    def made(box: Rect) -> torch.Tensor:
        with torch.no_grad():
            return generator(architecture.numbers(Plane(7), box), box)[0] / 10

    box, around = Rect(y, x, y + height, x + width), Rect(y - 21, x - 9, y + height + 3, x + width + 38)
    whole, part = made(around), made(box)
    assert part.shape == (3, height, width)
    assert (whole[:, 21 : 21 + height, 9 : 9 + width] - part).abs().max() <= 1e-6


def test_what_is_cut_from_the_plane_is_the_same_bytes(land: str, tmp_path: Path) -> None:
    whole = grown(land, tmp_path, size="600x530", offset="-40,-10", seed=5)
    assert whole.std((0, 1)).min() > 3
    part = grown(land, tmp_path, size="90x33", offset="450,480", seed=5)
    assert np.array_equal(whole[490:523, 490:580], part)
    assert not np.array_equal(grown(land, tmp_path, size="90x33", offset="450,480", seed=6), part)


@pytest.mark.parametrize(("wrap", "axes"), [("x", (1,)), ("xy", (0, 1))])
def test_what_wraps_closes(wrap: str, axes: tuple[int, ...], land: str, tmp_path: Path) -> None:
    whole = grown(land, tmp_path, size="150x90", wrap=wrap)
    assert whole.shape == (96 if wrap == "xy" else 90, 144, 3)
    moved = grown(land, tmp_path, size="150x90", wrap=wrap, offset="64,0" if wrap == "x" else "64,32")
    rolled = np.roll(whole, (-64,) if wrap == "x" else (-32, -64), axes)
    assert np.abs(moved - rolled).max() <= 1
    inner = np.abs(np.diff(whole, axis=1)).mean((0, 2))
    assert np.abs(whole[:, 0] - whole[:, -1]).mean() <= inner.max()


def test_each_land_grows_where_its_label_is(land: str, tmp_path: Path) -> None:
    labels = np.full((160, 320, 3), (0, 0, 200), np.uint8)
    labels[:, 160:] = (90, 200, 10)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    said = dict(labels=str(tmp_path / "labels.png"), label=("#0000c8=sea", "#5ac80a=moor"), blend=16.0)
    both = grown(land, tmp_path, **said)
    assert both.shape == (160, 320, 3)
    sea, moor = (grown(land, tmp_path, size="320x160", only=name) for name in ("sea", "moor"))
    assert np.array_equal(both[:, :48], sea[:, :48])
    assert np.array_equal(both[:, -48:], moor[:, -48:])
    assert np.abs(sea - moor).mean() > 1
    middle = both[:, 150:170]
    assert np.abs(middle - sea[:, 150:170]).max() > 0
    assert np.abs(middle - moor[:, 150:170]).max() > 0


def test_without_labels_a_land_of_several_kinds_has_them_all(land: str, tmp_path: Path) -> None:
    wild = grown(land, tmp_path, size="400x90", seed=2)
    for name in ("sea", "moor"):
        assert not np.array_equal(wild, grown(land, tmp_path, size="400x90", seed=2, only=name))


@pytest.mark.parametrize("kind", ["land", "scenes"])
def test_a_walk_goes_from_one_seed_to_the_other(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    file = request.getfixturevalue(kind)
    walk = grown(file, tmp_path, size="64x64", walk=4, seed=3, to_seed=9)
    assert walk.shape == (64, 256, 3)
    frames = np.split(walk, 4, 1)
    assert np.array_equal(frames[0], grown(file, tmp_path, size="64x64", seed=3))
    assert np.array_equal(frames[3], grown(file, tmp_path, size="64x64", seed=9))
    steps = [np.abs(one - other).mean() for one, other in itertools.pairwise(frames)]
    assert 0 < max(steps) < np.abs(frames[0] - frames[3]).mean()


def test_a_georeference_is_that_of_the_labels(land: str, tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (1, 2, 3)).save(tmp_path / "labels.png")
    (tmp_path / "labels.pgw").write_text("100\n0\n0\n-100\n5000\n9000\n")
    grown(land, tmp_path, labels=str(tmp_path / "labels.png"), label=("#010203=sea",), size="80x40")
    assert [float(line) for line in (tmp_path / "grown.pgw").read_text().split()][:4] == [50, 0, 0, -50]


def test_a_growth_is_checked_as_a_whole(land: str, tmp_path: Path) -> None:
    """Where it lies and on which map; a walk, whose frames lie side by side, is on none, and is as wide as they all."""
    Image.new("RGB", (40, 20), (1, 2, 3)).save(tmp_path / "labels.png")
    (tmp_path / "labels.pgw").write_text("100\n0\n0\n-100\n5000\n9000\n")
    said: dict[str, Any] = {"labels": str(tmp_path / "labels.png"), "label": ("#010203=sea",), "offset": "7,-3"}
    asked = Growth(land, str(tmp_path / "grown.png"), size="80x100", **said).checked()
    assert asked.georef is not None
    assert asked.georef.transform[0] == pytest.approx(50)
    assert asked.georef.transform[4] == pytest.approx(-20)
    assert (asked.box, asked.noises, asked.notes) == (Rect(-3, 7, 97, 87), (Plane(0),), ())
    assert Growth(land, str(tmp_path / "grown.png"), walk=2, **said).checked().georef is None
    wide = Growth(land, str(tmp_path / "grown.jpg"), size="32750x10", walk=2).checked()
    assert (wide.height, wide.width, wide.georef) == (10, 65500, None)
    for size, walk in (("32751x10", 2), ("65501x10", None), ("10x65501", None)):
        with pytest.raises(OutputError, match="65500"):
            Growth(land, str(tmp_path / "grown.jpg"), size=size, walk=walk).checked()
    (tmp_path / "linked.png").symlink_to(tmp_path / "labels.png")
    with pytest.raises(
        OutputError, match=r"linked\.png: would replace one of the inputs, .*labels\.png; choose another"
    ):
        Growth(land, str(tmp_path / "linked.png"), **said).checked()


def test_a_file_beside_it_that_is_not_ours_is_not_replaced(land: str, tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (1, 2, 3)).save(tmp_path / "labels.png")
    (tmp_path / "labels.pgw").write_text("100\n0\n0\n-100\n5000\n9000\n")
    (tmp_path / "grown.pgw").write_text("mine")
    asked = Growth(land, str(tmp_path / "grown.png"), labels=str(tmp_path / "labels.png"), label=("#010203=sea",))
    with pytest.raises(OutputError, match=r"grown\.pgw beside it would be replaced"):
        asked.checked()


def test_a_band_fits_into_memory_however_wide() -> None:
    for width in (64, 16384, 10**5, 10**6):
        assert rows_of(width, 16) * width * 6 <= 2**25 or rows_of(width, 16) == 16
    for width, rows in ((1024, 512), (10922, 512), (10923, 256), (21845, 256), (21846, 128), (10**5, 32), (10**6, 16)):
        assert rows_of(width, 16) == rows
    assert (rows_of(10**6, 64), rows_of(10**6, 15)) == (64, 16)


def test_a_strangers_file_is_no_land(land: str) -> None:
    """Whatever is cut off or turned over in it."""
    module = importlib.import_module("tiler.growing.land")
    data, rng = Path(land).read_bytes(), np.random.default_rng(1)
    assert Land.of(data, "land").facts.lands == ("sea", "moor")
    for cut in (0, 7, 8, 100, 2000, len(data) - 1):
        with pytest.raises(module.LandError):
            Land.of(data[:cut], "land")
    header = 8 + int.from_bytes(data[:8], "little")
    refused = 0
    for _ in range(60):
        other = bytearray(data)
        other[int(rng.integers(0, header))] ^= 1 << int(rng.integers(0, 8))
        try:
            Land.of(bytes(other), "land")
        except module.LandError:
            refused += 1
    assert refused > 20
    facts, tensors = module.unpacked(data, "land")
    for wrong in (float("nan"), float("inf")):
        other = {**tensors, "colours.bias": torch.full_like(tensors["colours.bias"], wrong)}
        with pytest.raises(module.LandError, match="not finite"):
            Land.of(module.packed(facts, other), "land")
