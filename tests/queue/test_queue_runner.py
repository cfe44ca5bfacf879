"""Who works through a queue: what begins where and when, what is told, and when there is nothing left to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tiler.engine.lock import sole_writer
from tiler.errors import SchedulerError, StoreError
from tiler.queue import runner as module
from tiler.queue.job import QueuedJob
from tiler.queue.marks import Marks
from tiler.queue.queue import Queue
from tiler.queue.runner import Runner
from tiler.queue.turn import Ending

JOB = 'content = "c.png"\nstyles = ["s.png"]\noutput = "%s.png"\n'


class Turn:
    """A process that ends when a test says so."""

    def __init__(self, folder: Path, name: str, said: Mapping[str, Any]) -> None:
        self.folder, self.name, self.said = folder, name, said
        self.events: list[dict[str, Any]] = []
        self.ending: Ending | None = None
        self.calls: list[str] = []

    def poll(self) -> Ending | None:
        self.calls.append("poll")
        return self.ending

    def stop(self) -> None:
        self.calls.append("stop")


class Work:
    """A runner, what it has begun and what it has told."""

    def __init__(self, folder: Path, *schedulers: str, **said: Any) -> None:
        self.turns: list[Turn] = []
        self.told: list[tuple[str, ...]] = []
        self.events: list[dict[str, Any]] = []
        self.runner = Runner(Marks(folder), schedulers, said, self._hear, self._start)

    def _hear(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.told.append((event["event"], event["job"], event.get("text", "")))

    def _start(self, *arguments: Any) -> Turn:
        self.turns.append(Turn(*arguments))
        return self.turns[-1]

    def step(self) -> bool:
        self.told.clear()
        return self.runner.step()

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.turns]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A queue of the jobs b, a and c, in this order."""
    for name in "abc":
        (tmp_path / f"{name}.toml").write_text(JOB % name)
    Marks(tmp_path).set_order(["b", "a", "c"])
    return tmp_path


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """now: seconds, which pass while the runner sleeps. Calls `then` at every sleep."""
    found = SimpleNamespace(now=1000.0, then=lambda: None)

    def sleep(seconds: float) -> None:
        found.now += seconds
        assert found.now < 2000, "it never ends"
        found.then()

    monkeypatch.setattr(module, "monotonic", lambda: found.now)
    monkeypatch.setattr(module, "sleep", sleep)
    return found


def test_one_job_after_the_other_is_rendered_here(folder: Path, clock: Any) -> None:
    work = Work(folder, workers=3)
    assert work.step()
    assert work.told == [("queue begun", "b", "")]
    (first,) = work.turns
    assert (first.folder, first.name, first.said) == (folder, "b", {"workers": 3})
    clock.now += 9
    assert work.step()
    assert work.told == []
    Marks(folder).set_state("b", "done", text=(folder / "b.toml").read_bytes())
    first.ending = Ending("done")
    assert work.step()
    assert work.told == [("queue done", "b", ""), ("queue begun", "a", "")]
    assert work.names == ["b", "a"]


def test_each_cluster_has_a_job_of_its_own(folder: Path) -> None:
    work = Work(folder, "tcp://x:1", "tcp://y:2", "tcp://x:1", state="store", scheduler="tcp://old:3")
    assert work.step()
    assert work.told == [("queue begun", "b", "tcp://x:1"), ("queue begun", "a", "tcp://y:2")]
    assert [one.said for one in work.turns] == [
        {"state": "store", "scheduler": "tcp://x:1"}, {"state": "store", "scheduler": "tcp://y:2"},
    ]  # fmt: skip


def test_what_is_rendered_is_told_with_its_job_and_once(folder: Path) -> None:
    work = Work(folder)
    work.step()
    work.turns[0].events += [{"event": "step", "tile": 4}, {"event": "note", "text": "n"}]
    work.events.clear()
    assert work.step()
    assert work.events == [{"event": "step", "tile": 4, "job": "b"}, {"event": "note", "text": "n", "job": "b"}]
    work.step()
    assert len(work.events) == 2


