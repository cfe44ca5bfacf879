"""The small files beside a queue's jobs, and who may write them at a time."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tiler.engine.lock import sole_writer
from tiler.errors import StoreError, StoreInUseError
from tiler.queue import marks as module
from tiler.queue.marks import Marks, digest, held_soon

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256's own example


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    (tmp_path / ".queue").mkdir()
    return Marks(tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """now: seconds, which pass while somebody sleeps. Calls `then`, if there is any, at every sleep."""
    found = SimpleNamespace(now=100.0, then=lambda: None)

    def sleep(seconds: float) -> None:
        found.now += seconds
        assert found.now < 1000, "it never ends"
        found.then()

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: found.now, sleep=sleep))
    return found


def test_jobs_are_the_job_files_those_in_order_first(marks: Marks) -> None:
    for name in ("c.toml", "a.toml", "b.toml", ".hidden.toml", "d.toml.txt", "toml", "e.zarr"):
        (marks.folder / name).write_text("")
    marks.set_order(["b", "gone", "c", "b"])
    assert marks.names() == ["b", "c", "a"]


def test_a_queue_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q").write_text("")
    with pytest.raises(StoreError, match=r"q: is no folder; allowed: a folder"):
        Marks(tmp_path / "q").names()
    assert Marks(tmp_path / "nothing").names() == []


@pytest.mark.parametrize("end", [".toml", ".zarr"])
def test_a_name_is_taken_by_a_job_or_a_store_also_as_a_link(marks: Marks, end: str) -> None:
    assert marks.is_free("a")
    (marks.folder / f"a{end}").symlink_to("/nowhere")
    assert not marks.is_free("a")
    assert marks.is_free("b")


def test_a_name_has_an_end_in_bytes(marks: Marks) -> None:
    marks.write_text("ö" * 80, b"x = 1")
    assert marks.text("ö" * 80) == b"x = 1"
    with pytest.raises(StoreError, match=f"{'ö' * 40}\\.\\.\\.: a name of up to 160 bytes is allowed"):
        marks.text("ö" * 80 + "a")


def test_a_mark_is_texts_and_numbers(marks: Marks) -> None:
    said = {"long": "x" * 1001, "yes": True, "whole": 3, "part": 0.5, "many": [1], "none": None, "inner": {"a": 1}}
    (marks.folder / ".queue" / "a.mark.json").write_text(json.dumps(said)[:-1] + ', "far": 1e999}')
    assert marks.read("a", "mark") == {"long": "x" * 1000, "whole": 3, "part": 0.5}
    assert marks.read("a", "plan") == {}


@pytest.mark.parametrize(("size", "found"), [(2**14, {"a": 1}), (2**14 + 1, {})])
def test_a_mark_has_an_end(marks: Marks, size: int, found: dict[str, int]) -> None:
    (marks.folder / ".queue" / "a.mark.json").write_bytes(b'{"a": 1}'.ljust(size))
    assert marks.read("a", "mark") == found


@pytest.mark.parametrize(("size", "found"), [(2**22, ["b", "a"]), (2**22 + 1, ["a", "b"])])
def test_an_order_has_an_end(marks: Marks, size: int, found: list[str]) -> None:
    for name in "ab":
        (marks.folder / f"{name}.toml").write_text("")
    (marks.folder / ".queue" / "order.json").write_bytes(b'["b", "a"]'.ljust(size))
    assert marks.names() == found


def test_a_state_is_of_a_job_file_s_text(marks: Marks) -> None:
    marks.set_state("a", "failed", "y" * 1001, b"abc")
    assert marks.read("a", "mark") == {"state": "failed", "reason": "y" * 1000, "job": ABC}
    marks.set_state("a", "stopped")
    assert marks.read("a", "mark") == {"state": "stopped", "reason": "", "job": digest(b"")}
    marks.drop("a", "mark")
    assert marks.read("a", "mark") == {}


@pytest.mark.parametrize("store", [True, False])
def test_a_job_is_removed_with_its_marks_and_with_its_store_where_that_is_asked_for(marks: Marks, store: bool) -> None:
    for name in ("a", "b"):
        marks.write_text(name, b"")
        Path(marks.store(name)).mkdir()
        for kind in ("mark", "progress", "plan"):
            marks.write(name, kind, x=1)
    marks.remove("a", store=store)
    left = {str(path.relative_to(marks.folder)) for path in marks.folder.rglob("a.*")}
    assert left == (set() if store else {"a.zarr"})
    assert len([*marks.folder.rglob("b.*")]) == 5


def test_what_cannot_be_written_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / ".queue").write_text("in the way")
    with pytest.raises(StoreError, match=rf"^queue {tmp_path}: .*Not a directory"):
        Marks(tmp_path).write("a", "mark", x=1)
    assert Marks(tmp_path).read("a", "mark") == {}


# Locks ---------------------------------------------------------------------------------------------------------------


def test_one_runner_is_at_a_place(marks: Marks) -> None:
    here = socket.gethostname()
    with marks.at(None), marks.at("tcp://x:1"):
        for scheduler, where in ((None, here), (here, here), ("tcp://x:1", "tcp://x:1")):
            said = (
                rf"^queue {marks.folder}: process {os.getpid()} on {here} since [-\d :]+ works through it on {where} "
            )
            with pytest.raises(StoreError, match=said + "already$"), marks.at(scheduler):
                pass
        with marks.at("tcp://y:1"):
            pass
    with marks.at(None):
        pass


def test_who_edits_waits_some_seconds_for_others(marks: Marks, clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_EVERY", 0.25)
    is_busy = pytest.raises(StoreError, match=f"process {os.getpid()} on .* is changing it")
    with marks.editing(), is_busy as busy, marks.editing():
        pass
    assert not isinstance(busy.value, StoreInUseError), "which says that a job is rendered"
    assert 2 < clock.now - 100 < 10
    other = sole_writer(str(marks.folder / ".queue" / "edit"))
    other.__enter__()
    clock.now, clock.then = 200.0, lambda: clock.now > 201 and other.__exit__(None, None, None)
    with marks.editing():
        assert 201 < clock.now < 201.5


def test_patience_has_an_end(tmp_path: Path, clock: Any) -> None:
    url = str(tmp_path / "a.zarr")
    with held_soon(url, 0.0) as hold:
        assert clock.now == 100
        hold.check()
        with pytest.raises(StoreInUseError, match=f"process {os.getpid()} on"), held_soon(url, 1.0):
            pass
        assert 101 < clock.now < 101.1
    with held_soon(url, 0.0):
        pass
