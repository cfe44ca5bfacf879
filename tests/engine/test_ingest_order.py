"""Which pictures a level is given, of what size and which part of them; of a store that writes this down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tiler import ingest
from tiler.geometry import Rect
from tiler.ingest import Ingest
from tiler.style.colour import GREY

LEVELS = (SimpleNamespace(height=150, width=90), SimpleNamespace(height=300, width=1100))
SIZES = (((20, 30), (40, 50)), ((60, 70), (80, 95)))


class Picture:
    def __init__(self, name: str, part: bool = False) -> None:
        self.name, self.in_part, self.dropped, self.asked = name, part, 0, list[Any]()
        self.kept: Any = SimpleNamespace(drop=self._drop)

    def _drop(self) -> None:
        self.dropped += 1

    def cropped_like(self, other: Picture) -> Picture:
        self.other = other
        return Picture(f"{self.name} cropped like {other.name}")

    def bands(self, height: int, width: int, rows: int, channels: str = "rgb", within: Any = None) -> Any:
        self.asked.append((height, width, rows, channels, within))
        y0, x0, y1, x1 = within or (0, 0, height, width)
        for y in range(y0, y1, rows):
            yield np.full((1 if channels == "alpha" else 3, min(rows, y1 - y), x1 - x0), 0.5, np.float32)


class Store:
    def __init__(self, areas: bool = False) -> None:
        self.written: dict[str, Any] = {}
        self.read: list[Any] = []
        self.reports: dict[int, Any] = {}

    def level_report(self, level: int) -> Any:
        return self.reports.get(level)

    def write_picture(self, path: str, height: int, width: int, bands: Any, channels: int = 3) -> None:
        rows = [band.shape for band in bands]
        assert sum(shape[1] for shape in rows) == height
        assert {(shape[0], shape[2]) for shape in rows} == {(channels, width)}
        self.written[path] = (height, width, channels)

    def write_pieces(self, path: str, height: int, width: int, pieces: Any, channels: int = 3) -> None:
        found = [(rect, piece.shape) for rect, piece in pieces]
        assert all(shape == (channels, rect.height, rect.width) for rect, shape in found)
        self.written[path] = (height, width, channels, [rect for rect, _ in found])

    def read_back(self, path: str, read: Any) -> None:
        self.read.append((path, read))


def job_of(read: Any = None, **more: Any) -> Any:
    """Of two levels and two styles, with one of everything. read: of the finest level."""
    look = SimpleNamespace(init=more.pop("init", "picture"), color=more.pop("color", "style"))
    cut = SimpleNamespace(
        levels=LEVELS, last=LEVELS[-1], read=lambda level: read if level else None,
        read_below=lambda level: None if read is None else [Rect(130, 10, 140, 20)],
    )  # fmt: skip
    return SimpleNamespace(
        cut=cut, look=look, adds_detail=True, needs_pictures=lambda level: level == 0,
        styles=SimpleNamespace(sizes=SIZES, regions=("a", "b")),
        terms=SimpleNamespace(style_layers=("relu1_1",), layers=("relu1_1", "relu4_2")),
        guides_path=lambda level: f"levels/{level}/guides", protect_path=lambda level: f"levels/{level}/protect",
        style_guides_path=lambda level, style: f"styles/{level}/{style}/guides" if style else None,
        **more,
    )  # fmt: skip


class Site:
    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, content: str | None = "a.png", transparent: bool = True
    ) -> None:
        self.opened = {name: Picture(name) for name in ("start.png", "keep.png", "mask.png")}
        self.layout, self.styles = Picture("layout"), [Picture("style 0"), Picture("style 1")]
        sources = (SimpleNamespace(mask=None), SimpleNamespace(mask="mask.png"))
        self.config: Any = SimpleNamespace(
            content=content,
            init="start.png",
            protect="keep.png",
            regions=SimpleNamespace(sources=sources),
            calm_share=0.0,
        )
        opened: Any = SimpleNamespace(
            opened=self.opened, layout=self.layout, styles=self.styles, transparent=transparent
        )
        self.store: Any = Store()
        self.ingest = Ingest(self.config, opened)
        self.bands: list[Any] = []

        def bands(channels: int, *names: int) -> Any:
            def call(*given: Any) -> Any:
                height, width, rows = given[-3:]
                self.bands.append(given)
                return (
                    np.full((channels, min(rows, height - y), width), 0.5, np.float32) for y in range(0, height, rows)
                )

            return call

        monkeypatch.setattr(ingest.guiding, "guide_bands", bands(2))
        monkeypatch.setattr(ingest.pictures, "part_bands", bands(1))
        monkeypatch.setattr(ingest.pictures, "mask_bands", bands(1))


def test_the_coarsest_level_starts_from_the_picture_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch)
    guided = site.ingest._written(site.store, job_of(), 0)
    assert site.store.written == {
        "levels/0/content": (150, 90, 3), "init": (150, 90, 3), "levels/0/guides": (150, 90, 2),
        "styles/0/1/guides": (40, 50, 1), "levels/0/protect": (150, 90, 1), "styles/0/0/picture": (20, 30, 3),
        "styles/0/1/picture": (40, 50, 3),
    }  # fmt: skip
    assert guided == [("levels/0/guides", ("relu1_1",)), ("styles/0/1/guides", ("relu1_1", "relu4_2"))]
    assert site.opened["start.png"].other is site.layout
    assert [tuple(getattr(one, "name", one) for one in given) for given in site.bands] == [
        (site.config, "layout", site.opened, 150, 90, 128), ("style 1", "mask.png", 40, 50, 128),
        ("keep.png cropped like layout", 150, 90, 128),
    ]  # fmt: skip
    assert site.layout.dropped == 0


def test_a_finer_level_has_the_content_of_the_level_before_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the pictures' pixels are not needed any more after the finest."""
    site = Site(monkeypatch)
    site.ingest._written(site.store, job_of(), 1)
    assert site.store.written == {
        "levels/1/content": (300, 1100, 3), "levels/1/coarse": (150, 90, 3), "levels/1/guides": (300, 1100, 2),
        "styles/1/1/guides": (80, 95, 1), "levels/1/protect": (300, 1100, 1), "styles/1/0/picture": (60, 70, 3),
        "styles/1/1/picture": (80, 95, 3),
    }  # fmt: skip
    assert [one.dropped for one in (*site.opened.values(), site.layout, *site.styles)] == [1] * 6


