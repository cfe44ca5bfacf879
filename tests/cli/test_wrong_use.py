"""Wrong use ends in one clear line and exit code 2, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from here import run_main
from PIL import Image

RENDER = ["render", "content.png", "style.png", "-o", "poster.png"]
SEA = [*RENDER, "--region", "sea=style.png"]
LABELS = [*RENDER, "--labels", "white.png"]


@pytest.fixture
def prepared(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(inputs)
    (inputs / "text.png").write_text("not a picture")
    (inputs / "bad.toml").write_text("content = ")
    (inputs / "unknown.toml").write_text('contents = "content.png"\n')
    (inputs / "wrong.toml").write_text('long_edge = "big"\n')
    for name, size, value in (("black", (120, 90), 0), ("white", (120, 90), 255), ("square", (90, 90), 255)):
        Image.new("L", size, value).save(inputs / f"{name}.png")
    (inputs / "folder").mkdir()
    (inputs / "folder" / "file").write_text("mine")
    return inputs


CASES = {
    "missing content": (["render", "none.png", "style.png", "-o", "p.png"], ["none.png"]),
    "missing style": (["render", "content.png", "none.png", "-o", "p.png"], ["none.png"]),
    "no style": (["render", "content.png", "-o", "p.png"], ["STYLE"]),
    "no style of a texture": (["render", "--init", "noise", "--content-weight", "0", "-o", "p.png"], ["STYLE"]),
    "colours of no content": (
        ["render", "--init", "noise", "--content-weight", "0", "--color", "match", "style.png", "-o", "p.png"],
        ["STYLE is missing"],
    ),
    "protecting nothing": ([*RENDER, "--protect", "black.png"], ["protect black.png", "black all over"]),
    "protecting another shape": ([*RENDER, "--protect", "square.png"], ["protect square.png: 90 x 90", "120 x 90"]),
    "protecting without content": (
        [*RENDER, "--protect", "white.png", "--content-weight", "0"],
        ["protect = white.png", "allowed: above 0"],
    ),
    "protecting by no file": ([*RENDER, "--protect", "none.png"], ["none.png"]),
    "no output": (["render", "content.png", "style.png"], ["POSTER"]),
    "not an image": (["render", "text.png", "style.png", "-o", "p.png"], ["text.png"]),
    "a folder as content": (["render", "folder", "style.png", "-o", "p.png"], ["folder"]),
    "output folder missing": ([*RENDER[:3], "-o", "nowhere/p.png"], ["nowhere"]),
    "output extension": ([*RENDER[:3], "-o", "p.gif"], ["p.gif", ".png"]),
    "output is a folder": ([*RENDER[:3], "-o", "folder"], ["folder"]),
    "unknown layer": ([*RENDER, "--style-layers", "relu9_1"], ["relu9_1", "relu4_1"]),
    "size zero": ([*RENDER, "--long-edge", "0"], ["long_edge = 0", "1 to"]),
    "size not a number": ([*RENDER, "--long-edge", "big"], ["long_edge = big", "whole number"]),
    "bits of the format": ([*RENDER[:3], "-o", "p.jpg", "--bits", "16"], ["p.jpg", "JPEG holds 8"]),
    "bits of none": ([*RENDER, "--bits", "12"], ["12 bits", "8 or 16"]),
    "compression of the format": ([*RENDER, "--compression", "zstd"], ["zstd", "none to choose"]),
    "compression of none": ([*RENDER, "--compression", "rar"], ["compression = 'rar'", "deflate"]),
    "a JPEG's quality": (
        [*RENDER, "--quality", "90"],
        ["quality = '90'", "draft, standard, best", "--jpeg-quality 90"],
    ),
    "quality of none": ([*RENDER, "--quality", "bets"], ["quality = 'bets'", "did you mean best"]),
    "a png as geotiff": ([*RENDER, "--cog"], ["poster.png", ".tif"]),
    "tiles over a folder of mine": ([*RENDER, "--tiles", "folder"], ["folder", "something else"]),
    "16 bits for tiles": ([*RENDER[:3], "--tiles", "t", "--bits", "16"], ["t: bits", "8 bits"]),
    "export to nowhere": (["export", "x.zarr"], ["-o FILE", "--tiles"]),
    "two sizes": ([*RENDER, "--long-edge", "9", "--scale", "2x"], ["long_edge and scale", "one of"]),
    "size without a cross": ([*RENDER, "--size", "1024"], ["size = '1024'", "WIDTHxHEIGHT"]),
    "paper without a unit": ([*RENDER, "--print", "90x60"], ["print = '90x60'", "unit"]),
    "scale beyond all": ([*RENDER, "--scale", "99999x"], ["scale = 99999x", "1048576"]),
    "export without a store": (["export", "nowhere.zarr", "-o", "p.png"], ["nowhere.zarr"]),
    "export of a picture": (["export", "content.png", "-o", "p.png"], ["content.png"]),
    "ground scale of nowhere": ([*RENDER, "--content-gsd", "auto"], ["content_gsd = auto", "no georeference"]),
    "ground scale and style scale": ([*RENDER, "--style-gsd", "9", "--style-scale", "2"], ["style_scale and"]),
    "a crop of edges that meet": ([*RENDER, "--wrap", "x", "--size", "64x64"], ["wrap = x", "along x"]),
    "size too large": ([*RENDER, "--long-edge", "99999999"], ["long_edge = 99999999"]),
    "negative weight": ([*RENDER, "--tv-weight", "-1"], ["tv_weight = -1", "0 or more"]),
    "weight nan": ([*RENDER, "--content-weight", "nan"], ["content_weight = nan"]),
    "all weights zero": ([*RENDER, "--style-weight", "0", "--content-weight", "0", "--tv-weight", "0"], ["all 0"]),
    "blend weights": ([*RENDER, "--style-blend-weights", "1,2"], ["style_blend_weights", "one per style"]),
    "tile too small": ([*RENDER, "--tile", "8"], ["tile = 8", "16 to"]),
    "steps per level": ([*RENDER, "--steps", "1,2,3"], ["steps has 3", "levels of"]),
    "choice": ([*RENDER, "--mode", "fats"], ["mode = 'fats'", "did you mean fast"]),
    "weights file": ([*RENDER, "--weights", "none.pth"], ["none.pth", "bundled"]),
    "weights not weights": ([*RENDER, "--weights", "text.png"], ["text.png"]),
    "init file": ([*RENDER, "--init", "none.png"], ["none.png"]),
    "init not an image": ([*RENDER, "--init", "text.png"], ["text.png"]),
    "poster over an input": (["render", "content.png", "style.png", "-o", "content.png"], ["content.png", "inputs"]),
    "store of an unknown kind": ([*RENDER, "--store", "s3://nowhere/x"], ["s3://nowhere/x"]),
    "job file missing": ([*RENDER, "--job", "none.toml"], ["none.toml"]),
    "job file not toml": ([*RENDER, "--job", "bad.toml"], ["bad.toml", "TOML"]),
    "job file key": ([*RENDER, "--job", "unknown.toml"], ["contents", "did you mean 'content'"]),
    "job file type": (["render", "--job", "wrong.toml", *RENDER[1:]], ["long_edge = 'big'"]),
    "store is a file": ([*RENDER, "--store", "text.png"], ["text.png"]),
    "store is a folder of mine": ([*RENDER, "--store", "folder"], ["folder"]),
    "no cluster": ([*RENDER, "--scheduler", "nonsense://127.0.0.1:1"], ["nonsense"]),
    "region without a form": ([*RENDER, "--region", "sea"], ["region = 'sea'", "NAME=STYLE"]),
    "mask of an unknown region": ([*SEA, "--mask", "see=white.png"], ["'see=...'", "did you mean sea"]),
    "region that is nowhere": (SEA, ["region 'sea' is nowhere", "--mask sea=FILE"]),
    "region's style missing": ([*RENDER, "--region", "sea=none.png", "--mask", "sea=white.png"], ["none.png"]),
    "mask missing": ([*SEA, "--mask", "sea=none.png"], ["none.png", "no such file"]),
    "mask not an image": ([*SEA, "--mask", "sea=text.png"], ["text.png"]),
    "mask of another shape": ([*SEA, "--mask", "sea=square.png"], ["mask square.png", "90 x 90", "120 x 90"]),
    "mask that is black": ([*SEA, "--mask", "sea=black.png"], ["region 'sea' covers no pixel"]),
    "labels alone": ([*RENDER, "--labels", "white.png"], ["--labels FILE --label"]),
    "label not a colour": ([*LABELS, "--label", "sea=style.png"], ["'sea=...'", "six hexadecimal digits"]),
    "label that is nowhere": (
        [*LABELS, "--label", "ffffff=rest", "--label", "#0000ff=style.png"],
        ["region '#0000ff' covers no pixel"],
    ),
    "labels of another shape": ([*RENDER, "--labels", "square.png", "--label", "ffffff=rest"], ["labels square.png"]),
    "style mask of another shape": (
        [*RENDER, "--style-mask", "rest=square.png"],
        ["style_mask square.png", "style.png"],
    ),
    "info without a store": (["info", "nowhere.zarr"], ["nowhere.zarr"]),
    "info on a picture": (["info", "content.png"], ["content.png"]),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_exit_code_2(case: str, prepared: Path) -> None:
    arguments, words = CASES[case]
    before = {path: path.read_bytes() for path in prepared.rglob("*") if path.is_file()}
    done = run_main(*arguments)
    text = done.stderr
    assert done.returncode == 2, text
    assert len(text.strip().splitlines()) == 1, text
    assert "Traceback" not in text
    for word in words:
        assert word in text
    assert {path: path.read_bytes() for path in prepared.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "arguments", [["render", "--no-such-option"], ["paint"], ["info"], ["export"], ["export", "x.zarr"]]
)
def test_unknown_words_are_exit_code_2(arguments: list[str]) -> None:
    done = run_main(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_finished_job_makes_way_and_an_unfinished_one_does_not(here, inputs: Path) -> None:
    small = ("--long-edge", "32", "--steps", "1", "--quiet")
    assert here(*RENDER, *small).returncode == 0
    before = (inputs / "poster.png").read_bytes()
    three = ("--content-weight", "3", "--style-weight", "2", "--tv-weight", "0.1")
    other = here(*RENDER, *small[:-1], *three)
    assert other.returncode == 0, other.stderr
    [note] = [line for line in other.stderr.splitlines() if "makes way" in line]
    for said in ("content_weight was 0.3, now 3.0", "style_weight was 1.0, now 2.0", "tv_weight was 0.05, now 0.1"):
        assert said in note
    assert (inputs / "poster.png").read_bytes() != before
    assert here(*RENDER, *small).returncode == 0
    assert (inputs / "poster.png").read_bytes() == before

    held = json.loads((inputs / "poster.zarr" / "zarr.json").read_text())
    del held["attributes"]["tiler"]["wrote"]
    (inputs / "poster.zarr" / "zarr.json").write_text(json.dumps(held))
    refused = here(*RENDER, *small, "--content-weight", "3")
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "content_weight was 0.3, now 3.0" in refused.stderr
    assert "--force-new" in refused.stderr
    less = here(*RENDER, "--long-edge", "32", "--quiet")
    assert less.returncode == 2
    assert "steps was [1], now None" in less.stderr
    swapped = here("render", "style.png", "style.png", "-o", "poster.png", *small)
    assert swapped.returncode == 2
    assert "content file differs" in swapped.stderr
    assert (inputs / "poster.png").read_bytes() == before
    assert here(*RENDER, *small, "--content-weight", "3", "--force-new").returncode == 0
    assert (inputs / "poster.png").read_bytes() != before
