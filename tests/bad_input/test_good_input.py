"""What looks odd and is fine, and what a process of its own says of what is not."""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from bad_pictures import animation
from PIL import Image
from test_bad_input import CASES

from tiler.cli import main
from tiler.pictures import read_picture

IN_A_PROCESS = (
    "pictures: png, cut at 0.6", "pictures: jpeg of 65500", "pictures: gif of 65535", "pictures: tiff of nan",
    "options: --mode='zzzz'", "options: job file: nested", "options: unknown option", "weights: code.pth",
    "weights: code of the shell.pth", "weights: claims 2^40.safetensors", "places: pipe as job file",
    "places: a name of many lines as picture", "stores: id '../../../outside', info", "stores: a way out",
)  # fmt: skip


SAID = ("out", "err")


@pytest.fixture(scope="module")
def forks() -> ForkServerContext:
    """Makes processes of one that has loaded what commands load, and done nothing else."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tiler.cli.commands", "tiler.rendering"])
    return found


def _tiler(arguments: list[str], said: Path) -> None:
    """What the command's process does, with 8 GB of address space and what it says in files."""
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    for number, name in enumerate(SAID, 1):
        os.dup2(os.open(said / name, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["tiler", *arguments]
    main()


@pytest.mark.parametrize("name", IN_A_PROCESS)
def test_the_same_in_a_process_of_its_own(
    name: str, folder: Path, forks: ForkServerContext, tmp_path_factory: pytest.TempPathFactory
) -> None:
    arguments, said = CASES[name].make(folder), tmp_path_factory.mktemp("said")
    before = sorted(folder.rglob("*"))
    process = forks.Process(target=_tiler, args=(arguments, said))
    process.start()
    process.join(60)
    out, err = ((said / name).read_text() for name in SAID)
    assert (process.exitcode, out) == (2, ""), err
    assert err.count("\n") == 1, err
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
