"""`tiler sheet`: previews side by side."""

from __future__ import annotations

import base64
import importlib
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from here import run_main
from PIL import Image

from tiler.output.contact import Table, write_sheet

SHEET = ("sheet", "content.png", "style.png")


@pytest.fixture
def small(small_weights: str) -> tuple[str, ...]:
    return ("--long-edge=32", "--steps=1", "--threads=1", "--style-layers=relu1_1,relu2_1", "--weights", small_weights)


def _cells(text: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/png;base64,([A-Za-z0-9+/=]+)"', text)
    return [np.asarray(Image.open(BytesIO(base64.b64decode(one)))) for one in found]


def test_two_options_are_rows_and_columns(here, inputs: Path, small, monkeypatch: pytest.MonkeyPatch) -> None:
    module, pools = importlib.import_module("tiler.series.sheet"), []

    class Counted(module.Pool):
        def __init__(self, *arguments: Any) -> None:
            pools.append(self)
            super().__init__(*arguments)

    monkeypatch.setattr(module, "Pool", Counted)
    monkeypatch.setattr(importlib.import_module("tiler.rendering"), "Pool", None)  # no preview has workers of its own
    vary = ("--vary", "content-weight=0,5", "--vary", "learning_rate=0.001,0.3")
    done = here(*SHEET, *vary, "-o", "sheet.html", *small)
    assert done.returncode == 0, done.stderr
    assert len(pools) == 1
    assert "preview 4 of 4: content weight 5, learning rate 0.3" in done.stderr + done.stdout
    assert "makes way" not in done.stderr + done.stdout
    text = (inputs / "sheet.html").read_text()
    cells = _cells(text)
    assert [cell.shape for cell in cells] == [(24, 32, 3)] * 4
    assert len({cell.tobytes() for cell in cells}) == 4
    assert {path.name for path in inputs.iterdir()} == {"content.png", "style.png", "sheet.html"}

    monkeypatch.undo()
    words = ("--content-weight=5", "--learning-rate=0.3")
    alone = here("render", "content.png", "style.png", "-o", "alone.png", *words, *small)
    assert alone.returncode == 0, alone.stderr
    assert np.array_equal(cells[3], np.asarray(Image.open(inputs / "alone.png")))

    done = here(*SHEET, *vary, "-o", "sheet.png", *small, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    sheet = np.asarray(Image.open(inputs / "sheet.png"))
    places = [_found(sheet, cell) for cell in cells]
    rows, columns = sorted({y for y, _ in places}), sorted({x for _, x in places})
    assert places == [(y, x) for y in rows for x in columns]
    assert (len(rows), len(columns)) == (2, 2)
    for y in rows:  # its name is written before it
        assert (sheet[y : y + 24, : columns[0] - 1] < 128).any()
    for x in columns:
        assert (sheet[: rows[0] - 1, x : x + 32] < 128).any()


def _found(sheet: np.ndarray, cell: np.ndarray) -> tuple[int, int]:
    height, width, _ = cell.shape
    first = np.argwhere((sheet[: 1 - height, : 1 - width] == cell[0, 0]).all(-1)).tolist()
    [place] = [(y, x) for y, x in first if np.array_equal(sheet[y : y + height, x : x + width], cell)]
    return place


def test_one_option_with_a_caption_below_each(here, inputs: Path, small) -> None:
    (inputs / "job.toml").write_text('content = "content.png"\nstyles = ["style.png"]\nlong_edge = 9999\ntiles = "t"\n')
    done = here("sheet", "--job", "job.toml", "--vary", "keep-detail=yes,no", "-o", "s.jpg", *small, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert Image.open(inputs / "s.jpg").format == "JPEG"
    assert not (inputs / "t").exists()


def test_a_preview_is_small_unless_its_size_is_said(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(inputs)
    seen: list[Any] = []
    monkeypatch.setattr(importlib.import_module("tiler.series.sheet"), "sheet", lambda *given: seen.append(given[0]))
    (inputs / "job.toml").write_text('content = "content.png"\nstyles = ["style.png"]\nprint = "A0"\n')
    for said in ((), ("--scale", "2x")):
        done = run_main("sheet", "--job", "job.toml", "--vary", "seed=1,2", "-o", "s.png", *said)
        assert done.returncode == 0, done.stderr
    assert [(one.long_edge, one.scale, one.print) for one in seen] == [(256, None, None), (None, "2x", None)]


def test_one_row_of_three_is_a_grid_like_a_screen() -> None:
    def grid(count: int, height: int, width: int) -> tuple[int, int]:
        return Table("t", ("a", tuple("x" * count)), None).grid(height, width)

    assert grid(1, 9, 9) == (1, 1)
    assert grid(4, 90, 120) == (2, 2)
    assert grid(3, 120, 40) == (1, 3)
    assert grid(3, 40, 120) == (3, 1)
    assert grid(6, 90, 90) == (2, 3)
    assert grid(12, 90, 120) == (3, 4)
    assert Table("t", ("a", ("1", "2")), ("b", ("x", "y", "z"))).grid(9, 9) == (2, 3)
    assert Table("t", ("a", ("1", "2")), ("b", ("x", "y", "z"))).caption(4) == "a 2, b y"


def test_words_are_wider_than_what_they_are_of(tmp_path: Path) -> None:
    Image.new("RGB", (8, 40)).save(tmp_path / "0.png")
    table = Table("a title that is by far wider than two small pictures are", ("long name", ("1", "2")), None)
    write_sheet(tmp_path / "s.png", ".png", table, [tmp_path / "0.png"] * 2)
    ink = np.asarray(Image.open(tmp_path / "s.png").convert("L")) < 128
    assert not ink[:, -6:].any()
    below = ink[-30:-12].any(0)
    gaps = np.diff(np.flatnonzero(below)).max()
    assert gaps >= 10, "two captions run into each other"


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        assert not [value for name, value in attributes if name in ("src", "href") and not value.startswith("data:")]

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def test_a_page_is_data_whatever_files_are_called(here, inputs: Path, small) -> None:
    name = "<script>alert(1)<img src=x onerror=alert(2)>&.png".replace("/", "")
    (inputs / "style.png").rename(inputs / name)
    done = here("sheet", "content.png", name, "--vary", "tv-weight=0.05,0.1", "-o", "s.html", *small, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    page = _Page()
    page.feed((inputs / "s.html").read_text())
    assert f"content.png + {name}" in page.said
    assert page.tags == {"html", "head", "meta", "title", "style", "body", "h1", "figure", "img", "figcaption"}
    assert not {one for one in page.attributes if one.startswith("on")}
    assert "default-src &#x27;none&#x27;; img-src data:; style-src &#x27;sha256-" in (inputs / "s.html").read_text()


BAD = {
    "no vary": ([], ["--vary"]),
    "no values": (["--vary", "content-weight"], ["NAME=VALUE"]),
    "an empty value": (["--vary", "content-weight=1,,2"], ["content-weight=1,,2", "NAME=VALUE"]),
    "an unknown option": (["--vary", "content-wieght=1,2"], ["content_wieght", "did you mean 'content_weight'"]),
    "a value of another kind": (["--vary", "content-weight=1,much"], ["content_weight = much", "a number"]),
    "a value out of range": (["--vary", "content-weight=1,-2"], ["content_weight = -2", "0 or more"]),
    "values that do not fit": (["--vary", "style-blend-weights=1", "--vary", "levels=1,-1"], ["levels = -1"]),
    "a flag": (["--vary", "keep-detail=yes,maybe"], ["keep_detail = maybe", "yes, no"]),
    "three": (["--vary", "seed=1,2", "--vary", "steps=1,2", "--vary", "levels=1,2"], ["one or two"]),
    "twice the same": (["--vary", "seed=1,2", "--vary", "seed=3,4"], ["seed, seed", "different"]),
    "one that is said besides": (
        ["--vary", "tv-weight=0.1,0.2", "--tv-weight", "0.3"],
        ["tv_weight = 0.3", "--vary", "leave one"],
    ),
    "a value twice": (["--vary", "seed=1,1"], ["each once"]),
    "too many": (["--vary", "seed=" + ",".join(map(str, range(99)))], ["99 values", "up to 24"]),
    "the size": (["--vary", "long-edge=1,2"], ["long_edge is the same for all"]),
    "the machine": (["--vary", "workers=1,2"], ["workers is the same for all"]),
    "a region": (["--vary", "region=a=b.png"], ["region is the same for all"]),
    "a file that is not there": (["--vary", "init=noise,none.png"], ["none.png"]),
    "another format": (["--vary", "seed=1,2", "-o", "s.gif"], ["s.gif", ".html"]),
    "nowhere": (["--vary", "seed=1,2", "-o", "nowhere/s.png"], ["nowhere"]),
    "over an input": (["--vary", "seed=1,2", "-o", "style.png"], ["style.png", "inputs"]),
    "a folder": (["--vary", "seed=1,2", "-o", "folder.png"], ["folder.png", "folder"]),
    "too large": (["--vary", "seed=1,2", "--long-edge", "30000"], ["million pixels", "--long-edge"]),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_wishes_are_one_line(case: str, inputs: Path, small, monkeypatch: pytest.MonkeyPatch) -> None:
    said, words = BAD[case]
    monkeypatch.chdir(inputs)
    (inputs / "folder.png").mkdir()
    before = {path: path.is_file() and path.read_bytes() for path in inputs.rglob("*")}
    monkeypatch.setattr(importlib.import_module("tiler.series.sheet"), "Pool", None)
    done = run_main(*SHEET, *(("-o", "s.png") if "-o" not in said else ()), *small, *said)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr
    assert {path: path.is_file() and path.read_bytes() for path in inputs.rglob("*")} == before
