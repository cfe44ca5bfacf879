"""What is asked for and the job that a store has of it: which is gone on with, which makes way, and what is kept."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from obstore.exceptions import GenericError

from tiler import jobs
from tiler.engine.contents import COLOURS
from tiler.engine.home import Home, homes_of
from tiler.engine.job import Job
from tiler.engine.machine import Gpus, Host, Machine
from tiler.engine.store import RenderStore
from tiler.errors import OutputError, RenderError, StoreError
from tiler.jobs import ComputedOn, Found, Request, begin, disk_errors, find, read_before
from tiler.request.config import RenderConfig
from tiler.request.resolve import resolve_config
from tiler.style.layers import NAMES
from tiler.style.trunk import Trunk

TRUNK = Trunk({f"relu{name}": 64 for name in NAMES}, "0" * 64)


@pytest.fixture
def config(tmp_path: Path) -> RenderConfig:
    return RenderConfig(
        str(tmp_path / "a.png"), (str(tmp_path / "b.png"),), str(tmp_path / "c.png"), device="cpu", long_edge=600,
        levels=3, steps=(4, 3, 2), weights=str(tmp_path / "w.pth"),
    )  # fmt: skip


@pytest.fixture
def job(config: RenderConfig) -> Job:
    pictures: list[Any] = [
        SimpleNamespace(path="p", height=h, width=w, file_size=(h, w), in_part=False) for h, w in ((600, 400), (70, 90))
    ]
    return resolve_config(config, pictures[0], pictures[1:], trunk=TRUNK)[1]


@pytest.fixture
def request_of(config: RenderConfig, job: Job, tmp_path: Path) -> Request:
    layout = SimpleNamespace(origin=(11, 22), height=33, width=44, georef=None)
    sources = SimpleNamespace(layout=layout, opened={"x": "y"}, transparent=False)
    asked: Any = SimpleNamespace(
        config=config, job=job, sources=sources, notes=["a note"], landed=["land"], overlay="o"
    )
    return Request(asked, str(tmp_path / "c.zarr"), {"style 1": "sha"})


def written(url: str, job: Job, done: int, **attributes: Any) -> RenderStore:
    """A store of the job, of which so many levels are finished, in 1.5, 2.5, ... seconds."""
    store = RenderStore.create(url, {"job": job.to_dict(), "version": jobs.__version__, **attributes})
    for level in range(done):
        report = {"rounds": 1, "seconds": level + 1.5, "loss": 1.0}
        store._root.create_group(f"levels/{level}", attributes={"report": report})
    return store


# What is asked for ------------------------------------------------------------------------------------------------


def test_what_the_pictures_are_is_told_by_where_they_are_cut(request_of: Request, monkeypatch: Any) -> None:
    monkeypatch.setattr(jobs.identity, "seen", lambda *given: given)
    assert request_of.seen == (request_of.asked.config, {"style 1": "sha"}, (11, 22, 33, 44))  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("fails", ["", "files", "places"])
def test_a_request_is_checked_before_anything_is_written(
    request_of: Request, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """And leaves nothing, where it is refused."""
    asked, done = request_of.asked, list[Any]()
    size, shown = SimpleNamespace(height=60, width=90), SimpleNamespace(height=50, width=70)
    asked.job = SimpleNamespace(cut=SimpleNamespace(last=size, shown=shown))  # type: ignore[misc]

    def noted(name: str, result: Any = None) -> Any:
        def call(*given: Any) -> Any:
            done.append((name, *given))
            if fails == name:
                raise OutputError(name)
            return result

        return call

    monkeypatch.setattr(jobs.Asked, "of", lambda config: asked)
    monkeypatch.setattr(jobs.export, "georef_of", noted("georef", "georef"))
    monkeypatch.setattr(jobs.export, "check_files", noted("files"))
    monkeypatch.setattr(jobs.export, "check_places", noted("places"))
    monkeypatch.setattr(jobs.export, "store_url", lambda config: "s.zarr")
    monkeypatch.setattr(jobs.identity, "inputs", lambda config: {"a": "b"})
    monkeypatch.setattr(jobs, "dropped", noted("dropped"))
    config, layout = asked.config, asked.sources.layout
    expected: list[Any] = [
        ("georef", config, layout, 60, 90), ("files", config, 50, 70, "o", "georef"),
        ("places", config, "s.zarr", {"x": "y"}),
    ]  # fmt: skip
    if fails:
        with pytest.raises(OutputError, match=fails):
            Request.of(config)
        assert done == [*expected[: 2 if fails == "files" else 3], ("dropped", ["land"])]
    else:
        found = Request.of(config)
        assert (found.asked, found.url, found.inputs) == (asked, "s.zarr", {"a": "b"})
        assert done == expected


# What is there ----------------------------------------------------------------------------------------------------


class Identity:
    """What stands for the comparison of a stored job with what is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, job: Job, other: list[str], weights: list[str]) -> None:
        self.refused: list[Any] = []
        monkeypatch.setattr(jobs.identity, "load_job", lambda store: job)
        monkeypatch.setattr(jobs.identity, "differences", lambda stored, config, inputs: other)
        monkeypatch.setattr(jobs.identity, "other_weights", lambda stored, meant: weights)
        monkeypatch.setattr(jobs.identity, "check_job", lambda url, stored, meant: self.refused.append((url, meant)))
        monkeypatch.setattr(jobs.identity, "stored_places", lambda stored, config, url: {"asked": url})
        monkeypatch.setattr(jobs.guiding, "check_pixels", lambda config, opened: [f"of {opened['x']}"])


