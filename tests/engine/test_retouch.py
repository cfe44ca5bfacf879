"""A part of a finished poster again: the rest stays byte for byte, and where all changes it is a render."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from serial_pool import Here

from tiler import pictures
from tiler.engine import workplace
from tiler.engine.store import RenderStore
from tiler.errors import CancelledError, ConfigError, StoreError
from tiler.geometry import Rect
from tiler.output.verify import verify
from tiler.rendering import render
from tiler.request import identity
from tiler.request.changing import changes
from tiler.request.config import RenderConfig
from tiler.series.retouch import retouch
from tiler.style.backbone import Backbone
from tiler.style.grams import measure_pixels
from tiler.style.guides import EVERYWHERE, level_cells
from tiler.style.weights import read_weights

SMALL: dict[str, Any] = dict(
    long_edge=112, levels=2, steps=(1, 2), tile=32, feather=4, halo=8, steps_per_round=1, threads=1, device="cpu",
    precision="fp32", style_layers=("relu1_1", "relu2_1"), content_layers=("relu2_2",),
)  # fmt: skip
FEATHER = 6


class Place:
    def __init__(self, folder: Path, pictures_dir: Path, weights: str) -> None:
        self.folder, self.url = folder, str(folder / "poster.zarr")
        self._files = dict(content=str(pictures_dir / "content.png"), styles=(str(pictures_dir / "style.png"),))
        self._weights = weights

    def poster(self, name: str = "poster", **options: Any) -> np.ndarray:
        workplace._CURRENT.clear()
        options = {**self._files, **SMALL, **options, "weights": self._weights}
        pool: Any = Here()
        render(RenderConfig(**options, output=str(self.folder / f"{name}.png")), pool=pool)
        return self.shown(name)

    def shown(self, name: str) -> np.ndarray:
        return np.asarray(Image.open(self.folder / f"{name}.png")).astype(int)

    def mask(self, white: tuple[slice, slice] | None, shape: tuple[int, int] = (88, 112)) -> str:
        drawn = np.zeros(shape, np.uint8)
        if white:
            drawn[white] = 255
        Image.fromarray(drawn).save(self.folder / "mask.png")
        return str(self.folder / "mask.png")

    def again(self, mask: str, name: str = "new", blocks: int = 1, **options: Any) -> np.ndarray:
        workplace._CURRENT.clear()
        pool: Any = Here()
        pool.addresses = [f"worker {number}" for number in range(blocks)]
        options = {"changes": {"content_weight": 5.0}, "feather": FEATHER, "url": self.url, **options}
        retouch(mask=mask, output=str(self.folder / f"{name}.png"), pool=pool, **options)
        return self.shown(name)


@pytest.fixture
def place(tmp_path: Path, pictures_dir: Path, small_weights: str) -> Place:
    return Place(tmp_path, pictures_dir, small_weights)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_lies_outside_stays_byte_for_byte_and_so_does_the_poster_itself(place: Place) -> None:
    old = place.poster()
    kept = _bytes(Path(place.url))
    y, x = slice(20, 50), slice(60, 90)
    new = place.again(place.mask((y, x)))
    changed = np.abs(new - old).max(2) > 0
    assert changed[y, x].mean() > 0.9
    outside = np.ones_like(changed)
    outside[y.start - FEATHER : y.stop + FEATHER, x.start - FEATHER : x.stop + FEATHER] = False
    assert not changed[outside].any()
    assert changed[~outside].sum() > changed[y, x].sum()
    assert _bytes(Path(place.url)) == kept
    url = str(place.folder / "new.zarr")
    assert verify(url) == []
    job = identity.load_job(RenderStore.open(url, writable=False))
    assert len(job.cut.grid(1)) < job.cut.grid(1).places
    # Other workers and homes, and a second change upon the first.
    assert np.array_equal(place.again(place.folder / "mask.png", "two", blocks=2), new)
    assert np.array_equal(place.again(place.folder / "mask.png", "stored", state="store"), new)
    upon = place.again(place.mask((slice(0, 10), slice(0, 10))), "upon", url=url, changes={"content_weight": 0.0})
    assert np.array_equal(upon[20:, 20:], new[20:, 20:])
    assert not np.array_equal(upon[:10, :10], new[:10, :10])


def test_nothing_white_is_the_same_poster_and_all_white_is_a_render(place: Place) -> None:
    old = place.poster()
    assert np.array_equal(place.again(place.mask(None)), old)
    everything = place.mask((slice(None), slice(None)))
    assert np.array_equal(place.again(everything, "same", changes={}), old)
    other = place.again(everything, "other")
    assert np.array_equal(other, place.poster("rendered", content_weight=5.0))
    assert not np.array_equal(other, old)


def test_what_stays_counts_in_the_statistics_as_it_is(place: Place) -> None:
    """In exact mode the report is of the image as it came to be: all of it."""
    place.poster(mode="exact", statistics="gram")
    place.again(place.mask((slice(20, 50), slice(60, 90))))
    store = RenderStore.open(str(place.folder / "new.zarr"))
    job, report = identity.load_job(store), store.level_report(1)
    assert report
    layers = job.terms.style_layers
    backbone = Backbone(read_weights(place._weights).convs, job.terms.layers, "avg", torch.float32, "cpu")

    def grams(pixels: np.ndarray) -> dict[str, torch.Tensor]:
        _, height, width = pixels.shape
        sums = measure_pixels(backbone, torch.from_numpy(pixels), layers, Rect(0, 0, height, width), EVERYWHERE).sums
        return {layer: value / level_cells(layer, height, width) for layer, value in sums.items()}

    style = pictures.open_picture(place._files["styles"][0])
    wanted = grams(next(style.bands(*job.styles.sizes[1][0], 1000)))
    for layer, found in grams(store.read_image(1, Rect(0, 0, 88, 112))).items():
        error = float((found - wanted[layer]).square().sum() / wanted[layer].square().sum())
        assert error == pytest.approx(report["layers"][layer], rel=0.01)


def test_guided_and_exact_jobs_change_as_well(place: Place) -> None:
    left = place.mask((slice(None), slice(0, 50)))
    Path(left).rename(place.folder / "left.png")
    options: dict[str, Any] = dict(
        mode="exact", region=(f"left={place._files['content']}",), mask=(f"left={place.folder / 'left.png'}",)
    )
    old = place.poster(**options)
    new = place.again(place.mask((slice(20, 50), slice(30, 70))))
    changed = np.abs(new - old).max(2) > 0
    assert changed[20:50, 30:70].mean() > 0.9
    assert not changed[:12].any()
    assert not changed[:, 80:].any()


def test_only_a_finished_poster_is_changed_and_only_our_own_is_replaced(place: Place) -> None:
    place.poster()
    mask = place.mask((slice(0, 30), slice(0, 30)))
    first = place.again(mask)
    assert np.array_equal(place.again(mask), first), "an earlier change makes way"
    with pytest.raises(ConfigError, match="its store would be that of the poster"):
        place.again(mask, "poster")
    other = place.poster("other", content_weight=0.0)
    with pytest.raises(StoreError, match=r"other[.]zarr: holds another job; choose another -o$"):
        place.again(mask, "other")
    assert np.array_equal(place.shown("other"), other)
    with pytest.raises(ConfigError, match=r"mask .*: 40 x 40 pixels; allowed: the poster's shape \(112 x 88\)"):
        place.again(place.mask(None, (40, 40)), "square")
    with pytest.raises(ConfigError, match="feather = -1; allowed: 0 to 4096"):
        place.again(mask, "square", feather=-1)
    store = RenderStore.open(place.url)
    store.update(inputs={**store.attributes["inputs"], "content file": "0"})
    with pytest.raises(StoreError, match="the content file is not what its poster was made of"):
        place.again(mask, "square")
    store._root["levels/1"].attrs["report"] = None
    with pytest.raises(StoreError, match="is not finished; allowed: a finished poster"):
        place.again(mask, "square")
    assert not (place.folder / "square.png").exists()
    assert not (place.folder / "square.zarr").exists()


def test_one_that_was_stopped_at_once_makes_way(place: Place) -> None:
    place.poster()
    mask = place.mask((slice(0, 30), slice(0, 30)))
    with pytest.raises(CancelledError):
        place.again(mask, cancelled=lambda: True)
    place.again(mask)


def test_layers_that_make_other_levels_are_refused(place: Place) -> None:
    """Where a poster wraps, its size is a multiple of the deepest layer's cells."""
    old = place.poster(wrap="x", long_edge=109, style_layers=("relu1_1", "relu3_1"))
    mask, shallow = place.mask(None, old.shape[:2]), {"style_layers": ("relu1_1",), "content_layers": ("relu1_2",)}
    message = "set: makes levels of .* px of its poster's .* px; allowed: options that leave them"
    with pytest.raises(ConfigError, match=message):
        place.again(mask, changes=shallow)
    assert not (place.folder / "new.png").exists()
    assert not (place.folder / "new.zarr").exists()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("content-weight", "set = 'content-weight'; allowed: NAME=VALUE"),
        ("color=content", "set = color: is the same in all of a poster; allowed: options of the look"),
        ("transfer=color", "set = transfer: is the same in all of a poster"),
        ("long-edge=9", "set = long_edge: is the same in all of a poster"),
        ("contents=9", "set: unknown key 'contents'; did you mean 'content'"),
        ("content-weight=much", "content_weight = much; allowed: a number"),
    ],
)
def test_what_cannot_be_other_in_a_part_is_refused(said: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        changes([said])
    assert str(error.value).startswith(message)


def test_changes_are_values_of_options() -> None:
    assert changes(["content-weight=1", "--keep_detail=yes", "steps=3,4"]) == {
        "content_weight": 1.0, "keep_detail": True, "steps": [3, 4],
    }  # fmt: skip
