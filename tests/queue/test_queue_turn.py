"""One job's turn: what it is rendered with, what is told meanwhile, and the process that does it."""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tiler.engine.lock import sole_writer
from tiler.errors import (
    PictureError,
    RenderError,
    ResourceError,
    SchedulerError,
    SchedulerInUseError,
    StoreError,
    TileTooLargeError,
)
from tiler.queue import turn
from tiler.queue.marks import Marks, digest
from tiler.queue.queue import Queue
from tiler.queue.turn import Child, Ending, take
from tiler.request.config import RenderConfig

JOB = b'content = "c.png"\nstyles = ["s.png"]\noutput = "p.png"\n'


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    """Of a queue with the job `good`."""
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "good.toml").write_bytes(JOB)
    return Marks(tmp_path / "q")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    found = SimpleNamespace(now=1000.0)
    for module in ("queue.turn", "planning.course"):
        monkeypatch.setattr(f"tiler.{module}.monotonic", lambda: found.now)
    return found


def _take(marks: Marks, work: Any, within: Any = None, **said: Any) -> Ending:
    return take(marks.folder, "good", said, lambda event: None, work, within)


def _raising(error: Exception) -> Any:
    def work(*_: Any, **__: Any) -> None:
        raise error

    return work


def test_a_job_is_rendered_as_it_says_and_as_the_run_does(marks: Marks) -> None:
    seen: list[RenderConfig] = []

    def work(config: RenderConfig, progress: Any, hold: Any) -> None:
        seen.append(config)
        with pytest.raises(StoreError, match="in use by"), sole_writer(marks.store("good")):
            pass
        hold.check()

    assert _take(marks, work, workers=3, checkpoint_seconds=2.5) == Ending("done", "")
    (config,) = seen
    assert (config.workers, config.checkpoint_seconds, config.output) == (3, 2.5, f"{marks.folder}/p.png")
    assert config.store == f"{marks.folder}/good.zarr"
    assert marks.read("good", "mark") == {"state": "done", "reason": "", "job": digest(JOB)}


@pytest.mark.parametrize(
    ("error", "how", "state"),
    [
        (RenderError("a worker died"), "broke", None),
        (TileTooLargeError("a worker died"), "broke", None),
        (SchedulerError("a worker died"), "no scheduler", None),
        (SchedulerInUseError("in use"), "busy", None),
        (PictureError("a worker died"), "failed", "failed"),
    ],
)
def test_how_a_turn_ends_is_said_and_what_is_for_good_is_marked(
    marks: Marks, error: Exception, how: str, state: str | None
) -> None:
    marks.write("good", "progress", share=0.5)
    assert _take(marks, _raising(error)) == Ending(how, str(error))
    marked = {"state": state, "reason": str(error), "job": digest(JOB)} if state else {}
    assert marks.read("good", "mark") == marked
    assert marks.read("good", "progress") == {"share": 0.5}


def test_what_a_run_cannot_decide_fails_the_job(marks: Marks) -> None:
    assert _take(marks, pytest.fail, workers=0).how == "failed"
    assert marks.read("good", "mark")["job"] == digest(JOB)
    assert "workers = 0" in marks.read("good", "mark")["reason"]


def test_a_job_that_cannot_be_read_fails_as_what_it_is(marks: Marks) -> None:
    marks.write_text("good", b"seed = -1")
    ending = _take(marks, pytest.fail)
    assert (ending.how, "seed = -1" in ending.reason) == ("failed", True)
    assert marks.read("good", "mark") == {"state": "failed", "reason": ending.reason, "job": digest(b"seed = -1")}


