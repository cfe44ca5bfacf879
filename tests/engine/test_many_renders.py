"""Sheets, retouches and flights: what they ask of renders, and what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler.errors import ConfigError, StoreError, TilerError
from tiler.geometry import Level
from tiler.request.config import RenderConfig
from tiler.request.varying import varied
from tiler.series import retouch, sheet, zoom
from tiler.series.retouch import _Before

CONFIG = RenderConfig("c.png", ("s.png", "t.png"), "p.png")


def test_cells_are_listed_row_by_row_and_the_title_names_the_pictures() -> None:
    many = varied(["content-weight=0.5,2", "seed=7,8,9"])
    config = replace(CONFIG, content="in/map.png", styles=("a.png", "b/c.png"))
    assert [(one.content_weight, one.seed) for one in sheet.cells_of(config, many)] == [
        (0.5, 7), (0.5, 8), (0.5, 9), (2, 7), (2, 8), (2, 9),
    ]  # fmt: skip
    table = sheet.table_of(config, many)
    assert table.title == "map.png + a.png + c.png"
    assert (table.rows, table.columns) == (("content weight", ("0.5", "2")), ("seed", ("7", "8", "9")))
    assert (
        sheet.table_of(replace(config, content=None, content_weight=0, init="noise"), many[1:]).title == "a.png + c.png"
    )
    assert sheet.table_of(config, many[1:]).columns is None


def test_of_a_preview_s_own_course_nothing_is_told_and_of_its_pictures_once() -> None:
    told: list[str] = []
    for first in (True, False):
        for event in ("plan", "start", "level", "level done", "step", "tile", "write", "note", "damage", "retry"):
            sheet._told(lambda event: told.append(event["event"]), {"event": event}, first)
    assert told == ["note", "damage", "retry", "damage", "retry"]


@pytest.mark.parametrize(
    ("said", "pool"),
    [({"workers": 3}, (None, 3, 2)), ({"workers": 9}, (None, 9, 1)),
     ({"workers": 2, "threads": 5, "scheduler": "tcp://a:1"}, ("tcp://a:1", 2, 5))],
)  # fmt: skip
def test_a_sheet_s_previews_share_workers_and_a_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: Any, pool: Any
) -> None:
    pools: list[Any] = []
    checked: list[Any] = []
    rendered: list[Any] = []
    told: list[Any] = []

    class Pool:
        def __init__(self, *what: Any) -> None:
            pools.append(what)

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *what: Any) -> None:
            pools.append("closed")

    def render(config: RenderConfig, progress: Any, pool: Any) -> None:
        progress({"event": "note", "text": "of its pictures"})
        rendered.append((config, isinstance(pool, Pool)))
        Image.new("RGB", (5, 3), (config.seed, 0, 0)).save(config.output)  # type: ignore[arg-type]

    shown: Any = SimpleNamespace(asked=SimpleNamespace(job=SimpleNamespace(cut=SimpleNamespace(
        shown=SimpleNamespace(height=3, width=5)))))  # fmt: skip
    monkeypatch.setattr(sheet, "cores", lambda: 8)
    monkeypatch.setattr(sheet.Request, "of", lambda config: shown)
    monkeypatch.setattr(sheet, "pictures_of", lambda config: ["in.png"])
    monkeypatch.setattr(sheet, "check_sheet", lambda *what: checked.append(what))
    monkeypatch.setattr(sheet, "Pool", Pool)
    monkeypatch.setattr(sheet, "render", render)
    whole = replace(CONFIG, tiles="t", store="s.zarr", bits=16, compression="lzw", cog=True, **said)
    output = str(tmp_path / "s.PNG")
    sheet.sheet(whole, ["seed=10,20"], output, told.append)
    assert pools == [pool, "closed"]
    assert [(what[0], what[2:]) for what in checked] == [(output, (3, 5, ["in.png"]))] * 2
    assert [(one.seed, shared) for one, shared in rendered] == [(10, True), (20, True)]
    (one, _), (two, _) = rendered
    assert one.output == two.output
    assert (one.tiles, one.store, one.bits, one.compression, one.cog) == (None, None, 8, None, False)
    assert [event["text"] for event in told] == [
        "preview 1 of 2: seed 10", "of its pictures", "preview 2 of 2: seed 20",
    ]  # fmt: skip
    reds = np.asarray(Image.open(output)).reshape(-1, 3).tolist()
    assert reds.index([10, 0, 0]) < reds.index([20, 0, 0])
    assert [path.name for path in tmp_path.iterdir()] == ["s.PNG"]


def before(*levels: tuple[int, int]) -> Any:
    made = object.__new__(_Before)
    sizes = tuple(Level(number, *size, 1, 0.1) for number, size in enumerate(levels))
    made._job = SimpleNamespace(id="known", cut=SimpleNamespace(levels=sizes, last=sizes[-1]))  # type: ignore[assignment]
    return made


def test_cells_in_which_something_may_change_are_runs_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 x 72 pixels: 16 x 16 each, and what is left at the edges."""
    mask = np.zeros((1, 40, 72), np.float32)
    mask[0, 3, [15, 16, 47]], mask[0, 39, 71] = 1, 0.51 / 65535
    mask[0, 20:, 30] = 0.49 / 65535
    asked: list[Any] = []
    made = before((20, 36), (40, 72))
    monkeypatch.setattr(
        made, "_mask", lambda *what: asked.append(what) or (mask[:, y : y + 16] for y in range(0, 40, 16))
    )
    assert list(made._boxes("mask", 1, 5)) == [(0, 0, 16, 48), (32, 64, 40, 72)]
    assert asked == [("mask", 1, 5, 16)]
    mask[0, 3, 16] = 0
    assert list(made._boxes("mask", 1, 5))[:2] == [(0, 0, 16, 16), (0, 32, 16, 48)]


