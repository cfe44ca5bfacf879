"""A store that is rendered is seen as it grows, and does not notice."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page
from serial_pool import Here, render_module
from starlette.exceptions import HTTPException

from tiler import RenderConfig
from tiler.engine.state import Stored
from tiler.engine.store import RenderStore
from tiler.errors import StoreError
from tiler.geometry import Rect
from tiler.output.watched import NOTHING, WRITTEN, Watched
from tiler.studio.answers import Hands, application
from tiler.studio.watching import Watch, routes

OPTIONS: dict[str, Any] = dict(
    long_edge=96, levels=2, steps=(1, 2), tile=48, feather=8, halo=16, steps_per_round=1, precision="fp32", threads=1,
    device="cpu", style_layers=("relu1_1", "relu2_1"), content_layers=("relu2_2",), state="store",
)  # fmt: skip


class Paced:
    """A render in a thread, that puts as many tiles as it is let."""

    def __init__(self, config: RenderConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        self._let, self._at_rest = threading.Semaphore(0), threading.Semaphore(0)
        put, self.error = Stored.put, None

        def paced(state: Any, number: int, tile: Any, kept: Any) -> None:
            if number:
                self._at_rest.release()
                self._let.acquire()
            put(state, number, tile, kept)

        monkeypatch.setattr(Stored, "put", paced)
        self.thread = threading.Thread(target=render_module().render, args=(config,), kwargs={"pool": Here()})
        self.thread.start()
        self._at_rest.acquire()

    def go_on(self, tiles: int) -> None:
        for _ in range(tiles):
            self._let.release()
            self._at_rest.acquire()

    def end(self) -> None:
        for _ in range(100):
            self._let.release()
        self.thread.join()


@pytest.fixture
def paced(folder: Path, small_weights: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Paced]:
    names = dict(content=str(folder / "content.png"), styles=(str(folder / "style.png"),))
    config = RenderConfig(**names, output=str(folder / "p.png"), weights=small_weights, **OPTIONS)
    found = Paced(config, monkeypatch)
    yield found
    found.end()


def test_what_there_is_of_each_tile_is_shown(paced: Paced, folder: Path) -> None:
    url = str(folder / "p.zarr")
    paced.go_on(1)  # the coarse level; the first tile of the fine one waits
    now = Watched.of(url)
    assert [level.report is not None for level in now.levels] == [True, False]
    assert (now.levels[1].steps_done, now.levels[1].whole) == (0, (0, 0))
    assert now.level_for(48) == 0
    assert now.level_for(49) == 1
    paced.go_on(3)
    now = Watched.of(url)
    assert now.levels[1].tiles.tolist() == [1, 1, 1, 0]
    before = now.read(1, Rect(0, 0, 72, 96))
    paced.go_on(1)
    now = Watched.of(url)
    assert (now.levels[1].steps_done, now.levels[1].whole) == (1, (1, 1))
    assert now.levels[1].losses is not None
    assert now.levels[1].losses.shape == (4, 2)
    after = now.read(1, Rect(0, 0, 72, 96))
    assert np.abs(after - before).max() > 0.001
    np.testing.assert_array_equal(after[:, 30:50, 30:60], now.read(1, Rect(30, 30, 50, 60)))
    paced.end()
    now = Watched.of(url)
    assert (now.levels[1].tiles == WRITTEN).all()
    written = np.asarray(Image.open(folder / "p.png")).transpose(2, 0, 1) / 255
    assert np.abs(now.read(1, Rect(0, 0, 72, 96)) - written).max() < 0.003


def test_where_nothing_is_yet_the_level_below_stands_in(paced: Paced, folder: Path) -> None:
    paced.end()
    store = RenderStore.open(str(folder / "p.zarr"))
    store._attributes("levels/1").pop("report")
    chunks = sorted((folder / "p.zarr/levels/1/image/c/0").iterdir())
    for row in chunks[: len(chunks) // 2]:
        for one in row.iterdir():
            one.unlink()
    now = Watched.of(str(folder / "p.zarr"))
    assert now.levels[1].tiles.tolist() == [NOTHING, NOTHING, WRITTEN, WRITTEN]
    found, below = now.read(1, Rect(0, 0, 72, 96)), now.read(0, Rect(0, 0, 36, 48))
    assert np.abs(found[:, 1:47:2, 1:95:2] - below[:, :23, :47]).mean() < 0.05
    written = np.asarray(Image.open(folder / "p.png")).transpose(2, 0, 1) / 255
    assert np.abs(found[:, 48:] - written[:, 48:]).max() < 0.003
    assert np.abs(found[:, :48] - written[:, :48]).max() > 0.01


def test_looking_leaves_no_trace(paced: Paced, folder: Path) -> None:
    paced.go_on(3)

    def traces() -> dict[str, tuple[int, ...]]:
        found = (Path(above) / name for above, _, names in os.walk(folder) for name in names)
        return {str(one): (one.stat().st_mtime_ns, one.stat().st_ino) for one in found}

    before = traces()
    watch = Watch(str(folder / "p.zarr"))
    state = watch.state()
    assert state["writer"]["pid"] == os.getpid()
    for zoom in range(8):
        watch.tile(zoom, 0, 0, "")
    assert traces() == before


def test_a_deep_zoom_is_the_poster(paced: Paced, folder: Path) -> None:
    paced.end()
    watch = Watch(str(folder / "p.zarr"))
    state = watch.state()
    assert (state["width"], state["height"], state["zoom"], state["level"]) == (96, 72, 7, 2)
    assert (state["writer"], state["seconds_left"]) == (None, 0)
    poster = Image.open(folder / "p.png").convert("RGB")
    mark, data = watch.tile(7, 0, 0, "")
    seen = np.asarray(Image.open(io.BytesIO(data or b"")), int)
    assert np.abs(seen - np.asarray(poster, int)).mean() < 4
    assert watch.tile(7, 0, 0, mark) == (mark, None)
    small = Image.open(io.BytesIO(watch.tile(5, 0, 0, "")[1] or b""))
    assert small.size == (24, 18)
    half = np.asarray(poster.resize((24, 18), Image.Resampling.BOX), int)
    assert np.abs(np.asarray(small, int) - half).mean() < 12
    assert Image.open(io.BytesIO(watch.tile(0, 0, 0, "")[1] or b"")).size == (1, 1)
    for place in ((8, 0, 0), (-1, 0, 0), (7, 1, 0), (7, 0, 1), (7, 2**40, 0)):
        with pytest.raises(HTTPException):
            watch.tile(*place, "")


def test_a_render_is_looked_at_for_a_small_part_of_the_time(paced: Paced, folder: Path) -> None:
    """Reading the last version took a second: the next is offered half a minute later."""
    now = 0.0
    paced.go_on(2)
    watch = Watch(str(folder / "p.zarr"), clock=lambda: now)
    first = watch.state()["version"]
    watch._cost = 1.0
    paced.go_on(3)
    for later, version in ((20.0, first), (30.0, first), (34.0, first + 1)):
        now = later
        assert watch.state()["version"] == version


def test_what_a_render_has_dropped_since_is_looked_for_again(paced: Paced, folder: Path, monkeypatch: Any) -> None:
    """A page asks by what it was told a second ago; since then the level has ended, and its tiles are gone."""
    paced.go_on(5)
    watch = Watch(str(folder / "p.zarr"))
    assert watch.state()["level"] == 1
    before, _ = watch.tile(7, 0, 0, "")
    paced.end()
    poster = np.asarray(Image.open(folder / "p.png").convert("RGB"), int)
    watch._kept.clear()
    mark, data = watch.tile(7, 0, 0, "")
    assert mark != before
    assert np.abs(np.asarray(Image.open(io.BytesIO(data or b"")), int) - poster).mean() < 4
    assert watch.state()["level"] == 2
    monkeypatch.setattr(Watched, "read", lambda *_: (_ for _ in ()).throw(StoreError("gone")))
    with pytest.raises(HTTPException, match="just being written"):
        watch.tile(6, 0, 0, "")


def test_what_is_no_store_is_said(folder: Path) -> None:
    with pytest.raises(StoreError, match="no readable job there"):
        Watch(str(folder))


def test_tiles_arrive_in_the_page(paced: Paced, folder: Path, page: Page, showing: Any, monkeypatch: Any) -> None:
    """Step by step: the coarse level, tiles of the fine one, the end; tile lines by a key; a phone's width."""
    monkeypatch.setattr("tiler.studio.watching._SHARE", 1e9)
    paced.go_on(1)
    watch = Watch(str(folder / "p.zarr"))
    with showing(page, application("watch.html", routes(lambda request: watch, Hands()))):
        page.get_by_text("Level 2 of 2 (96 × 72), step 0 of 2 in the store").wait_for()
        page.locator("#viewer[data-shown='1']").wait_for()
        first = _shown(page)
        assert first.std() > 5
        paced.go_on(5)
        page.get_by_text("step 1 of 2 in the store").wait_for()
        page.locator(f"#viewer[data-shown='{watch.state()['version']}']").wait_for()
        second = _shown(page)
        assert np.abs(second.astype(int) - first).mean() > 0.5
        page.keyboard.press("l")
        assert page.is_checked("#lines")
        lined = _shown(page)
        assert np.abs(lined.astype(int) - second).max() > 100
        page.select_option("#shade", "loss")
        page.get_by_text("Redder").wait_for()
        assert np.abs(_shown(page).astype(int) - lined).mean() > 1
        paced.end()
        page.get_by_text("All levels are finished.").wait_for()
        page.set_viewport_size({"width": 390, "height": 800})
        for part in ("#viewer", "aside", "#curves"):
            assert (page.locator(part).bounding_box() or {"width": 0})["width"] <= 390