def test_the_folder_is_looked_at_once_a_second(folder: Path, clock: Any) -> None:
    for path in folder.glob("*.toml"):
        path.unlink()
    work = Work(folder)
    assert not work.step()
    (folder / "new.toml").write_text(JOB % "new")
    clock.now += 0.9
    assert work.step()
    assert work.turns == []
    clock.now += 0.2
    assert work.step()
    assert work.names == ["new"]


def test_what_others_have_is_tried_again_a_second_later(folder: Path, clock: Any) -> None:
    work = Work(folder)
    work.step()
    work.turns[0].ending = Ending("elsewhere")
    work.step()
    assert work.told == [("queue begun", "a", "")]
    clock.now += 0.5
    work.turns[1].ending = Ending("elsewhere")
    work.step()
    assert work.told == [("queue begun", "c", "")]
    clock.now += 0.6
    work.turns[2].ending = Ending("elsewhere")
    work.step()
    assert work.names == ["b", "a", "c", "b"]


def test_what_one_place_has_no_room_for_another_may_have(folder: Path) -> None:
    work = Work(folder, "tcp://x:1", "tcp://y:2")
    work.step()
    x, y = work.turns
    x.ending = Ending("not here", "needs 3 GB")
    work.step()
    assert work.told == [("queue not here", "b", "needs 3 GB"), ("queue begun", "c", "tcp://x:1")]
    y.ending = Ending("elsewhere")
    work.step()
    assert work.told == [("queue begun", "b", "tcp://y:2")]


def test_a_cluster_that_is_gone_is_left_and_its_job_goes_elsewhere(folder: Path) -> None:
    work = Work(folder, "tcp://x:1", "tcp://y:2")
    work.step()
    x, y = work.turns
    x.ending = Ending("no scheduler", "nobody answers")
    assert work.step()
    assert work.told == [("queue note", "b", "nobody answers")]
    y.ending = Ending("no scheduler", "nobody either")
    with pytest.raises(SchedulerError, match=f"queue {folder}: no --scheduler is left"):
        work.step()


def test_a_cluster_that_is_somebody_else_s_is_asked_again_in_half_a_minute(folder: Path, clock: Any) -> None:
    """Whichever job it is, and it is said once."""
    work = Work(folder, "tcp://x:1")
    assert work.step()
    for count in (1, 2, 3):
        work.turns[-1].ending = Ending("busy", "in use by process 7")
        assert work.step()
        assert work.told == ([("queue note", "b", "in use by process 7")] if count == 1 else [])
        clock.now += 29
        assert work.step()
        assert len(work.turns) == count
        clock.now += 2
        assert work.step()
        assert work.told == [("queue begun", "b", "tcp://x:1")]
        assert len(work.turns) == count + 1
    work.turns[-1].ending = Ending("busy", "in use by process 8")
    work.step()
    assert work.told == [("queue note", "b", "in use by process 8")]


