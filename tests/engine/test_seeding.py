"""What a level starts from, written out: of pictures in which every pixel differs, and of parts that wrap."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tiler.engine import seeding
from tiler.engine.blend import noise
from tiler.geometry import Part, Rect, TileGrid

SIZES = [(6, 10), (12, 20), (24, 40)]
LOOK = {"keep_detail": False, "init": "content", "seed": 5, "transfer": "style", "grey": False}


def drawn(seed: int, level: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).random((channels, *SIZES[level]))


class Here:
    """A workplace of three levels, with pictures by their path and images by level and name."""

    def __init__(self, **look: Any) -> None:
        self.pictures = {f"levels/{level}/content": drawn(level, level) for level in range(3)}
        self.pictures |= {f"levels/{level}/coarse": drawn(10 + level, level - 1) for level in (1, 2)}
        self.pictures |= {f"levels/{level}/touched": drawn(20 + level, level, 1) for level in range(3)}
        self.pictures["init"] = drawn(30, 0)
        self.images = {(level, name): drawn(40 + 2 * level + (name == "before"), level)
                       for level in range(3) for name in ("image", "before")}  # fmt: skip
        self.look = SimpleNamespace(**{**LOOK, **look})
        self.touched: Any = None
        self.part: dict[int, Part] = {}
        self.keep: np.ndarray | None = None
        self.told: list[Any] = []
        self.colours = ["first", "second"]
        levels = [SimpleNamespace(height=height, width=width) for height, width in SIZES]
        self.job = SimpleNamespace(look=self.look, cut=SimpleNamespace(levels=levels, grid=self._grid,
                                   estimates=lambda level: level in self.part))  # fmt: skip
        self.store = SimpleNamespace(read_image=self._image, read_picture=self._picture)

    def __getattribute__(self, name: str) -> Any:
        if name == "job":
            found = object.__getattribute__(self, "job")
            found.cut.touched = self.touched
            return found
        return object.__getattribute__(self, name)

    def _grid(self, level: int) -> TileGrid:
        height, width = SIZES[level]
        return TileGrid(height, width, 4, 4, wrap_x=True, align=1, part=self.part.get(level))

    def _image(self, level: int, rect: Rect, name: str = "image") -> np.ndarray:
        return self.images[level, name][:, *rect.slices]

    def _picture(self, path: str, rect: Rect) -> np.ndarray:
        return self.pictures[path][:, *rect.slices]

    def picture(self, level: int, path: str, rect: Rect) -> np.ndarray:
        return wrapped(self.pictures[path], rect)

    def protected(self, level: int, rect: Rect) -> np.ndarray | None:
        return None if self.keep is None else self.keep[:, *rect.slices]

    def optimised(self, pixels: np.ndarray) -> np.ndarray:
        return pixels / 2

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float64)

    def level_guides(self, level: int, rect: Rect) -> Any:
        self.told.append((level, rect))
        return (1, 0), "guides"


def here(**look: Any) -> Any:
    return Here(**look)


def wrapped(picture: np.ndarray, rect: Rect) -> np.ndarray:
    rows = np.take(picture, range(rect.y0, rect.y1), 1, mode="wrap")
    return np.take(rows, range(rect.x0, rect.x1), 2, mode="wrap")


def enlarged(picture: np.ndarray, level: int, rect: Rect) -> np.ndarray:
    """As `upscale` has it of the whole, which is tested by itself."""
    height, width = SIZES[level]
    small = torch.tensor(picture)
    whole = seeding.upscale(
        Rect(0, 0, height, width), (height, width), SIZES[level - 1],
        lambda box: torch.tensor(wrapped(small.numpy(), box)), (False, True),
    )  # fmt: skip
    return wrapped(whole.numpy(), rect)


RECTS = [Rect(2, 3, 9, 17), Rect(1, -3, 7, 4), Rect(0, 15, 12, 26)]


@pytest.mark.parametrize("rect", RECTS)
def test_a_level_starts_from_the_one_before_enlarged(rect: Rect) -> None:
    place = here()
    np.testing.assert_allclose(
        seeding.start(place, 1, rect), enlarged(place.images[0, "image"], 1, rect), rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        seeding.ground(place, 1, rect), enlarged(place.images[0, "image"], 1, rect), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("protected", [False, True])
@pytest.mark.parametrize("rect", RECTS)
def test_what_is_kept_of_the_content_s_detail_is_added(rect: Rect, protected: bool) -> None:
    """As the optimiser sees it, here at half its light: all of it, or as much as is protected of it."""
    place = here(keep_detail=not protected)
    weight: Any = 1
    if protected:
        place.keep = drawn(50, 1, 1)
        weight = wrapped(place.keep, rect)
    coarse = enlarged(place.pictures["levels/1/coarse"], 1, rect)
    detail = wrapped(place.pictures["levels/1/content"], rect) / 2 - coarse / 2
    expected = np.clip(enlarged(place.images[0, "image"], 1, rect) + weight * detail, 0, 1)
    found = seeding.start(place, 1, rect).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert np.abs(found - enlarged(place.images[0, "image"], 1, rect)).max() > 0.05


def test_the_coarsest_level_starts_from_a_picture_as_it_is() -> None:
    place, rect = here(init="picture"), Rect(1, 3, 5, 9)
    np.testing.assert_array_equal(seeding.start(place, 0, rect), place.pictures["init"][:, 1:5, 3:9] / 2)


@pytest.mark.parametrize("level", [0, 1])
def test_what_has_no_colours_starts_without_any(level: int) -> None:
    coloured, grey = (here(init="picture", keep_detail=True, grey=grey) for grey in (False, True))
    rect = Rect(1, 3, 5, 9)
    found = seeding.start(grey, level, rect).numpy()
    np.testing.assert_array_equal(found, found[:1].repeat(3, 0))
    np.testing.assert_allclose(found[0], seeding.start(coloured, level, rect).numpy().mean(0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("transfer", ["style", "color"])
@pytest.mark.parametrize("init", ["content", "noise"])
def test_the_coarsest_level_starts_in_its_styles_colours(
    init: str, transfer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, rect, asked = here(init=init, transfer=transfer), Rect(1, 3, 5, 9), list[Any]()

    def recolour(pixels: np.ndarray, maps: Any, guides: Any) -> np.ndarray:
        asked.append(("style", maps, guides))
        return pixels / 4

    def recoloured(store: Any, part: Rect, pixels: np.ndarray, maps: Any, guides: Any) -> np.ndarray:
        assert (store, part) == (place.store, rect)
        asked.append(("color", maps, guides))
        return pixels / 4

    monkeypatch.setattr(seeding, "recolour", recolour)
    monkeypatch.setattr(seeding, "recoloured", recoloured)
    begun = noise(rect, 10, 5).numpy() if init == "noise" else place.pictures["levels/0/content"][:, 1:5, 3:9] / 2
    np.testing.assert_array_equal(seeding.start(place, 0, rect), torch.tensor(begun / 4, dtype=torch.float64))
    assert asked == [(transfer, ["second", "first"], "guides")]
    assert place.told == [(0, rect)]


@pytest.mark.parametrize("rect", RECTS)
def test_what_is_not_to_be_new_starts_as_it_was(rect: Rect) -> None:
    place = here()
    begun = seeding.start(place, 1, rect).numpy()
    place.touched = ((),) * 3
    place.pictures["levels/1/touched"][:, 2:5] = 0
    place.pictures["levels/1/touched"][:, :2] = 1
    new, was = wrapped(place.pictures["levels/1/touched"], rect), wrapped(place.images[1, "before"], rect)
    found = seeding.start(place, 1, rect).numpy()
    np.testing.assert_allclose(found, begun * new + was * (1 - new), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(np.where(new == 0, found, 0), np.where(new == 0, was, 0))
    np.testing.assert_array_equal(np.where(new == 1, found, 0), np.where(new == 1, begun, 0))
    for given, expected in zip(seeding.before(place, 1, rect), (was, new), strict=True):
        np.testing.assert_array_equal(given, expected)
    np.testing.assert_array_equal(seeding.ground(place, 1, rect), was)


@pytest.mark.parametrize(("rect", "rendered"), [
    (Rect(4, 8, 8, 12), (7,)), (Rect(5, 9, 8, 11), (7,)), (Rect(2, 6, 10, 14), (7, 8)), (Rect(0, 0, 3, 4), (7,)),
])  # fmt: skip
def test_of_a_level_that_is_known_in_part_the_rest_is_the_level_before_enlarged(
    rect: Rect, rendered: tuple[int, ...]
) -> None:
    """Tiles of 4 pixels, five in a row: number 7 begins at (4, 8)."""
    place = here()
    place.part[1] = Part(rendered, (1.0,) * len(rendered))
    expected = enlarged(place.images[0, "image"], 1, Rect(0, 0, 12, 20))
    for number in rendered:
        core = place._grid(1).tile(number).core
        expected[:, *core.slices] = place.images[1, "image"][:, *core.slices]
    found = seeding._finished(place, 1, rect)
    np.testing.assert_allclose(found, expected[:, *rect.slices], rtol=0, atol=1e-12)
    finer = seeding.start(place, 2, Rect(2, 5, 20, 33))
    np.testing.assert_allclose(finer, enlarged(expected, 2, Rect(2, 5, 20, 33)), rtol=0, atol=1e-12)
    place.part.clear()
    np.testing.assert_array_equal(seeding._finished(place, 1, rect), place.images[1, "image"][:, *rect.slices])
