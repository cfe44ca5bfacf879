"""What may lie in a queue's folder, whoever put it there: nothing in it leads elsewhere, runs, or is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tiler.errors import ConfigError, OutputError, ResourceError, SchedulerError, StoreError
from tiler.queue import queue as queue_module
from tiler.queue import runner, turn
from tiler.queue.job import OF_RUNS, config_of, written
from tiler.queue.marks import Marks
from tiler.queue.queue import Queue
from tiler.queue.runner import Runner
from tiler.queue.turn import take
from tiler.request.config import RenderConfig

NEEDED: dict[str, Any] = dict(content="c.png", styles=("s.png",), output="p.png")
JOB = 'content = "c.png"\nstyles = ["s.png"]\noutput = "p.png"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a queue with the job `good`; nothing outside of it changes."""
    made = tmp_path / "queue"
    made.mkdir()
    (made / "good.toml").write_text(JOB)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.toml").write_text(JOB)
    (outside / "zarr.json").write_text("{}")
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    yield made
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before


def _work(config: RenderConfig, progress: Any, hold: Any) -> None:
    Path(config.target).write_text("poster")


def _take(folder: Path, name: str) -> turn.Ending:
    return take(folder, name, {}, lambda event: None, _work)


BROKEN = {
    "no toml": (b"\xff\x00", "not a TOML file"),
    "no job": (b"[project]\nname = 'x'\n", "unknown key 'project'"),
    "half": (b'content = "c.png"\n', "'output' is missing"),
    "of a wrong type": (JOB.encode() + b'seed = "much"\n', "seed = 'much'"),
    "a scheduler": (JOB.encode() + b'scheduler = "tcp://evil:1"\n', "connects elsewhere"),
    "a bucket": (JOB.encode() + b'store = "s3://evil/x"\n', "connects elsewhere"),
    "a store": (JOB.encode() + b'store = "/elsewhere/x.zarr"\n', "its place is the queue's folder"),
    "many workers": (JOB.encode() + b"workers = 1000\n", "workers = 1000 is not for a job in a queue"),
    "endless": (b"#" * 2**20, "is larger than"),
    "deep": (b"a = " + b"[" * 100_000, "not a TOML file"),
    "a home that is none": (JOB.encode() + b'init = "~nobody-here/x.png"\n', "no home folder"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_job_file_is_refused_in_a_line_and_passed_over(folder: Path, case: str) -> None:
    data, said = BROKEN[case]
    (folder / "a.toml").write_bytes(data)
    bad, good = Queue(folder).jobs()
    assert (bad.name, bad.state, good.state) == ("a", "refused", "waiting")
    assert said in bad.reason
    assert "\n" not in bad.reason
    assert _take(folder, "a").how == "failed"
    assert Queue(folder).job("a").state == "refused"
    with pytest.raises(ConfigError, match="is refused"):
        Queue(folder).resume("a")
    Queue(folder).remove("a")
    assert [job.name for job in Queue(folder).jobs()] == ["good"]


def test_a_job_file_that_is_mended_waits_again(folder: Path) -> None:
    (folder / "good.toml").write_text(JOB + "seed = -1\n")
    assert Queue(folder).job("good").state == "refused"
    (folder / "good.toml").write_text(JOB)
    (folder / "p.png").mkdir()

    def fails(*_: Any, **__: Any) -> None:
        raise OutputError("it is a folder")

    assert take(folder, "good", {}, lambda event: None, fails).how == "failed"
    assert Queue(folder).job("good").reason == "it is a folder"
    (folder / "good.toml").write_text(JOB + "seed = 1\n")
    assert Queue(folder).job("good").state == "waiting"
    (folder / "p.png").rmdir()
    assert _take(folder, "good").how == "done"
    assert Queue(folder).job("good").state == "done"
    (folder / "good.toml").write_text(JOB + "seed = 2\n")
    assert Queue(folder).job("good").state == "waiting"


@pytest.mark.parametrize("name", ["good.toml", "good.zarr", ".queue"])
@pytest.mark.parametrize("kind", ["file", "folder", "nowhere"])
def test_links_are_not_followed(folder: Path, name: str, kind: str) -> None:
    outside = folder.parent / "outside"
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to({"file": outside / "precious.toml", "folder": outside}.get(kind, "/nowhere"))
    line = Queue(folder)
    if name == ".queue":
        for act in (line.pause, line.stop, line.remove):
            with pytest.raises(StoreError, match=r"is a link|cannot|Not a directory"):
                act("good")
        with pytest.raises(StoreError):
            line.run()
    else:
        assert line.job("good").state == "refused"
        assert "link" in line.job("good").reason
        assert _take(folder, "good").how == "failed"
    assert (folder / name).is_symlink()


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "a.toml")
    (folder / ".queue").mkdir()
    os.mkfifo(folder / ".queue" / "order.json")
    os.mkfifo(folder / ".queue" / "good.mark.json")
    assert [job.state for job in Queue(folder).jobs()] == ["refused", "waiting"]


MARKS = [b"", b"null", b"[]", b'{"state": 5}', b'{"state": "done"}', b'{"state": "running"}', b"[" * 10_000,
         b'{"share": "all", "seconds": -1, "pid": 7}', b'{"share": 1e999}', b'{"seconds": true}', b"{" + b" " * 2**20,
         b'{"state": ["paused"]}', b'{"state": {"a": 1}, "reason": null}']  # fmt: skip


@pytest.mark.parametrize("data", MARKS, ids=lambda data: data[:20].decode())
def test_marks_that_are_none_are_as_if_not_there(folder: Path, data: bytes) -> None:
    (folder / ".queue").mkdir()
    for name in ("order", "good.mark", "good.progress", "good.plan"):
        (folder / ".queue" / f"{name}.json").write_bytes(data)
    (job,) = Queue(folder).jobs()
    assert (job.state, job.share, job.seconds_left) == ("waiting", 0.0, None)


def test_an_order_names_only_what_is_there(folder: Path) -> None:
    (folder / "b.toml").write_text(JOB)
    (folder / ".queue").mkdir()
    order = ["../outside/precious", "good", 5, None, "good", "gone"]
    (folder / ".queue" / "order.json").write_text(json.dumps(order))
    assert [job.name for job in Queue(folder).jobs()] == ["good", "b"]


@pytest.mark.parametrize("name", ["../outside/precious", "/etc/passwd", "", ".", "good x", "x" * 300])
def test_no_name_leads_out(folder: Path, name: str) -> None:
    line = Queue(folder)
    for act in (line.job, line.config, line.pause, line.stop, line.resume, line.remove, line.plan):
        with pytest.raises(ConfigError, match="has no job"):
            act(name)
    with pytest.raises(ConfigError, match="name = "):
        line.add(RenderConfig(**NEEDED), name)


def test_a_poster_elsewhere_replaces_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can be asked; in the folder itself, everything is the queue's."""
    monkeypatch.setattr(queue_module.Request, "of", lambda config: None)
    mine = folder.parent / "mine.png"
    mine.write_text("mine")
    (folder / "a.toml").write_text(JOB.replace("p.png", str(mine)))
    with pytest.raises(OutputError, match=r"mine\.png: is there already, and nobody can be asked"):
        Queue(folder).add(RenderConfig(**{**NEEDED, "output": str(mine)}))
    assert _take(folder, "a").how == "failed"
    assert mine.read_text() == "mine"
    mine.unlink()
    Queue(folder).resume("a")
    assert _take(folder, "a").how == "done"
    (folder / "p.png").write_text("old")
    assert _take(folder, "good").how == "done"
    assert (folder / "p.png").read_text() == "poster"


def test_a_store_that_is_somebody_elses_stays(folder: Path) -> None:
    (folder / "good.zarr").mkdir()
    (folder / "good.zarr" / "precious").write_text("mine")
    ending = _take(folder, "good")
    assert (ending.how, "not a job" in ending.reason) == ("failed", True)
    assert sorted(path.name for path in (folder / "good.zarr").iterdir()) == ["precious"]
    Queue(folder).remove("good")
    assert (folder / "good.zarr" / "precious").read_text() == "mine"
    assert not (folder / "good.toml").exists()


def test_a_job_is_what_was_asked_for_wherever_its_folder_lies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module.Request, "of", lambda config: None)
    given = {**NEEDED, "content": str(folder / "c.png"), "output": str(folder / "sub/p.tif"), "region": ["sea=s.png"],
             "mask": ["sea=m\\, 1.png"], "steps": (3, 4), "lines": 0.5,
             "style_layer_weights": ((1, 2, 3, 4, 5), (1, 1, 1, 1, 1)),
             "keep_detail": True, "print": "90x60cm"}  # fmt: skip
    asked = RenderConfig(**given)
    job = Queue(folder).add(asked)
    assert job.name == "p"
    folder.rename(folder.with_name("moved"))
    try:
        moved = Queue(folder.with_name("moved"))
        found = moved.config("p").to_dict()
        there, outer = folder.with_name("moved"), folder.parent
        assert found == {
            **asked.to_dict(), "content": str(there / "c.png"), "output": str(there / "sub/p.tif"),
            "styles": [str(outer / "s.png")], "region": [f"sea={outer}/s.png"], "store": str(there / "p.zarr"),
            "mask": [f"sea={outer}/m\\, 1.png"],
        }  # fmt: skip
        assert config_of(Marks(there), "p").regions.masks == ((1, f"{outer}/m, 1.png"),)
    finally:
        folder.with_name("moved").rename(folder)


