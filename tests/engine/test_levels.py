"""The order in which levels are brought to their end, of parts that only say that they were asked."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tiler.engine.job import Job
from tiler.errors import DamageError, PictureChangedError, RenderError, TileTooLargeError, WorkerDiedError
from tiler.levels import Levels
from tiler.request.config import RenderConfig
from tiler.request.resolve import resolve_config
from tiler.style.layers import NAMES
from tiler.style.trunk import Trunk

levels = sys.modules["tiler.levels"]
TRUNK = Trunk({f"relu{name}": 64 for name in NAMES}, "0" * 64)


def job_of(**values: Any) -> Job:
    config = RenderConfig("a.png", ("b.png",), "c.png", device="cpu", **values)
    pictures: list[Any] = [
        SimpleNamespace(path="p", height=h, width=w, file_size=(h, w), in_part=False) for h, w in ((600, 400), (70, 90))
    ]
    return resolve_config(config, pictures[0], pictures[1:], trunk=TRUNK)[1]


class Store:
    """Of three levels, of which those in `reports` are finished."""

    url = "s.zarr"

    def __init__(self, done: list[Any], reports: dict[int, dict[str, Any]]) -> None:
        self._done, self.reports, self.run = done, reports, "first"

    def holder(self) -> str:
        return self.run

    def level_report(self, level: int) -> dict[str, Any] | None:
        return self.reports.get(level)

    def finish_level(self, level: int, report: dict[str, Any], lineage: str | None) -> None:
        self._done.append(("finish", level, report, lineage))
        self.reports[level] = report

    def for_job(self, job: Job) -> Store:
        self._done.append(("for", job.id))
        return self

    def read_areas(self, path: str) -> Any:
        return {} if "known" in path else None

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given, **named: self._done.append((name, *given, *([named] if named else [])))


class Site:
    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, job: Job, reports: dict[int, Any] | None = None, **options: Any
    ) -> None:
        self.done: list[Any] = []
        self.events: list[dict[str, Any]] = []
        self.store: Any = Store(self.done, reports or {})
        self.pool: Any = SimpleNamespace(
            workers=5,
            submit=lambda function, *given: (function, given),
            on_report=lambda handler: self.done.append(("on report", handler)),
        )
        self.transparent = options.pop("transparent", False)
        self.overlay = object()
        sources: Any = SimpleNamespace(
            transparent=self.transparent, opened={"over.svg": self.overlay}, layout="layout", styles=["style"]
        )
        self.lineage: Any = SimpleNamespace(ended=lambda job, level, store: f"known {level} {job.id[:3]} {store.url}")
        self.config = RenderConfig("a.png", ("b.png",), "deep/poster.png", overlay="over.svg", checkpoint_seconds=7.0)
        for name in ("measure_styles", "measure_rest"):
            monkeypatch.setattr(levels, name, lambda site, level, name=name: self.done.append((name, level)))
        self.run_level: Callable[..., dict[str, Any]] = lambda site, level, home, every: {"loss": level / 2}
        outer = self

        class LevelRun:
            def __init__(self, *given: Any) -> None:
                self._given = given
                outer.done.append(("run", *given[1:]))

            def run(self) -> dict[str, Any]:
                return outer.run_level(*self._given)

        monkeypatch.setattr(levels, "LevelRun", LevelRun)
        clock = iter(range(0, 1000, 3))
        monkeypatch.setattr(levels, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
        monkeypatch.setattr(levels, "tasks", SimpleNamespace(match_colours="match", add_up_guides="add up"))
        monkeypatch.setattr(levels, "Site", self._site)
        self.levels = Levels(
            self.config, job, self.store, self.pool, self.events.append, sources, lineage=self.lineage, **options
        )
        self.ingest: Any = SimpleNamespace(
            alpha=lambda store, job, level: self.done.append(("alpha", level)),
            level=self._ingested,
            begin=lambda store, job, level: self.done.append(("begin", level)),
            stop=lambda: self.done.append(("stop",)),
        )

    def _ingested(self, store: Any, job: Job, level: int) -> list[Any]:
        self.done.append(("pictures", level))
        return [(f"levels/{level}/guides", ("relu1_1",)), (f"levels/{level}/known", ("relu2_1",))]

    def _site(self, store: Any, job: Job, pool: Any, address: Any, glance: float) -> Any:
        def wait(asked: Any) -> dict[str, Any]:
            function, given = asked
            self.done.append(("waited", function, *given[1:]))
            assert given[0] is address
            return {"colours": "found"}

        assert (store, pool) == (self.store, self.pool)
        return SimpleNamespace(address=address, glance=glance, wait=wait)


@pytest.fixture
def three() -> Job:
    """Levels with steps, the last without."""
    return job_of(long_edge=600, levels=3, steps=(4, 3, 0), lines=0.5)


def test_levels_are_done_one_after_the_other_and_the_next_is_read_meanwhile(
    monkeypatch: pytest.MonkeyPatch, three: Job
) -> None:
    """The last has no steps: nothing is measured for it, and no picture is read."""
    site = Site(monkeypatch, three)
    site.levels._all_levels(site.ingest)
    known = [f"known {level} {three.id[:3]} s.zarr" for level in range(3)]
    measured = [[("measure_styles", level), ("measure_rest", level)] for level in range(2)]
    assert site.done == [
        ("pictures", 0), ("waited", "add up", "levels/0/guides", ("relu1_1",)), ("begin", 1), *measured[0],
        ("waited", "match"), ("update", {"colours": "found"}),
        ("run", 0, "device", 7.0), ("finish", 0, {"seconds": 3.0, "loss": 0.0}, known[0]),
        ("pictures", 1), ("waited", "add up", "levels/1/guides", ("relu1_1",)), *measured[1],
        ("run", 1, "device", 7.0), ("finish", 1, {"seconds": 3.0, "loss": 0.5}, known[1]),
        ("run", 2, "device", 7.0), ("finish", 2, {"seconds": 3.0, "loss": 1.0}, known[2]),
    ]  # fmt: skip
    done = [{"event": "level done", "level": level, "seconds": 3.0, "loss": level / 2} for level in range(3)]
    assert site.events == [one for level in range(3) for one in ({"event": "level", "level": level}, done[level])]


def test_what_is_finished_is_read_once_and_its_alpha_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of all its images: damage in them shows before anything is made of them."""
    job = job_of(long_edge=600, levels=2, steps=(4, 3), color="content", tile=160, feather=16)
    site = Site(monkeypatch, job, {0: {"loss": 1.0}}, transparent=True)
    site.levels._all_levels(site.ingest)
    cores = [tile.core for tile in job.cut.grid(0)]
    assert len(cores) > 2
    looked = [("read_image", 0, core, name) for name in ("image", "poster") for core in cores]
    assert site.done[: 2 + len(looked)] == [("alpha", 0), ("tidy_level", 0), *looked]
    rest = [what for what, *_ in site.done[2 + len(looked) :]]
    assert rest == ["alpha", "pictures", "waited", "measure_styles", "measure_rest", "run", "finish"]
    site.done.clear()
    site.levels._all_levels(site.ingest)
    assert site.done == [], "they were seen in this run"