def test_a_mask_is_softened_as_far_as_the_feather_reaches_at_that_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(retouch.pictures, "mask_bands", lambda *what: asked.append(what))
    made = before((20, 30), (40, 60), (80, 120))
    for number, feather in ((2, 8), (1, 8), (0, 8), (0, 3), (2, 0), (2, 4096)):
        made._mask("mask", number, feather, 7)
    assert [what[:4] for what in asked[:3]] == [("mask", 80, 120, 7), ("mask", 40, 60, 7), ("mask", 20, 30, 7)]
    assert [what[4] for what in asked] == pytest.approx([10, 5, 2.5, 0, 0, 5120])
    asked.clear()
    made._mask("mask", 2, 0.8, 7)
    assert [what[4] for what in asked] == pytest.approx([1.0])


def test_only_a_retouch_of_the_same_poster_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    made = before((20, 30))
    stores = {"ours": {"retouch": "known"}, "another": {"retouch": "other"}, "a render": {}}
    monkeypatch.setattr(retouch.RenderStore, "exists", lambda url: url in stores)
    monkeypatch.setattr(
        retouch.RenderStore, "open", lambda url, writable: SimpleNamespace(attributes=stores[url], writable=writable)
    )
    assert (made.name, made.replaced("none"), made.replaced("ours")) == ("known", False, True)
    for url in ("another", "a render"):
        with pytest.raises(StoreError, match=f"store {url}: holds another job; choose another -o$"):
            made.replaced(url)


