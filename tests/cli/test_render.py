"""`tiler render` end to end with the real backbone: the written files are reopened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import zarr
from PIL import Image

SMALL = ("--long-edge", "100", "--steps", "20,3", "--tile", "48", "--min-edge", "50")


# The command line, which ends with 3 where its process has loaded torch. Only workers compute with the bundled weights.
WITHOUT_TORCH = """
import sys
from tiler.cli import main
try:
    main()
finally:
    if "torch" in sys.modules:
        sys.exit(3)
"""


def test_renders_a_poster_and_goes_on_where_it_was(here, inputs: Path, events) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, "render", "content.png", "style.png", "-o", "poster.png"]
    first = subprocess.run([*command, *SMALL, "--log-json"], cwd=inputs, capture_output=True, text=True, timeout=200)
    assert first.returncode == 0, first.stderr
    log = events(first.stdout)
    poster = Image.open(inputs / "poster.png")
    assert poster.size == (100, 75)
    assert poster.mode == "RGB"
    kinds = [event["event"] for event in log]
    assert kinds[:2] == ["plan", "start"]
    assert kinds[-1] == "done"
    levels = [event for event in log if event["event"] == "level done"]
    assert [level["level"] for level in levels] == [0, 1]
    steps = [event["style"] for event in log if event["event"] == "step" and event["level"] == 0]
    assert levels[0]["style"] < 0.5 * max(steps), "the style loss did not fall"

    stored = zarr.open_group(inputs / "poster.zarr", mode="r")
    config = stored.attrs["tiler"]["config"]
    assert config["threads"] >= 1
    assert config["tile"] == 48
    assert config["steps"] == [20, 3]
    datasets = stored.attrs["ome"]["multiscales"][0]["datasets"]
    assert [one["path"] for one in datasets] == ["levels/1/image", "levels/0/image"]
    image = np.asarray(stored["levels/1/image"]) / 65535
    assert np.abs(image - np.asarray(poster).transpose(2, 0, 1) / 255).max() <= 0.5 / 255 + 1e-5

    (inputs / "poster.png").unlink()
    again = here("render", "content.png", "style.png", "-o", "poster.png", *SMALL, "--log-json")
    assert again.returncode == 0, again.stderr
    assert not [event for event in events(again.stdout) if event["event"] in ("step", "tile")]
    assert np.array_equal(np.asarray(Image.open(inputs / "poster.png")), np.asarray(poster))

    facts = json.loads(here("info", "poster.zarr", "--json").stdout)
    assert [level["state"] for level in facts["levels"]] == ["done", "done"]
    assert (facts["height"], facts["width"]) == (75, 100)
    assert "done in" in here("info", "poster.zarr").stdout


def test_plain_progress_job_file_and_precedence(here, inputs: Path) -> None:
    job = (
        'content = "content.png"\nstyles = ["style.png", "content.png"]\noutput = "a.png"\nlong_edge = 64\nsteps = 2\n'
    )
    (inputs / "job.toml").write_text(job + "style_blend_weights = [3, 1]\nlevels = 2\n")
    done = here("render", "--job", "job.toml", "--long-edge", "40", "--init", "noise", "-o", "b.jpg")
    assert done.returncode == 0, done.stderr
    assert Image.open(inputs / "b.jpg").size == (40, 30)
    assert not (inputs / "a.png").exists()
    lines = done.stderr.splitlines()
    assert any(line.startswith("level 2 of 2: 40 x 30 px") for line in lines)
    assert lines[-1].endswith("b.jpg")
    assert done.stdout == ""


def test_quiet_lbfgs_max_pooling_and_start_from_a_file(here, inputs: Path) -> None:
    options = ("--optimizer", "lbfgs", "--pooling", "max", "--init", "style.png", "--precision", "fp32")
    done = here(
        "render", "content.png", "style.png", "-o", "p.tif", "--quiet", "--long-edge", "48", "--steps", "4", *options
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert Image.open(inputs / "p.tif").size == (48, 36)


def test_a_poster_that_wraps_meets_itself_without_a_seam(here, inputs: Path) -> None:
    """The content meets itself too: it is mirrored. The step across the joint is one like many."""
    half = np.asarray(Image.open(inputs / "content.png"))
    Image.fromarray(np.concatenate([half, half[:, ::-1]], axis=1)).save(inputs / "round.png")
    steeper = {}
    for wrap in ("x", "none"):
        done = here(
            *("render", "round.png", "style.png", "-o", f"{wrap}.png", "--wrap", wrap),
            *("--long-edge", "100", "--levels", "1", "--steps", "30", "--content-weight", "0.02", "--tv-weight", "0"),
            "--chroma-weight=0",
        )
        assert done.returncode == 0, done.stderr
        assert ("wrap x: 96 x 38 px instead of 100 x 38" in done.stderr) == (wrap == "x")
        image = np.asarray(Image.open(inputs / f"{wrap}.png"), float)
        assert image.shape[:2] == (38, 96 if wrap == "x" else 100)
        energy = np.abs(np.roll(image, -1, 1) - image).mean((0, 2))
        steeper[wrap] = (energy > energy[-1]).mean()
    assert steeper["x"] > 0.1, steeper
    assert steeper["none"] < 0.05, steeper


def test_a_gpu_that_no_worker_has(tiler, inputs: Path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    before = sorted(path.name for path in inputs.iterdir())
    refused = tiler("render", "content.png", "style.png", "-o", "poster.png", *SMALL, "--device", "cuda")
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == ["tiler: device = cuda, but torch finds no CUDA GPU; allowed: auto, cpu"]
    assert sorted(path.name for path in inputs.iterdir()) == before
