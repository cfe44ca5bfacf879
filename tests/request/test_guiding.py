"""Where regions are, and what lies on top: tiny pictures with every number known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiler.errors import ConfigError, OutputError
from tiler.output import overlay
from tiler.pictures import open_picture
from tiler.request import guiding
from tiler.request.config import RenderConfig
from tiler.request.places import pictures_of

HEIGHT, WIDTH = 3, 4


def _save(folder: Path, name: str, rows: list[list[object]], mode: str = "L") -> str:
    kinds = {"L": np.uint8, "RGB": np.uint8, "RGBA": np.uint8, "LA": np.uint8}
    Image.fromarray(np.array(rows, kinds[mode])).save(folder / name)
    return str(folder / name)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A content of 4 x 3 pixels, three masks and a label picture of its size."""
    grey = [[10, 90, 170, 250]] * HEIGHT
    red, blue, white = (255, 0, 0), (10, 20, 230), (250, 250, 255)
    return {
        "content": _save(tmp_path, "content.png", grey),
        "style": _save(tmp_path, "style.png", grey),
        "left": _save(tmp_path, "left.png", [[255, 255, 0, 0]] * HEIGHT),
        "half": _save(tmp_path, "half.png", [[102, 102, 102, 0], [0] * 4, [255, 0, 0, 0]]),
        "top": _save(tmp_path, "top.png", [[255] * 4, [0] * 4, [0] * 4]),
        "labels": _save(
            tmp_path, "labels.png", [[red, red, blue, white], [red, blue, blue, white], [white] * 4], "RGB"
        ),
        "veiled": _save(tmp_path, "veiled.png", [[(255, 255), (255, 51), (0, 255), (255, 0)]] * HEIGHT, "LA"),
    }


def _guides(files: dict[str, str], rows: int = HEIGHT, **options: object) -> np.ndarray:
    config = RenderConfig(files["content"], (files["style"],), "p.png", region_edge=0, **options)
    opened = {path: open_picture(path) for path in pictures_of(config)}
    bands = list(guiding.guide_bands(config, opened[files["content"]], opened, HEIGHT, WIDTH, rows))
    assert all(band.dtype == np.float32 for band in bands)
    return np.concatenate(bands, 1)


def test_one_mask_and_what_is_left(files: dict[str, str]) -> None:
    rest, sea = _guides(files, region=[f"sea={files['style']}"], mask=[f"sea={files['left']}"])
    assert np.array_equal(sea, [[1, 1, 0, 0]] * 3)
    assert np.array_equal(rest, [[0, 0, 1, 1]] * 3)


def test_of_two_masks_of_one_region_the_larger_counts(files: dict[str, str]) -> None:
    masks = [f"sea={files['half']}", f"sea={files['top']}", f"sea={files['half']}"]
    rest, sea = _guides(files, region=[f"sea={files['style']}"], mask=masks)
    assert np.allclose(sea, [[1, 1, 1, 1], [0] * 4, [1, 0, 0, 0]])
    rest, sea = _guides(files, region=[f"sea={files['style']}"], mask=[masks[0], masks[0]])
    assert np.allclose(sea[0], [0.4, 0.4, 0.4, 0])
    assert np.allclose(rest[0], [0.6, 0.6, 0.6, 1])


def test_regions_share_what_more_than_one_covers(files: dict[str, str]) -> None:
    regions = [f"sea={files['style']}", f"ice={files['style']}"]
    rest, sea, ice = _guides(files, 2, region=regions, mask=[f"ice={files['left']}", f"sea={files['half']}"])
    # 1 and 0.4 share in proportion; 0.4 alone leaves 0.6 to the rest.
    assert np.allclose(sea, [[0.4 / 1.4, 0.4 / 1.4, 0.4, 0], [0] * 4, [0.5, 0, 0, 0]], atol=1e-6)
    assert np.allclose(ice, [[1 / 1.4, 1 / 1.4, 0, 0], [1, 1, 0, 0], [0.5, 1, 0, 0]], atol=1e-6)
    assert np.allclose(rest, [[0, 0, 0.6, 1], [0, 0, 1, 1], [0, 0, 1, 1]], atol=1e-6)