def test_what_comes_further_may_break_off_as_often_as_it_likes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five times in a row without having come any further are too many."""
    share = 0.0
    monkeypatch.setattr(module, "job_of", lambda marks, name: QueuedJob(name, "waiting", "", share, None, "", ""))
    work = Work(folder)
    work.step()

    def broken() -> str:
        work.turns[-1].ending = Ending("broke", "out of luck")
        work.step()
        assert work.told[0][1:] == ("b", "out of luck")
        return work.told[0][0]

    for _ in range(4):
        assert broken() == "queue broke"
    share = 0.25
    assert [broken() for _ in range(4)] == ["queue broke"] * 4
    share = 0.2
    assert broken() == "queue failed"
    assert Marks(folder).read("b", "mark")["reason"] == "out of luck (5 times in a row)"
    assert {*work.names} == {"b"}


def test_what_was_paused_as_it_broke_off_stays_paused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRIES", 1)
    work = Work(folder)
    work.step()
    work.turns[0].ending = Ending("broke", "out of luck")
    Queue(folder).pause("b")
    work.step()
    assert work.told == [("queue begun", "a", "")]
    assert Queue(folder).job("b").state == "paused"


@pytest.mark.parametrize(("how", "told"), [("broke", ("queue held", "b", "")), ("done", ("queue done", "b", "well"))])
def test_what_is_paused_is_stopped_once_and_ends_as_it_does(folder: Path, how: str, told: tuple[str, ...]) -> None:
    work = Work(folder)
    work.step()
    (turn,) = work.turns
    Queue(folder).pause("b")
    for _ in range(3):
        assert work.step()
    assert turn.calls.count("stop") == 1
    turn.ending = Ending(how, "well")
    work.step()
    assert work.told[0] == told
    assert work.told[1:] == [("queue begun", "a", "")]
    work.step()
    assert work.turns[1].calls == ["poll"]


def test_a_job_that_failed_without_a_mark_is_left_alone(folder: Path, clock: Any) -> None:
    """And one with a mark that is taken up again is not."""
    work = Work(folder)
    work.step()
    work.turns[0].ending = Ending("failed", "no disk")
    work.step()
    assert work.told == [("queue failed", "b", "no disk"), ("queue begun", "a", "")]
    Marks(folder).set_state("a", "failed", "gone", (folder / "a.toml").read_bytes())
    work.turns[1].ending = Ending("failed", "gone")
    Queue(folder).move("a", "first")
    work.step()
    Queue(folder).resume("a")
    work.turns[2].ending = Ending("elsewhere")
    work.step()
    assert work.names == ["b", "a", "c", "a"]


def test_there_is_something_to_do_as_long_as_others_work_or_pause(folder: Path, clock: Any) -> None:
    """Which is told once; a job that is refused, too, but nobody waits for that."""
    (folder / "d.toml").write_text("seed = -1")
    queue, work = Queue(folder), Work(folder)
    for name in "ac":
        queue.stop(name)
    with sole_writer(str(folder / "b.zarr")):
        assert work.step()
        ((_, _, who), refused) = work.told
        assert work.told[0][:2] == ("queue wait", "b")
        assert who.startswith("running process ")
        assert refused[:2] == ("queue refused", "d")
        assert "seed = -1" in refused[2]
        clock.now += 2
        assert work.step()
        assert work.told == []
    queue.pause("b")
    clock.now += 2
    assert work.step()
    assert work.told == [("queue wait", "b", "paused")]
    queue.stop("b")
    clock.now += 2
    assert not work.step()
    assert work.turns == []


def test_a_run_ends_when_nothing_is_left_or_goes_on_for_ever(folder: Path, clock: Any) -> None:
    for path in folder.glob("*.toml"):
        path.unlink()
    Work(folder).runner.run(wait=False)
    assert clock.now == 1000
    looked: list[float] = []

    def cancelled() -> bool:
        looked.append(clock.now)
        return clock.now > 1003

    Work(folder).runner.run(True, cancelled)
    assert 1003 < clock.now < 1004
    assert len(looked) > 10


def test_what_is_rendered_ends_with_the_run(folder: Path, clock: Any) -> None:
    work = Work(folder, "tcp://x:1", "tcp://y:2", "tcp://z:3")
    other = Work(folder, "tcp://y:2")

    def then() -> None:
        for turn in work.turns:
            if "stop" in turn.calls and clock.now > 1002:
                turn.ending = Ending("broke")

    clock.then = then
    for path in (folder / "c.toml",):
        path.unlink()
    with work.runner.seated():
        work.step()
        with pytest.raises(StoreError, match=r"works through it on tcp://y:2 already"):
            other.runner.run(wait=False)
    assert [turn.calls.count("stop") for turn in work.turns] == [1, 1]
    assert work.names == ["b", "a"]
    assert 1002 < clock.now < 1002.2
    assert all(turn.ending for turn in work.turns)
    other.runner.run(False, lambda: True)
    assert other.turns == []
