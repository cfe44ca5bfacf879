"""What is told and shown of a store that somebody writes to, number by number and without a render."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from asking import ask, post
from PIL import Image
from starlette.exceptions import HTTPException

from tiler.errors import StoreError
from tiler.geometry import Level as Size
from tiler.geometry import Rect, TileGrid
from tiler.output.watched import NOTHING, WRITTEN, Level, Watched
from tiler.studio import watching
from tiler.studio.answers import Hands, application
from tiler.studio.watching import Watch, routes

LOSSES = np.array([[0.5, 0.25], [1.0, 0.125]])


class Seen(Watched):
    """Its levels are put in by hand; it reads a shade for each level, brighter to the right and in the middle rows."""

    def read(self, level: int, rect: Rect) -> np.ndarray:
        self.job.read.append((level, rect))
        if self.job.wrong:
            raise self.job.wrong.pop()
        rows, columns = np.mgrid[rect.y0 : rect.y1, rect.x0 : rect.x1]
        return np.stack([columns / 700, rows / 300, np.full(rows.shape, 0.25 + level / 2)]).astype(np.float32)


def _level(
    height: int, width: int, steps: int = 2, done: int = 0, report: Any = None, tiles: Any = None, core: Any = None,
    whole: Any = None, losses: Any = None,
) -> Level:  # fmt: skip
    grid = TileGrid(height, width, *(core or (height, width)))
    told = np.full(len(grid), WRITTEN if report is not None else NOTHING) if tiles is None else np.array(tiles)
    return Level(grid, steps, done, report, told, whole, losses)


def _seen(*levels: Level, wrong: Any = ()) -> Seen:
    sizes = [Size(k, one.grid.height, one.grid.width, one.steps, 0.1) for k, one in enumerate(levels)]
    cut = SimpleNamespace(levels=sizes, last=sizes[-1], mode="exact")
    device = SimpleNamespace(precision="bf16", kind="cpu")
    found = Seen(None, SimpleNamespace(cut=cut, id="j1", device=device, read=[], wrong=[*wrong]))  # type: ignore[arg-type]
    found.__dict__["levels"] = [*levels]
    return found


class Site:
    """A watch of /p.zarr. now: what is there; seconds: by the clock; costs: seconds that a look takes."""

    def __init__(self, now: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now: Any = now
        self.seconds, self.costs, self.looks, self.writer = 50.0, 0.0, 0, {"pid": 7}
        monkeypatch.setattr(watching.Watched, "of", self._of)
        monkeypatch.setattr(watching, "writer_of", lambda url: {"/p.zarr": self.writer}[url])
        self.watch = Watch("/p.zarr", lambda: self.seconds)
        self.looks = 0

    def _of(self, url: str) -> Seen:
        assert url == "/p.zarr"
        self.looks += 1
        self.seconds += self.costs
        if isinstance(self.now, StoreError):
            raise self.now
        return self.now

    def state(self, later: float = 5.0) -> dict[str, Any]:
        self.seconds += later
        return self.watch.state()


FINE = {"height": 300, "width": 700, "core": (160, 352)}  # two rows of two tiles, and a part of a third


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    """A finished level of 350 x 150, and one of 700 x 300 that is half way: of its tiles, the first has come further
    than the others, and the last is written."""
    fine = _level(**FINE, steps=9, done=4, tiles=[5, 4, 4, WRITTEN], whole=(4, 1), losses=np.arange(8.0).reshape(4, 2))  # type: ignore[arg-type]
    return Site(_seen(_level(150, 350, 6, 6, {"seconds": 3.0}), fine), monkeypatch)


# What is said --------------------------------------------------------------------------------------------------------


def test_what_is_told_of_a_store(site: Site) -> None:
    told = site.state()
    levels, course = told.pop("levels"), told.pop("course")
    work = 6 * 150 * 350
    left = 9 * sum(tile.read.area for tile in site.now.levels[1].grid.tiles) * 5 / 9
    assert told.pop("seconds_left") == pytest.approx(left * 3.0 / work)
    assert told == {
        "version": 1, "job": "j1", "width": 700, "height": 300, "tile": 256, "zoom": 10, "writer": {"pid": 7},
        "remote": False, "gone": "", "level": 1, "mode": "exact", "precision": "bf16", "device": "cpu",
    }  # fmt: skip
    assert course == [{"level": 1, "steps": 4, "content": 12.0, "tv": 16.0}]
    common = {"tiles": None, "losses": None}
    assert levels == [
        {"height": 150, "width": 350, "steps": 6, "steps_done": 6, "report": {"seconds": 3.0}, "core": [150, 350],
         "rows": 1, "columns": 1, "written": 1, **common},
        {"height": 300, "width": 700, "steps": 9, "steps_done": 4, "report": None, "core": [160, 352],
         "rows": 2, "columns": 2, "written": 1, "tiles": [5, 4, 4, WRITTEN], "losses": [1.0, 5.0, 9.0, 13.0]},
    ]  # fmt: skip


def test_tiles_are_told_one_by_one_up_to_so_many(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for most, told in ((4, True), (3, False)):
        monkeypatch.setattr(watching, "MOST_TOLD", most)
        assert (site.watch.state()["levels"][1]["tiles"] is not None) is told


@pytest.mark.parametrize(
    ("coarse", "report", "tiles", "zoom"),
    [
        ((150, 350), {"seconds": 1}, NOTHING, 9),
        ((150, 350), {"seconds": 1}, 0, 10),
        ((130, 300), {"seconds": 1}, NOTHING, 9),
        ((160, 351), {"seconds": 1}, NOTHING, 10),
        ((75, 175), {"seconds": 1}, NOTHING, 8),
        ((150, 350), None, NOTHING, -1),
    ],
)
def test_it_is_seen_as_large_as_there_is_anything(
    monkeypatch: pytest.MonkeyPatch, coarse: Any, report: Any, tiles: int, zoom: int
) -> None:
    levels = _level(*coarse, report=report), _level(300, 700, tiles=[tiles])
    assert Site(_seen(*levels), monkeypatch).state()["zoom"] == zoom


def _paced(*reports: Any, done: int = 1) -> Seen:
    """Work of 120, 192 and 384, and one level of 3072."""
    sizes = ((4, 6, 5), (8, 12, 2), (16, 24, 1))
    known = [_level(h, w, steps, report=report) for (h, w, steps), report in zip(sizes, reports, strict=True)]
    return _seen(*known, _level(32, 48, 2, done))


@pytest.mark.parametrize(
    ("now", "writer", "passed", "left"),
    [
        (_paced({"seconds": 999}, {"seconds": 10}, {"seconds": 20}), None, 7.0, 80.0),
        (_paced({"seconds": 999}, {"seconds": 10}, {"seconds": 20}), {"pid": 7}, 7.0, 73.0),
        (_paced({"seconds": 999}, {"seconds": 10}, {"seconds": 20}), {"pid": 7}, 81.0, 0.0),
        (_paced({"seconds": 999}, {"seconds": 10}, {"seconds": 20}, done=0), None, 7.0, 160.0),
        (_paced({"seconds": 12}, None, None, done=0), None, 7.0, (192 + 384 + 3072) / 10),
        (_paced(None, None, None), None, 7.0, None),
        (_seen(_level(4, 6, 5, report={"seconds": 3}), _level(8, 12, 2, report={"seconds": 3})), None, 7.0, 0.0),
        (_seen(_level(4, 6, 0, report={"seconds": 3}), _level(8, 12, 2)), None, 7.0, None),
    ],
)
def test_how_long_it_takes_yet_is_by_the_last_two_levels(
    monkeypatch: pytest.MonkeyPatch, now: Seen, writer: Any, passed: float, left: float | None
) -> None:
    site = Site(now, monkeypatch)
    site.writer = writer
    assert site.state(passed)["seconds_left"] == (left if left is None else pytest.approx(left))


def test_it_is_looked_at_once_a_second_or_as_rarely_as_a_look_costs(site: Site) -> None:
    site.state()
    assert site.looks == 1
    site.state(1.0)
    assert site.looks == 2
    site.state(0.9)
    assert site.looks == 2
    site.costs = 0.3
    site.state(0.2)
    assert site.looks == 3
    site.state(9.8)
    assert site.looks == 3
    site.costs = 0.0
    site.state(0.3)
    assert site.looks == 4
    site.state(1.1)
    assert site.looks == 5


def test_what_is_shown_changes_with_what_is_there(site: Site) -> None:
    assert [site.state()["version"] for _ in range(2)] == [1, 1]
    site.now = _seen(site.now.levels[0], _level(**FINE, steps=9, done=5, tiles=[5, 5, 5, WRITTEN], whole=(5, 0)))  # type: ignore[arg-type]
    assert site.state()["version"] == 2
    site.watch._cost = 1.0
    site.now = _seen(site.now.levels[0], _level(300, 700, 9, 9, {"seconds": 1}))
    told = site.state()
    assert (told["version"], told["level"]) == (2, 2)  # said at once, and shown when looking was cheap enough
    site.writer = None
    assert site.state()["version"] == 3


def test_a_store_that_is_gone_is_said_until_it_is_there_again(site: Site) -> None:
    site.state()
    there, site.now = site.now, StoreError("no readable job there")
    told = site.state()
    assert (told["gone"], told["level"], told["job"], told["version"]) == ("no readable job there", 1, "j1", 1)
    site.now = there
    assert site.state()["gone"] == ""


def test_a_course_has_a_point_for_each_news(site: Site) -> None:
    site.state()
    before = site.state(7.0)["seconds_left"]
    for level, losses in ((_level(**FINE, steps=9, done=5, losses=None), None),  # type: ignore[arg-type]
                          (_level(**FINE, steps=9, done=5, losses=LOSSES), LOSSES)):  # type: ignore[arg-type]  # fmt: skip
        site.now = _seen(site.now.levels[0], level)
        told = site.state(7.0)
        assert len(told["course"]) == (1 if losses is None else 2)
    assert told["course"][1] == {"level": 1, "steps": 5, "content": 1.5, "tv": 0.375}
    # Since the last point no time has passed; since the first, seven seconds had.
    assert told["seconds_left"] == pytest.approx((before + 7.0) * 4 / 5)
    site.now = _seen(site.now.levels[0], _level(300, 700, 9, 9, {"seconds": 1}))
    assert len(site.state()["course"]) == 2


# What is shown -------------------------------------------------------------------------------------------------------


def _shown(data: bytes | None) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data or b"")), float) / 255


@pytest.mark.parametrize(
    ("tile", "level", "rect", "shape", "first"),
    [
        ((10, 0, 0), 1, Rect(0, 0, 256, 256), (256, 256), (0, 0)),
        ((10, 2, 1), 1, Rect(256, 512, 300, 700), (44, 188), (512 / 700, 256 / 300)),
        ((9, 1, 0), 0, Rect(0, 256, 150, 350), (150, 94), (256 / 700, 0)),
        ((8, 0, 0), 0, Rect(0, 0, 150, 350), (75, 175), (0, 0)),
        ((0, 0, 0), 0, Rect(0, 0, 150, 350), (1, 1), (0.25, 0.25)),
    ],
)
def test_a_tile_is_a_part_of_the_coarsest_level_that_has_it(
    site: Site, tile: Any, level: int, rect: Rect, shape: tuple[int, int], first: tuple[float, float]
) -> None:
    _, data = site.watch.tile(*tile, "")
    assert site.now.job.read == [(level, rect)]
    seen = _shown(data)
    assert seen.shape == (*shape, 3)
    assert seen[..., 2].mean() == pytest.approx(0.25 + level / 2, abs=0.02)
    assert seen[0, 0, :2] == pytest.approx(first, abs=0.03)


def test_a_tile_lies_where_it_does_between_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """701 pixels are 351 half as large, of 1.997 each."""
    site = Site(_seen(_level(301, 701, report={"seconds": 1})), monkeypatch)
    _, data = site.watch.tile(9, 1, 0, "")
    assert site.now.job.read == [(0, Rect(0, 511, 301, 701))]
    seen = _shown(data)
    assert seen.shape == (151, 95, 3)
    across = 701 / 351
    assert seen[0, :, 0] == pytest.approx((np.arange(256, 351) + 0.5) * across / 700 - 0.5 / 700, abs=0.02)
    assert seen[:, 0, 1] == pytest.approx((np.arange(151) + 0.5) * 301 / 151 / 300 - 0.5 / 300, abs=0.02)


@pytest.mark.parametrize("tile", [(11, 0, 0), (-1, 0, 0), (10, 3, 0), (10, 0, 2), (10, -1, 0), (9, 2, 0)])
def test_there_are_so_many_tiles(site: Site, tile: Any) -> None:
    with pytest.raises(HTTPException, match="no such tile") as caught:
        site.watch.tile(*tile, "")
    assert caught.value.status_code == 404


def test_where_nothing_is_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile of which a part is there is."""
    fine = _level(300, 700, tiles=[NOTHING, NOTHING, NOTHING, 2], core=(160, 352))
    site = Site(_seen(_level(150, 350), fine), monkeypatch)
    for tile in ((10, 0, 0), (9, 0, 0)):
        with pytest.raises(HTTPException, match="Nothing is to be seen there yet") as caught:
            site.watch.tile(*tile, "")
        assert caught.value.status_code == 404
    assert site.watch.tile(10, 1, 0, "")[1]


