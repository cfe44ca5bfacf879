"""What commands ask of the functions below them, value by value, and what they say of the answer."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from here import run_main

from tiler.cli import grow, labels, learn, proof, queue, render, retouch, sheet

RESULT = SimpleNamespace(output="new.png", store="new.zarr", seconds=65.0)


class Asked(list[tuple[tuple[Any, ...], dict[str, Any]]]):
    """Stands for a function: keeps what it was given, tells of one event where it gets a progress, and answers."""

    def __init__(self, answer: Any = None) -> None:
        super().__init__()
        self._answer = answer

    def __call__(self, *what: Any, **how: Any) -> Any:
        for number, one in enumerate(what):
            if callable(one):
                one({"event": "note", "text": "on its way"})
                what = (*what[:number], "progress", *what[number + 1 :])
        self.append((what, how))
        return self._answer


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be said after a signal."""
    said: list[str] = []
    for command in (grow, labels, learn, queue, render, retouch, sheet):
        monkeypatch.setattr(command, "when_stopped", lambda words="": said.append(words))
    return said


def replaced(monkeypatch: pytest.MonkeyPatch, module: str, name: str, answer: Any = None) -> Asked:
    asked = Asked(answer)
    monkeypatch.setattr(importlib.import_module(module), name, asked)
    return asked


RETOUCH = ("retouch", "p.zarr", "--mask", "m.png", "-o", "new.png")


def test_a_retouch(monkeypatch: pytest.MonkeyPatch, stopped: list[str]) -> None:
    asked = replaced(monkeypatch, "tiler.series.retouch", "retouch", RESULT)
    said = run_main(*RETOUCH)
    assert (said.returncode, said.stderr) == (0, "on its way\ndone in 1 min 05 s: new.png\n")
    words = ("--set", "steps=3", "--set", "tv-weight=2", "--feather", "0", "--workers", "2", "--state", "host")
    found = run_main(*RETOUCH, *words, "--log-json").stdout.splitlines()
    assert json.loads(found[-1]).items() >= dict(event="done", output="new.png", store="new.zarr", seconds=65.0).items()
    assert asked == [
        (("p.zarr", "m.png", "new.png", {}, 48, None, "progress"), {}),
        (
            ("p.zarr", "m.png", "new.png", {"steps": [3], "tv_weight": 2.0}, 0, None, "progress"),
            {"workers": 2, "state": "host"},
        ),
    ]
    assert stopped == ["start over with the same command"] * 2


def test_a_retouch_says_nothing_where_nothing_is_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch, "tiler.series.retouch", "retouch", RESULT)
    said = run_main(*RETOUCH, "--quiet")
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


@pytest.mark.parametrize(("kept", "more"), [(None, ""), (30, "; as it was after 30, nearest to the photos")])
def test_a_lesson(monkeypatch: pytest.MonkeyPatch, stopped: list[str], kept: int | None, more: str) -> None:
    answer = SimpleNamespace(output="l.safetensors", steps=40, seconds=61.0, kept_at=kept)
    asked = replaced(monkeypatch, "tiler.growing.learn", "learn", answer)
    lessons = replaced(monkeypatch, "tiler.growing.learn", "Lesson", "lesson")
    said = run_main("learn", "a.png", "b.png", "-o", "l.safetensors")
    assert said.stderr == f"on its way\nl.safetensors: after 40 steps, 1 min 01 s of training{more}\n"
    words = ("--minutes", "2", "--steps", "0", "--seed", "0", "--threads", "3", "--patch", "32", "--force-new")
    assert run_main("learn", "a.png", "-o", "l.safetensors", *words, "--quiet").stderr == ""
    assert run_main("learn", "a.png", "-o", "l.safetensors", "--log-json").stderr == ""
    assert lessons == [
        ((("a.png", "b.png"), "l.safetensors"), {}),
        ((("a.png",), "l.safetensors"), {"minutes": 2.0, "steps": 0, "seed": 0, "threads": 3, "patch": 32}),
        ((("a.png",), "l.safetensors"), {}),
    ]
    assert [what for what, _ in asked] == [("lesson", "progress", force) for force in (False, True, False)]
    assert stopped == ["go on with the same command"] * 3


