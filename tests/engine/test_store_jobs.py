"""What a store says of its job, what it drops of the one before, and what is left where that is cut short."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zarr

from tiler.engine import stored_pictures
from tiler.engine.contents import INPUTS
from tiler.engine.job import Job
from tiler.engine.store import RenderStore
from tiler.errors import DamageError, StoreError
from tiler.geometry import Rect, TileGrid
from tiler.request.config import RenderConfig
from tiler.request.resolve import resolve_config
from tiler.style.layers import NAMES
from tiler.style.trunk import Trunk


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "job.zarr")


@pytest.fixture
def made(url: str) -> Callable[..., RenderStore]:
    """made(groups, attributes): a store with these groups."""

    def make(*groups: str, **attributes: Any) -> RenderStore:
        store = RenderStore.create(url, {"job": {"id": "0123456789abcdef"}, **attributes})
        for group in groups:
            store._root.create_group(group)
        return store

    return make


@pytest.fixture
def job() -> Job:
    config = RenderConfig("a.png", ("b.png",), "c.png", device="cpu", long_edge=96, levels=2)
    trunk = Trunk({f"relu{name}": 64 for name in NAMES}, "0" * 64)
    pictures: list[Any] = [
        SimpleNamespace(path="p", height=h, width=w, file_size=(h, w), in_part=False) for h, w in ((60, 90), (70, 90))
    ]
    return resolve_config(config, pictures[0], pictures[1:], trunk=trunk)[1]


# What it says -----------------------------------------------------------------------------------------------------


def test_a_job_s_state_lies_where_its_id_says(made: Callable[..., RenderStore]) -> None:
    assert made().state_path(3) == "levels/3/state-0123456789ab"


@pytest.mark.parametrize("odd", [None, 5, "x", [], {}])
def test_a_store_without_an_id_has_a_place_for_its_state_too(url: str, odd: Any) -> None:
    assert RenderStore.create(url, {"job": odd}).state_path(0) == "levels/0/state-"


def test_what_a_job_cost_is_nothing_at_first_and_a_number(made: Callable[..., RenderStore]) -> None:
    store = made()
    assert store.seconds == 0
    store.update(seconds=7)
    assert store.seconds == 7
    for wrong in (-1, "x", None, [1]):
        store.update(seconds=wrong)
        with pytest.raises(StoreError, match=rf"^store {store.url}: cannot be read: seconds"):
            _ = store.seconds


def test_who_holds_a_store_is_read_anew_each_time(url: str, made: Callable[..., RenderStore]) -> None:
    store, path = made(), Path(url, "zarr.json")
    assert store.holder() == ""
    for run in ("a", "b"):
        RenderStore.open(url).update(run=run)
        assert store.holder() == run
    path.unlink()
    assert store.holder() == ""


def test_a_store_that_is_gone_does_not_come_back(url: str, made: Callable[..., RenderStore]) -> None:
    store = made("levels/0")
    shutil.rmtree(url)
    for call in (store.check_there, lambda: store.update(seconds=1), lambda: store.finish_level(0, {})):
        with pytest.raises(StoreError, match="no readable job there"):
            call()
    assert not Path(url).exists()


def test_a_level_is_known_by_its_lineage_once_it_is_finished(made: Callable[..., RenderStore]) -> None:
    store = made("levels/0", "levels/1", "levels/2")
    store._root["levels/1"].attrs["lineage"] = "known"
    store.finish_level(0, {"seconds": 1.0, "rounds": 2}, "a")
    store.finish_level(2, {"seconds": 1.0, "rounds": 2})
    assert [store.lineage(level) for level in range(4)] == ["a", None, None, None]
    store._root["levels/2"].attrs["other"] = "kept"
    store.finish_level(2, {"seconds": 2.0, "rounds": 2}, "b")
    assert dict(store._root["levels/2"].attrs) == {
        "other": "kept", "report": {"seconds": 2.0, "rounds": 2}, "lineage": "b"
    }  # fmt: skip


def test_a_report_that_is_none_is_refused(made: Callable[..., RenderStore]) -> None:
    store = made("levels/0", "levels/1")
    assert store.level_report(1) is None
    for wrong in ({}, {"seconds": -1, "rounds": 1}, 5, {"seconds": 1}):
        store._root["levels/1"].attrs["report"] = wrong
        with pytest.raises(StoreError, match=rf"^store {store.url}: the report of level 1 is damaged: report"):
            store.level_report(1)
    assert store.level_report(0) is None


def test_a_pyramid_names_its_brightest_value_and_what_is_shown(url: str, made: Callable[..., RenderStore]) -> None:
    made().publish("coast", [(10, 30), (21, 60), (42, 121)], 4095, "poster")
    found = json.loads(Path(url, "zarr.json").read_text())["attributes"]["ome"]
    [multiscale] = found["multiscales"]
    assert multiscale["name"] == "coast"
    assert [one["path"] for one in multiscale["datasets"]] == [f"levels/{level}/poster" for level in (2, 1, 0)]
    scale = [one["coordinateTransformations"][0]["scale"] for one in multiscale["datasets"]]
    assert scale == [[1, 1, 1], [1, 2, 121 / 60], [1, 4.2, 121 / 30]]
    channels = found["omero"]["channels"]
    assert [(one["label"], one["window"]["max"], one["window"]["end"]) for one in channels] == [
        (name, 4095, 4095) for name in ("red", "green", "blue")
    ]


# What may be written ----------------------------------------------------------------------------------------------


def test_a_store_is_opened_to_be_written_unless_it_is_only_looked_at(
    url: str, made: Callable[..., RenderStore], job: Job
) -> None:
    made().update(job=job.to_dict())
    RenderStore.open(url).update(a=1)
    reader = RenderStore.open(url, writable=False)
    with pytest.raises(Exception, match="read-only"):
        reader._root.attrs["x"] = 1
    assert reader.attributes["a"] == 1


def test_a_guard_stands_before_every_write_and_before_another_job_s(made: Callable[..., RenderStore], job: Job) -> None:
    store, may = made("levels/0"), [True]
    store.update(job=job.to_dict())

    def guard() -> None:
        if not may[0]:
            raise StoreError("held by another")

    store.guard(guard)
    other = store.for_job(job)
    assert other.state_path(0) == f"levels/0/state-{job.id[:12]}"
    for one in (store, other):
        may[0] = True
        one.check_writer()
        one.update(a=2)
        may[0] = False
        with pytest.raises(StoreError, match="held by another"):
            one.check_writer()
        with pytest.raises(StoreError, match="held by another"):
            one.update(a=3)
        with pytest.raises(StoreError, match="held by another"):
            one.finish_level(0, {"seconds": 1.0, "rounds": 1})
    assert store.attributes["a"] == 2


def test_what_was_opened_before_is_held_to_the_job_too(made: Callable[..., RenderStore], job: Job) -> None:
    store = made()
    store.write_picture("levels/0/content", 3, 5, [np.ones((3, 3, 5))])
    store.read_picture("levels/0/content", Rect(0, 0, 3, 5))
    other = store.for_job(job)
    store.hold_to(job)
    for held in (store, other):
        with pytest.raises(DamageError, match=r"levels/0/content is uint16 \(3, 3, 5\).*; allowed: uint16 \(3, "):
            held.read_picture("levels/0/content", Rect(0, 0, 3, 5))


# What makes way ---------------------------------------------------------------------------------------------------


def test_a_deletion_that_is_cut_short_leaves_no_job_to_go_on_with(
    url: str, made: Callable[..., RenderStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what comes next finds nothing of the levels that were left."""
    made("levels/0", "styles/0", "init", "mine")

    def fail(self: zarr.Group, name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Group, "__delitem__", fail)
        with pytest.raises(KeyboardInterrupt):
            RenderStore.create(url, {"job": {"id": "new"}}, overwrite=True)
    assert not RenderStore.exists(url)
    store = RenderStore.create(url, {"job": {"id": "newer"}})
    assert [store.has(name) for name in ("levels", "styles", "init", "mine")] == [False, False, False, True]
    assert store.attributes == {"job": {"id": "newer"}}


