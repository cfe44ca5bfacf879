"""--overlay: what is drawn there is in the written file, pixel by pixel; without optimiser steps, so that both posters
are the same below."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tiler.cli.commands import cli
from tiler.errors import ConfigError, OutputError, PictureError, RenderError
from tiler.output import export
from tiler.pictures.picture import Picture

HEIGHT, WIDTH = 144, 192
OPAQUE, HALF, CLEAR = np.s_[20:60, 30:90], np.s_[70:100, 40:120], np.s_[105:]


def overlay_pixels(peak: int, dtype: type) -> np.ndarray:
    """[144, 192, 4]: noise that is opaque in one box, nearly half transparent in another, and clear elsewhere."""
    pixels = np.random.default_rng(3).integers(0, peak, (HEIGHT, WIDTH, 4), endpoint=True)
    pixels[..., 3] = 0
    pixels[OPAQUE][..., 3], pixels[HALF][..., 3] = peak, peak * 2 // 5
    return pixels.astype(dtype)


def tif(path: Path, pixels: np.ndarray) -> None:
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unassalpha"] if pixels.shape[2] == 4 else None)


@pytest.fixture
def render(inputs: Path, cluster: str, monkeypatch) -> Callable[..., None]:
    """Render the inputs to an output; four tiles, so that the file is written in several bands."""
    monkeypatch.chdir(inputs)
    fixed = ("--levels", "1", "--steps", "0", "--tile", "64", "--scheduler", cluster, "--store", "job.zarr", "--quiet")

    def run(output: str, *options: str, content: str = "content.png", size: str = f"{WIDTH}x{HEIGHT}") -> None:
        cli(["render", content, "style.png", "-o", output, *fixed, "--size", size, *options], standalone_mode=False)

    return run


def test_labels_lie_on_the_poster_as_they_are_drawn(render, inputs: Path) -> None:
    labels = overlay_pixels(255, np.uint8)
    Image.fromarray(labels).save(inputs / "labels.png")
    render("plain.png")
    render("labelled.png", "--overlay", "labels.png")
    cli(["export", "job.zarr", "-o", "later.png", "--overlay", "labels.png", "--quiet"], standalone_mode=False)
    assert (inputs / "later.png").read_bytes() == (inputs / "labelled.png").read_bytes()
    plain, poster = (np.asarray(Image.open(inputs / name)).astype(int) for name in ("plain.png", "labelled.png"))
    np.testing.assert_array_equal(poster[OPAQUE], labels[OPAQUE][..., :3])
    np.testing.assert_array_equal(poster[CLEAR], plain[CLEAR])
    mixed = 0.4 * labels[HALF][..., :3] + 0.6 * plain[HALF]
    assert np.abs(poster[HALF] - mixed).max() <= 1


def test_sixteen_bits_stay_and_a_transparent_poster_is_covered(render, inputs: Path) -> None:
    labels = overlay_pixels(65535, np.uint16)
    tif(inputs / "labels.tif", labels)
    content = np.full((90, 120, 4), 40000, np.uint16)
    content[:, :60, 3] = 0
    tif(inputs / "clear.tif", content)
    render("plain.tif", "--bits", "16", content="clear.tif")
    render("p.tif", "--bits", "16", "--overlay", "labels.tif", content="clear.tif")
    plain, poster = (tifffile.imread(inputs / name).astype(int) for name in ("plain.tif", "p.tif"))
    np.testing.assert_array_equal(poster[OPAQUE], labels[OPAQUE])
    np.testing.assert_array_equal(poster[CLEAR], plain[CLEAR])
    alpha, below = labels[HALF][..., 3:] / 65535, plain[HALF][..., 3:] / 65535
    whole = alpha + (1 - alpha) * below
    mixed = (labels[HALF][..., :3] * alpha + plain[HALF][..., :3] * below * (1 - alpha)) / whole
    assert np.abs(poster[HALF][..., 3:] - whole * 65535).max() <= 1
    assert np.abs(poster[HALF][..., :3] - mixed).max() <= 2


def test_an_overlay_of_another_size_is_resized_whole_and_said(render, inputs: Path, capsys) -> None:
    bars = np.zeros((HEIGHT * 2, WIDTH * 2, 4), np.uint8)
    bars[:, : WIDTH // 2], bars[:, -WIDTH // 2 :] = (255, 0, 0, 255), (0, 0, 255, 255)
    Image.fromarray(bars).resize((2 * WIDTH, WIDTH), Image.Resampling.NEAREST).save(inputs / "bars.png")
    render("p.png", size=f"{WIDTH}x{WIDTH // 2}")  # crops the content, and nothing of the overlay
    cli(["export", "job.zarr", "-o", "p.png", "--overlay", "bars.png"], standalone_mode=False)
    note = f"overlay bars.png: resized from {2 * WIDTH} x {WIDTH} to {WIDTH} x {WIDTH // 2} px"
    assert capsys.readouterr().err.count(note) == 1
    poster = np.asarray(Image.open(inputs / "p.png"))
    assert (poster[:, : WIDTH // 4 - 4] == (255, 0, 0)).all()
    assert (poster[:, 4 - WIDTH // 4 :] == (0, 0, 255)).all()


@pytest.mark.parametrize(
    ("overlay", "error", "words"),
    [
        ("none.png", PictureError, "none.png"),
        ("wide.png", ConfigError, "overlay wide.png: 100 x 20 pixels; allowed: the poster's shape (192 x 144)"),
        ("torn.png", PictureError, "torn.png"),
        ("p.png", OutputError, "p.png: is the overlay"),
    ],
)
def test_a_wrong_overlay_is_refused_before_anything_is_written(
    render, inputs: Path, overlay: str, error: type[Exception], words: str
) -> None:
    Image.new("RGBA", (100, 20)).save(inputs / "wide.png")
    Image.fromarray(overlay_pixels(255, np.uint8)).save(inputs / "p.png")
    (inputs / "torn.png").write_bytes((inputs / "p.png").read_bytes()[:9000])
    before = {path: path.read_bytes() for path in inputs.iterdir()}
    with pytest.raises(error) as refused:
        render("p.png", "--overlay", overlay)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert {path: path.read_bytes() for path in inputs.iterdir() if path.is_file()} == before
    assert not (inputs / "job.zarr" / "zarr.json").exists()


@pytest.mark.parametrize("when", ["before", "during"])
def test_an_overlay_that_is_edited_during_the_render_ends_it_and_the_old_poster_stays(
    render, inputs: Path, monkeypatch, when: str
) -> None:
    Image.fromarray(overlay_pixels(255, np.uint8)).save(inputs / "labels.png")
    render("p.png", "--overlay", "labels.png")
    before = (inputs / "p.png").read_bytes()
    edited = []

    def edit() -> None:
        if not edited:
            edited.append(np.zeros((HEIGHT, WIDTH, 4), np.uint8))
            Image.fromarray(edited[0]).save(inputs / "labels.png")

    write_view, bands = export.write_view, Picture.bands

    def first_edited(*arguments: Any) -> Any:
        edit()
        return write_view(*arguments)

    def edited_within(picture: Picture, *arguments: Any) -> Iterator[np.ndarray]:
        for band in bands(picture, *arguments):
            yield band
            edit()

    if when == "before":
        monkeypatch.setattr(export, "write_view", first_edited)
    else:
        monkeypatch.setattr(Picture, "bands", edited_within)
    with pytest.raises(RenderError) as refused:
        render("p.png", "--overlay", "labels.png")
    assert str(refused.value) == (
        "labels.png: has changed since it was opened; no poster was written; the same command writes the poster with "
        "what is there then"
    )
    assert (inputs / "p.png").read_bytes() == before
    monkeypatch.undo()
    monkeypatch.chdir(inputs)
    render("p.png", "--overlay", "labels.png")
    assert (inputs / "p.png").read_bytes() != before
