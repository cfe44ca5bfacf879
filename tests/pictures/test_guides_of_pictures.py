"""Guides from masks and labels in numbers: tiny pictures whose every pixel can be worked out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiler import pictures
from tiler.errors import ConfigError
from tiler.pictures.planes import label_bands
from tiler.request.config import RenderConfig
from tiler.request.guiding import check_guides, guide_bands
from tiler.request.places import pictures_of

# Portrait and odd, so that rows and columns cannot be taken for each other: 3 x 2 pixels.
A = [[255, 255], [255, 0], [0, 0]]
B = [[0, 102], [204, 0], [0, 0]]
FAINT = [[51, 51], [51, 51], [51, 51]]
C = [[255, 0], [255, 0], [0, 255]]
BLUE, RED, GREY = (0, 0, 255), (255, 0, 0), (120, 120, 120)
LABELS = [[BLUE, BLUE], [RED, BLUE], [BLUE, RED]]

Bands = Callable[..., dict[str, np.ndarray]]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, plane in (("a", A), ("b", B), ("c", C), ("faint", FAINT), ("labels", LABELS)):
        Image.fromarray(np.array(plane, np.uint8)).save(f"{name}.png")
    for name in ("content", "style"):
        Image.fromarray(np.full((3, 2, 3), 90, np.uint8)).save(f"{name}.png")
    holes = np.dstack([np.full((3, 2), 255, np.uint8), np.array([[255, 0], [51, 255], [0, 0]], np.uint8)])
    Image.fromarray(holes, "LA").save("holes.png")
    return tmp_path


def opened(**options: object) -> tuple[RenderConfig, dict[str, pictures.Picture]]:
    config = RenderConfig("content.png", ("style.png",), "poster.png", **{"region_edge": 0.0, **options})
    return config, {path: pictures.open_picture(path) for path in pictures_of(config)}


@pytest.fixture
def bands(files: Path) -> Bands:
    def planes(rows: int = 2, **options: object) -> dict[str, np.ndarray]:
        """Each region's guide [3, 2], of bands of so many rows."""
        config, pictures_ = opened(**options)
        found = list(guide_bands(config, pictures_["content.png"], pictures_, 3, 2, rows))
        assert [band.shape[1] for band in found] == [rows] * (3 // rows) + [3 % rows] * (3 % rows > 0)
        assert all(band.dtype == np.float32 for band in found)
        whole = np.concatenate(found, axis=1)
        np.testing.assert_allclose(whole.sum(0), 1, atol=1e-6)
        return dict(zip(config.regions.names, whole, strict=True))

    return planes


def test_labels_that_are_transparent_are_white(tmp_path: Path) -> None:
    pixels = np.array([[(0, 0, 0, 255), (0, 0, 0, 0)], [(0, 0, 0, 40), (255, 255, 255, 255)]], np.uint8)
    for mode in ("RGBA", "LA"):
        Image.fromarray(pixels).convert(mode).save(tmp_path / f"{mode}.png")
        picture = pictures.open_picture(tmp_path / f"{mode}.png")
        [found] = label_bands(picture, [(0, 0, 0), (255, 255, 255)], 2, 2, 2)
        np.testing.assert_allclose(found[1], [[0, 1], [1, 1]], atol=1e-6)
        [alone] = label_bands(picture, [(0, 0, 0)], 2, 2, 2)
        np.testing.assert_allclose(alone, np.ones((1, 2, 2)))


def test_two_masks_of_a_region_are_their_larger(bands: Bands) -> None:
    found = bands(region=["r=style.png"], mask=["r=faint.png", "r=b.png"])
    np.testing.assert_allclose(found["r"], [[0.2, 0.4], [0.8, 0.2], [0.2, 0.2]], atol=1e-6)
    found = bands(region=["r=style.png"], mask=["r=b.png"])
    np.testing.assert_allclose(found["r"], [[0, 0.4], [0.8, 0], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(found["rest"], [[1, 0.6], [0.2, 1], [1, 1]], atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_masks_of_two_regions_share_what_both_cover(bands: Bands, rows: int) -> None:
    found = bands(rows, region=["r=style.png", "s=style.png"], mask=["r=a.png", "s=c.png"])
    np.testing.assert_allclose(found["r"], [[0.5, 1], [0.5, 0], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(found["s"], [[0.5, 0], [0.5, 0], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(found["rest"], [[0, 0], [0, 1], [1, 0]], atol=1e-6)
    found = bands(rows, region=["r=style.png", "s=style.png"], mask=["r=a.png", "s=b.png"])
    np.testing.assert_allclose(found["r"], [[1, 1 / 1.4], [1 / 1.8, 0], [0, 0]], atol=1e-6)


def test_masks_lie_on_top_of_the_labels(bands: Bands) -> None:
    labels = {"labels": "labels.png", "label": ["#0000ff=rest", "#ff0000=style.png"]}
    found = bands(**labels)
    np.testing.assert_allclose(found["#ff0000"], [[0, 0], [1, 0], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(found["rest"], [[1, 1], [0, 1], [1, 0]], atol=1e-6)
    found = bands(region=["r=style.png"], mask=["r=b.png"], **labels)
    np.testing.assert_allclose(found["r"], [[0, 0.4], [0.8, 0], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(found["#ff0000"], [[0, 0], [0.2, 0], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(found["rest"], [[1, 0.6], [0, 1], [1, 0]], atol=1e-6)


def test_what_is_transparent_in_a_mask_is_black(bands: Bands) -> None:
    found = bands(region=["r=style.png"], mask=["r=holes.png"])
    np.testing.assert_allclose(found["r"], [[1, 0], [0.2, 1], [0, 0]], atol=1e-6)


def test_edges_are_softened_by_a_share_of_the_longer_side(files: Path) -> None:
    """Over 10 % of 200 px, 2 to 98 % of the way; and not farther."""
    plane = np.zeros((200, 40), np.uint8)
    plane[:100] = 255
    Image.fromarray(plane).save("half.png")
    Image.fromarray(np.full((200, 40, 3), 90, np.uint8)).save("content.png")
    config, pictures_ = opened(region=["r=style.png"], mask=["r=half.png"], region_edge=10.0)
    found = np.concatenate(list(guide_bands(config, pictures_["content.png"], pictures_, 200, 40, 64)), axis=1)
    profile = found[config.regions.names.index("r"), :, 20]
    assert profile[99] + profile[100] == pytest.approx(1, abs=0.02)
    assert profile[89] == pytest.approx(0.98, abs=0.015)
    assert profile[110] == pytest.approx(0.02, abs=0.015)
    assert profile[70] > 0.999
    assert profile[95] < 0.95


def test_a_mask_that_is_made_smaller_has_no_rim(files: Path) -> None:
    """A quarter of its size: each row is of the eight around it, nearer ones more. Sharper filters ring beyond them."""
    plane = np.zeros((200, 40), np.uint8)
    plane[:100] = 255
    Image.fromarray(plane).save("half.png")
    config, pictures_ = opened(region=["r=style.png"], mask=["r=half.png"])
    [found] = guide_bands(config, pictures_["content.png"], pictures_, 50, 10, 50)
    profile = found[config.regions.names.index("r"), :, 5]
    np.testing.assert_allclose(profile[:24], 1, atol=1e-3)
    np.testing.assert_allclose(profile[26:], 0, atol=1e-3)
    np.testing.assert_allclose(profile[24:26], [0.875, 0.125], atol=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": ["r=style.png"], "mask": ["r=dark.png"]}, "region 'r' covers no pixel"),
        (
            {"region": ["r=style.png"], "mask": ["r=wide.png"]},
            "mask wide.png: 30 x 20 pixels; allowed: the shape of the",
        ),
        ({"labels": "wide.png", "label": ["#0000ff=rest"]}, "labels wide.png: 30 x 20 pixels; allowed"),
        ({"style_mask": ["rest=dark.png"]}, "style_mask dark.png: is black all over; allowed: white where the style"),
        ({"style_mask": ["rest=wide.png"]}, "style_mask wide.png: 30 x 20 pixels; allowed: the shape of the style.png"),
        ({"protect": "dark.png"}, "protect dark.png: is black all over; allowed: white where the content is to be"),
        ({"protect": "wide.png"}, "protect wide.png: 30 x 20 pixels; allowed: the shape of the content (20 x 30)"),
    ],
)
def test_what_says_nothing_or_does_not_fit_is_refused(files: Path, options: dict, message: str) -> None:
    Image.fromarray(np.zeros((3, 2), np.uint8)).save("dark.png")
    Image.fromarray(np.full((20, 30), 255, np.uint8)).save("wide.png")
    for name in ("content", "style"):
        Image.fromarray(np.full((30, 20, 3), 90, np.uint8)).save(f"{name}.png")
    config, pictures_ = opened(**options)
    with pytest.raises(ConfigError) as error:
        check_guides(config, pictures_["content.png"], pictures_)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_fits_and_covers_little_is_taken(files: Path) -> None:
    """A single pixel of 600 x 400 that is a fifth white counts."""
    plane = np.zeros((600, 400), np.uint8)
    plane[599, 399] = 51
    Image.fromarray(plane).save("spot.png")
    Image.fromarray(np.full((600, 400, 3), 90, np.uint8)).save("content.png")
    config, pictures_ = opened(region=["r=style.png"], mask=["r=spot.png"], protect="spot.png")
    check_guides(config, pictures_["content.png"], pictures_)
