"""Every example at a tiny size, on one worker that all of them share, and the page that shows them."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from distributed import LocalCluster
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("[0-9][0-9]_*.py"))


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, memory_limit=0) as cluster:
        yield cluster.scheduler_address


@pytest.mark.parametrize("name", SCRIPTS)
def test_example_makes_its_poster(name: str, scheduler: str, tmp_path: Path) -> None:
    main = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]
    tiny = ["--long-edge", "64", "--levels", "1", "--steps", "1", "--scheduler", scheduler, "--quiet"]
    own = ["--minutes", "0"] if name == "11_grown_world" else []  # as it was begun
    main(["--output", str(tmp_path), *tiny, *own], standalone_mode=False)
    poster = np.asarray(Image.open(tmp_path / "poster.png"))
    content = np.asarray(Image.open(tmp_path / "content.png").convert("RGB"))
    assert max(poster.shape) == 64
    assert poster.shape[2] == 3
    assert poster.std() > 8
    assert abs(poster.shape[0] / poster.shape[1] - content.shape[0] / content.shape[1]) < 0.03
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    make = runpy.run_path(str(EXAMPLES / "make_gallery.py"))
    page = make["section"](EXAMPLES / f"{name}.py", tmp_path, gallery, "the command")
    pictures = {picture.name for picture in gallery.iterdir()}
    assert all(f"({picture})" in page for picture in pictures)
    assert len(pictures) >= 2


def test_gallery_shows_what_its_commands_make() -> None:
    gallery = EXAMPLES / "gallery"
    page = (gallery / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python examples/(\w+)\.py --long-edge \d+$", page, re.MULTILINE)
    assert commands
    assert set(commands) == set(SCRIPTS)
    shown = {picture.name for picture in gallery.glob("[0-9]*.jpg")}
    assert shown == set(re.findall(r"\]\((\S+\.jpg)\)", page))
    assert {picture.rsplit("-", 1)[0].split("-style")[0] for picture in shown} == set(commands)
    assert max(picture.stat().st_size for picture in gallery.iterdir()) <= 350_000
    assert sum(picture.stat().st_size for picture in gallery.iterdir()) <= 7_000_000


WRONG = {
    "a value": (["--content-weight", "-1"], "content_weight"),
    "no number": (["--content-weight", "much"], "content_weight = much; allowed: a number"),
    "no size": (["--long-edge", "0"], "0 is not in the range x>=16"),
    "another size": (["--scale", "2x"], "No such option"),
    "a file": (["--output", "here.txt"], "here.txt"),
    "below a file": (["--output", "here.txt/x"], "here.txt"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_option_is_one_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, words = WRONG[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.txt").write_text("mine")
    command = runpy.run_path(str(EXAMPLES / f"{SCRIPTS[0]}.py"))["main"]
    done = CliRunner().invoke(command, [*([] if "--output" in said else ["--output", "out"]), *said])
    assert (done.exit_code, type(done.exception)) == (2, SystemExit), done.exception
    assert words in done.output
    assert (tmp_path / "here.txt").read_text() == "mine"


def test_a_gallery_of_nothing_is_not_written(tmp_path: Path) -> None:
    main = runpy.run_path(str(EXAMPLES / "make_gallery.py"))["main"]
    for said, words in ((["--only", "99"], "allowed: 01, 02"), (["--jobs", "0"], "not in the range"),
                        (["--page-only"], "no example's poster is there")):  # fmt: skip
        done = CliRunner().invoke(main, ["--work", str(tmp_path / "work"), "--gallery", str(tmp_path / "page"), *said])
        assert (done.exit_code != 0, type(done.exception)) == (True, SystemExit)
        assert words in done.output
    assert not (tmp_path / "page" / "README.md").exists()