def test_coarse_levels_are_seen_while_the_finest_is_not_there(page: Page, showing: Any) -> None:
    """As in a render whose state is in memory; tile lines lie where they are on the poster."""
    red = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 20, 20)).save(red, "JPEG")

    class Coarse:
        def state(self) -> dict[str, Any]:
            level = {"width": 1024, "height": 768, "steps": 9, "steps_done": 0, "report": None, "core": [384, 512],
                     "rows": 2, "columns": 2, "written": 0, "tiles": None, "losses": None}  # fmt: skip
            return {"gone": "", "version": 1, "job": "j", "width": 1024, "height": 768, "tile": 256, "zoom": 6,
                    "level": 0, "levels": [level], "course": [], "writer": None, "seconds_left": None}  # fmt: skip

        def tile(self, zoom: int, column: int, row: int, known: str) -> tuple[str, bytes]:
            if zoom > 6:
                raise HTTPException(404)
            return "m", red.getvalue()

    watch: Any = Coarse()
    with showing(page, application("watch.html", routes(lambda request: watch, Hands()))):
        page.locator("#viewer[data-shown='1']").wait_for()
        page.keyboard.press("l")
        middle = _shown(page)
        middle = middle[:, middle.shape[1] // 2 - 100 : middle.shape[1] // 2 + 100].astype(int)
    assert (middle[..., 0] - middle[..., 1] > 100).mean() > 0.7
    lines = (middle.max(2) < 80).mean(0)
    assert lines.argmax() in range(97, 104)


def _shown(page: Page) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.locator("#viewer").screenshot())).convert("RGB"))