@pytest.mark.parametrize("force_new", [False, True])
def test_a_job_is_new_where_there_is_none_or_none_is_wanted(
    request_of: Request, job: Job, monkeypatch: pytest.MonkeyPatch, force_new: bool
) -> None:
    Identity(monkeypatch, job, ["other"], [])
    if force_new:
        written(request_of.url, job, 3)
    one, two = (find(request_of, force_new) for _ in range(2))
    assert (one.store, one.job, one.remarks, one.other) == (None, None, ["a note", "of y"], ())
    assert len(one.run) == 32
    assert one.run != two.run


def test_what_was_begun_is_gone_on_with(request_of: Request, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the weights where they are now; what was left of a job before it is dropped."""
    identity = Identity(monkeypatch, job, [], [])
    moved = replace(job, network=replace(job.network, weights="/elsewhere/w.pth"))
    written(request_of.url, moved, 3).update(keeps=1)
    found = find(request_of, False)
    assert found.store is not None
    assert found.job is not None
    assert found.job.network.weights == request_of.asked.config.weights
    assert (found.remarks, found.other) == (["a note"], ())
    stored = RenderStore.open(request_of.url).attributes
    assert (stored["run"], stored["asked"]) == (found.run, {"asked": request_of.url})
    assert stored["job"]["network"]["weights"] == request_of.asked.config.weights
    assert "keeps" not in stored
    assert not Path(request_of.url, "levels/2").exists()
    assert Path(request_of.url, "levels/0").exists()
    assert identity.refused == [(request_of.url, request_of.asked.job)]


@pytest.mark.parametrize(
    ("done", "wrote", "replaces", "other", "weights"),
    [
        (3, {"wrote": {}}, True, ["size was 1"], []), (3, {"wrote": {}}, True, [], ["weights differ"]),
        (3, {"wrote": {}}, None, ["size was 1"], ["weights differ"]), (3, {"wrote": {}}, False, ["size was 1"], []),
        (3, {}, True, ["size was 1"], []), (2, {"wrote": {}}, True, [], ["weights differ"]),
    ],
)  # fmt: skip
def test_another_job_makes_way_once_all_of_it_is_finished_and_written(
    request_of: Request, job: Job, monkeypatch: pytest.MonkeyPatch, done: int, wrote: Any, replaces: bool | None,
    other: list[str], weights: list[str],
) -> None:  # fmt: skip
    """Which is so where nothing is said of it."""
    Identity(monkeypatch, job, other, weights)
    written(request_of.url, job, done, **wrote)
    how = () if replaces is None else (replaces,)
    if done == 3 and wrote and replaces is not False:
        found = find(request_of, False, *how)
        assert found.store is not None
        assert (found.job, found.remarks, found.other) == (None, ["a note", "of y"], other + weights)
    else:
        with pytest.raises(StoreError, match=f"holds another job: {(other + weights)[0]}; "):
            find(request_of, False, *how)


def test_a_job_of_another_version_is_refused(request_of: Request, job: Job) -> None:
    written(request_of.url, job, 3).update(version="0.0.1", wrote={})
    with pytest.raises(StoreError, match=r"made by tiler 0\.0\.1"):
        find(request_of, False)


def test_pictures_of_what_is_no_job_are_none(tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(tmp_path / "a.zarr")
    assert read_before(url) == []
    written(url, job, 0)
    assert read_before(url) == [], "it does not say what was asked for"
    seen: list[Any] = []

    def load(store: RenderStore, name: str) -> Any:
        seen.append((store.url, name, store._root.read_only))
        return "config"

    monkeypatch.setattr(jobs.identity, "load_config", load)
    monkeypatch.setattr(jobs, "pictures_of", lambda config: [config])
    assert read_before(url) == ["config"]
    assert seen == [(url, "asked", True)]


# A new job --------------------------------------------------------------------------------------------------------


MACHINE = Machine(gpus=Gpus(1, 1, 1, "H100"), host=Host(name="P"), versions=(("torch", "2"), ("cuda", "12")))


def found_of(store: RenderStore | None, other: tuple[str, ...] = ()) -> Found:
    return Found(store, None, "run of now", [], other)


@pytest.mark.parametrize("content", [True, False])
def test_a_new_job_is_begun_with_all_that_going_on_needs(
    request_of: Request, job: Job, monkeypatch: pytest.MonkeyPatch, content: bool
) -> None:
    if not content:
        request_of.asked.config = replace(  # type: ignore[misc]
            request_of.asked.config, content=None, content_weight=0.0, init="noise"
        )
    monkeypatch.setattr(jobs.identity, "travels", lambda config: {"travels": config})
    monkeypatch.setattr(jobs.identity, "kept", lambda config, url: {"kept": url})
    moved = replace(job, network=replace(job.network, weights="elsewhere"))
    store, again, said = begin(request_of, found_of(None), "resolved", moved, MACHINE, False)  # type: ignore[arg-type]
    assert (again, said) == (job, "")
    assert RenderStore.open(request_of.url).attributes == {
        "place": {"size": [33, 44], "georef": None} if content else {}, "config": {"travels": "resolved"},
        "asked": {"kept": request_of.url}, "inputs": {"style 1": "sha"}, "version": jobs.__version__,
        "run": "run of now", "machine": {"device": "P", "torch": "2"}, "job": store.attributes["job"],
    }  # fmt: skip
    assert Job.from_dict(store.attributes["job"]) == job
    with pytest.raises(StoreError, match="is uint16"):  # held to the job from now on
        store.write_picture("levels/2/content", 5, 7, [np.zeros((3, 5, 7))])
    with pytest.raises(StoreError, match="exists already"):
        begin(request_of, found_of(None), "resolved", job, MACHINE, False)  # type: ignore[arg-type]
    store, _, _ = begin(request_of, found_of(None), "other", job, MACHINE, True)  # type: ignore[arg-type]
    assert store.attributes["config"] == {"travels": "other"}


@pytest.mark.parametrize(("kept", "word"), [(0, "are"), (1, "is"), (2, "are")])
def test_a_job_that_makes_way_leaves_what_its_first_levels_came_to(
    request_of: Request, job: Job, monkeypatch: pytest.MonkeyPatch, kept: int, word: str
) -> None:
    homes = [{"where": where, "why": where[0]} for where in ("device", "host", "store")]
    store = written(request_of.url, replace(job, id="f" * 32), 3, homes=homes, **{COLOURS: [[1.0]]}, wrote={})
    monkeypatch.setattr(jobs.identity, "travels", lambda config: {})
    machines: list[Any] = []

    class Line:
        def __init__(self, seen: Any, machine: Any) -> None:
            machines.append(machine())

        def shared(self, meant: Job, other: RenderStore) -> int:
            assert (meant, other) == (job, store)
            return kept

    monkeypatch.setattr(jobs, "Lineage", Line)
    found = found_of(store, ("x" * 300, "size was 1"))
    after, again, said = begin(request_of, found, "resolved", job, MACHINE, False)  # type: ignore[arg-type]
    assert machines == [{"device": "P", "torch": "2"}]
    assert again == job
    assert said == (
        f"store {request_of.url}: a finished job makes way for this one: {'x' * 200}; size was 1; {kept} of 3 levels "
        f"{word} the same and taken over"
    )
    stored = RenderStore.open(request_of.url).attributes
    assert (after.attributes, stored["job"]["id"], stored["run"]) == (stored, job.id, "run of now")
    assert stored["seconds"] == [0, 1.5, 4.0][kept]
    assert stored["homes"] == homes[:kept]
    assert stored.get(COLOURS) == ([[1.0]] if kept else None)
    assert "wrote" not in stored
    assert [Path(request_of.url, f"levels/{level}").exists() for level in range(3)] == [
        level < kept for level in range(3)
    ]
    with pytest.raises(StoreError, match="is uint16"):  # held to the new job from now on
        after.write_picture("levels/2/content", 5, 7, [np.zeros((3, 5, 7))])


# While it is rendered ---------------------------------------------------------------------------------------------


def test_what_computed_a_job_is_known_from_the_beginning_and_where_kernels_fall(tmp_path: Path) -> None:
    store = RenderStore.create(str(tmp_path / "a.zarr"), {"machine": {"device": "A", "kernels": "triton"}})
    events: list[Any] = []
    found = ComputedOn(store, {"device": "B", "kernels": "triton"}, events.append)
    both = {"device": "A + B", "kernels": "triton"}
    assert store.attributes["machine"] == found.all == both
    assert found.difference.startswith("goes on with device B (before: A): ")
    for event in ({"event": "note", "kernels": "x"}, {"event": "kernels", "kernels": "torch"}):
        found.tell(event)
        assert events[-1] is event
    assert found.all == {"device": "A + B", "kernels": "torch + triton"}
    assert store.attributes["machine"] == both, "the rest is told at the end"


def test_a_home_is_remembered_where_a_level_is_finished(tmp_path: Path) -> None:
    """And where the store knows one: of more levels than it had before, the last are planned anew."""
    store = RenderStore.create(str(tmp_path / "a.zarr"), {"homes": [{"where": "store", "why": "was"}]})
    for level in (0, 1):
        store._root.create_group(f"levels/{level}", attributes={"report": {"rounds": 1, "seconds": 1.0}})
    jobs.Homes(store, [Home("device", str(level)) for level in range(3)], lambda event: None)
    assert homes_of(store) == (Home("store", "was"), Home("device", "1"), Home("device", "2"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left", "/a/b"), "/a/b: No space left"),
        (OSError(errno.ENOSPC, "No space left"), "s.zarr: No space left"),
        (OSError("odd\nand more"), "s.zarr: odd"),
        (GenericError("timed out\nafter 4"), "s.zarr: timed out"),
    ],
)
def test_a_disk_or_a_server_that_fails_is_one_line(error: Exception, said: str) -> None:
    with pytest.raises(RenderError) as found, disk_errors("s.zarr"):
        raise error
    assert str(found.value) == f"{said}; what is finished is kept in s.zarr"
    assert found.value.__cause__ is error


def test_what_is_no_disk_s_fault_is_left_as_it_is() -> None:
    for error in (StoreError("ours"), ZeroDivisionError(), KeyError("x")):
        with pytest.raises(type(error)) as found, disk_errors("s.zarr"):
            raise error
        assert found.value is error
    with disk_errors("s.zarr"):
        pass
