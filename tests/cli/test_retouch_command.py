"""`tiler retouch`: a part of a finished poster again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SMALL = (
    "--long-edge=96", "--levels=2", "--steps=1", "--tile=32", "--feather=2", "--halo=4", "--threads=1",
    "--style-layers=relu1_1", "--content-layers=relu1_2",
)  # fmt: skip


@pytest.fixture
def poster(here, inputs: Path, small_weights: str) -> np.ndarray:
    """poster.png and its store; mask.png is white in its upper left corner."""
    done = here("render", "content.png", "style.png", "-o", "poster.png", *SMALL, "--weights", small_weights)
    assert done.returncode == 0, done.stderr
    mask = np.zeros((72, 96), np.uint8)
    mask[:20, :20] = 255
    Image.fromarray(mask).save(inputs / "mask.png")
    return np.asarray(Image.open(inputs / "poster.png"))


def test_a_part_is_new_and_the_rest_as_it_was(here, inputs: Path, poster: np.ndarray) -> None:
    said = ("--mask", "mask.png", "--set", "content-weight=9", "--set", "steps=3", "--feather", "4")
    done = here("retouch", "poster.zarr", *said, "-o", "new.png")
    assert done.returncode == 0, done.stderr
    assert "retouch; tiles: 1 of 4 at 48 x 36, 4 of 9 at 96 x 72; " in done.stderr
    assert "done in " in done.stderr
    changed = np.abs(np.asarray(Image.open(inputs / "new.png")).astype(int) - poster).max(2) > 0
    assert changed[:20, :20].mean() > 0.9
    assert not changed[24:].any()
    assert not changed[:, 24:].any()
    assert np.array_equal(np.asarray(Image.open(inputs / "poster.png")), poster)
    again = here("export", "new.zarr", "-o", "again.png")
    assert again.returncode == 0, again.stderr
    assert np.array_equal(np.asarray(Image.open(inputs / "again.png")), np.asarray(Image.open(inputs / "new.png")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mask=nothing.png",), "nothing.png"),
        (("--mask=mask.png", "--set=wrap=x"), "set = wrap: is the same in all of a poster; allowed: "),
        (("--mask=mask.png", "--feather=-1"), "feather = -1; allowed: 0 to 4096"),
        (("--mask=style.png",), "mask style.png: 104 x 80 pixels; allowed: the poster's shape (96 x 72)"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(here, inputs: Path, poster, options, message: str) -> None:
    before = {path.name for path in inputs.iterdir()}
    done = here("retouch", "poster.zarr", *options, "-o", "new.png")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in inputs.iterdir()} == before


def test_neither_the_mask_nor_the_poster_is_replaced_wherever_the_store_lies(
    here, inputs: Path, small_weights: str
) -> None:
    (inputs / "stores").mkdir()
    where = ("-o", "p.png", "--store", "stores/s.zarr")
    assert here("render", "content.png", "style.png", *where, *SMALL, "--weights", small_weights).returncode == 0
    Image.new("L", (96, 72), 255).save(inputs / "mask.png")
    (inputs / "linked.png").symlink_to("mask.png")
    before = {path: path.read_bytes() for path in (inputs / "mask.png", inputs / "p.png")}
    for mask, output in (("mask.png", "mask.png"), ("mask.png", "linked.png"), ("mask.png", "p.png")):
        done = here("retouch", "stores/s.zarr", "--mask", mask, "--set", "seed=4", "-o", output)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert f"{output}: would replace one of the inputs, " in done.stderr
        assert {path: path.read_bytes() for path in before} == before
        assert not (inputs / output).with_suffix(".zarr").exists()
    (inputs / "p.png").unlink()
    done = here("retouch", "stores/s.zarr", "--mask", "mask.png", "--set", "seed=4", "-o", "p.png")
    assert done.returncode == 0, done.stderr


def test_a_retouch_is_not_gone_on_with_and_says_how_it_is_made_again(here, inputs: Path, poster: np.ndarray) -> None:
    again = ("retouch", "poster.zarr", "--mask", "mask.png", "--set", "seed=5", "-o", "new.png")
    assert "makes way" not in here(*again).stderr
    done = here("resume", "new.zarr")
    assert done.returncode == 2
    assert done.stderr.startswith(f"tiler: store {inputs / 'new.zarr'}: is a retouch, which is made in one go; start ")
    chunks = (inputs / "new.zarr" / "levels" / "1" / "image" / "c").rglob("*")
    next(one for one in chunks if one.is_file()).unlink()
    damaged = here("verify", "new.zarr")
    assert damaged.returncode == 1
    assert damaged.stderr == "1 fault(s); a retouch is made in one go: start over with tiler retouch\n"
    done = here(*again)
    assert done.returncode == 0, done.stderr
    assert f"store {inputs / 'new.zarr'}: an earlier retouch makes way for this one" in done.stderr
    assert here("verify", "new.zarr").returncode == 0
    (inputs / "style.png").unlink()
    done = here(*again)
    assert (done.returncode, done.stderr) == (
        2,
        f"tiler: {inputs / 'style.png'}: no such file, and the poster in poster.zarr is made of it; put it there\n",
    )
