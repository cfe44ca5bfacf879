"""What the options of colour, with the real backbone, and of the start promise, in the written files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

from tiler.pictures import read_picture

SMALL = ("--long-edge", "96", "--steps", "6,2", "--tile", "48", "--min-edge", "48", "--quiet")


def chroma(pixels: np.ndarray) -> np.ndarray:
    """Cb and Cr of JPEG, [2, h, w], for pixels [3, h, w]; in units of pixels."""
    red, green, blue = pixels
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack([(blue - luma) / 1.772, (red - luma) / 1.402])


@pytest.mark.parametrize("color", ["content", "luminance"])
def test_the_contents_chroma_is_kept(here, inputs: Path, color: str) -> None:
    done = here("render", "content.png", "style.png", "-o", "p.png", "--color", color, *SMALL)
    assert done.returncode == 0, done.stderr
    poster = np.asarray(Image.open(inputs / "p.png"), np.float64).transpose(2, 0, 1)
    content = read_picture(inputs / "content.png", 72, 96).astype(np.float64) * 255
    assert np.abs(chroma(poster) - chroma(content)).max() <= 1
    grey = poster.mean(axis=0)
    assert grey[:, :40].std() > 2, "the content's flat land got no texture"

    store = zarr.open_group(inputs / "p.zarr", mode="r")
    shown = store.attrs["ome"]["multiscales"][0]["datasets"][0]["path"]
    assert np.abs(np.asarray(store[shown]) / 65535 * 255 - poster).max() < 0.51
    raw = np.asarray(store["levels/1/image"]) / 65535 * 255
    assert np.abs(chroma(raw) - chroma(content)).max() > 3, "nothing had to be put back"


@pytest.mark.parametrize("regions", [(), ("--calm", "40")])
@pytest.mark.parametrize("start", ["content", "noise"])
def test_a_grey_style_makes_a_grey_poster(here, inputs: Path, start: str, regions: tuple[str, ...]) -> None:
    Image.open(inputs / "style.png").convert("L").save(inputs / "grey.png")
    asked = ("render", "content.png", "grey.png", "-o", "p.png", "--init", start, *regions, *SMALL[:-1])
    done = here(*asked)
    assert done.returncode == 0, done.stderr
    assert "grey.png: is grey, so the poster is; color content: with the content's colours" in done.stderr
    poster = np.asarray(Image.open(inputs / "p.png"))
    assert np.ptp(poster, axis=2).max() == 0
    assert poster.std() > 10
    again = here(*asked)
    assert again.returncode == 0, again.stderr
    assert "style loss" not in again.stderr, "the job was not known again"
    assert "color grey" in here("info", "p.zarr").stdout


def test_any_style_makes_a_grey_poster_where_that_is_asked_for(here, inputs: Path) -> None:
    done = here(
        "render", "content.png", "style.png", "-o", "p.png", "--color", "grey", "--protect", "content.png", *SMALL
    )
    assert done.returncode == 0, done.stderr
    assert np.ptp(np.asarray(Image.open(inputs / "p.png")), axis=2).max() == 0


def test_a_texture_is_made_of_styles_only(here, inputs: Path, small_weights: str) -> None:
    options = ("--weights", small_weights, *SMALL)
    texture = ("render", "--init", "noise", "--content-weight", "0", "style.png", "-o", "t.png", *options)
    done = here(*texture)
    assert done.returncode == 0, done.stderr
    assert Image.open(inputs / "t.png").size == (96, 74)
    told = here("info", "t.zarr").stdout
    assert "a texture in the style of style.png" in told
    assert "\nlook: content weight 0.0, init noise\n" in told
    assert here(*texture).returncode == 0


def test_a_texture_may_start_from_a_picture_and_takes_its_shape(here, inputs: Path, small_weights: str) -> None:
    options = ("--init", "content.png", "--content-weight", "0", "--weights", small_weights, *SMALL)
    done = here("render", "style.png", "content.png", "-o", "t.png", *options)
    assert done.returncode == 0, done.stderr
    assert Image.open(inputs / "t.png").size == (96, 72)
    assert here("info", "t.zarr").stdout.startswith("a texture in the style of style.png, content.png")