@pytest.mark.parametrize(
    ("keeps", "levels", "init"),
    [(0, 0, False), (1, 1, True), (2, 2, True), (True, 0, False), (1.0, 0, False)],
)
def test_of_a_job_that_made_way_its_first_levels_are_there(
    url: str, made: Callable[..., RenderStore], keeps: Any, levels: int, init: bool
) -> None:
    """And what the coarsest started from; whatever else lies there is no job's."""
    groups = ("levels/0/image", "levels/1/image", "levels/10/image", "levels/odd", "styles/0/0", "init", "mine/levels")
    store = made(*groups, keeps=keeps)
    there = [*(number < levels for number in (0, 1, 10)), False, False, init, True]
    assert [store.has(path) for path in groups] == there
    assert [store.has(path) for path in ("levels", "styles", "mine")] == [True, False, True]
    RenderStore.open(url).clear()
    again = RenderStore.open(url)
    there[3] = True  # it was never ours
    assert [again.has(path) for path in groups] == there
    assert again.attributes == {"job": {"id": "0123456789abcdef"}}
    again.clear()
    assert [again.has(path) for path in groups] == there


def test_another_job_is_there_with_one_write_and_the_rest_goes(url: str, made: Callable[..., RenderStore]) -> None:
    store, writes = made("levels/0", "levels/1", "styles/0", wrote={}), [0]

    def guard() -> None:
        writes[0] += 1
        if writes[0] > 1:
            raise StoreError("cut short")

    store.guard(guard)
    with pytest.raises(StoreError, match="cut short"):
        store.succeed({"job": {"id": "other"}}, 1)
    again = RenderStore.open(url)
    assert again.attributes == {"job": {"id": "other"}, "keeps": 1}
    assert [again.has(path) for path in ("levels/0", "levels/1", "styles")] == [True, False, False]
    store.guard(lambda: None)
    store.succeed({"job": {"id": "third"}}, 0)
    again = RenderStore.open(url)
    assert again.attributes == {"job": {"id": "third"}}
    assert not Path(url, "levels/0").exists()