def test_a_land_that_is_grown(monkeypatch: pytest.MonkeyPatch, stopped: list[str]) -> None:
    asked = replaced(monkeypatch, "tiler.growing.grow", "grow", SimpleNamespace(output="w.png"))
    growths = replaced(monkeypatch, "tiler.growing.growth", "Growth", "growth")
    ticks = iter((100.0, 165.0, 200.0, 201.0))
    monkeypatch.setattr(grow, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    assert run_main("grow", "l.safetensors", "-o", "w.png").stderr == "on its way\ndone in 1 min 05 s: w.png\n"
    words = ("--seed", "0", "--label", "#010203=sea", "--label", "#040506=land", "--walk", "2", "--to-seed", "0")
    last = run_main("grow", "l.safetensors", "-o", "w.png", *words, "--blend", "0", "--bits", "16", "--log-json")
    assert json.loads(last.stdout.splitlines()[-1]).items() >= dict(event="done", output="w.png", seconds=1.0).items()
    given = {"label": ("#010203=sea", "#040506=land"), "seed": 0, "walk": 2, "to_seed": 0, "blend": 0.0, "bits": 16}
    assert growths == [(("l.safetensors", "w.png"), {}), (("l.safetensors", "w.png"), given)]
    assert [what for what, _ in asked] == [("growth", "progress")] * 2
    assert stopped == ["", ""]


def test_regions_that_are_proposed(monkeypatch: pytest.MonkeyPatch, stopped: list[str]) -> None:
    found = SimpleNamespace(found=3, labels=Path("l.png"), file=Path("l.toml"))
    asked = replaced(monkeypatch, "tiler.request.proposing", "propose", found)
    said = run_main("labels", "c.png", "s.png", "t.png", "-o", "l.png")
    assert said.stdout == "3 regions: l.png; to render with them: tiler render --job l.toml -o POSTER\n"
    run_main("labels", "c.png", "s.png", "-o", "l.png", "--regions", "5")
    assert [what for what, _ in asked] == [
        ("c.png", ("s.png", "t.png"), 2, "l.png"), ("c.png", ("s.png",), 5, "l.png"),
    ]  # fmt: skip
    assert stopped == ["", ""]


def test_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = replaced(monkeypatch, "tiler.request.resume", "stored_config", "config")
    asked = replaced(monkeypatch, "tiler.cli.resume", "run")
    run_main("resume", "p.zarr")
    words = ("-o", "q.png", "--inputs", "a", "--inputs", "b", "--workers", "3", "--tiles", "t", "--log-json")
    run_main("resume", "p.zarr", *words)
    run_main("resume", "p.zarr", "--quiet")
    given = [{name: value for name, value in how.items() if value is not None} for _, how in stored]
    assert given == [{}, {"output": "q.png", "workers": 3, "tiles": "t"}, {}]
    assert [what for what, _ in stored] == [("p.zarr", (), []), ("p.zarr", ("a", "b"), []), ("p.zarr", (), [])]
    assert [what for what, _ in asked] == [
        ("config", False, quiet, log_json, []) for quiet, log_json in ((False, False), (False, True), (True, False))
    ]
    assert all(how == {"replace_finished": False} for _, how in asked)


def test_a_resume_hands_notes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib.import_module("tiler.request.resume"), "stored_config", lambda store, inputs, notes, **how: notes
    )
    asked = replaced(monkeypatch, "tiler.cli.resume", "run")
    run_main("resume", "p.zarr")
    (((config, *_, notes), _),) = asked
    assert notes is config


def regions(config: Any, count: int, notes: list[str], folder: Path | None = None) -> Any:
    notes.append(f"{count} regions{'' if folder is None else ' in a folder'}")
    return config


@pytest.mark.parametrize("command", [render, proof])
def test_a_render_and_a_proof_with_regions_that_find_themselves(monkeypatch: pytest.MonkeyPatch, command: Any) -> None:
    asked = replaced(monkeypatch, command.__name__, "run")
    monkeypatch.setattr(command, "found_regions", regions)
    words = (command.__name__.rpartition(".")[2], "c.png", "s.png", "-o", "p.png", "--at", "0.1,0.9")
    for more in ((), ("--auto-regions", "3", "--force-new"), ("--quiet",), ("--log-json",)):
        assert run_main(*words, *more).returncode == 0
    assert [what[1:] for what, _ in asked] == [
        (False, False, False, []), (True, False, False, ["3 regions"]), (False, True, False, []),
        (False, False, True, []),
    ]  # fmt: skip
    assert {(what[0].at, what[0].output) for what, _ in asked} == {("0.1,0.9", "p.png")}