def test_a_job_that_another_process_has_is_left_to_it(marks: Marks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_CLAIM_SECONDS", 0.0)
    with sole_writer(marks.store("good")):
        assert _take(marks, pytest.fail) == Ending("elsewhere", "")
    assert marks.read("good", "mark") == {}


def test_files_elsewhere_are_not_for_this_run(marks: Marks) -> None:
    ending = _take(marks, pytest.fail, within=marks.folder / "sub")
    assert (ending.how, "lies outside of" in ending.reason) == ("not here", True)
    assert marks.read("good", "mark") == {"state": "waiting", "reason": ending.reason, "job": digest(JOB)}
    assert _take(marks, lambda *_, **__: None, within=marks.folder) == Ending("done", "")


# What is told --------------------------------------------------------------------------------------------------------


def _levels() -> dict[str, Any]:
    return {"event": "start", "levels": [{"work": 100.0, "steps": 4, "tiles": 2, "done": False}]}


def test_how_far_a_job_is_is_kept_once_a_second(marks: Marks, clock: Any) -> None:
    kept: list[Any] = []

    def work(config: RenderConfig, progress: Any, hold: Any) -> None:
        progress({"event": "note", "text": "x"})
        assert marks.read("good", "progress") == {}
        for later, event in (
            (0.0, _levels()),
            (1.0, {"event": "step", "level": 0, "tile": 0, "step": 1}),
            (0.9, {"event": "step", "level": 0, "tile": 0, "step": 2}),
            (0.2, {"event": "step", "level": 0, "tile": 1, "step": 1}),
        ):
            clock.now += later
            progress(event)
            kept.append(marks.read("good", "progress"))

    told: list[str] = []
    ending = take(marks.folder, "good", {}, lambda event: told.append(event["event"]), work)
    assert ending == Ending("done")
    assert told == ["note", "start", "step", "step", "step"]
    pid = str(os.getpid())
    # The first step is where the clock begins: 12.5 of 100 were done then, and 37.5 are 1.1 seconds later.
    began, second = {"share": 0.0, "pid": pid}, {"share": 0.125, "pid": pid}
    assert kept[:3] == [began, second, second]
    assert kept[3] == {"share": 0.375, "seconds": pytest.approx(62.5 * 1.1 / 25), "pid": pid}
    assert marks.read("good", "progress") == {}


def test_a_mark_that_cannot_be_written_stops_nobody(marks: Marks, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def full(*_: Any, **__: Any) -> None:
        raise StoreError("no space left")

    def work(config: RenderConfig, progress: Any, hold: Any) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Marks, "write", full)
            progress(_levels())

    assert take(marks.folder, "good", {}, lambda event: told.append(event["event"]), work) == Ending("done")
    assert told == ["start"]
    monkeypatch.setattr(Marks, "write", full)
    (marks.folder / "good.toml").write_bytes(JOB + b"seed = 2\n")
    assert _take(marks, _raising(PictureError("gone"))).how == "failed"


# The process ---------------------------------------------------------------------------------------------------------


class Process:
    """As subprocess.Popen. code: None as long as it runs."""

    out, err = b"", b""
    pid = 4321

    def __init__(self, words: list[str], **options: Any) -> None:
        self.words, self.options = words, options
        self.stdin, self.stdout, self.stderr = io.BytesIO(), io.BytesIO(self.out), io.BytesIO(self.err)
        self.code: int | None = None
        self.signals: list[str] = []

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None:
        self.signals.append("terminate")

    def kill(self) -> None:
        self.signals.append("kill")


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> type[Process]:
    """What a Child starts."""
    made = type("Made", (Process,), {})
    monkeypatch.setattr(turn.subprocess, "Popen", made)
    return made


def _child(code: int | None, **more: Any) -> tuple[Child, Process]:
    child = Child(Path("/q"), "-a b", {}, **more)
    started: Any = child._process
    started.code = code
    return child, started


def test_a_process_takes_one_job_as_this_run_says(process: type[Process]) -> None:
    child = Child(Path("/q"), "-a b", {"checkpoint_seconds": 2.5, "scheduler": "tcp://x:1"}, "/w")
    started: Any = child._process
    python, *flags, program, root = started.words[:5]
    assert (python, flags) == (sys.executable, ["-P", "-c"])
    compile(program, "program", "exec")
    assert (Path(root) / "tiler" / "queue" / "turn.py").is_file()
    options = ["--checkpoint-seconds=2.5", "--scheduler=tcp://x:1", "--within=/w"]
    assert started.words[5:] == ["queue", "take", *options, "--", "/q", "-a b"]
    assert (started.options["process_group"], started.options["stdin"]) == (0, turn.subprocess.PIPE)
    assert child.pid == 4321
    child, started = _child(None)
    assert started.words[5:] == ["queue", "take", "--", "/q", "-a b"]
    assert child.poll() is None


def test_what_a_process_tells_is_heard_and_noise_is_not(process: type[Process]) -> None:
    process.out = b'{"event": "step", "level": 2}\nnoise\n[1]\n3\n{"no": 1}\n\xff\n{"event": "note"}\n' \
                  b'{"event": "ended", "how": "done", "reason": "well"}\n'  # fmt: skip
    process.err = b"tiler: something else\n"
    child, started = _child(0)
    assert child.poll() == Ending("done", "well")
    assert child.events == [{"event": "step", "level": 2}, {"event": "note"}]
    assert started.stdin.closed
    assert child.poll() == Ending("done", "well")


@pytest.mark.parametrize(
    ("code", "err", "reason"),
    [
        (-9, b"tiler: out of luck\n", "its process ended by signal 9"),
        (3, b"noise\ntiler: out of luck\n\n  \n", "out of luck"),
        (1, b"", "its process ended with 1"),
        (0, b"tiler: out of luck\n", "its process ended with 0"),
        (1, b"y" * 2000 + b"x" * 1000, "x" * 1000),
        (1, b"\xff", "\ufffd"),
    ],
)
def test_a_process_that_ends_without_a_word_broke_off(
    process: type[Process], code: int, err: bytes, reason: str
) -> None:
    process.err = err
    child, _ = _child(code)
    assert child.poll() == Ending("broke", reason)


def test_who_does_not_stop_is_killed(process: type[Process], clock: Any) -> None:
    child, started = _child(None)
    clock.now += 100
    assert child.poll() is None
    child.stop()
    clock.now += 7.5
    child.stop()
    assert (child.poll(), started.signals) == (None, ["terminate"])
    clock.now += 1.5
    assert (child.poll(), started.signals) == (None, ["terminate", "kill"])
    started.code = -9
    assert child.poll() == Ending("broke", "its process ended by signal 9")


def test_a_poster_of_somebody_else_s_is_not_replaced_and_that_is_said_in_a_line(marks: Marks) -> None:
    mine = marks.folder.parent / "mine.png"
    mine.write_text("mine")
    (marks.folder / "good.toml").write_bytes(JOB.replace(b"p.png", str(mine).encode()))
    ending = _take(marks, pytest.fail)
    assert ending.how == "failed"
    assert ending.reason.startswith(f"{mine}: is there already, and nobody can be asked")


@pytest.mark.parametrize("held", ["paused", "stopped"])
@pytest.mark.parametrize("error", [ResourceError("too little memory"), PictureError("gone")])
def test_what_was_held_meanwhile_stays_so_however_its_turn_ends(marks: Marks, held: str, error: Exception) -> None:
    def work(*_: Any, **__: Any) -> None:
        marks.set_state("good", held)
        raise error

    _take(marks, work)
    assert marks.read("good", "mark")["state"] == held


def test_what_is_done_meanwhile_is_not_stopped(marks: Marks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look whether it is, and the mark."""
    queue, ended = Queue(marks.folder), list[Ending]()
    look = Queue.job

    def looking(self: Queue, name: str) -> Any:
        found = look(self, name)
        if not going.is_alive() and not ended:
            going.start()
            going.join(0.3)
        return found

    going = threading.Thread(target=lambda: ended.append(_take(marks, lambda *_, **__: None)))
    monkeypatch.setattr(Queue, "job", looking)
    queue.stop("good")
    going.join(10)
    assert marks.read("good", "mark")["state"] in ("stopped", "done")
    assert (marks.read("good", "mark")["state"] == "done") == (ended == [Ending("done")])
