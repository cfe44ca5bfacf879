"""Previews as a page has them, without a render."""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler.output.contact import Table
from tiler.request.config import RenderConfig
from tiler.series.preview import Preview
from tiler.studio import previews
from tiler.studio.folder import Folder
from tiler.studio.previews import Cell, Previewer, Run, kept_place

CONFIG = RenderConfig(content="c.png", styles=("s.png",), output="p.png")
POOL: Any = SimpleNamespace()


def _seen(level: int = 1, loss: float | None = 0.5, shade: int = 7) -> Preview:
    return Preview(level, 3, 4, 9, loss, 0.25, 1.2345, np.full((5, 8, 3), shade, np.uint8))


def _never() -> bool:
    return False


def test_a_cell_says_what_it_shows() -> None:
    cell = Cell("seed 3", CONFIG, (90, 120))
    assert cell.told() == {"caption": "seed 3", "version": 0, "whole": (90, 120)}
    cell.seen, cell.version = _seen(), 6
    assert cell.told() == {
        "caption": "seed 3", "version": 6, "whole": (90, 120), "level": 1, "levels": 3, "steps": 4, "of": 9,
        "height": 5, "width": 8, "style": 0.25, "loss": 0.5, "seconds": 1.23, "finished": False,
    }  # fmt: skip


@pytest.mark.parametrize(("level", "loss", "finished"), [(1, 0.5, False), (2, None, False), (2, 0.5, True)])
def test_a_cell_is_finished_with_its_last_level(level: int, loss: float | None, finished: bool) -> None:
    assert Cell("", CONFIG, seen=_seen(level, loss)).told()["finished"] is finished


def test_cells_are_rendered_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def preview(config: RenderConfig, edge: int, on_level: Any, folder: Path, **more: Any) -> None:
        on_level(_seen(0, None, config.seed))
        on_level(_seen(1, 0.5, config.seed))
        asked.append((config.seed, edge, folder, more))

    monkeypatch.setattr(previews, "preview", preview)
    cells = [Cell("", RenderConfig(**{**vars(CONFIG), "seed": seed})) for seed in (3, 4)]
    run, heard = Run(Folder(tmp_path), cells, 48, None), []
    run.work(POOL, _never, heard.append)
    hears = {"cancelled": _never, "progress": heard.append, "pool": POOL}
    assert [(seed, edge, more) for seed, edge, _, more in asked] == [(3, 48, hears), (4, 48, hears)]
    first, second = (folder for *_, folder, _ in asked)
    assert first.parent == second.parent == tmp_path / ".tiler-studio" / "previews"
    assert first != second
    assert [(cell.version, cell.seen and cell.seen.pixels[0, 0, 0]) for cell in cells] == [(2, 3), (2, 4)]
    assert [one["level"] for one in run.told()["cells"]] == [1, 1]
    run = Run(Folder(tmp_path), cells[:1], 49, None)
    run.work(POOL, _never, heard.append)
    assert asked[2][2] not in (first, second)
    assert cells[0].version == 4


@pytest.fixture
def previewer(tmp_path: Path) -> Previewer:
    bench: Any = SimpleNamespace(asked=[])

    def ask(task: Any) -> int:
        bench.asked.append(task)
        task.number = 20 + len(bench.asked)
        return task.number

    bench.ask = ask
    return Previewer(Folder(tmp_path), bench)


def test_before_anything_is_asked_for_nothing_is_to_be_waited_for(previewer: Previewer) -> None:
    told = previewer.told()
    assert (told["run"], told["done"], told["cells"]) == (0, True, [])
    assert previewer.picture(0, 0) is None
    assert previewer.sheet(0, ".png") is None


def test_pictures_are_of_the_newest_run(previewer: Previewer) -> None:
    old, new = [Cell("", CONFIG, seen=_seen(shade=1))], [Cell("", CONFIG, seen=_seen(shade=2)), Cell("", CONFIG)]
    assert previewer.ask(old, 64) == 21
    assert previewer.ask(new, 64) == 22
    assert previewer.told()["run"] == 22
    assert previewer.picture(22, 0) == _seen(shade=2).png()
    for run, cell in ((21, 0), (22, 1), (22, 2), (22, -1), (23, 0)):
        assert previewer.picture(run, cell) is None


def test_a_sheet_is_all_cells_side_by_side(previewer: Previewer, tmp_path: Path) -> None:
    cells = [Cell("", CONFIG, seen=_seen(shade=shade)) for shade in (10, 240)]
    number = previewer.ask(cells, 64, Table("t", ("seed", ("3", "4")), None))
    with Image.open(io.BytesIO(previewer.sheet(number, ".png") or b"")) as sheet:
        assert sheet.format == "PNG"
        shades = {colour for _, colour in sheet.convert("RGB").getcolors(10**6) or []}
    assert {(10, 10, 10), (240, 240, 240)} <= shades
    assert (previewer.sheet(number, ".jpg") or b"")[:2] == b"\xff\xd8"
    assert [*(tmp_path / ".tiler-studio").iterdir()] == []
    assert previewer.sheet(number + 1, ".png") is None
    cells[0].seen = None
    assert previewer.sheet(number, ".png") is None
    assert previewer.sheet(previewer.ask(cells[1:], 64), ".png") is None


def test_the_oldest_make_way(tmp_path: Path) -> None:
    held = Folder(tmp_path)
    places = [kept_place(held, "proofs", {"a": number, "b": 1}, 3) for number in range(3)]
    assert len({*places}) == 3
    assert {one.parent for one in places} == {held.own_folder("proofs")}
    for age, place in zip((30, 10, 20), places, strict=True):
        (place / "x").write_text("x")
        os.utime(place, ns=(10**18 - age * 10**9, 10**18 - age * 10**9))
    other = held.own_folder("proofs", "notes")
    os.utime(other, (1, 1))
    assert kept_place(held, "proofs", {"b": 1, "a": 0}, 3) == places[0]  # looked at again, and so the newest
    assert all(one.is_dir() for one in places)
    new = kept_place(held, "proofs", "new", 3)
    assert {*new.parent.iterdir()} == {new, places[0], places[1], other}
    assert kept_place(held, "previews", "new", 3).name == new.name