def test_nobody_knows_a_level_where_there_is_no_lineage(monkeypatch: pytest.MonkeyPatch, three: Job) -> None:
    site = Site(monkeypatch, three)
    site.levels._lineage = None
    site.levels._finish(1, {"loss": 2.0}, 4.5)
    assert site.done == [("finish", 1, {"seconds": 4.5, "loss": 2.0}, None)]


# What goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("times", "there"), [(1, True), (2, True), (3, True), (1, False)])
def test_a_part_that_is_damaged_is_computed_again_twice(
    monkeypatch: pytest.MonkeyPatch, three: Job, times: int, there: bool
) -> None:
    site, left = Site(monkeypatch, three), [times]
    monkeypatch.setattr(levels.RenderStore, "exists", lambda url: there and url == "s.zarr")

    def run(ingest: Any) -> None:
        for index in ((0, 5), (1, 5)):  # each by itself
            if left[0] > 0 and index == (0, 5):
                left[0] -= 1
                raise DamageError("it is\ndamaged", "levels/0/image", index)
            if left[0] == 0 and index == (1, 5) and ingest is site.ingest:
                left[0] -= 1
                raise DamageError("too", "levels/0/image", index)

    monkeypatch.setattr(site.levels, "_all_levels", run)
    told = {"event": "damage", "message": "it is\ndamaged"}
    if times > 2 or not there:
        with pytest.raises(DamageError):
            site.levels._repaired(site.ingest)
        assert site.events == ([told] * 2 if there else [])
        return
    site.levels._repaired(site.ingest)
    assert site.events == [*[told] * times, {"event": "damage", "message": "too"}]
    repairs = [(0, 5)] * times + [(1, 5)]
    assert site.done == [one for index in repairs for one in (("stop",), ("forget", "levels/0/image", index))]


