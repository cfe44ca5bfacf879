"""How the pictures of a request are opened, checked and told of: which are stretched, which are kept, which count."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tiler.errors import ConfigError, PictureError
from tiler.pictures import Picture, as_style, open_picture
from tiler.request import guiding
from tiler.request.config import RenderConfig
from tiler.request.places import pictures_of


def saved(path: Path, pixels: Any) -> str:
    Image.fromarray(np.array(pixels, np.uint8)).save(path)
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Pictures of 4 x 3 pixels, with values from 40 to 140; `veiled` is opaque on its left only."""
    grey = [[40, 80, 120, 140]] * 3
    veiled = [[(90, 90, 90, 255), (90, 90, 90, 255), (0, 0, 0, 0), (0, 0, 0, 0)]] * 3
    sides = {
        "left": [[255, 255, 0, 0]] * 3,
        "right": [[0, 0, 255, 255]] * 3,
        "corner": [[255, 0, 0, 0], [0] * 4, [0] * 4],
    }
    names = ("content", "style", "sea", "start", "above", "kept")
    made = {name: saved(tmp_path / f"{name}.png", grey) for name in names}
    made |= {name: saved(tmp_path / f"{name}.png", pixels) for name, pixels in sides.items()}
    return {**made, "veiled": saved(tmp_path / "veiled.png", veiled)}


def asked(files: dict[str, str], **values: Any) -> RenderConfig:
    return RenderConfig(files["content"], (files["style"],), "p.png", **values)


def test_what_is_seen_is_stretched_and_masks_are_not(files: dict[str, str]) -> None:
    where = dict(region=[f"sea={files['sea']}"], mask=[f"sea={files['left']}"], style_mask=[f"rest={files['right']}"])
    config = asked(
        files, init=files["start"], overlay=files["above"], protect=files["kept"], stretch="10,90", **where
    )  # fmt: skip
    opened = guiding.opened_by(config, pictures_of(config))
    assert {*opened} == {*pictures_of(config)}
    stretched = {Path(file).stem for file, picture in opened.items() if picture.spread is not None}
    assert stretched == {"content", "style", "sea", "start"}
    assert not any(picture.kept for picture in opened.values())
    plain = guiding.opened_by(asked(files), [files["content"]])
    assert [picture.spread for picture in plain.values()] == [None]
    notes = list(guiding.picture_notes(config, opened, []))
    spread = opened[files["content"]].spread
    assert spread is not None
    said = f"its values {spread.low:.5g} to {spread.high:.5g} are spread over the whole range (--stretch)"
    assert notes.count(f"{files['content']}: {said}") == 1
    assert len(notes) == 4
    assert 40 <= spread.low < spread.high <= 140


def test_an_overlay_is_kept_where_it_is_read_as_something_else_too(files: dict[str, str], tmp_path: Path) -> None:
    config = asked(files, overlay=files["above"])
    opened = guiding.opened_by(config, iter(pictures_of(config)), tmp_path)
    assert {Path(file).stem for file, picture in opened.items() if picture.kept} == {"content", "style"}
    config = asked(files, overlay=files["above"], protect=files["above"])
    opened = guiding.opened_by(config, pictures_of(config), tmp_path)
    assert {Path(file).stem for file, picture in opened.items() if picture.kept} == {"content", "style", "above"}


def test_every_picture_is_decoded_and_what_is_seen_is_told_of(files: dict[str, str]) -> None:
    config = asked(files, protect=files["kept"], init=files["start"])
    seen: list[str] = []
    opened: Any = {
        file: SimpleNamespace(check=lambda file=file: seen.append(file) or [f"of {Path(file).stem}"])
        for file in pictures_of(config)
    }
    assert guiding.check_pixels(config, opened) == ["of content", "of style", "of start"]
    assert seen == pictures_of(config)


def test_styles_that_count_in_part_are_told_once(files: dict[str, str]) -> None:
    veiled = as_style(open_picture(files["veiled"]))
    notes = list(guiding.picture_notes(asked(files), {}, [veiled, as_style(open_picture(files["style"])), veiled]))
    assert notes == [f"{files['veiled']}: its transparent parts do not count as style"]


def test_a_style_that_counts_nowhere_is_refused(files: dict[str, str]) -> None:
    """White where it is opaque, or at one pixel of it; not only where nothing of it is to be seen."""
    for mask, counts in (("left", True), ("corner", True), ("right", False)):
        config = RenderConfig(
            files["content"], (files["style"], files["veiled"]), "p.png",
            style_mask=[f"rest={files['right']},{files[mask]}"],
        )  # fmt: skip
        opened = guiding.opened_by(config, pictures_of(config))
        if counts:
            guiding.check_guides(config, opened[files["content"]], opened)
        else:
            with pytest.raises(ConfigError) as error:
                guiding.check_guides(config, opened[files["content"]], opened)
            assert str(error.value) == (
                f"style_mask {files['right']}: is white only where {files['veiled']} is transparent; allowed: white "
                "where the style picture counts"
            )


def test_pictures_are_looked_through_at_256_pixels() -> None:
    def size(height: int, width: int) -> tuple[int, int]:
        picture: Any = SimpleNamespace(height=height, width=width)
        return Picture.small(picture, guiding._CHECK_EDGE)

    assert [size(256, 100), size(100, 255), size(512, 300), size(300, 1024)] == [
        (256, 100), (100, 255), (256, 150), (75, 256),
    ]  # fmt: skip
    assert [size(1, 9000), size(9000, 3), size(3, 2)] == [(1, 256), (256, 1), (3, 2)]


