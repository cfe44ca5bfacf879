"""Whether a poster has colours: as its styles have them, unless somebody says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tiler import pictures
from tiler.request.asked import Asked
from tiler.request.colouring import settle_colour
from tiler.request.config import RenderConfig
from tiler.request.places import pictures_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """colours; grey, one channel; alike, three; rounded, 16 bits and off by 3; nearly, a breath of red; tinted, a touch
    of it; spot, red in one place, which the mask leaves out."""
    light = np.random.default_rng(2).integers(8, 240, (64, 80, 1), dtype=np.uint8).repeat(3, 2)
    tinted, spot, rounded = light.copy(), light.copy(), light.astype(np.uint16) * 257
    tinted[..., 0] += 4
    nearly = light.copy()
    nearly[..., 0] += 1
    mask = np.full((64, 80), 255, np.uint8)
    mask[15:35, 35:55] = 0
    rounded[..., 0] += 3
    spot[20:30, 40:50, 1:] = 0
    tifffile.imwrite(tmp_path / "rounded.tif", rounded, photometric="rgb")
    (tmp_path / "rounded.tif").rename(tmp_path / "rounded.png")  # what it is shows inside
    rest = {
        "alike": light,
        "nearly": nearly,
        "mask": mask,
        "tinted": tinted,
        "spot": spot,
        "colours": light + np.uint8([0, 9, 3]),
    }
    for name, pixels in {**rest, "grey": light[..., 0]}.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path


def settled(folder: Path, *names: str, **options: Any) -> tuple[str, list[str]]:
    files = tuple(f"{folder}/{name}.png" for name in names)
    config = RenderConfig(f"{folder}/colours.png", files, "p.png", **options)
    opened = {file: pictures.open_picture(file) for file in pictures_of(config)}
    found, lines = settle_colour(config, opened, [opened[file] for file in files])
    return found.color, lines


@pytest.mark.parametrize("names", [("grey",), ("alike",), ("rounded",), ("grey", "alike")])
def test_grey_styles_make_a_grey_poster_and_a_line_says_so(folder: Path, names: tuple[str, ...]) -> None:
    color, lines = settled(folder, *names)
    which = f"{folder}/{names[0]}.png: is grey" if len(names) == 1 else "all styles are grey"
    assert color == "grey"
    assert lines == [f"{which}, so the poster is; color content: with the content's colours"]


@pytest.mark.parametrize("names", [("colours",), ("tinted",), ("spot",), ("grey", "spot")])
def test_colours_in_any_style_are_the_poster_s(folder: Path, names: tuple[str, ...]) -> None:
    assert settled(folder, *names) == ("style", [])


@pytest.mark.parametrize(
    "options",
    [
        {"color": "content"},
        {"color": "match"},
        {"color": "luminance"},
        {"transfer": "color"},
        {"dream_weight": 1.0},
        {"style_weight": 0.0},
    ],
)
def test_who_says_whose_colours_has_them(folder: Path, options: dict[str, Any]) -> None:
    color, lines = settled(folder, "grey", **options)
    assert (color, lines) == (options.get("color", "style"), [])


def test_what_is_nearly_grey_keeps_its_tint_and_a_line_says_how_not_to(folder: Path) -> None:
    line = "nearly grey; color grey: makes a grey poster"
    assert settled(folder, "nearly") == ("style", [f"{folder}/nearly.png: is {line}"])
    assert settled(folder, "grey", "nearly") == ("style", [f"all styles are {line}"])


def test_what_is_half_transparent_counts(folder: Path) -> None:
    Image.fromarray(np.full((64, 80, 4), (99, 60, 99, 90), np.uint8)).save(folder / "veil.png")
    veil = pictures.as_style(pictures.open_picture(folder / "veil.png"))
    config = RenderConfig(f"{folder}/colours.png", (f"{folder}/veil.png",), "p.png")
    assert settle_colour(config, {}, [veil])[0].color == "style"


def test_what_a_mask_leaves_out_of_a_style_does_not_count(folder: Path) -> None:
    masked = settled(folder, "spot", style_mask=(f"rest={folder}/mask.png",))
    assert masked[0] == "grey"


@pytest.mark.parametrize(
    "options", [{"style_blend_weights": (0, 1)}, {"style_layer_weights": ((0, 0, 0, 0, 0), (1, 1, 1, 1, 1))}]
)
def test_a_style_without_weight_has_no_say(folder: Path, options: dict[str, Any]) -> None:
    color, lines = settled(folder, "colours", "grey", **options)
    assert color == "grey"
    assert lines == [f"{folder}/grey.png: is grey, so the poster is; color content: with the content's colours"]


def test_without_a_content_its_colours_are_not_offered(folder: Path) -> None:
    picture = f"{folder}/grey.png"
    config = RenderConfig(None, (picture,), "p.png", content_weight=0, init="noise")
    assert settle_colour(config, {}, [pictures.open_picture(picture)])[1] == [f"{picture}: is grey, so the poster is"]


def test_grey_is_asked_for_of_any_style(folder: Path) -> None:
    assert settled(folder, "colours", color="grey") == ("grey", [])


def test_a_request_tells_it_and_the_job_knows(folder: Path, small_weights: str) -> None:
    asked = Asked.of(
        RenderConfig(f"{folder}/colours.png", (f"{folder}/grey.png",), str(folder / "p.png"), weights=small_weights)
    )
    assert asked.job.look.color == "grey"
    assert any(note.endswith("color content: with the content's colours") for note in asked.notes)