@pytest.mark.parametrize(("init", "detail"), [("noise", False), ("content", True)])
def test_what_nobody_asks_for_is_not_written(monkeypatch: pytest.MonkeyPatch, init: str, detail: bool) -> None:
    site, job = Site(monkeypatch, content=None), job_of(init=init)
    job.adds_detail = detail
    job.guides_path = job.protect_path = lambda level: None
    job.style_guides_path = lambda level, style: None
    found = [site.ingest._written(site.store, job, level) for level in (0, 1)]
    assert found == [[], []]
    assert {path.rpartition("/")[2] for path in site.store.written} == {"picture", *["coarse"] * detail}
    site.opened["mask.png"].kept = None
    site.ingest._drop()


def test_of_a_part_only_what_its_tiles_read_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whole chunks of 128 x 512. Its guides' areas are not added up: they are those of a part."""
    site = Site(monkeypatch)
    read = [Rect(120, 600, 130, 700), Rect(260, 0, 290, 20), Rect(261, 1040, 262, 1041)]
    guided = site.ingest._written(site.store, job_of(read), 1)
    boxes = [Rect(0, 512, 128, 1024), Rect(128, 512, 256, 1024), Rect(256, 0, 300, 512), Rect(256, 1024, 300, 1100)]
    assert site.store.written == {
        "levels/1/content": (300, 1100, 3, boxes), "levels/1/coarse": (150, 90, 3, [Rect(128, 0, 150, 90)]),
        "levels/1/guides": (300, 1100, 2, boxes), "styles/1/1/guides": (80, 95, 1),
        "levels/1/protect": (300, 1100, 1, boxes), "styles/1/0/picture": (60, 70, 3), "styles/1/1/picture": (80, 95, 3),
    }  # fmt: skip
    assert guided == [("styles/1/1/guides", ("relu1_1", "relu4_2"))]
    asked = [(300, 1100, box.height, "rgb", (box.y0, box.x0, box.y1, box.x1)) for box in boxes]
    assert site.layout.asked == [*asked, (150, 90, 22, "rgb", (128, 0, 150, 90))]


@pytest.mark.parametrize("read", [None, [Rect(0, 0, 5, 6)]])
def test_alpha_is_written_and_read_back(monkeypatch: pytest.MonkeyPatch, read: Any) -> None:
    site = Site(monkeypatch)
    site.ingest.alpha(site.store, job_of(read), 1)
    assert site.store.written["levels/1/alpha"][:3] == (300, 1100, 1)
    assert {asked[3] for asked in site.layout.asked} == {"alpha"}
    assert site.store.read == [("levels/1/alpha", read)]


@pytest.mark.parametrize("transparent", [True, False])
@pytest.mark.parametrize("level", [0, 1])
def test_what_is_prepared_is_what_will_be_asked_for(monkeypatch: Any, transparent: bool, level: int) -> None:
    site = Site(monkeypatch, transparent=transparent)
    guided = site.ingest._prepared(site.store, job_of(), level)
    assert (f"levels/{level}/alpha" in site.store.written) is transparent
    assert bool(guided) is ("levels/0/content" in site.store.written) is (level == 0)


# On a thread of its own -------------------------------------------------------------------------------------------