@pytest.fixture
def flown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """fly(frames, factor, options...): what was rendered, with how; each frame is grey by its number."""
    Image.new("RGB", (40, 60)).save(tmp_path / "start.png")
    rendered: list[Any] = []

    def drawn(config: RenderConfig, *how: Any) -> None:
        rendered.append((config, how))
        Image.new("RGB", (40, 60), (10 * len(rendered), 0, 0)).save(str(config.output))
        (Path(str(config.store)) / "levels").mkdir(parents=True)

    monkeypatch.setattr("tiler.series.zoom.render", drawn)
    monkeypatch.setattr("tiler.series.zoom.trunk_of", lambda weights: SimpleNamespace(sha256=f"of {weights}"))
    start = str(tmp_path / "start.png")

    def fly(frames: int, factor: float = 1.5, *how: Any, **options: Any) -> list[Any]:
        rendered.clear()
        config = RenderConfig(start, (start,), str(tmp_path / "frames"), **options)
        found = zoom.zoom_in(config, frames, factor, *how)
        assert [path.name for path in found] == [f"frame-{number:04}.png" for number in range(frames)]
        return list(rendered)

    return fly


def test_frames_that_are_there_are_kept_and_the_flight_goes_on(flown: Any, tmp_path: Path) -> None:
    told: list[Any] = []
    folder = tmp_path / "frames"
    first = flown(2, 1.5, told.append)
    assert [(one.output, one.store) for one, _ in first] == [
        (str(folder / f"frame-000{number}.png"), str(folder / f"frame-000{number}.zarr")) for number in (0, 1)
    ]
    assert [how for _, how in first] == [(told.append, False)] * 2
    assert [event["text"] for event in told] == [
        f"frame {number + 1} of 2: {folder / f'frame-000{number}.png'}" for number in (0, 1)
    ]
    assert {event["event"] for event in told} == {"note"}
    assert sorted(path.name for path in folder.iterdir() if path.name[0] != ".") == [
        "frame-0000.png", "frame-0001.png", "zoom.json",
    ]  # fmt: skip
    assert flown(2) == []
    ((third, _),) = flown(3)
    assert third.output == str(folder / "frame-0002.png")
    facts = json.loads((folder / "zoom.json").read_text())
    assert (set(facts), facts["factor"]) == ({"config", "inputs", "factor"}, 1.5)
    assert facts["inputs"]["weights"] == "of bundled"


def test_another_factor_or_look_is_another_flight(flown: Any, tmp_path: Path) -> None:
    flown(2)
    for factor, options in ((1.25, {}), (1.5, {"seed": 4})):
        with pytest.raises(ConfigError, match=r"-o .*frames: holds the frames of another dream"):
            flown(1, factor, **options)
    assert (tmp_path / "frames" / "frame-0001.png").exists()
    assert [how for _, how in flown(1, 1.25, None, True)] == [(None, True)]
    assert not (tmp_path / "frames" / "frame-0001.png").exists(), "frames of another flight are gone"


def test_a_folder_of_somebody_else_s_is_not_flown_into(flown: Any, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "mine.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(TilerError, match=r"frames: holds something else .*mine\.txt"):
            flown(1, 1.5, None, force)
    assert [path.name for path in (tmp_path / "frames").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [("overlay", "o.png", "none"), ("init", "noise", "content"), ("wrap", "x", "none"), ("protect", "m.png", "none"),
     ("at", "0.1,0.2", "none"), ("labels", "l.png", "none")],
)  # fmt: skip
def test_what_is_of_one_picture_is_refused(flown: Any, tmp_path: Path, name: str, value: str, allowed: str) -> None:
    more: dict[str, Any] = {"label": ("#ffffff=s.png",)} if name == "labels" else {}
    with pytest.raises(ConfigError) as error:
        flown(2, **{name: value}, **more)
    assert str(error.value) == (
        f"{name} = {value}: belongs to the picture, not to the later frames; with --zoom, allowed: {allowed}"
    )
    assert not (tmp_path / "frames").exists()


def test_a_later_frame_s_steps_are_a_third_rounded_up_and_its_size_is_the_picture_s(flown: Any) -> None:
    _, (second, _) = flown(2, 1.5, steps=(7, 9, 1), print="20x30cm", dpi=100.0)
    assert (second.steps, second.size, second.print, second.scale, second.long_edge) == (
        (3, 3, 1),
        "40x60",
        None,
        None,
        None,
    )
    _, (second, _) = flown(2, 1.5, None, True)
    assert second.steps is None