def test_the_part_of_a_mask_that_is_rendered_counts(files: dict[str, str], tmp_path: Path) -> None:
    """A region, or what is to be kept, that lies in what is cropped away is nowhere."""
    whole = open_picture(files["content"])
    left, right = whole.cropped((0, 0, 3, 2)), whole.cropped((0, 2, 3, 4))
    sea = dict(region=[f"sea={files['sea']}"], mask=[f"sea={files['left']}"])
    for values, said in (
        (sea, "region 'sea' covers no pixel; allowed: a mask or label that covers some of the content"),
        (
            dict(protect=files["left"]),
            f"protect {files['left']}: is black all over; allowed: white where the content is to be kept",
        ),
    ):
        config = asked(files, **values)
        opened = guiding.opened_by(config, pictures_of(config))
        guiding.check_guides(config, left, opened)
        with pytest.raises(ConfigError) as error:
            guiding.check_guides(config, right, opened)
        assert str(error.value) == said


def test_the_default_may_cover_nothing(files: dict[str, str], tmp_path: Path) -> None:
    white = saved(tmp_path / "white.png", [[255] * 4] * 3)
    config = asked(files, region=[f"sea={files['sea']}"], mask=[f"sea={white}"])
    opened = guiding.opened_by(config, pictures_of(config))
    guiding.check_guides(config, opened[files["content"]], opened)
    [band] = guiding.guide_bands(config, opened[files["content"]], opened, 3, 4, 5)
    assert (band[0].max(), band[1].min()) == (0, 1)


@pytest.mark.parametrize(("height", "width"), [(60, 8), (8, 60)])
def test_an_edge_is_a_share_of_the_longer_side(
    height: int, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2, : width // 2] = 255
    names = [saved(tmp_path / f"{name}.png", mask) for name in ("content", "mask")]
    config = RenderConfig(
        names[0], (names[0],), "p.png", region=[f"sea={names[0]}"], mask=[f"sea={names[1]}"], region_edge=10.0,
        labels=names[1], label=["#000000=sea", "#ffffff=rest"],
    )  # fmt: skip
    edges: list[float] = []

    def bands(picture: Any, *said: Any) -> Any:
        edges.append(said[-1])
        assert said[-4:-1] == (height, width, 7)
        parts = 2 if len(said) == 5 else 1
        return (np.zeros((parts, min(7, height - top), width), np.float32) for top in range(0, height, 7))

    monkeypatch.setattr(guiding.pictures, "mask_bands", bands)
    monkeypatch.setattr(guiding.pictures, "label_bands", bands)
    opened = {path: open_picture(path) for path in pictures_of(config)}
    found = list(guiding.guide_bands(config, opened[names[0]], opened, height, width, 7))
    assert edges == [6.0, 6.0]
    assert sum(band.shape[1] for band in found) == height


def test_a_veiled_style_needs_no_mask(files: dict[str, str]) -> None:
    config = RenderConfig(files["content"], (files["veiled"],), "p.png")
    opened = guiding.opened_by(config, pictures_of(config))
    guiding.check_guides(config, opened[files["content"]], opened)


def test_a_region_of_one_pixel_of_a_long_strip_covers_something(tmp_path: Path) -> None:
    """It is looked for along the strip, not in the mean of all of it."""
    for height, width in ((8, 20_000), (20_000, 8)):
        mask = np.zeros((height, width), np.uint8)
        mask[height // 2, width // 2] = 255
        content, sea = saved(tmp_path / "c.png", np.full_like(mask, 9)), saved(tmp_path / "m.png", mask)
        config = RenderConfig(content, (content,), "p.png", region=[f"sea={content}"], mask=[f"sea={sea}"])
        opened = guiding.opened_by(config, pictures_of(config))
        guiding.check_guides(config, opened[content], opened)


def test_a_mask_of_ones_is_as_good_as_black(files: dict[str, str], tmp_path: Path) -> None:
    """What its brightest pixel is counts, however small that is among the others."""
    ones = np.zeros((300, 400), np.uint8)
    ones[7, 9] = 1
    dim, bright = saved(tmp_path / "dim.png", ones.tolist()), saved(tmp_path / "bright.png", (ones * 255).tolist())
    words: dict[str, dict[str, Any]] = {
        "protect": dict(protect=dim),
        "mask": dict(region=[f"sea={files['style']}"], mask=[f"sea={dim}"]),
        "style_mask": dict(style_mask=[f"rest={dim}"]),
    }
    for what, values in words.items():
        config = asked(files, **values)
        opened = guiding.opened_by(config, pictures_of(config))
        with pytest.raises(ConfigError, match=rf"{what} .*dim\.png: its brightest value is 0\.39% of white; allowed: "):
            guiding.check_guides(config, opened[files["content"]], opened)
    config = asked(files, protect=bright)
    opened = guiding.opened_by(config, pictures_of(config))
    guiding.check_guides(config, opened[files["content"]], opened)


def test_numbers_that_no_colour_has_are_refused_when_they_are_opened(files: dict[str, str], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((3, 4), -5, np.int16), photometric="minisblack")
    config = asked(files, protect=str(tmp_path / "a.tif"))
    with pytest.raises(PictureError, match=r"a\.tif: holds signed integer values; .*of a content or style --stretch"):
        guiding.opened_by(config, pictures_of(config))