def test_another_job_s_picture_takes_the_place_of_one_with_the_same_number(page: Page, showing: Any) -> None:
    """As where the store was begun anew."""
    level = {"width": 9, "height": 9, "steps": 1, "steps_done": 0, "report": None, "core": [9, 9], "rows": 1,
             "columns": 1, "written": 0, "tiles": None, "losses": None}  # fmt: skip
    state: dict[str, Any] = {"gone": "", "version": 1, "job": "a", "width": 9, "height": 9, "tile": 256, "zoom": 4,
                             "level": 0, "levels": [level], "course": [], "writer": {"pid": 1, "host": "h"},
                             "seconds_left": None}  # fmt: skip
    dot = io.BytesIO()
    Image.new("RGB", (9, 9)).save(dot, "JPEG")

    class Again:
        def state(self) -> dict[str, Any]:
            return state

        def tile(self, zoom: int, column: int, row: int, known: str) -> tuple[str, bytes]:
            return state["job"], dot.getvalue()

    watch: Any = Again()
    with showing(page, application("watch.html", routes(lambda request: watch, Hands()))):
        page.locator("#viewer[data-shown='1']").wait_for()
        state["job"] = "b"
        for _ in range(100):
            if page.evaluate("[shown.job, viewer.world.getItemCount()]") == ["b", 1]:
                return
            page.wait_for_timeout(100)
        pytest.fail("the old one is still shown")


def test_a_script_as_a_name_is_text(page: Page, showing: Any) -> None:
    """What a store says of itself, and where it lies, goes to the page as text alone."""

    class Odd:
        def state(self) -> dict[str, Any]:
            name = "<img src=x onerror=alert(1)><script>alert(2)</script>"
            level = {"width": 9, "height": 9, "steps": 1, "steps_done": 0, "report": None, "core": [9, 9], "rows": 1,
                     "columns": 1, "written": 0, "tiles": None, "losses": None}  # fmt: skip
            return {"gone": name, "version": 0, "job": name, "width": 9, "height": 9, "tile": 256, "zoom": -1,
                    "level": 0, "levels": [level], "course": [], "writer": None, "seconds_left": None}  # fmt: skip

    page.on("dialog", lambda dialog: pytest.fail("it ran"))
    watch: Any = Odd()
    page.route("**/api/tiles/**", lambda route: route.fulfill(status=204))
    with showing(page, application("watch.html", routes(lambda request: watch, Hands()))):
        page.get_by_text("<img src=x onerror=alert(1)><script>alert(2)</script>").wait_for()
        assert page.locator("img").count() == 0