def test_a_picture_that_is_another_by_now_ends_a_render_and_is_not_repaired(
    monkeypatch: pytest.MonkeyPatch, three: Job
) -> None:
    site = Site(monkeypatch, three)

    def run(ingest: Any) -> None:
        raise PictureChangedError("a.png: has changed")

    monkeypatch.setattr(site.levels, "_all_levels", run)
    with pytest.raises(RenderError, match=r"^a\.png: has changed; go on with the same command when .* --force-new$"):
        site.levels._repaired(site.ingest)
    assert site.events == []


@pytest.mark.parametrize("error", [TileTooLargeError("does not fit"), WorkerDiedError("4 workers died")])
def test_a_level_that_does_not_fit_moves_then_is_cut_smaller_once(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    job = job_of(long_edge=1600, levels=2, steps=(4, 3), tile=1200, feather=16)
    assert job.cut.align == 16
    grid = job.cut.grid(1)
    assert (grid.core_height, grid.core_width) == (800, 1072)
    job = replace(job, device=replace(job.device, kind="cuda"))
    site = Site(monkeypatch, job, homes=("store", "device"))

    def run(*given: Any) -> dict[str, Any]:
        raise error

    site.run_level = run
    with pytest.raises(type(error)):
        site.levels._run_level(1)
    again = site.levels._job
    assert [one for one in site.done if one[0] == "run"] == [
        ("run", 1, home, 7.0) for home in ("device", "host", "store", "store")
    ]
    assert again.cut.tile == 528, "half of 1072, in whole cells"
    assert again.id != job.id
    assert len(again.id) == 32
    assert again == replace(job.with_tile(528), id=again.id)
    assert site.levels._address.id == again.id
    assert [one for one in site.done if one[0] != "run"] == [("update", {"job": again.to_dict()}), ("for", again.id)]
    said = {"event": "note", "text": str(error)}
    moved = [
        {"event": "note", "level": 1, "home": home, "text": f"level 2: its state is kept in {place} from here on"}
        for home, place in (("host", "the host's memory"), ("store", "the store"))
    ]
    shrunk = {"event": "shrink", "level": 1, "tile": 528, "levels": site.levels._levels()}
    assert site.events == [said, moved[0], said, moved[1], said, shrunk, said]


@pytest.mark.parametrize(("tile", "cut"), [(256, None), (272, 256), (528, 256), (544, 272)])
def test_small_tiles_are_not_cut(monkeypatch: pytest.MonkeyPatch, tile: int, cut: int | None) -> None:
    job = job_of(long_edge=1600, levels=1, steps=3, tile=tile, feather=16)
    monkeypatch.setattr(job.cut.__class__, "grid", lambda self, level: _Core(self.tile), raising=True)
    site = Site(monkeypatch, job, homes=("store",))

    def run(*given: Any) -> dict[str, Any]:
        raise TileTooLargeError("does not fit")

    site.run_level = run
    monkeypatch.setattr(site.levels, "_levels", list)
    with pytest.raises(TileTooLargeError):
        site.levels._run_level(0)
    assert site.levels._job.cut.tile == (cut or tile)
    assert (site.levels._job.id == job.id) is (cut is None)


class _Core:
    def __init__(self, side: int) -> None:
        self.core_height, self.core_width = 32, side


def test_a_task_finds_the_run_that_holds_the_store_now(monkeypatch: pytest.MonkeyPatch, three: Job) -> None:
    site = Site(monkeypatch, three)
    before = site.levels._site
    site.store.run = "second"
    site.levels.glance = 0.25
    after = site.levels._site
    assert [(one.address.url, one.address.id, one.address.run, one.glance) for one in (before, after)] == [
        ("s.zarr", three.id, "first", 1.0), ("s.zarr", three.id, "second", 0.25),
    ]  # fmt: skip


# What is said and written -----------------------------------------------------------------------------------------


def test_what_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(long_edge=600, levels=2, steps=(4, 3), tile=160, feather=16)
    site, asked = Site(monkeypatch, job, {0: {}}, transparent=True), list[Any]()
    monkeypatch.setattr(levels, "notes", lambda *given: asked.append(given) or ["of sizes"])
    monkeypatch.setattr(levels.export, "remarks", lambda *given: asked.append(given) or ["of files"])
    site.levels._announce()
    start, *rest = site.events
    cut = job.cut
    assert start == {
        "event": "start", "output": "deep/poster.png", "store": "s.zarr", "workers": 5, "mode": "fast",
        "precision": job.device.precision, "device": "cpu", "tile": 160,
        "levels": [
            {"height": h, "width": w, "tiles": len(cut.grid(level)), "steps": steps, "done": level == 0,
             "work": cut.work(level)}
            for level, (h, w, steps) in enumerate(((300, 200, 4), (600, 400, 3)))
        ],
    }  # fmt: skip
    assert rest == [{"event": "note", "text": text} for text in ("of sizes", "of files")]
    assert asked == [
        (site.config, 600, 400, site.overlay, True), (site.config, job, "layout", ["style"]),
    ]  # fmt: skip
    assert site.done == [("on report", site.levels._progress)]


@pytest.mark.parametrize(("precision", "peak"), [("fp64", 1), ("fp32", 65535)])
def test_what_is_written_is_published_and_remembered(
    monkeypatch: pytest.MonkeyPatch, three: Job, precision: str, peak: int
) -> None:
    job = replace(three, device=replace(three.device, precision=precision), look=replace(three.look, color="content"))
    site = Site(monkeypatch, job, {2: {"loss": 0.75}, 1: {"loss": 9.0}})
    monkeypatch.setattr(levels.View, "of", lambda *given: given)
    monkeypatch.setattr(levels.export, "write_view", lambda *given: site.done.append(given))
    monkeypatch.setattr(levels.pictures, "fingerprint", lambda path: f"print of {path}")
    assert site.levels.write_poster() == 0.75
    assert site.events == [{"event": "write", "output": "deep/poster.png"}]
    assert site.done == [
        ("publish", "poster", [(150, 100), (300, 200), (600, 400)], peak, "poster"),
        ((site.store, job, 2), site.config, site.overlay),
        ("update", {"wrote": {"output": "print of deep/poster.png", "tiles": None}}),
    ]
    site.store.reports.clear()
    assert math.isnan(site.levels.write_poster())


def test_a_picture_that_changes_while_the_poster_is_written_leaves_none(
    monkeypatch: pytest.MonkeyPatch, three: Job
) -> None:
    site = Site(monkeypatch, three)

    def write(*given: Any) -> None:
        raise PictureChangedError("over.svg: has changed")

    monkeypatch.setattr(levels.View, "of", lambda *given: None)
    monkeypatch.setattr(levels.export, "write_view", write)
    with pytest.raises(RenderError, match=r"^over\.svg: has changed; no poster was written; the same command"):
        site.levels.write_poster()
    assert [what for what, *_ in site.done] == ["publish"]


def test_a_render_reads_pictures_until_it_ends(monkeypatch: pytest.MonkeyPatch, three: Job) -> None:
    site = Site(monkeypatch, three)
    done: list[Any] = []

    class Reading:
        def __init__(self, config: Any, sources: Any) -> None:
            assert config is site.config
            assert Path(config.output).name == "poster.png"

        def __enter__(self) -> str:
            return "ingest"

        def __exit__(self, *exc_info: object) -> None:
            done.append("left")

    monkeypatch.setattr(levels, "Ingest", Reading)
    monkeypatch.setattr(site.levels, "_announce", lambda: done.append("announced"))
    monkeypatch.setattr(site.levels, "_repaired", done.append)
    site.levels.run()
    assert done == ["announced", "ingest", "left"]
