"""A preview as it comes, and what a proof foretells: in numbers."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler.errors import StoreError
from tiler.geometry import Level, Rect, TileGrid
from tiler.geometry.tiles import Part
from tiler.request.config import RenderConfig
from tiler.series import foretelling, preview
from tiler.series.foretelling import Foretold, foretold
from tiler.series.preview import Preview, _Eye

CONFIG = RenderConfig("c.png", ("s.png", "t.png"), "p.png")


def test_what_a_sample_misses_in_numbers() -> None:
    """8 pixels of one brightness a, in channels of 1, 2 and 3 times that; of a pixel (a, 2a, 3a) and the steps of their
    mean 2a from the pixels above and before. Tiles 0 and 5 are known, which count 1 and 3 times."""
    a = np.array([[1, 1, 2, 4], [1, 3, 2, 0]])
    image = np.stack([a, 2 * a, 3 * a]) / 16
    seen = [(1, 0, 0), (1, 0, 0), (2, 0, 2), (4, 0, 4), (1, 0, 0), (3, 4, 4), (2, 0, -2), (0, -8, -4)]
    moments = [np.outer(one, one) for one in ((v, 2 * v, 3 * v, down, right) for v, down, right in seen)]
    total, found = sum(moments) / 8, (moments[0] + 3 * moments[5]) / 4
    grid = TileGrid(32, 64, 16, 16, part=Part((0, 5), (1.0, 3.0)))
    wanted = np.linalg.norm(found - total) / np.linalg.norm(total)
    assert foretelling._error(image, grid) == pytest.approx(wanted)
    # The same of tiles whose edges lie between pixels of the image: from the pixel that one begins in, at least one.
    odd = TileGrid(64, 128, 48, 48, part=Part((0, 5), (1.0, 3.0)))
    assert [(tile.core.y0, tile.core.x0, tile.core.y1, tile.core.x1) for tile in odd.tiles] == [
        (0, 0, 48, 48),
        (48, 96, 64, 128),
    ]
    whole = moments[0] + moments[1] + moments[4] + moments[5]
    found = (whole[:0].sum(0) + (moments[0] + moments[1] + moments[4] + moments[5]) + 3 * moments[7]) / (4 + 3)
    assert foretelling._error(image, odd) == pytest.approx(np.linalg.norm(found - total) / np.linalg.norm(total))


def test_a_tile_is_at_least_a_pixel_and_height_and_width_have_scales_of_their_own() -> None:
    """A pixel of the image stands for 64 x 16 pixels, then for 16 x 64: tile 5, row 1 and column 1, is one of it."""
    middle = TileGrid(64, 64, 16, 16, part=Part((5,), (16.0,)))
    for shape in ((3, 1, 4), (3, 4, 1)):
        image = np.zeros(shape)
        image.reshape(3, 4)[:, 1] = 1
        # Its own 1 and its step of 1 are all there is, but for the step of -1 after it: 4 x 4 ones of 5 features
        # against a quarter of these and of one more.
        own, step = np.ones(4), np.array([0, 0, 0, -1])
        total = (np.outer(own, own) + np.outer(step, step)) / 4
        wanted = np.linalg.norm(np.outer(own, own) - total) / np.linalg.norm(total)
        assert foretelling._error(image, middle) == pytest.approx(wanted)
    wide = TileGrid(32, 64, 16, 16, part=Part((0, 5), (1.0, 3.0)))
    a = np.zeros((3, 2, 6))
    a[:, 1, 1:3] = 1
    # Tile 5 is columns 1 and 2 of row 1: (1, step down 1, step right 1) and (1, 1, 0). Tile 0 is black, two pixels.
    first, second, after = np.array([1, 1, 1, 1, 1]), np.array([1, 1, 1, 1, 0]), np.array([0, 0, 0, 0, -1])
    known = np.outer(first, first) + np.outer(second, second)
    total = (known + np.outer(after, after)) / 12
    wanted = np.linalg.norm(3 * known / (1 * 2 + 3 * 2) - total) / np.linalg.norm(total)
    assert foretelling._error(a, wide) == pytest.approx(wanted)


def test_what_is_known_is_a_share_of_the_finest_level(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part((0, 2), (1.0, 1.0))
    grids = [TileGrid(16, 24, 16, 24), TileGrid(32, 48, 32, 48), TileGrid(64, 96, 32, 32, part=Part((0,), (6.0,))),
             TileGrid(64, 80, 32, 32, part=part)]  # fmt: skip
    levels = tuple(Level(number, grid.height, grid.width, 1, 0.1) for number, grid in enumerate(grids))
    job: Any = SimpleNamespace(
        cut=SimpleNamespace(levels=levels, grid=grids.__getitem__), look=SimpleNamespace(images=("image", "poster"))
    )
    asked: list[Any] = []
    store = SimpleNamespace(read_image=lambda *what: asked.append(what) or "image")
    monkeypatch.setattr(foretelling.RenderStore, "open", lambda *what, **how: asked.append((what, how)) or store)
    monkeypatch.setattr(foretelling, "load_job", lambda found: job)
    monkeypatch.setattr(foretelling, "_error", lambda *what: asked.append(what) or 0.25)
    # 32 x 32 and 32 x 16 of 64 x 80.
    assert foretold("p.zarr") == Foretold((1024 + 512) / 5120, 0.25)
    assert asked == [(("p.zarr",), {"writable": False}), (1, Rect(0, 0, 32, 48), "poster"), ("image", grids[3])]
    grids[3] = replace(grids[3], part=None)
    assert foretold("p.zarr") == Foretold(1.0, 0.0)


class Watched:
    """Stands for what there is of a job: a level of 3 x 5 pixels of 0.5, red beyond 1 and blue below 0."""

    def __init__(self, *levels: Any) -> None:
        self.levels = [SimpleNamespace(grid=SimpleNamespace(height=3, width=5), **one) for one in levels]

    def read(self, number: int, rect: Rect) -> np.ndarray:
        assert rect == Rect(0, 0, 3, 5)
        pixels = np.full((3, 3, 5), 0.5)
        pixels[0], pixels[2], pixels[1, 2, 4] = 1.25, -0.25, 0.1 * number
        return pixels


def level(done: int, of: int = 9, report: Any = None, whole: Any = (1, 0)) -> dict[str, Any]:
    return dict(steps_done=done, steps=of, report=report, whole=whole)


REPORT = {"loss": 0.75, "style": 0.5}


@pytest.fixture
def eye(monkeypatch: pytest.MonkeyPatch) -> Any:
    """eye(seen) looks at `shows`, by a clock that stands at `now`."""
    clock = SimpleNamespace(now=100.0, shows=Watched(level(0, whole=None)), looks=0)

    def of(url: str) -> Watched:
        assert url == "p.zarr"
        clock.looks += 1
        if isinstance(clock.shows, Exception):
            raise clock.shows
        return clock.shows

    monkeypatch.setattr(preview, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(preview, "Watched", SimpleNamespace(of=of))
    return clock


def test_it_looks_four_times_a_second_and_hands_over_what_is_new(eye: Any) -> None:
    seen: list[Preview] = []
    watching = _Eye("p.zarr", seen.append, lambda: False)
    assert not watching.cancelled()
    assert (eye.looks, seen) == (1, [])
    eye.now, eye.shows = 100.24, Watched(level(3), level(0, whole=None))
    watching.cancelled()
    assert eye.looks == 1
    eye.now = 100.25
    watching.cancelled()
    ((one,), eye.now) = seen, 101.0
    assert (one.level, one.levels, one.steps, one.of, one.loss, one.style, one.seconds) == (
        0,
        2,
        3,
        9,
        None,
        None,
        0.25,
    )
    assert not one.finished
    assert (one.pixels.shape, one.pixels.dtype, one.pixels[1, 2].tolist()) == ((3, 5, 3), np.uint8, [255, 128, 0])
    watching.cancelled()
    assert (eye.looks, len(seen)) == (3, 1), "the same again"
    for now, shows in ((102.0, level(4)), (103.0, level(4)), (104.0, level(3)), (105.0, level(0))):
        eye.now, eye.shows = now, Watched(shows, level(0, whole=None))
        watching.cancelled()
    assert [one.steps for one in seen] == [3, 4]
    eye.now, eye.shows = 106.0, Watched(level(9, report=REPORT), level(1))
    watching.cancelled()
    assert [(one.level, one.steps) for one in seen[2:]] == [(1, 1)]
    assert seen[2].pixels[2, 4, 1] == 26
    eye.now, eye.shows = 107.0, Watched(level(9, report=REPORT), level(5, whole=None))
    watching.cancelled()
    eye.now, eye.shows = 108.0, Watched(level(9, report=REPORT), level(9, report=REPORT))
    watching.cancelled()
    eye.now, eye.shows = 109.0, StoreError("of another job")
    watching.cancelled()
    assert len(seen) == 3
    eye.now, eye.shows = 110.0, Watched(level(9, report=REPORT), level(6))
    watching.cancelled()
    assert len(seen) == 4, "what went wrong once is no reason to look away"


def test_whether_it_is_cancelled_is_asked_every_time(eye: Any) -> None:
    answers = iter([False, True, False])
    watching = _Eye("p.zarr", lambda seen: None, lambda: next(answers))
    assert [watching.cancelled() for _ in range(3)] == [False, True, False]
    assert eye.looks == 1


def test_other_threads_and_whoever_is_looking_already_look_at_nothing(eye: Any) -> None:
    import threading

    watching: Any = _Eye("p.zarr", lambda seen: None, lambda: True)
    answers: list[bool] = []
    other = threading.Thread(target=lambda: answers.append(watching.cancelled()))
    other.start()
    other.join()
    assert (answers, eye.looks) == ([True], 0)

    def show(seen: Preview) -> None:
        eye.now += 10
        answers.append(watching.cancelled())

    watching, eye.shows = _Eye("p.zarr", show, lambda: False), Watched(level(1))
    watching.cancelled()
    assert (answers, eye.looks) == ([True, False], 1)


def test_a_level_that_is_finished_is_shown_and_the_last_once(eye: Any) -> None:
    seen: list[Preview] = []
    watching = _Eye("p.zarr", seen.append, lambda: False)
    eye.shows = Watched(level(9, report=REPORT), level(0, whole=None))
    watching.finished(0)
    ((one,), eye.now) = seen, 102.5
    assert (one.level, one.steps, one.loss, one.style, one.finished) == (0, 9, 0.75, 0.5, True)
    eye.shows = Watched(level(9, report=REPORT), level(9, report=REPORT))
    last = watching.last()
    assert (last.level, last.seconds, seen[1:]) == (1, 2.5, [last])
    assert watching.last() is last
    assert len(seen) == 2
    fresh = _Eye("p.zarr", seen.append, lambda: False)
    assert fresh.last() is seen[2]
    assert seen[2].level == 1


def test_a_level_without_steps_is_finished_from_the_start_and_a_picture_is_a_file() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    made = Preview(0, 1, 0, 0, None, None, 1.0, pixels)
    assert made.finished
    assert not replace(made, of=1).finished
    assert replace(made, of=1, loss=0.0).finished
    found = Image.open(io.BytesIO(made.png()))
    assert found.format == "PNG"
    np.testing.assert_array_equal(np.asarray(found), pixels)


@pytest.mark.parametrize(
    ("size", "edge", "small"),
    [((300, 400), 100, (75, 100)), ((400, 300), 100, (100, 75)), ((60, 50), 100, (60, 50)), ((1, 4000), 100, (1, 100)),
     ((101, 30), 100, (100, 30))],
)  # fmt: skip
def test_colours_alone_are_as_well_known_of_a_smaller_picture(
    size: tuple[int, int], edge: int, small: tuple[int, int]
) -> None:
    found = preview._small(Level(2, *size, 7, 0.1), edge)
    assert (found.height, found.width, found.steps, found.index) == (*small, 7, 2)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three levels of a portrait."""
    levels = Level(0, 50, 40, 30, 0.1), Level(1, 100, 80, 20, 0.1), Level(2, 200, 160, 10, 0.1)

    def asked(config: RenderConfig) -> Any:
        found = [replace(one, steps=0) if config.transfer == "color" else one for one in levels]
        return SimpleNamespace(job=SimpleNamespace(cut=SimpleNamespace(levels=found)))

    monkeypatch.setattr(preview.Asked, "of", asked)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize(
    ("said", "edge", "size", "long_edge", "steps"),
    [
        ({"long_edge": 200}, 100, None, 100, (30, 20)), ({"long_edge": 200}, 99, None, 50, (30,)),
        ({"long_edge": 200}, 9, None, 50, (30,)), ({"scale": "2x"}, 200, None, 200, (30, 20, 10)),
        ({"size": "160x200"}, 100, "80x100", None, (30, 20)), ({"print": "16x20cm"}, 50, "40x50", None, (30,)),
        ({"long_edge": 200, "transfer": "color"}, 45, None, 45, (0,)),
    ],
)  # fmt: skip
def test_a_preview_has_those_levels_that_are_small_enough(
    tmp_path: Path, said: Any, edge: int, size: Any, long_edge: Any, steps: Any
) -> None:
    spot, where = ("overlay", "o.png") if edge % 2 else ("at", "0.1,0.2")
    found = preview.beginning(
        replace(CONFIG, output="p.tif", bits=16, cog=True, compression="lzw", **{spot: where}, **said), edge, tmp_path
    )
    assert (found.size, found.long_edge, found.steps, found.levels) == (size, long_edge, steps, len(steps))
    assert (found.output, found.store) == (str(tmp_path / "preview.png"), str(tmp_path / "preview.zarr"))
    nothing = [getattr(found, name) for name in ("scale", "print", "tiles", "compression", "overlay", "at")]
    assert nothing == [None] * 6
    assert (found.checkpoint_seconds, found.bits, found.cog) == (0.5, 8, False)