def test_regions_of_what_is_no_poster_are_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []

    def found(config: str, count: int, notes: list[str], folder: Path) -> str:
        folders.append(folder)
        return f"{config} with {count}"

    monkeypatch.setattr(render, "found_regions", found)
    with render.regions_meanwhile("c", 3) as config:  # type: ignore[arg-type]
        assert (config, folders[0].is_dir()) == ("c with 3", True)
    assert not folders[0].exists()
    with render.regions_meanwhile("c", None) as config:  # type: ignore[arg-type]
        assert (config, len(folders)) == ("c", 1)


def test_regions_are_looked_for_once_all_else_is_right(monkeypatch: pytest.MonkeyPatch, stopped: list[str]) -> None:
    steps: list[Any] = []
    monkeypatch.setattr(importlib.import_module("tiler.jobs").Request, "of", lambda config: steps.append(config))
    asked = replaced(monkeypatch, "tiler.request.proposing", "with_regions", ("new", "a note"))
    notes = ["before"]
    assert render.found_regions("old", 4, notes, Path("f")) == "new"  # type: ignore[arg-type]
    assert (steps, asked, notes) == (["old"], [(("old", 4, Path("f")), {})], ["before", "a note"])
    assert stopped == ["go on with the same command"]


SHEET = ("sheet", "c.png", "s.png", "--vary", "seed=1,2", "-o", "s.html")


def test_a_sheet(monkeypatch: pytest.MonkeyPatch, stopped: list[str]) -> None:
    asked = replaced(monkeypatch, "tiler.series.sheet", "sheet")
    assert run_main(*SHEET, "--vary", "steps=1,2").stderr == "on its way\n"
    assert run_main(*SHEET).stdout == "s.html: written\n"
    assert run_main(*SHEET, "--quiet").stdout == ""
    assert "written" not in run_main(*SHEET, "--log-json").stdout
    assert asked[0][0][1:] == (("seed=1,2", "steps=1,2"), "s.html", "progress")
    assert (asked[0][0][0].long_edge, asked[0][0][0].content) == (256, "c.png")
    assert stopped == [""] * 4


def job(name: str, **more: Any) -> SimpleNamespace:
    known = dict(name=name, state="waiting", reason="", share=0.0, seconds_left=None, output=f"{name}.png")
    return SimpleNamespace(**{**known, **more}, to_dict=lambda: {"name": name})


PLAN = SimpleNamespace(
    width=90, height=70, memory_bytes=3_000_000, gpu_bytes=0, store_bytes=4_000_000, output_bytes=2_000_000,
    seconds=100.0, refusal="", to_dict=lambda: {"width": 90},
)  # fmt: skip
JOBS = [
    job("a", share=0.25, seconds_left=75.0), job("b", state="done", share=1.0), job("c", state="refused", reason="why"),
    job("d", state="stopped", share=0.256), job("e", state="failed", reason="no disk"), job("f", state="paused"),
]  # fmt: skip


class Line:
    """Stands for a queue."""

    def __init__(self, jobs: list[SimpleNamespace], plan: SimpleNamespace = PLAN) -> None:
        self.folder, self.asked, self._jobs, self._plan = Path("q"), [], jobs, plan
        self.asked: list[Any] = []

    def jobs(self) -> list[SimpleNamespace]:
        return self._jobs

    def job(self, name: str) -> SimpleNamespace:
        return next(one for one in self._jobs if one.name == name)

    def plan(self, name: str) -> SimpleNamespace:
        self.asked.append(name)
        return self._plan

    def run(self, *what: Any, **how: Any) -> list[SimpleNamespace]:
        schedulers, progress, wait = what
        self.asked.append((schedulers, wait, {name: value for name, value in how.items() if value is not None}))
        progress({"event": "queue failed", "job": "e", "text": "no disk"})
        progress({"event": "note", "job": "a", "text": "large"})
        return self._jobs

    def __getattr__(self, name: str) -> Any:
        return lambda *what: self.asked.append((name, *what))


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Any:
    def opened(jobs: list[SimpleNamespace] = JOBS, plan: SimpleNamespace = PLAN) -> Line:
        made = Line(jobs, plan)
        monkeypatch.setattr(queue, "_opened", lambda folder: made)
        return made

    return opened