def test_masks_lie_on_top_of_labels(files: dict[str, str]) -> None:
    said = dict(labels=files["labels"], label=["#ff0000=sea", "#0000ff=ice", "#ffffff=rest"])
    regions = [f"sea={files['style']}", f"ice={files['style']}"]
    rest, sea, ice = _guides(files, 1, region=regions, mask=[f"ice={files['half']}"], **said)
    assert np.allclose(sea, [[0.6, 0.6, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], atol=1e-6)
    assert np.allclose(ice, [[0.4, 0.4, 1, 0], [0, 1, 1, 0], [1, 0, 0, 0]], atol=1e-6)
    assert np.allclose(rest, [[0, 0, 0, 1], [0, 0, 0, 1], [0, 1, 1, 1]], atol=1e-6)


def test_labels_without_a_mask_or_a_default(files: dict[str, str]) -> None:
    config = RenderConfig(
        files["content"], (), "p.png", region_edge=0, labels=files["labels"],
        label=[f"#ff0000={files['style']}", f"#ffffff={files['style']}"],
    )  # fmt: skip
    opened = {path: open_picture(path) for path in pictures_of(config)}
    red, white = np.concatenate([*guiding.guide_bands(config, opened[files["content"]], opened, HEIGHT, WIDTH, 2)], 1)
    assert np.array_equal(red, [[1, 1, 1, 0], [1, 1, 1, 0], [0] * 4])  # blue is nearer to red than to white
    assert np.array_equal(white, 1 - red)


def test_the_edge_passes_over_from_one_region_to_the_next(files: dict[str, str], tmp_path: Path) -> None:
    wide = {"content": _save(tmp_path, "w.png", [[9] * 40] * 4), "style": files["style"]}
    mask = _save(tmp_path, "m.png", [[255] * 20 + [0] * 20] * 4)
    config = RenderConfig(
        wide["content"],
        (wide["style"],),
        "p.png",
        region=[f"sea={wide['style']}"],
        mask=[f"sea={mask}"],
        region_edge=10,
    )
    opened = {path: open_picture(path) for path in pictures_of(config)}
    [band] = guiding.guide_bands(config, opened[wide["content"]], opened, 4, 40, 9)
    rest, sea = band
    assert np.allclose(rest + sea, 1, atol=1e-6)
    assert np.all(np.diff(sea[0]) <= 1e-6)
    assert sea[0, 19] + sea[0, 20] == pytest.approx(1, abs=1e-3)
    assert 0.6 < sea[0, 19] < 0.95
    assert (sea[0, 14] > 0.999, sea[0, 25] < 0.001) == (True, True)  # 10 % of 40 px, and no more


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            dict(region=["sea={style}"], mask=["sea={thin}"]),
            "mask {thin}: 9 x 3 pixels; allowed: the shape of the content",
        ),
        (dict(labels="{thin}", label=["#ff0000={style}"]), "labels {thin}: 9 x 3 pixels"),
        (dict(protect="{thin}"), "protect {thin}: 9 x 3 pixels"),
        (dict(protect="{black}"), "protect {black}: is black all over; allowed: white where the content is to be kept"),
        (
            dict(style_mask=["rest={thin}"]),
            "style_mask {thin}: 9 x 3 pixels; allowed: the shape of the {style} (4 x 3)",
        ),
        (dict(style_mask=["rest={black}"]), "allowed: white where the style picture counts"),
        (dict(region=["sea={style}"], mask=["sea={black}"]), "region 'sea' covers no pixel"),
        (dict(labels="{labels}", label=["#00ff00=sea"], region=["sea={style}"], mask=["sea={black}"]), None),
    ],
)
def test_guides_that_do_not_fit(
    files: dict[str, str], tmp_path: Path, options: dict[str, object], words: str | None
) -> None:
    files = {
        **files,
        "thin": _save(tmp_path, "thin.png", [[255] * 9] * 3),
        "black": _save(tmp_path, "b.png", [[0] * 4] * 3),
    }

    def filled(value: object) -> object:
        return [filled(one) for one in value] if isinstance(value, list) else str(value).format(**files)

    config = RenderConfig(files["content"], (files["style"],), "p.png", **{k: filled(v) for k, v in options.items()})
    opened = {path: open_picture(path) for path in pictures_of(config)}
    if words is None:
        guiding.check_guides(config, opened[files["content"]], opened)
        return
    with pytest.raises(ConfigError) as error:
        guiding.check_guides(config, opened[files["content"]], opened)
    assert words.format(**files) in str(error.value)


def _over(folder: Path, above: list[object], below: np.ndarray) -> np.ndarray:
    file = _save(folder, "above.png", [above], "RGBA")
    stage = overlay.overlay_stage(open_picture(file), 1, len(above), 4)
    return stage(below, 0)


def test_what_lies_on_top_mixes_as_porter_and_duff_say(tmp_path: Path) -> None:
    above = [(255, 0, 0, 255), (255, 0, 0, 0), (255, 0, 0, 51), (0, 255, 0, 102)]
    below = np.full((3, 1, 4), 0.5, np.float32)
    found = _over(tmp_path, above, below)
    assert found.dtype == np.float32
    assert np.allclose(found[:, 0].T, [[1, 0, 0], [0.5] * 3, [0.6, 0.4, 0.4], [0.3, 0.7, 0.3]], atol=1e-6)


def test_on_a_transparent_poster_it_covers_as_far_as_it_is_opaque(tmp_path: Path) -> None:
    above = [(255, 0, 0, 255), (255, 0, 0, 0), (255, 0, 0, 51), (255, 0, 0, 51)]
    below = np.array([[[0.5] * 4]] * 3 + [[[0.0, 0.25, 0.5, 0.0]]], np.float32)
    found = _over(tmp_path, above, below)
    assert np.allclose(found[3, 0], [1, 0.25, 0.6, 0.2], atol=1e-6)
    # 0.2 of red over 0.8 * 0.5 of grey, in 0.6 of cover.
    assert np.allclose(found[:3, 0].T, [[1, 0, 0], [0.5] * 3, [2 / 3, 1 / 3, 1 / 3], [1, 0, 0]], atol=1e-6)


def test_an_overlay_fits_the_poster_or_says_so(files: dict[str, str], tmp_path: Path) -> None:
    config = RenderConfig(files["content"], (files["style"],), str(tmp_path / "p.png"), overlay=files["left"])
    left = open_picture(files["left"])
    assert overlay.overlay_notes(left, 3, 4) == overlay.overlay_notes(None, 6, 8) == []
    assert overlay.overlay_notes(left, 6, 8) == [f"overlay {files['left']}: resized from 4 x 3 to 8 x 6 px"]
    overlay.check_overlay(config, 6, 8, left)
    with pytest.raises(ConfigError, match=r"4 x 3 pixels; allowed: the poster's shape \(6 x 8\)"):
        overlay.check_overlay(config, 8, 6, left)
    same = RenderConfig(files["content"], (files["style"],), files["left"], overlay=f"{tmp_path}/./left.png")
    with pytest.raises(OutputError, match="is the overlay"):
        overlay.check_overlay(same, 6, 8, left)