def test_a_finished_level_keeps_what_it_shows_and_what_is_no_job_s(url: str, made: Callable[..., RenderStore]) -> None:
    kept = ("image", "poster", "alpha", "mine", "my-state-x")
    paths = [f"levels/{level}/{name}" for level in (0, 1) for name in (*kept, *INPUTS, "state-a", "state-b")]
    store = made(*paths, "styles/0/0", "styles/1/0")
    store.tidy_level(1)
    left = [path for path in paths if store.has(path)]
    assert left == [path for path in paths if path.startswith("levels/0/") or path.rpartition("/")[2] in kept]
    assert [store.has("styles/0"), store.has("styles/1")] == [True, False]


# Pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_of_many_bands_is_read_from_top_to_bottom(
    made: Callable[..., RenderStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made()
    pixels = np.arange(2 * 7 * 3).reshape(2, 7, 3) / np.float32(65535)
    store.write_picture("p", 7, 3, [pixels[:, :2], pixels[:, 2:3], pixels[:, 3:]], 2)
    monkeypatch.setattr(RenderStore, "picture_rows", 3)
    bands = list(store.picture_bands("p"))
    assert [band.shape for band in bands] == [(2, 3, 3), (2, 3, 3), (2, 1, 3)]
    np.testing.assert_allclose(np.concatenate(bands, 1), pixels, atol=1e-9)
    assert store.picture_size("p") == (7, 3)


def test_areas_are_recorded_beside_the_picture(made: Callable[..., RenderStore]) -> None:
    store = made()
    store.write_picture("p", 2, 3, [np.ones((1, 2, 3))], 1)
    store.write_areas("p", {"shares": (0.5,)})
    assert store.read_areas("p") == {"shares": [0.5]}
    assert store.read_areas("none") is None
    assert store.has_picture("p")
    assert not store.has_picture("none")


def test_tiles_of_uneven_cores_are_whole_once_all_of_their_chunks_are_there() -> None:
    """Of chunks of 4 x 24: a core of 16 x 48 is four by two of them, and the last ones are cut."""
    grid, there = TileGrid(26, 70, 16, 48), {str(row): {"0", "1", "2"} for row in range(7)}
    store: Any = SimpleNamespace(
        has=lambda path: path == "levels/2/poster",
        _array=lambda path: SimpleNamespace(chunks=(3, 4, 24)),
        _names=lambda path: list(there) if path.endswith("/c/0") else list(there[path.rpartition("/")[2]]),
    )

    def written(level: int = 2, name: str = "poster") -> set[int]:
        return stored_pictures.StoredPictures.written_tiles(store, level, grid, name)

    assert written() == {0, 1, 2, 3}
    assert written(2, "image") == written(1) == set()
    ends = ((0, 0, 0), (3, 1, 0), (0, 2, 1), (3, 2, 1), (4, 0, 2), (6, 1, 2), (4, 2, 3), (6, 2, 3))
    for row, column, without in ends:
        there[str(row)].remove(str(column))
        assert written() == {0, 1, 2, 3} - {without}
        there[str(row)].add(str(column))
    del there["6"]
    assert written() == {0, 1}