def test_jobs_are_listed_with_number_share_and_reason(line: Any) -> None:
    line()
    assert run_main("queue", "list", "q").stdout.splitlines() == [
        "  1  a  waiting, 25 %, about 1 min 15 s left  a.png",
        "  2  b  done, 100 %  b.png",
        "  3  c  refused  c.png: why",
        "  4  d  stopped, 26 %  d.png",
        "  5  e  failed, 0 %  e.png: no disk",
        "  6  f  paused, 0 %  f.png",
    ]
    assert run_main("queue", "list", "q", "--json").stdout.startswith('{"jobs": [{"name": "a"}, {"name": "b"}')
    line([])
    assert run_main("queue", "list", "q").stdout == "q: no jobs\n"


def test_only_what_is_not_done_is_planned_and_what_is_left_of_it_counts(line: Any, stopped: list[str]) -> None:
    held = line()
    assert run_main("queue", "plan", "q", "--price-per-hour", "36").stdout.splitlines() == [
        "a  90 x 70 px, 3 MB of memory, 6 MB of disk, about 1 min 15 s, 0.75 at 36 an hour",
        "e  90 x 70 px, 3 MB of memory, 6 MB of disk, about 1 min 40 s, 1.00 at 36 an hour",
        "f  90 x 70 px, 3 MB of memory, 6 MB of disk, about 1 min 40 s, 1.00 at 36 an hour",
        "all of them, one after the other: 18 MB of disk, about 4 min 35 s, 2.75 at 36 an hour",
    ]
    assert held.asked == ["a", "e", "f"]
    said = json.loads(run_main("queue", "plan", "q", "d", "a", "--json", "--price-per-hour", "0.5").stdout)
    assert [(one["name"], round(one["seconds_left"], 3), one["plan"]) for one in said["jobs"]] == [
        ("d", 74.4, {"width": 90}), ("a", 75.0, {"width": 90}),
    ]  # fmt: skip
    assert said["seconds_left"] == pytest.approx(149.4)
    assert said["money"] == pytest.approx(149.4 / 7200)
    assert stopped == ["", ""]


def test_a_plan_without_a_speed_and_with_a_gpu(line: Any) -> None:
    of = {"seconds": None, "gpu_bytes": 5_000_000_000, "refusal": "no room"}
    line([job("a", share=0.5)], SimpleNamespace(**{**vars(PLAN), **of}))
    assert run_main("queue", "plan", "q").stdout.splitlines() == [
        "a  90 x 70 px, 3 MB of memory, 5.0 GB on each GPU, 6 MB of disk, about 0 s",
        "a  as things are now it would be refused: no room",
        "all of them, one after the other: 6 MB of disk, about 0 s",
    ]


@pytest.mark.parametrize("command", ["pause", "stop", "resume", "remove"])
def test_each_name_is_steered_in_turn(line: Any, stopped: list[str], command: str) -> None:
    held = line()
    assert run_main("queue", command, "q", "b", "a").returncode == 0
    assert held.asked == [(command, "b"), (command, "a")]
    assert stopped == [""]
    run_main("queue", "move", "q", "a", "down")
    assert held.asked[2:] == [("move", "a", "down")]


def test_a_run_asks_for_what_is_said_and_ends_with_what_is_left(line: Any, stopped: list[str]) -> None:
    held = line()
    done = run_main("queue", "run", "q", "--wait", "--workers", "2", "--scheduler", "tcp://a:1", "--quiet")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == ["a: waiting: ", "c: refused: why", "e: failed: no disk"]
    held = line([job("b", state="done"), job("d", state="stopped"), job("f", state="paused")])
    done = run_main("queue", "run", "q", "--scheduler", "tcp://a:1", "--scheduler", "tcp://b:2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "e: failed: no disk\na: large\n")
    assert run_main("queue", "run", "q").stderr == "e: failed: no disk\nlarge\n"
    assert held.asked == [(("tcp://a:1", "tcp://b:2"), False, {}), ((), False, {})]
    told = run_main("queue", "run", "q", "--log-json").stdout.splitlines()
    assert [json.loads(one)["event"] for one in told] == ["queue failed", "note"]
    assert stopped == ["go on with the same command"] * 4


def test_a_run_of_nothing_is_done(line: Any) -> None:
    held = line([])
    done = run_main("queue", "run", "q", "--wait", "--workers", "4")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "q: no jobs")
    assert held.asked == [((), True, {"workers": 4})]


