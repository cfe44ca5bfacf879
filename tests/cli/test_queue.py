"""`tiler queue`: jobs are added, shown, steered from another shell, gone on with, to the bytes of `tiler render`."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from here import run_main
from processes import Running

from tiler.planning.plan import Plan
from tiler.queue import queue, runner
from tiler.queue.queue import Queue
from tiler.queue.turn import take

SMALL = ("--long-edge=96", "--tile=32", "--min-edge=48", "--threads=1")


@pytest.fixture
def small(small_weights: str) -> tuple[str, ...]:
    return (*SMALL, "--steps=8,8", f"--weights={small_weights}")


def _queue(inputs: Path, *words: str) -> str:
    with contextlib.chdir(inputs):
        done = run_main("queue", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _states(inputs: Path) -> dict[str, str]:
    return {job.name: job.state for job in Queue(inputs / "q").jobs()}


def _until(inputs: Path, name: str, state: str, run: Running) -> None:
    deadline = time.monotonic() + 100
    while Queue(inputs / "q").job(name).state != state:
        assert time.monotonic() < deadline, (_states(inputs), run.stderr)
        time.sleep(0.05)


def test_a_poster_that_nobody_named_replaces_nothing(inputs: Path, small: tuple[str, ...]) -> None:
    (inputs / "q").mkdir()
    (inputs / "q" / "content.png").write_bytes(b"mine")
    said = _queue(inputs, "add", "q", "content.png", "style.png", *small)
    assert said == f"content-2: waits in {inputs}/q, for {inputs}/q/content-2.png\n"
    with contextlib.chdir(inputs):
        done = run_main("queue", "add", "q", "content.png", "style.png", "--name", "content", *small)
    assert done.returncode == 2
    assert done.stderr.endswith("content.png: is there already; choose another --name, or say -o to replace it\n")
    assert (inputs / "q" / "content.png").read_bytes() == b"mine"


def test_who_takes_a_name_at_the_same_moment_has_it(
    inputs: Path, small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    free, late = Queue.free_name, iter([True])

    def found(self: Queue, like: str, ends: tuple[str, ...] = ()) -> str:
        name = free(self, like, ends)
        if next(late, False):
            monkeypatch.setattr(Queue, "free_name", free)
            _queue(inputs, "add", "q", "content.png", "style.png", *small)
        return name

    (inputs / "q").mkdir()
    monkeypatch.setattr(Queue, "free_name", found)
    said = _queue(inputs, "add", "q", "content.png", "style.png", *small)
    assert said == f"content-2: waits in {inputs}/q, for {inputs}/q/content-2.png\n"
    assert _states(inputs) == {"content": "waiting", "content-2": "waiting"}


def test_stopped_paused_killed_and_gone_on_with(
    inputs: Path, undisturbed, small: tuple[str, ...], cluster: str
) -> None:
    """At first on workers of its own, which go with it; whose workers go on does not matter."""
    expected, _ = undisturbed(*small)
    for name in ("one", "two", "three"):
        said = _queue(inputs, "add", "q", "content.png", "style.png", "--name", name, *small)
        assert said == f"{name}: waits in {inputs}/q, for {inputs}/q/{name}.png\n"
    _queue(inputs, "move", "q", "three", "first")
    _queue(inputs, "stop", "q", "two")
    arguments = ("queue", "run", "q", "--log-json", "--checkpoint-seconds=0")
    run = Running(inputs, *arguments)
    _until(inputs, "three", "running", run)
    run.wait_for("level done")
    again = run_main("queue", "run", str(inputs / "q"))  # on the same machine
    assert again.returncode == 2
    assert f"process {run.process.pid} on " in again.stderr
    _queue(inputs, "pause", "q", "three")
    _until(inputs, "one", "running", run)
    assert _states(inputs) == {"three": "paused", "one": "running", "two": "stopped"}
    assert Queue(inputs / "q").job("three").share > 0
    run.descendants()
    run.process.send_signal(signal.SIGKILL)
    assert run.end() == -9
    assert run.leftovers() == []
    assert _states(inputs) == {"three": "paused", "one": "waiting", "two": "stopped"}

    _queue(inputs, "resume", "q", "three", "two")
    listed = json.loads(_queue(inputs, "list", "q", "--json"))["jobs"]
    assert [(job["name"], job["state"]) for job in listed] == [(n, "waiting") for n in ("three", "one", "two")]
    run = Running(inputs, *arguments, f"--scheduler={cluster}")
    assert run.end() == 0, run.stderr
    told = [(event["event"], event["job"]) for event in run.events() if event["event"].startswith("queue")]
    assert told == [(f"queue {what}", name) for name in ("three", "one", "two") for what in ("begun", "done")]
    assert _states(inputs) == dict.fromkeys(("three", "one", "two"), "done")
    for name in ("one", "two", "three"):
        assert (inputs / "q" / f"{name}.png").read_bytes() == expected
    lines = _queue(inputs, "list", "q").splitlines()
    assert lines[0] == f"  1  three  done, 100 %  {inputs}/q/three.png"
    _queue(inputs, "remove", "q", "one", "two")
    assert {path.name for path in (inputs / "q").iterdir()} == {
        ".queue", "one.png", "two.png", "three.png", "three.toml", "three.zarr"
    }  # fmt: skip
    left = {path.name for path in (inputs / "q" / ".queue").iterdir() if not path.name.startswith("at-")}  # its lock
    assert left == {"order.json", "three.mark.json"}


def test_a_terminals_stop_ends_all_and_says_how_to_go_on(inputs: Path, small: tuple[str, ...]) -> None:
    _queue(inputs, "add", "q", "content.png", "style.png", *small)
    run = Running(inputs, "queue", "run", "q", "--log-json")
    run.wait_for("tile", 1)
    run.descendants()
    run.process.send_signal(signal.SIGINT)
    assert run.end(30) == 130
    assert run.stderr.strip() == "tiler: stopped; go on with the same command"
    assert run.leftovers() == []
    assert _states(inputs) == {"content": "waiting"}
    assert not list((inputs / "q").rglob(".writer"))


@pytest.fixture
def in_here(monkeypatch: pytest.MonkeyPatch, cluster: str) -> None:
    """Turns without processes."""

    class Here:
        def __init__(self, folder: Path, name: str, said: dict[str, Any]) -> None:
            self.events: list[dict[str, Any]] = []
            self._ending = take(folder, name, {**said, "scheduler": cluster}, self.events.append)

        def poll(self) -> Any:
            return self._ending

        def stop(self) -> None:
            pass

    monkeypatch.setattr(runner.Runner.__init__, "__defaults__", (Here,))
    monkeypatch.setattr(runner, "_LIST_EVERY", 0.0)


def test_a_job_file_that_is_changed(inputs: Path, in_here, undisturbed, small, small_weights: str) -> None:
    """It is rendered again, and what is the same is taken over."""
    words = [word.removeprefix("--").partition("=") for word in small]
    values = {key.replace("-", "_"): value for key, _, value in words if key not in ("weights", "steps")}
    lines = [*(f"{key} = {value}" for key, value in values.items()), f"weights = {json.dumps(small_weights)}"]
    lines.append("steps = [8, 8]")
    (inputs / "jobs").mkdir()
    job = inputs / "jobs" / "map.toml"
    job.write_text('content = "../content.png"\nstyles = ["../style.png"]\n' + "\n".join(lines) + "\nworkers = 2\n")
    with contextlib.chdir(inputs):
        refused = run_main("queue", "add", "q", "--job", str(job))
    assert refused.returncode == 2
    assert "workers = 2 is not for a job in a queue; say it to tiler queue run" in refused.stderr
    job.write_text(job.read_text().replace("workers = 2\n", ""))
    _queue(inputs, "add", "q", "--job", str(job), "-o", "sub.png", "--steps=8,4")
    assert _states(inputs) == {"sub": "waiting"}
    assert _queue(inputs, "run", "q", "--quiet") == ""
    file = inputs / "q" / "sub.toml"
    file.write_text(file.read_text().replace("    4,\n", "    8,\n"))
    assert _states(inputs) == {"sub": "waiting"}
    told: list[dict[str, Any]] = []
    (done,) = Queue(inputs / "q").run(progress=told.append)
    assert done.state == "done"
    notes = [event["text"] for event in told if event["event"] == "note"]
    assert any("1 of 2 levels is the same and taken over" in note for note in notes)
    assert (inputs / "sub.png").read_bytes() == undisturbed(*small)[0]


def test_what_cannot_be_rendered_holds_nobody_up(inputs: Path, in_here, small: tuple[str, ...]) -> None:
    for name in ("one", "two", "three"):
        _queue(inputs, "add", "q", "content.png", "style.png", "--name", name, *small)
    (inputs / "q" / "one.toml").write_text("[[[")
    (inputs / "q" / "two.toml").write_text((inputs / "q" / "two.toml").read_text().replace("style.png", "gone.png"))
    with contextlib.chdir(inputs):
        done = run_main("queue", "run", "q")
    assert done.returncode == 1
    assert _states(inputs) == {"one": "refused", "two": "failed", "three": "done"}
    assert f"two: failed: {inputs}/gone.png: no such file\n" in done.stderr
    assert "one: refused: " in done.stderr
    assert "three: done\n" in done.stderr
    assert f"two  failed, 0 %  {inputs}/q/two.png: {inputs}/gone.png: no such file" in _queue(inputs, "list", "q")


def test_the_plan_says_memory_disk_hours_and_money(
    inputs: Path, small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = dict.fromkeys(Plan.__dataclass_fields__, 0)
    planned = Plan(**{**numbers, "width": 96, "height": 72, "memory_bytes": 3 * 10**9, "gpu_bytes": 2 * 10**9,
                      "store_bytes": 10**9, "output_bytes": 10**8, "seconds": 5400.0, "refusal": ""})  # fmt: skip
    monkeypatch.setattr(queue, "plan_render", lambda config, notes: planned)
    for _ in range(3):
        _queue(inputs, "add", "q", "content.png", "style.png", *small)
    _queue(inputs, "stop", "q", "content-3")
    said = _queue(inputs, "plan", "q", "--price-per-hour=2.5").splitlines()
    what = "96 x 72 px, 3.0 GB of memory, 2.0 GB on each GPU, 1.1 GB of disk, about 1 h 30 min, 3.75 at 2.5 an hour"
    assert said == [
        f"content  {what}",
        f"content-2  {what}",
        "all of them, one after the other: 2.2 GB of disk, about 3 h 00 min, 7.50 at 2.5 an hour",
    ]
    found = json.loads(_queue(inputs, "plan", "q", "content", "--json"))
    assert (found["seconds_left"], found["money"], found["jobs"][0]["name"]) == (5400.0, None, "content")
    listed = _queue(inputs, "list", "q").splitlines()
    assert listed[0] == f"  1  content  waiting, 0 %, about 1 h 30 min left  {inputs}/q/content.png"
    assert listed[2] == f"  3  content-3  stopped, 0 %  {inputs}/q/content-3.png"


BAD = {
    "no such job": (["pause", "q", "nothing"], "has no job 'nothing'; it has none"),
    "no picture": (["add", "q", "content.png", "none.png"], "none.png: no such file"),
    "no style": (["add", "q"], "is missing"),
    "over an input": (["add", "q", "content.png", "style.png", "-o", "style.png"], "style.png"),
    "a run's to decide": (["add", "q", "content.png", "style.png", "--workers=2"], "--workers"),
    "a value that cannot be": (["run", "q", "--workers=0"], "workers = 0"),
    "another order": (["move", "q", "nothing", "away"], "away"),
    "a file": (["list", "content.png"], "content.png: is no folder"),
    "a price": (["plan", "q", "--price-per-hour=-1"], "-1"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_wrong_use_is_one_line(inputs: Path, case: str) -> None:
    words, said = BAD[case]
    (inputs / "q").mkdir()
    before = {path: path.is_file() and path.read_bytes() for path in inputs.rglob("*")}
    with contextlib.chdir(inputs):
        done = run_main("queue", *words)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
    assert said in done.stderr
    assert {path: path.is_file() and path.read_bytes() for path in inputs.rglob("*")} == before


def test_what_is_not_there_is_said_and_nothing_stays_of_what_is_refused(inputs: Path) -> None:
    with contextlib.chdir(inputs):
        for words in (("list", "q"), ("run", "q"), ("plan", "q"), ("move", "q", "one", "first"), ("pause", "q", "one")):
            done = run_main("queue", *words)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr == "tiler: queue q: there is no such folder; tiler queue add makes one\n"
        for words in ((), ("content.png", "nothing.png"), ("content.png", "style.png", "--long-edge=0")):
            assert run_main("queue", "add", "q", *words).returncode == 2
    assert not (inputs / "q").exists()