@pytest.mark.parametrize("name", OF_RUNS)
def test_what_a_run_decides_is_no_jobs(name: str) -> None:
    value = {"store": "x.zarr", "workers": 2, "state": "store", "checkpoint_seconds": 1.0, "scheduler": "tcp://x:1"}
    with pytest.raises(ConfigError, match=f"{name} = .* is not for a job in a queue"):
        written(RenderConfig(**NEEDED, **{name: value[name]}), Path("/q"), "queue /q")
    if name in ("store", "scheduler"):
        with pytest.raises(ConfigError, match="not a run's to decide"):
            Queue("/q").run(**{name: value[name]})


def test_names_that_no_job_file_can_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written in a job file"):
        written(RenderConfig(**{**NEEDED, "content": "\udcff.png"}), tmp_path, "queue")


def test_two_jobs_do_not_write_one_poster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module.Request, "of", lambda config: None)
    again = RenderConfig(**{**NEEDED, "output": str(folder / "p.png")})
    with pytest.raises(OutputError, match=r"p\.png: would replace what good writes, .*/p\.png"):
        Queue(folder).add(again)
    assert _take(folder, "good").how == "done"
    assert Queue(folder).add(again).name == "p"


class Ends:
    """A process that has ended as soon as it begins."""

    ending = turn.Ending("broke", "out of luck")

    def __init__(self, folder: Path, name: str, said: Any) -> None:
        self.events: list[dict[str, Any]] = []

    def poll(self) -> turn.Ending:
        return self.ending

    def stop(self) -> None:
        pass


