"""`tiler proof`: a spot of a poster, as large as there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SMALL = (
    "--long-edge=160", "--levels=2", "--steps=1", "--tile=16", "--feather=2", "--halo=4", "--threads=1",
    "--style-layers=relu1_1", "--content-layers=relu1_2",
)  # fmt: skip


@pytest.fixture
def words(small_weights: str) -> tuple[str, ...]:
    return ("content.png", "style.png", *SMALL, "--weights", small_weights)


def test_a_spot_is_said_what_it_takes_of_the_poster_and_is_written(here, inputs: Path, words) -> None:
    done = here("proof", *words, "--at", "0.4,0.6", "--edge", "16", "-o", "proof.png")
    assert done.returncode == 0, done.stderr
    said = "proof: 16 x 16 px from (56, 64) of 160 x 120; tiles: "
    assert said in done.stderr
    assert " of 80 at 160 x 120, all below; " in done.stderr
    assert "% of the poster's work" in done.stderr
    assert Image.open(inputs / "proof.png").size == (16, 16)
    again = here("proof", *words, "--at", "0.9,0.6", "--edge", "16", "-o", "proof.png")
    assert "at was 0.4,0.6, now 0.9,0.6" in again.stderr
    assert "1 of 2 levels is the same and taken over" in again.stderr
    whole = here("proof", *words, "--at", "0.9,0.6", "--edge", "160", "-o", "whole.png")
    poster = here("render", *words, "-o", "poster.png")
    assert whole.returncode == poster.returncode == 0, whole.stderr + poster.stderr
    assert np.array_equal(np.asarray(Image.open(inputs / "whole.png")), np.asarray(Image.open(inputs / "poster.png")))
    planned = here("plan", *words, "--at", "0.4,0.6", "--edge", "16")
    assert said in planned.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "at = None; allowed: --at X,Y"),
        (("--at=0.5",), "at = '0.5'; allowed: two shares"),
        (("--at=0.5,1.5",), "at = '0.5,1.5'; allowed: two shares of the poster's width and height, 0 to 1 each"),
        (("--at=0.5,0.5", "--edge=3"), "edge = 3; allowed: 16 to 16384"),
        (("--edge=64",), "--edge 64: is the side of a proof; allowed: with --at X,Y"),
    ],
)
def test_what_is_no_spot_is_refused_in_a_line(here, inputs: Path, words, options, message: str) -> None:
    done = here("proof", *words, *options, "-o", "proof.png")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in inputs.iterdir()} == {"content.png", "style.png"}


def test_a_whole_posters_files_are_refused(here, words) -> None:
    done = here("render", *words, "--at=0.5,0.5", "--tiles=x", "-o", "proof.png")
    assert done.returncode == 2
    assert "tiles = x: is of a whole poster; with at, allowed: none" in done.stderr