@pytest.mark.parametrize(
    ("event", "text", "said"),
    [
        ("queue begun", "", "a: begins"),
        ("queue begun", "tcp://b:1", "a: begins (tcp://b:1)"),
        ("queue done", "", "a: done"),
        ("queue refused", "no key", "a: refused: no key"),
        ("queue broke", "", "a: broke off and is tried again"),
        ("queue held", "by b", "a: held: by b"),
        ("queue not here", "no GPU", "a: cannot be rendered here: no GPU"),
        ("queue wait", "in use", "a: waiting for it, since it is: in use"),
        ("queue note", "odd", "a: not rendered: odd"),
    ],
)
def test_what_befalls_a_job_is_a_line_that_names_it(event: str, text: str, said: str) -> None:
    told: list[dict[str, Any]] = []
    for alone in (True, False):
        queue._for_people(told.append, alone)({"event": event, "job": "a", "text": text})
    assert told == [{"event": "note", "text": said}] * 2


def test_a_job_is_taken_with_what_is_said(monkeypatch: pytest.MonkeyPatch, stopped: list[str]) -> None:
    asked = replaced(monkeypatch, "tiler.queue.turn", "take", SimpleNamespace(how="failed", reason="no disk"))
    monkeypatch.setattr(queue, "_follow", lambda: None)
    said = run_main("queue", "take", "q", "a", "--workers", "2", "--within", "f").stdout.splitlines()
    assert [json.loads(one)["event"] for one in said] == ["note", "ended"]
    assert json.loads(said[-1]).items() >= dict(how="failed", reason="no disk").items()
    assert run_main("queue", "take", "q", "b").returncode == 0
    assert asked == [
        (("q", "a", {"workers": 2}, "progress"), {"within": "f"}),
        (("q", "b", {}, "progress"), {"within": None}),
    ]
    assert stopped == ["", ""]


def test_a_folder_that_was_made_for_an_error_is_gone_and_another_stays(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for folder, stays in ((tmp_path / "new" / "deep", False), (tmp_path / "old", True), (tmp_path / "full", True)):
        with contextlib.suppress(KeyboardInterrupt), queue._made(folder):
            assert folder.is_dir()
            if folder.name == "full":
                (folder / "mine").touch()
            raise KeyboardInterrupt
        assert folder.is_dir() == stays
    with queue._made(tmp_path / "kept"):
        pass
    assert (tmp_path / "kept").is_dir()


ADD = ("c.png", "s.png")


@pytest.mark.parametrize(
    ("words", "name", "output"),
    [
        (ADD, "like c", "q/like c.png"),
        ((*ADD, "--name", "x"), "x", "q/x.png"),
        ((*ADD, "-o", "p.tif"), None, "p.tif"),
        ((*ADD, "-o", "p.tif", "--name", "x"), "x", "p.tif"),
        ((*ADD, "--tiles", "t"), None, None),
        (("--job", "whole.toml"), None, "from/job.png"),
        (("--job", "tiles.toml"), None, None),
        (("--job", "plain.toml"), "like map", "q/like map.png"),
        (("s.png", "--content-weight=0", "--init=noise"), "like s", "q/like s.png"),
    ],
)
def test_a_job_is_named_as_is_said_or_as_its_content(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...], name: str | None, output: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q").mkdir()
    for file, more in (("whole", 'output = "from/job.png"'), ("tiles", 'tiles = "t"'), ("plain", "seed = 2")):
        (tmp_path / f"{file}.toml").write_text(f'content = "map.jpg"\nstyles = ["s.png"]\n{more}\n')
    asked: list[Any] = []
    line = SimpleNamespace(
        folder=Path("q"), free_name=lambda like, ends: f"like {like}",
        add=lambda *what: asked.append(what) or job("n", output="there"),
    )  # fmt: skip
    monkeypatch.setattr(queue, "_opened", lambda folder, new: line)
    done = run_main("queue", "add", "q", *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "n: waits in q, for there\n", "")
    ((config, called),) = asked
    assert called == name
    assert (config.output and os.path.relpath(config.output)) == output


def test_what_is_noted_of_a_job_is_said_and_nothing_is_unwound_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stopped: list[str]
) -> None:
    line = SimpleNamespace(folder=tmp_path, add=lambda *what: stopped.append("added") or job("n", output="there"))
    monkeypatch.setattr(queue, "_opened", lambda folder, new: line)
    monkeypatch.setattr(queue, "found_regions", regions)
    done = run_main("queue", "add", "q", "c.png", "s.png", "-o", "p.png", "--auto-regions", "3")
    assert (done.stdout, done.stderr) == (f"n: waits in {tmp_path}, for there\n", "3 regions\n")
    assert stopped == ["", "added"]