def test_a_level_that_was_begun_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    site, prepared, written = Site(monkeypatch), list[int](), list[int]()
    monkeypatch.setattr(site.ingest, "_prepared", lambda store, job, level: prepared.append(level) or [("path", ())])
    monkeypatch.setattr(site.ingest, "_written", lambda store, job, level: written.append(level) or [])
    with site.ingest as reading:
        reading.begin(site.store, job_of(), 1)
        assert reading._ahead is not None
        assert reading._ahead.daemon, "nothing waits for it where the process ends"
        assert reading.level(site.store, job_of(), 1) == [("path", ())]
        assert (prepared, written) == ([1], [])
        assert reading.level(site.store, job_of(), 1) == []
        assert written == [1]
        reading.begin(site.store, job_of(), 0)
        assert reading.level(site.store, job_of(), 1) == []
        assert reading._ahead is None
        for level in (2, 0):
            site.store.reports[0] = {}
            reading.begin(site.store, job_of(), level)
            assert reading._ahead is None
    assert prepared == [1, 0]
    assert site.layout.dropped == 1


def test_a_level_that_nobody_asks_for_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """When another is asked for or begun, and at the end."""
    site, stopped, stop = Site(monkeypatch), list[int](), ingest._Ahead.stop
    monkeypatch.setattr(site.ingest, "_prepared", lambda store, job, level: [])
    monkeypatch.setattr(site.ingest, "_written", lambda store, job, level: [])
    monkeypatch.setattr(ingest._Ahead, "stop", lambda self: (stopped.append(self.level), stop(self)))
    with site.ingest as reading:
        reading.begin(site.store, job_of(), 1)
        reading.alpha(site.store, job_of(), 0)
        assert (stopped, reading._ahead) == ([1], None)
        reading.begin(site.store, job_of(), 0)
        reading.begin(site.store, job_of(), 1)
        assert stopped == [1, 0]
        reading.alpha(site.store, job_of(), 1)
        assert reading.level(site.store, job_of(), 1) == []
        assert stopped == [1, 0]
        reading.begin(site.store, job_of(), 0)
    assert (stopped, reading._ahead) == ([1, 0, 0], None)


def test_what_went_wrong_is_told_once_and_whoever_asks_again_has_it_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site(monkeypatch)
    monkeypatch.setattr(site.ingest, "_prepared", lambda store, job, level: {}[level])
    monkeypatch.setattr(site.ingest, "_written", lambda store, job, level: [("again", ())])
    site.ingest.begin(site.store, job_of(), 1)
    with pytest.raises(KeyError):
        site.ingest.level(site.store, job_of(), 1)
    assert site.ingest.level(site.store, job_of(), 1) == [("again", ())]


def test_who_is_told_to_stop_knows_it_while_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[Any] = []

    class Until:
        def __init__(self, ended: Any) -> None:
            left.append(ended)

        def __enter__(self) -> None:
            pass

        def __exit__(self, *exc_info: object) -> None:
            pass

    monkeypatch.setattr(ingest.pictures, "reading_until", Until)
    ahead = ingest._Ahead(1, list)
    ahead.start()
    assert ahead.outcome() == []
    assert not left[0]()
    ahead.stop()
    assert left[0]()
    assert not ahead.is_alive()


# Styles in the content's colours ----------------------------------------------------------------------------------


@pytest.mark.parametrize("color", ["match", "luminance", "style", "content", "grey"])
def test_styles_are_recoloured_by_what_the_finest_level_sees(monkeypatch: pytest.MonkeyPatch, color: str) -> None:
    """Once, of the whole pictures: the content, and what counts of each style."""
    site, job, seen = Site(monkeypatch), job_of(color=color), list[Any]()
    job.styles.sizes = (SIZES[0], SIZES[0], SIZES[1])

    def moments(bands: Any, counts: Any) -> str:
        sizes = {(band.shape[0], band.shape[2]) for band in bands}
        seen.append((sizes, None if counts is None else {band.shape for band in counts}))
        return f"moments {len(seen)}"

    monkeypatch.setattr(ingest.ColourMoments, "of", moments)
    monkeypatch.setattr(ingest, "style_map", lambda *given: given)
    found = site.ingest._style_maps(job)
    if color in ("style", "content", "grey"):
        assert found == [GREY if color == "grey" else None] * 2
        assert seen == []
        return
    assert found == [(color, "moments 2", "moments 1"), (color, "moments 3", "moments 1")]
    assert seen == [({(3, 1100)}, None), ({(3, 70)}, None), ({(3, 95)}, {(80, 95)})]
    assert [one.asked for one in (site.layout, *site.styles)] == [
        [(300, 1100, 128, "rgb", None)], [(60, 70, 128, "rgb", None)], [(80, 95, 128, "rgb", None)],
    ]  # fmt: skip
    assert site.ingest._style_maps(job) is found
    site.ingest._maps.clear()
    site.styles[0].in_part = True
    seen.clear()
    site.ingest._style_maps(job)
    assert seen[1] == ({(3, 70)}, {(60, 70)})


def test_a_recoloured_style_is_written_in_its_new_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    site, made = Site(monkeypatch), list[Any]()
    maps = [np.eye(3, 4) * 0.5, None]
    monkeypatch.setattr(site.ingest, "_style_maps", lambda job: maps)
    monkeypatch.setattr(ingest, "recolour", lambda band, matrices: made.append((band.shape, matrices)) or band)
    site.ingest._written(site.store, job_of(), 0)
    assert len(made) == 1
    assert made[0][0] == (3, 20, 30)
    assert made[0][1][0] is maps[0]