def _run(folder: Path, ending: turn.Ending, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(Ends, "ending", ending)
    monkeypatch.setattr(runner, "_LOOK_EVERY", 0.01)
    rounds = iter(range(100))
    works = Runner(Marks(folder), (), {}, lambda event: told.append((event["event"], event["text"])), Ends)
    works.run(False, lambda: next(rounds, None) is None)
    assert next(rounds, None) is not None
    return told


def test_what_breaks_off_again_and_again_fails_at_last(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = _run(folder, turn.Ending("broke", "out of luck"), monkeypatch)
    tried = [("queue begun", ""), ("queue broke", "out of luck")]
    assert told == [*tried * 4, tried[0], ("queue failed", "out of luck")]
    job = Queue(folder).job("good")
    assert (job.state, job.reason) == ("failed", "out of luck (5 times in a row)")
    Queue(folder).resume("good")
    assert Queue(folder).job("good").state == "waiting"


@pytest.mark.parametrize("how", ["failed", "not here"])
def test_what_stays_as_it_is_is_not_tried_for_ever(folder: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that takes no marks any more."""
    told = _run(folder, turn.Ending(how, "no"), monkeypatch)
    assert told == [("queue begun", ""), (f"queue {how}", "no")]
    assert Queue(folder).job("good").state == "waiting"


def test_too_little_room_here_is_no_failure(folder: Path) -> None:
    """Another machine may have it; and this one later."""

    def full(*_: Any, **__: Any) -> None:
        raise ResourceError("needs 3 GB")

    assert take(folder, "good", {}, lambda event: None, full) == turn.Ending("not here", "needs 3 GB")
    job = Queue(folder).job("good")
    assert (job.state, job.reason) == ("waiting", "needs 3 GB")


def test_a_cluster_that_is_not_there_costs_no_job(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise SchedulerError("nobody answers")

    assert take(folder, "good", {}, lambda event: None, gone) == turn.Ending("no scheduler", "nobody answers")
    with pytest.raises(SchedulerError, match="no --scheduler is left that can be used"):
        _run(folder, turn.Ending("no scheduler", "nobody answers"), monkeypatch)
    assert Queue(folder).job("good").state == "waiting"


@pytest.mark.parametrize("act", ["pause", "stop", "done", "remove"])
def test_what_does_not_wait_any_more_is_not_taken(folder: Path, act: str) -> None:
    """It did when a runner looked."""
    if act == "done":
        assert _take(folder, "good").how == "done"
        (folder / "p.png").unlink()
    else:
        getattr(Queue(folder), act)("good")
    assert _take(folder, "good").how == "elsewhere"
    assert not (folder / "p.png").exists()


@pytest.mark.parametrize("act", ["pause", "stop", "remove"])
def test_what_is_steered_meanwhile_breaks_off(folder: Path, act: str) -> None:
    """By whoever may write into the folder: the runner looks there."""
    begun: list[Any] = []
    told: list[str] = []

    class Lives(Ends):
        ending = None  # type: ignore[assignment]

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            begun.append(self)

        def stop(self) -> None:
            self.ending = turn.Ending("broke", "terminated")

    one = Runner(Marks(folder), (), {}, lambda event: told.append(event["event"]), Lives)
    assert one.step()
    assert one.step()
    assert [each.ending for each in begun] == [None]
    getattr(Queue(folder), act)("good")
    one.step()
    assert begun[0].ending is not None
    one.step()
    assert told[:2] == ["queue begun", "queue held"]
    assert len(begun) == 1
