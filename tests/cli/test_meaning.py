"""What pictures mean, as people see it: in the poster's pixels, in the notes and in what a resume agrees with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tiler.pictures import read_picture

# Its own style and hardly moved, so the poster shows the content as it was read.
STILL = ("--long-edge", "64", "--levels", "1", "--steps", "1", "--learning-rate", "0.001")
RENDER = ("render", "dark.tif", "dark.tif", "-o", "p.png")


@pytest.fixture
def still(small_weights: str) -> tuple[str, ...]:
    return (*STILL, "--weights", small_weights)


@pytest.fixture
def reflectance(inputs: Path) -> np.ndarray:
    """dark.tif: 16 bits of which a twentieth are used, growing to the right; as [48, 64] of them."""
    values = np.broadcast_to(np.linspace(0, 3000, 64), (48, 64)).round().astype(np.uint16)
    tifffile.imwrite(inputs / "dark.tif", values, photometric="minisblack")
    return values


def test_a_stretch_from_the_option_to_the_poster(here, inputs: Path, reflectance: np.ndarray, still) -> None:
    plain = here(*RENDER, *still)
    assert plain.returncode == 0, plain.stderr
    assert "uses only values 0 to 3000 of the range 0 to 65535, so it is dark; --stretch 2,98 spreads" in plain.stderr
    assert read_picture(inputs / "p.png").max() < 0.1

    done = here(*RENDER, *still, "--stretch", "0,100")
    assert done.returncode == 0, done.stderr
    assert "stretch was None, now 0,100; 0 of 1 levels are the same" in done.stderr
    assert "dark.tif: its values 0 to 3000 are spread over the whole range (--stretch)" in done.stderr
    poster = read_picture(inputs / "p.png", channels="grey")[0]
    np.testing.assert_allclose(poster.mean(0), np.linspace(0, 1, 64), atol=0.03)

    before = (inputs / "p.png").read_bytes()
    for same in ((*RENDER, *still, "--stretch", "0,100"), ("resume", "p.zarr")):
        (inputs / "p.png").unlink()
        again = here(*same)
        assert again.returncode == 0, again.stderr
        assert (inputs / "p.png").read_bytes() == before
    other = here(*RENDER, *still, "--stretch", "2,98")
    assert other.returncode == 0
    assert "stretch was 0,100, now 2,98" in other.stderr
    assert (inputs / "p.png").read_bytes() != before


def test_a_stretch_in_a_job_file(here, inputs: Path, reflectance: np.ndarray, still) -> None:
    (inputs / "job.toml").write_text('content = "dark.tif"\nstyles = ["dark.tif"]\nstretch = "0,50"\n')
    done = here("render", "--job", "job.toml", "-o", "p.png", *still)
    assert done.returncode == 0, done.stderr
    poster = read_picture(inputs / "p.png", channels="grey")[0]
    np.testing.assert_allclose(poster.mean(0), np.linspace(0, 2, 64).clip(0, 1), atol=0.04)


def test_a_dream_of_a_stretched_picture(here, inputs: Path, reflectance: np.ndarray, still) -> None:
    small = (
        *still[-2:],
        "--layer",
        "relu2_2",
        "--octaves",
        "1",
        "--steps",
        "1",
        "--long-edge",
        "64",
        "--learning-rate",
        "0.001",
    )
    done = here("dream", "dark.tif", "-o", "d.png", "--stretch", "0,100", *small)
    assert done.returncode == 0, done.stderr
    assert "values 0 to 3000 are spread" in done.stderr
    poster = read_picture(inputs / "d.png", channels="grey")[0]
    np.testing.assert_allclose(poster.mean(0), np.linspace(0, 1, 64), atol=0.03)


def test_a_stretch_of_nothing_is_refused(here, inputs: Path, reflectance: np.ndarray, still) -> None:
    for wrong in ("98,2", "2", "-1,50", "2,98%", "nan,98"):
        refused = here(*RENDER, *still, f"--stretch={wrong}")
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1
        assert "stretch" in refused.stderr
    assert not (inputs / "p.zarr").exists()


def _with_infrared(folder: Path) -> str:
    bands = np.asarray(Image.open(folder / "content.png"))
    bands = np.concatenate([bands, bands[..., :1]], -1)
    tifffile.imwrite(folder / "nir.tif", bands, photometric="rgb", extrasamples=["unspecified"])
    return "nir.tif: channel 4 is neither colour nor alpha (unspecified) and left out"


def test_what_is_left_out_of_a_picture_is_said_before_and_while_it_is_rendered(
    here, inputs: Path, cluster: str, still
) -> None:
    note = _with_infrared(inputs)
    done = here("render", "nir.tif", "style.png", "-o", "p.png", *still)
    assert done.returncode == 0, done.stderr
    assert note in done.stderr
    planned = ("plan", "nir.tif", "style.png", "--stretch", "2,98", "--scheduler", cluster)
    plain, machine = here(*planned, *still), here(*planned, *still, "--json")
    for answer in (plain, machine):
        assert answer.returncode == 0, answer.stderr
        assert note in answer.stderr
        assert "nir.tif: its values " in answer.stderr
        assert "(--stretch)" in answer.stderr
    assert json.loads(machine.stdout)["width"] == 64


def test_a_plan_refuses_what_a_render_does(here, inputs: Path, still) -> None:
    """A mask that covers nothing: found by looking at the picture."""
    Image.new("L", (120, 90), 0).save(inputs / "black.png")
    options = ("content.png", "style.png", "--region", "sea=style.png", "--mask", "sea=black.png", "-o", "p.png")
    answers = [here(command, *options, *still) for command in ("plan", "render")]
    assert [answer.returncode for answer in answers] == [2, 2]
    assert answers[0].stderr == answers[1].stderr
    assert "'sea' covers no pixel" in answers[0].stderr


def test_a_transparent_style_leaves_no_white(here, inputs: Path) -> None:
    """Three quarters of it are a collar: flattened on white they would be most of the style."""
    grain = np.asarray(Image.open(inputs / "style.png").resize((80, 80))) // 3
    framed = np.zeros((160, 160, 4), np.uint8)
    framed[..., :3] = 255
    framed[40:120, 40:120] = np.concatenate([grain, np.full((80, 80, 1), 255, np.uint8)], -1)
    Image.fromarray(framed).save(inputs / "framed.png")
    Image.fromarray(grain).save(inputs / "grain.png")
    options = ("--long-edge", "64", "--levels", "1", "--steps", "8", "--content-weight", "0", "--quiet")
    brightness = {}
    for name in ("framed", "grain"):
        done = here("render", "content.png", f"{name}.png", "-o", f"{name}-poster.png", *options)
        assert done.returncode == 0, done.stderr
        brightness[name] = read_picture(inputs / f"{name}-poster.png").mean()
    assert brightness["framed"] < brightness["grain"] + 0.1, brightness