def test_a_preview_is_a_render_that_is_watched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[Any] = []

    class Eye:
        def __init__(self, url: str, show: Any, cancelled: Any) -> None:
            self.url, self.levels, self.asked = url, [], (show, cancelled)
            self.levels: list[int] = []
            made.append(self)

        def finished(self, level: int) -> None:
            self.levels.append(level)

        def cancelled(self) -> bool:
            return False

        def last(self) -> str:
            return "the last"

    asked: list[Any] = []

    def rendered(config: Any, progress: Any, **how: Any) -> None:
        for event in ({"event": "level", "level": 0}, {"event": "level done", "level": 1}):
            progress(event)
        asked.append((config, how, Path(made[-1].url).parent.is_dir()))

    monkeypatch.setattr(preview, "_Eye", Eye)
    monkeypatch.setattr(preview, "render", rendered)
    monkeypatch.setattr(preview, "beginning", lambda config, edge, place: (config, edge, place))
    told: list[Any] = []
    assert preview.preview(CONFIG, progress=told.append) == "the last"  # type: ignore[comparison-overlap]
    gone = Path(made[0].url).parent
    assert asked == [((CONFIG, 512, gone), {"force_new": True, "pool": None, "cancelled": made[0].cancelled}, True)]
    assert (gone.exists(), made[0].levels, [event["event"] for event in told]) == (False, [1], ["level", "level done"])
    show, cancelled = made[0].asked
    assert (show(None), cancelled()) == (None, False)
    monkeypatch.setattr(preview, "_is_finished", lambda url: url == str(tmp_path / "preview.zarr"))
    preview.preview(CONFIG, edge=9, on_level=told.append, cancelled=Eye, pool=7, folder=tmp_path)  # type: ignore[arg-type]
    assert asked[1] == ((CONFIG, 9, tmp_path), {"force_new": False, "pool": 7, "cancelled": made[1].cancelled}, True)
    assert made[1].asked == (told.append, Eye)
    assert tmp_path.is_dir()


def test_what_is_whole_was_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not preview._is_finished(str(tmp_path / "none.zarr"))
    for attributes, finished in (({"wrote": {}}, True), ({"job": {}}, False)):
        store = SimpleNamespace(attributes=attributes)
        monkeypatch.setattr(preview.RenderStore, "open", lambda url, writable, store=store: store)
        assert preview._is_finished("p.zarr") == finished