def test_a_mark_is_of_what_a_tile_shows(site: Site) -> None:
    def marks(*tiles: int, whole: Any = (4, 1), report: Any = None) -> list[str]:
        level = _level(**FINE, tiles=tiles, whole=whole, report=report)  # type: ignore[arg-type]
        watched = _seen(site.now.levels[0], level)
        return [site.watch._mark(watched, 1, rect) for rect in (Rect(0, 0, 9, 9), Rect(200, 400, 260, 600))]

    first, last = marks(5, 4, 4, 3)
    assert first != last
    assert marks(5, 3, 3, 3) == [first, last]
    for other, changed in ((marks(6, 4, 4, 3), 0), (marks(5, 4, 4, 4), 1)):
        assert [one != two for one, two in zip(other, (first, last), strict=True)] == [changed == 0, changed == 1]
    assert {*marks(5, 4, 4, 3, whole=(4, 0))}.isdisjoint({first, last})
    done = marks(5, 4, 4, 3, report={})
    assert {*done}.isdisjoint({first, last})
    assert marks(1, 1, 1, 1, report={}) == done
    assert site.watch._mark(site.now, 0, Rect(0, 0, 9, 9)) not in done


def test_a_tile_is_read_once_and_what_that_costs_is_known(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Seen.read

    def slow(self: Seen, level: int, rect: Rect) -> np.ndarray:
        site.seconds += 0.5
        return read(self, level, rect)

    monkeypatch.setattr(Seen, "read", slow)
    site.state()
    mark, data = site.watch.tile(10, 0, 0, "another")
    assert site.watch.tile(10, 0, 0, "") == (mark, data)
    assert site.watch.tile(10, 0, 0, mark) == (mark, None)
    assert len(site.now.job.read) == 1
    assert site.watch._cost == 0.5
    site.watch.tile(10, 1, 0, "")
    assert site.watch._cost == 1.0


def test_the_tiles_that_were_seen_last_are_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    size = {column: len(site.watch.tile(10, column, 0, "")[1] or b"") for column in range(3)}
    site.watch._kept.clear()
    site.watch._kept_bytes = 0
    monkeypatch.setattr(watching, "_KEPT_BYTES", sum(size.values()) - 1)
    site.now.job.read.clear()
    for column in (0, 1, 0, 2, 0):
        site.watch.tile(10, column, 0, "")
    assert len(site.now.job.read) == 3
    site.watch.tile(10, 1, 0, "")
    assert len(site.now.job.read) == 4
    assert site.watch._kept_bytes == sum(map(len, site.watch._kept.values())) < sum(size.values())


def test_what_is_dropped_meanwhile_is_looked_for_once_more(site: Site) -> None:
    site.state()
    site.now.job.wrong.append(StoreError("gone"))
    site.now = _seen(site.now.levels[0], _level(300, 700, report={"seconds": 1}))
    looks = site.looks
    assert site.watch.tile(10, 0, 0, "")[1]
    assert site.looks == looks + 1
    site.state(0.0)  # what a page is told is of now, too
    assert site.looks == looks + 2
    site.now.job.wrong += [StoreError("gone")] * 2
    with pytest.raises(HTTPException, match="just being written") as caught:
        site.watch.tile(10, 1, 0, "")
    assert caught.value.status_code == 404


# Addresses -----------------------------------------------------------------------------------------------------------


def test_a_page_asks_for_tiles_with_what_it_has(site: Site) -> None:
    app = application("watch.html", routes(lambda request: site.watch, Hands(), "/w"))
    assert ask(app, "GET", "/w/api/state").said["steered"] is False
    first = ask(app, "GET", "/w/api/tiles/10/2_1.jpg")
    assert (first.status, first.headers["content-type"], _shown(first.body).shape) == (200, "image/jpeg", (44, 188, 3))
    assert first.headers["cache-control"] == "private, no-cache"
    again = ask(app, "GET", "/w/api/tiles/10/2_1.jpg", If_None_Match=first.headers["etag"])
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert ask(app, "GET", "/w/api/tiles/10/1_0.jpg", If_None_Match=first.headers["etag"]).status == 200
    assert ask(app, "GET", "/w/api/tiles/10/9_0.jpg").status == 404
    assert {post(app, f"/w/api/{what}").status for what in ("stop", "keep")} == {404}


def test_a_page_that_steers_says_so(site: Site) -> None:
    asked: list[str] = []
    steering: Any = SimpleNamespace(
        stop=lambda request: asked.append(request.url.path), keep=lambda request: f"{request.url.path}.png"
    )
    app = application("watch.html", routes(lambda request: site.watch, Hands(), steering=steering))
    assert ask(app, "GET", "/api/state").said["steered"] is True
    assert (post(app, "/api/stop").said, asked) == ({}, ["/api/stop"])
    assert post(app, "/api/keep").said == {"file": "/api/keep.png"}
    assert ask(app, "GET", "/api/stop").status == 405
