"""Regions end to end with the real backbone: labels, masks, a job file with tables, and resuming."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

LEFT, RIGHT = "#2040a0", "#e0c080"
SMALL = ("--long-edge", "64", "--steps", "12", "--levels", "1", "--precision", "fp32", "--quiet")


@pytest.fixture
def labelled(inputs: Path) -> Path:
    """Beside the inputs: blue.png and sand.png, two plain styles with a little grain, and labels.png, half and half."""
    rng = np.random.default_rng(7)
    for name, colour in (("blue", (30, 60, 150)), ("sand", (220, 190, 130))):
        grain = np.clip(np.array(colour) + rng.normal(0, 12, (60, 80, 1)), 0, 255)
        Image.fromarray(grain.astype(np.uint8)).save(inputs / f"{name}.png")
    both = np.zeros((90, 120, 3), np.uint8)
    both[:, :60], both[:, 60:] = (32, 64, 160), (224, 192, 128)
    Image.fromarray(both).save(inputs / "labels.png")
    Image.fromarray((both[..., 0] < 100).astype(np.uint8) * 255).save(inputs / "left.png")
    return inputs


def halves(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean colours of the left and the right half, away from the border between them."""
    image = np.asarray(Image.open(path).convert("RGB"), float)
    width = image.shape[1]
    return image[:, : width * 2 // 5].mean((0, 1)), image[:, width * 3 // 5 :].mean((0, 1))


def test_each_label_takes_its_own_style(here, labelled: Path) -> None:
    labels = ("--labels", "labels.png", "--label", f"{LEFT}=blue.png", "--label", f"{RIGHT}=sand.png")
    done = here("render", "content.png", "-o", "p.png", *labels, *SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    left, right = halves(labelled / "p.png")
    assert np.abs(left - (30, 60, 150)).max() < 25
    assert np.abs(right - (220, 190, 130)).max() < 25
    assert here("info", "p.zarr").stdout.startswith("content.png in the style of blue.png, sand.png, to p.png")
    poster = (labelled / "p.png").read_bytes()
    again = here("render", "content.png", "-o", "p.png", *labels, *SMALL)
    assert again.returncode == 0, again.stderr
    assert (labelled / "p.png").read_bytes() == poster
    swapped = here("render", "content.png", "-o", "p.png", *labels[:3], f"{RIGHT}=blue.png", "--label",
                    f"{LEFT}=sand.png", *SMALL)  # fmt: skip
    assert swapped.returncode == 0
    assert (labelled / "p.png").read_bytes() != poster


def test_a_job_file_names_regions_in_tables(here, labelled: Path) -> None:
    (labelled / "job.toml").write_text(
        'content = "content.png"\nstyles = ["sand.png"]\noutput = "p.png"\n'
        '[region]\nsea = ["blue.png", "sand.png"]\n[mask]\nsea = "left.png"\n[style_mask]\nrest = "labels.png"\n'
    )
    done = here("render", "--job", "job.toml", "--style-blend-weights", "1,3,0", "--style-scale", "1,0.5,1", *SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    left, right = halves(labelled / "p.png")
    assert left[2] > left[0]
    assert right[0] > right[2]
    config = json.loads(here("info", "p.zarr", "--json").stdout)["config"]
    assert config["region"] == ["sea=blue.png,sand.png"]


def test_layers_can_take_after_different_styles(here, labelled: Path) -> None:
    """Colours follow the style of the large layers."""
    for name, first, second in (("a.png", "1,1,0,0,0", "0,0,1,1,1"), ("b.png", "0,0,1,1,1", "1,1,0,0,0")):
        weights = ("--style-layer-weights", first, "--style-layer-weights", second)
        done = here("render", "content.png", "blue.png", "sand.png", "-o", name, *weights, *SMALL)
        assert (done.returncode, done.stderr) == (0, "")
    one, two = (np.asarray(Image.open(labelled / name), float).mean((0, 1)) for name in ("a.png", "b.png"))
    assert two[2] - two[0] > one[2] - one[0] + 20


def test_regions_that_find_themselves_are_those_of_the_files(here, inputs: Path) -> None:
    """`--auto-regions` and the job file that `tiler labels` writes come to the same poster."""
    y, x = np.mgrid[0:80, 0:104]
    grain = np.random.default_rng(1).normal(0, 12, (80, 104, 1))
    style = np.where((y > x)[..., None], (20, 40, 120), grain + np.array((200, 160, 90)))
    Image.fromarray(np.clip(style, 0, 255).astype(np.uint8)).save(inputs / "style.png")
    found = here("labels", "content.png", "style.png", "-o", "l.png")
    assert found.returncode == 0, found.stderr
    assert found.stdout == "2 regions: l.png; to render with them: tiler render --job l.toml -o POSTER\n"
    done = here("render", "--job", "l.toml", "-o", "p.png", *SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    left, right = halves(inputs / "p.png")
    assert right[2] > right[0] + 20  # the sea is on the right
    assert left[0] > left[2] + 20
    again = here("render", "content.png", "style.png", "-o", "q.png", "--auto-regions", "2", *SMALL)
    assert again.returncode == 0, again.stderr
    assert (inputs / "q.png").read_bytes() == (inputs / "p.png").read_bytes()
    assert here("resume", "q.zarr", "--quiet").returncode == 0
    before = sorted(path.name for path in inputs.iterdir())
    assert here("render", "content.png", "style.png", "-o", "r.xyz", "--auto-regions", "2", *SMALL).returncode == 2
    assert sorted(path.name for path in inputs.iterdir()) == before
    refused = here("render", "content.png", "style.png", "-o", "q.png", "--auto-regions", "1", *SMALL)
    assert (refused.returncode, refused.stderr) == (2, "tiler: 1 regions; allowed: 2 to 8\n")


def test_what_comes_before_a_poster_finds_its_regions_too(here, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proof is a spot of the same poster; a plan and a sheet leave nothing of them behind."""
    monkeypatch.setattr("tiler.pictures.classes.EDGE", 128)
    y, x = np.mgrid[0:80, 0:104]
    style = np.where((y > x)[..., None], (20, 40, 120), (200, 160, 90)).astype(np.uint8)
    Image.fromarray(style).save(inputs / "style.png")
    few = ("content.png", "style.png", *SMALL[:-1], "--steps", "2")
    pictures = (*few, "--auto-regions", "2")
    before = {path.name for path in inputs.iterdir()}
    planned = here("plan", *pictures, "--json")
    assert planned.returncode == 0, planned.stderr
    alone = json.loads(here("plan", *few, "--calm", "0", "--json").stdout)
    assert json.loads(planned.stdout)["store_bytes"] > alone["store_bytes"]
    assert here("plan", *few, "--auto-regions", "9").stderr == "tiler: 9 regions; allowed: 2 to 8\n"
    done = here("sheet", *pictures, "--vary", "seed=1,2", "-o", "sheet.png")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in inputs.iterdir()} == {*before, "sheet.png"}
    done = here("proof", *pictures, "--at", "0.5,0.5", "--edge", "1024", "-o", "proof.png")
    assert done.returncode == 0, done.stderr
    assert "2 regions, as proof-labels.png has them" in done.stderr
    done = here("render", *pictures, "-o", "poster.png")
    assert done.returncode == 0, done.stderr
    spot, poster = (np.asarray(Image.open(inputs / name)) for name in ("proof.png", "poster.png"))
    assert np.array_equal(spot, poster)
