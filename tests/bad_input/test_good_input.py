"""What looks odd and is fine, and what a process of its own says of what is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bad_pictures import animation
from PIL import Image
from test_bad_input import CASES

from tiler.pictures import read_picture

IN_A_PROCESS = (
    "pictures: png, cut at 0.6", "pictures: jpeg of 65500", "pictures: gif of 65535", "pictures: tiff of nan",
    "options: --mode='zzzz'", "options: job file: nested", "options: unknown option", "weights: code.pth",
    "weights: code of the shell.pth", "weights: claims 2^40.safetensors", "places: pipe as job file",
    "places: a name of many lines as picture", "stores: id '../../../outside', info", "stores: a way out",
)  # fmt: skip


@pytest.mark.parametrize("name", IN_A_PROCESS)
def test_the_same_in_a_process_of_its_own(name: str, folder: Path) -> None:
    arguments = CASES[name].make(folder)
    before = sorted(folder.rglob("*"))
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30)); import tiler.cli as c"
    done = subprocess.run(
        [sys.executable, "-c", f"{limited}; sys.argv[0] = 'tiler'; c.main()", *arguments],
        capture_output=True, text=True, timeout=60, env=os.environ,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert sorted(folder.rglob("*")) == before


def test_paths_with_spaces_and_letters_of_any_kind(folder: Path) -> None:
    odd = folder / "Ärger mit [n=3] 火 %20"
    odd.mkdir()
    for name in ("content", "style"):
        (folder / f"{name}.png").rename(odd / f"{name} 𝄞's.png")
    command = ["render", "content 𝄞's.png", "style 𝄞's.png", "-o", "poster ü.png", "--long-edge=16", "--steps=1"]
    done = subprocess.run(
        [sys.executable, "-m", "tiler", *command, "--quiet"], cwd=odd, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(odd / "poster ü.png").size[0] == 16


def test_of_an_animated_png_the_still_picture_is_read(tmp_path: Path) -> None:
    """The format provides one for programs that show no animations."""
    (tmp_path / "a.png").write_bytes(animation("PNG"))
    assert (read_picture(tmp_path / "a.png") == 0).all()
