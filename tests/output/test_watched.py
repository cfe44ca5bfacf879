"""What is told and shown of a level at each point of its way; of a store whose every answer is known."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tiler.errors import DamageError, StoreError
from tiler.geometry import Level, Rect, TileGrid
from tiler.output import watched
from tiler.output.info import describe
from tiler.output.view import View
from tiler.output.watched import NOTHING, WRITTEN, Watched, writer_of

SIZES = (Level(0, 32, 48, 6, 0.1), Level(1, 64, 96, 8, 0.1))


class Cut:
    """Two levels, 32 x 48 in one tile and 64 x 96 in 2 x 3 tiles of 32 x 32."""

    levels, last, mode = SIZES, SIZES[-1], "fast"

    def grid(self, level: int) -> TileGrid:
        return TileGrid(32, 48, 32, 48) if level == 0 else TileGrid(64, 96, 32, 32)

    def box(self, level: int) -> Rect:
        return Rect(0, 0, *((32, 48), (64, 96))[level])

    def steps_after(self, level: int, state: int) -> int:
        return 2 * state + level


class Store:
    """Images are ramps: red grows by 1/100 a column, green by 1/100 a row, blue is the level's number / 2. Patches say
    their slot and tile in tenths."""

    url = "s"

    def __init__(self, reports: dict[int, Any] | None = None, states: Any = None, written: Any = ()) -> None:
        self.reports, self._states, self.written = reports or {}, states, set(written)
        self.whole: tuple[int, int] | None = None
        self.asked: list[Any] = []

    def level_report(self, level: int) -> Any:
        return self.reports.get(level)

    def state_path(self, level: int) -> str:
        return f"levels/{level}/state"

    def has(self, path: str) -> bool:
        return self._states is not None and path == "levels/1/state/marks"

    def states(self, path: str) -> np.ndarray:
        return np.array(self._states)

    def latest(self, path: str, grid: Any = None) -> tuple[int, int] | None:
        return self.whole

    def read_losses(self, level: int, slot: int) -> np.ndarray:
        self.asked.append(("losses", level, slot))
        return np.ones((6, 2))

    def written_tiles(self, level: int, grid: TileGrid, name: str) -> set[int]:
        assert (len(grid), name) == ((1, 6)[level], "poster")
        return self.written if level else set()

    def read_image(self, level: int, rect: Rect, name: str) -> np.ndarray:
        assert name == "poster"
        self.asked.append(("image", level, rect))
        y, x = np.mgrid[rect.y0 : rect.y1, rect.x0 : rect.x1] / 100
        return np.stack([x, y, np.full_like(x, level / 2)])

    def read_patch(self, level: int, slot: int, tile: int, rect: Rect, kind: str) -> Any:
        import torch

        assert (level, kind) == (1, "pixels")
        self.asked.append(("patch", slot, tile, rect))
        return torch.full((3, rect.height, rect.width), slot / 10 + tile / 100, dtype=torch.float64)


JOB: Any = SimpleNamespace(cut=Cut(), look=SimpleNamespace(images=("image", "poster")))


def now(store: Store, job: Any = JOB) -> Watched:
    return Watched(store, job)  # type: ignore[arg-type]


def test_a_level_that_is_finished_and_one_that_is_not_begun() -> None:
    done, other = now(Store({0: {"loss": 1}})).levels
    assert (done.report, done.steps, done.steps_done, done.tiles.tolist(), done.done) == (
        {"loss": 1},
        6,
        6,
        [WRITTEN],
        1,
    )
    assert (other.report, other.steps, other.steps_done, other.done, other.whole) == (None, 8, 0, 0, None)
    assert other.tiles.tolist() == [NOTHING] * 6
    assert (done.has_pixels, other.has_pixels) == (True, False)
    assert (done.work, other.work) == (6 * 32 * 48, 8 * 64 * 96)


def test_a_level_that_goes_on_has_each_tile_s_newest_state_and_the_losses_of_the_whole_one() -> None:
    store = Store(states=[[2, 2, -1, -1, -1, -1], [1, 1, 1, 1, 3, -1]])
    store.whole = (1, 1)
    level = now(store).levels[1]
    assert level.tiles.tolist() == [2, 2, 1, 1, 3, NOTHING]
    assert (level.whole, level.steps_done, level.done, level.has_pixels) == ((1, 1), 3, 3 / 8, True)
    assert store.asked == [("losses", 1, 1)]
    assert level.losses is not None
    store.whole = (0, 0)
    level = now(store).levels[1]
    assert (level.losses, level.steps_done) == (None, 1), "of the beginning there are no losses"


def test_losses_are_told_of_no_more_tiles_than_are_told_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(states=np.ones((2, 6), int))
    store.whole = (1, 0)
    for most, told in ((6, True), (5, False)):
        monkeypatch.setattr(watched, "MOST_TOLD", most)
        assert (now(store).levels[1].losses is not None) == told

    def gone(*what: Any) -> Any:
        raise StoreError("dropped")

    monkeypatch.setattr(watched, "MOST_TOLD", 6)
    store.read_losses = gone  # type: ignore[method-assign]
    assert now(store).levels[1].losses is None, "the render was faster"


def test_where_the_image_is_written_all_steps_are_done() -> None:
    level = now(Store(states=np.ones((2, 6), int), written={4})).levels[1]
    assert (level.tiles.tolist(), level.steps_done) == ([1, 1, 1, 1, WRITTEN, 1], 8)


def test_a_level_without_steps_is_done_when_it_is_finished() -> None:
    class Still(Cut):
        levels = (replace(SIZES[0], steps=0), SIZES[1])

    still: Any = SimpleNamespace(cut=Still(), look=JOB.look)
    assert [now(Store(reports), still).levels[0].done for reports in ({}, {0: {}})] == [0, 1]


@pytest.mark.parametrize(("width", "level"), [(1, 0), (48, 0), (49, 1), (96, 1), (97, 1)])
def test_the_coarsest_level_that_is_wide_enough_is_shown(width: int, level: int) -> None:
    assert now(Store()).level_for(width) == level


def test_tiles_in_a_part_are_those_whose_cores_meet_it() -> None:
    watch = now(Store())
    assert watch.tiles_in(1, Rect(0, 0, 64, 96)) == [0, 1, 2, 3, 4, 5]
    assert watch.tiles_in(1, Rect(31, 32, 33, 64)) == [1, 4]
    assert watch.tiles_in(1, Rect(32, 63, 40, 65)) == [4, 5]


def test_a_finished_level_is_its_image() -> None:
    store, part = Store({0: {}, 1: {}}), Rect(3, 20, 40, 70)
    found = now(store).read(1, part)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 2, 5], [0.25, 0.05, 0.5])
    assert store.asked == [("image", 1, part)]


def test_before_anything_is_there_a_level_is_grey_or_the_one_below_enlarged() -> None:
    found = now(Store()).read(0, Rect(1, 2, 11, 7))
    assert (found.shape, found.dtype, set(found.ravel().tolist())) == ((3, 10, 5), np.float32, {0.5})
    store = Store({0: {}})
    found = now(store).read(1, Rect(16, 24, 48, 72))
    assert store.asked == [("image", 0, Rect(8, 12, 24, 36))]
    assert found.shape == (3, 32, 48)
    # Pixel 10 to the right of column 24 is at 34.5 / 2 - 0.5 of the level below.
    np.testing.assert_allclose(found[:, 6, 10], [0.1675, 0.1075, 0.0], atol=1e-6)
    store.asked.clear()
    assert now(store).read(1, Rect(13, 21, 18, 24)).shape == (3, 5, 3)
    assert store.asked == [("image", 0, Rect(6, 10, 9, 12))], "with the pixels that it lies in, whole"
    store.asked.clear()
    now(store).read(1, Rect(63, 95, 64, 96))
    assert store.asked == [("image", 0, Rect(31, 47, 32, 48))]


@pytest.mark.parametrize(
    ("part", "below"),
    [(Rect(13, 21, 18, 24), Rect(4, 10, 6, 12)), (Rect(63, 95, 64, 96), Rect(19, 47, 20, 48)),
     (Rect(16, 0, 32, 2), Rect(5, 0, 10, 1))],
)  # fmt: skip
def test_what_is_enlarged_may_have_grown_by_more_in_height_than_in_width(part: Rect, below: Rect) -> None:
    class Odd(Cut):
        levels = (Level(0, 20, 48, 6, 0.1), SIZES[1])

        def grid(self, level: int) -> TileGrid:
            return TileGrid(64, 96, 32, 32) if level else TileGrid(20, 48, 32, 48)

    store = Store({0: {}})
    odd: Any = SimpleNamespace(cut=Odd(), look=JOB.look)
    assert now(store, odd).read(1, part).shape == (3, part.height, part.width)
    assert store.asked == [("image", 0, below)]


def test_a_whole_checkpoint_is_shown_but_where_the_image_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(states=np.ones((2, 6), int), written={1})
    store.whole, seen = (1, 0), []

    def read(view: View, rect: Rect) -> np.ndarray:
        seen.append((view.level, view.state, rect))
        return np.full((3, rect.height, rect.width), 0.75)

    monkeypatch.setattr(View, "read", read)
    part = Rect(8, 16, 48, 80)
    found = now(store).read(1, part)
    assert seen == [(1, (1, 0), part)]
    assert store.asked[1:] == [("image", 1, Rect(8, 32, 32, 64))]
    np.testing.assert_allclose(found[:, 3, 20], [0.36, 0.11, 0.5], atol=1e-6)
    found[:, :24, 16:48] = 0.75
    assert (found == 0.75).all()


def test_where_no_checkpoint_is_whole_each_tile_shows_what_it_has() -> None:
    """Tile 0 a state of slot 1, tile 1 nothing, tile 2 and 5 the image."""
    store = Store({0: {}}, states=[[0, -1, 0, -1, -1, 1], [1, -1, -1, -1, -1, -1]], written={2, 5})
    found = now(store).read(1, Rect(0, 16, 32, 80))
    assert ("patch", 1, 0, Rect(0, 16, 32, 32)) in store.asked
    np.testing.assert_allclose(found[:, :, :16], 0.1)
    np.testing.assert_allclose(found[:, 9, 55], [0.71, 0.09, 0.5], atol=1e-6)
    # From the level below alone: column 48.5 / 2 - 0.5 of it.
    np.testing.assert_allclose(found[:, 9, 32], [0.2375, 0.0425, 0], atol=1e-6)
    store.asked.clear()
    now(store).read(1, Rect(20, 70, 60, 90))
    assert store.asked == [("image", 1, Rect(20, 70, 60, 90))], "all of it is written"


def test_what_is_just_being_written_over_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store({0: {}}, states=[[0, -1, 0, -1, -1, 1], [1, -1, -1, -1, -1, -1]])

    def damaged(*what: Any) -> Any:
        raise DamageError("half", "pixels")

    monkeypatch.setattr(store, "read_patch", damaged)
    found = now(store).read(1, Rect(0, 0, 32, 32))
    np.testing.assert_allclose(found[:, 9, 20], [0.0975, 0.0425, 0], atol=1e-6)


def test_of_a_place_a_job_is_opened_for_reading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        watched, "RenderStore", SimpleNamespace(open=lambda *what, **how: asked.append((what, how)) or 7)
    )
    monkeypatch.setattr(watched, "load_job", lambda store: store + 1)
    monkeypatch.chdir(tmp_path)
    assert Watched.of("p.zarr") == Watched(7, 8)  # type: ignore[arg-type]
    assert asked == [((str(tmp_path / "p.zarr"),), {"writable": False})]


HERE = socket.gethostname()


@pytest.fixture
def none_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched.psutil, "pid_exists", lambda pid: pid == 77)


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({"host": HERE, "pid": 77, "since": "then"}, {"host": HERE, "pid": 77, "since": "then"}),
        ({"host": HERE, "pid": 78, "since": "then"}, None),
        ({"host": "h" * 81, "pid": "78", "since": "s" * 41}, {"host": "h" * 80, "pid": 78, "since": "s" * 40}),
        ({"host": HERE, "pid": "x", "since": "then"}, None),
        ({"host": HERE, "pid": 77}, None),
        ([1], None),
    ],
)
@pytest.mark.usefixtures("none_alive")
def test_who_writes_is_whom_the_lock_names_while_it_may_be_alive(tmp_path: Path, record: Any, found: Any) -> None:
    (tmp_path / watched.LOCK_FILE).write_text(json.dumps(record))
    before = os.stat(tmp_path / watched.LOCK_FILE).st_mtime_ns
    assert writer_of(str(tmp_path)) == found
    assert os.stat(tmp_path / watched.LOCK_FILE).st_mtime_ns == before


def test_where_no_lock_is_nobody_writes(tmp_path: Path) -> None:
    assert writer_of(str(tmp_path)) is None
    assert writer_of("s3://bucket/p.zarr") is None
    assert list(tmp_path.iterdir()) == []


def test_which_level_is_looked_at_and_how_far_it_is() -> None:
    store: Any = Store(states=[[2, 2], [1, 1]])
    store.whole = (2, 0)
    view = View.of(store, JOB, 1)
    assert (view.level, view.state, view.steps, view.height, view.width) == (1, (2, 0), 5, 64, 96)
    for level in (0, None):
        with pytest.raises(StoreError, match="level 0 has not begun"):
            View.of(store, JOB, level)
    store.reports = {0: {}}
    found = View.of(store, JOB)
    assert (found.level, found.state, found.steps, found.height) == (0, None, 6, 32)
    store.reports = {0: {}, 1: {}}
    assert View.of(store, JOB).level == 1
    for level in (-1, 2):
        with pytest.raises(StoreError, match=rf"^store s: level = {level}; allowed: 0 \(coarsest\) to 1$"):
            View.of(store, JOB, level)


def test_bands_lie_below_each_other_and_the_last_is_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shown(Cut):
        def box(self, level: int) -> Rect:
            return Rect(10, 20, 60, 90)

    store: Any = Store({1: {}})
    shown: Any = SimpleNamespace(cut=Shown(), look=JOB.look)
    view = View.of(store, shown, 1)
    monkeypatch.setattr(View, "band_height", 32)
    assert [band.shape for band in view.bands()] == [(3, 32, 70), (3, 18, 70)]
    assert store.asked == [("image", 1, Rect(10, 20, 42, 90)), ("image", 1, Rect(42, 20, 60, 90))]


def test_what_is_told_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiler.engine.home import Home
    from tiler.output import info

    store: Any = Store({0: {"style": 0.5, "loss": 2.0}}, states=[[3] * 6, [2] * 6])
    store.whole, store.seconds = (3, 0), 12.5
    store.attributes = {"machine": {"torch": 2, "cpu": "x"}, "version": 1.5}
    job: Any = SimpleNamespace(
        cut=Cut(), look=JOB.look, device=SimpleNamespace(precision="bf16", kind="cuda", threads=3)
    )
    config: Any = SimpleNamespace(
        to_dict=lambda: {
            "content": "c.png",
            "output": None,
            "tiles": "t",
            "color": "grey",
            "calm": 30.0,
            "tv_weight": 0.0,
            "light_weight": 0.02,
            "keep_detail": False,
            "protect": None,
            "style_scale": [2.0],
            "seed": 5,
            "steps": [9],
        },
        regions=SimpleNamespace(sources=[SimpleNamespace(picture=name) for name in ("b.png", "a.png", "b.png")]),
    )
    asked: list[Any] = []
    monkeypatch.setattr(info.RenderStore, "open", lambda *what, **how: asked.append((what, how)) or store)
    monkeypatch.setattr(info, "load_job", lambda found: job)
    monkeypatch.setattr(info, "load_config", lambda found: config)
    monkeypatch.setattr(info, "homes_of", lambda found: (Home("device", "fits"), Home("store", "large")))
    first = dict(level=0, height=32, width=48, tiles=1, steps=6, home="device", why="fits")
    second = dict(level=1, height=64, width=96, tiles=6, steps=8, home="store", why="large")
    told = {
        "content": "c.png", "styles": ["b.png", "a.png"], "output": "t", "height": 64, "width": 96, "mode": "fast",
        "precision": "bf16", "device": "cuda", "threads": 3, "machine": {"torch": "2", "cpu": "x"},
        "look": {"calm": 30.0, "tv_weight": 0.0, "color": "grey", "seed": 5},
        "tile_pitch": [32, 32], "seconds": 12.5, "version": "1.5", "config": config.to_dict(),
        "levels": [
            {**first, "state": "done", "steps_done": 6, "style": 0.5, "loss": 2.0},
            {**second, "state": "unfinished", "steps_done": 7},
        ],
    }  # fmt: skip
    assert describe("p.zarr") == told
    assert asked == [(("p.zarr",), {"writable": False})]
    config.to_dict = lambda: {"content": None, "output": "p.png", "tiles": "t", "calm": 0.0, "keep_detail": True}
    store.reports, store.whole = {0: {"loss": 1.0}}, None
    monkeypatch.setattr(info, "homes_of", lambda found: ())
    monkeypatch.setattr(Cut, "steps_after", lambda self, level, state: 2 * state)
    found = describe("p.zarr")
    assert (found["output"], found["content"], found["look"]) == ("p.png", None, {"keep_detail": True})
    unknown = dict(home=None, why=None)
    assert found["levels"][0] == {**first, **unknown, "state": "done", "steps_done": 6, "style": None, "loss": 1.0}
    assert found["levels"][1] == {**second, **unknown, "state": "not begun", "steps_done": 0}
