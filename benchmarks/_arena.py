"""Many posters side by side: processes that take tasks, render and judge, and hand over each row as they have it."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from pathlib import Path
from typing import Any, Protocol

import _contenders
import _duel_pairs
import _measures
import _steps
import torch
from torch import Tensor

Row = dict[str, Any]
# A peer's steps after which its content distance in the end is foretold, and the factor it grows by until then where
# nothing is known.
FORETOLD, GROWTH = 0.2, 1.15
_MARKS, _LOSSES = (0.25, 0.5, 0.75), 20
_TIMED = 150


@dataclass(frozen=True)
class Task:
    """One poster. order: what comes first. contender: none means the pair's pictures alone, or with an edge what each
    of ours and each peer takes while nobody else renders. weight: of the content; None: still to be chosen. wanted: the
    content distance that is searched for; a peer's poster is given up where ln of the foretold one over it is beyond
    `berth`. growth: see GROWTH, learnt from others; None: nobody knows, and nothing is given up."""

    order: tuple[float, ...]
    pair: str
    edge: int = 0
    contender: str = ""
    weight: float | None = None
    wanted: float | None = None
    berth: float = math.inf
    growth: float = GROWTH

    @property
    def alone(self) -> bool:
        """Whether nothing else may use the device meanwhile."""
        return not self.contender and self.edge > 0

    def too_far(self, foretold: float) -> bool:
        """Of a poster that will be so far from the content."""
        return self.wanted is not None and abs(math.log(foretold / self.wanted)) > self.berth


class _GivenUpError(Exception):
    """A poster that will be too far off; how far it is as yet."""


@dataclass
class _Watched:
    """One peer's course: rows of losses and, at some steps, of measures. steps: in all."""

    judge: _measures.Judge
    steps: int
    task: Task
    began: float = 0.0
    course: list[Row] = field(default_factory=list)
    judging: float = 0.0

    def __call__(self, number: int, loss: float, pixels: Callable[[], Tensor]) -> None:
        early = number == max(1, round(FORETOLD * self.steps))
        marked = number in [round(mark * self.steps) for mark in _MARKS]
        if not (early or marked or number % max(1, self.steps // _LOSSES) == 0):
            return
        paused = time.perf_counter()
        row: Row = {"step": number, "loss": loss, "seconds": paused - self.began - self.judging}
        self.course.append(row)
        if marked:
            row |= self.judge.all(pixels())
        if early:
            row["content"] = self.judge.content(pixels())
            if self.task.too_far(self.task.growth * row["content"]):
                raise _GivenUpError(row["content"])
        self.judging += time.perf_counter() - paused


class Bench:
    """One process's: what it has loaded, and judges of the pairs it has seen."""

    def __init__(self, setting: _contenders.Setting, tell: Callable[[Row], None]) -> None:
        self._setting, self._tell = setting, tell
        self._judges: dict[tuple[str, int], _measures.Judge] = {}

    def carry_out(self, task: Task) -> None:
        pair = _duel_pairs.make(task.pair, self._setting.folder)
        if not task.contender:
            self._tell({"what": "pair", "pair": task.pair})
            for one in (*_contenders.OURS, *_contenders.PEERS) if task.alone else ():
                self._tell(self._alone(pair, task.edge, one))
            return
        self._tell(self._poster(pair, task))

    def _alone(self, pair: _duel_pairs.Pair, edge: int, contender: _contenders.Contender) -> Row:
        """Seconds of a poster: of ours the second, of a peer by the last of some of its steps."""
        steps, folder = self._setting.steps, self._setting.folder
        setting = replace(self._setting, edge=edge, steps=min(_TIMED, steps))
        times: list[float] = []

        def render() -> float:
            times.append(time.perf_counter())
            path = folder / f"alone-{contender.name.replace(' ', '-')}.png"
            contender.run(setting, pair.content, pair.style, path, contender.weight,
                          lambda *about: times.append(time.perf_counter()))  # fmt: skip
            return time.perf_counter() - times[0]

        about = {"what": "alone", "pair": pair.name, "edge": edge, "contender": contender.name}
        first = render()
        if contender.peer:
            last = len(times) // 3
            each = (times[-1] - times[-1 - last]) / last
            return {**about, "seconds": each * steps, "step_ms": 1e3 * each, "steps": steps}
        times.clear()
        return {**about, "first_seconds": first, "seconds": render()}

    def _poster(self, pair: _duel_pairs.Pair, task: Task) -> Row:
        """One poster's row; as it is known, where the poster is there."""
        assert task.weight is not None
        contender, setting = _contenders.BY_NAME[task.contender], replace(self._setting, edge=task.edge)
        steps = setting.steps if contender.peer else "own"
        name = f"{contender.name.replace(' ', '-').replace(',', '')}-{task.edge}-{steps}-{task.weight:.6g}"
        path = self._setting.folder / pair.name / f"{name}.png"
        if path.with_suffix(".json").exists():
            row: Row = json.loads(path.with_suffix(".json").read_text())
            return row
        watch = _Watched(self._judge(pair, task.edge), setting.steps, task)
        row = {"what": "poster", "pair": pair.name, "edge": task.edge, "contender": contender.name,
               "weight": task.weight}  # fmt: skip
        watch.began = time.perf_counter()
        try:
            contender.run(setting, pair.content, pair.style, path, task.weight, watch)
        except _GivenUpError as far:
            return row | {"whole": False, "early": far.args[0], "course": watch.course}
        row |= {"whole": True, "seconds": time.perf_counter() - watch.began - watch.judging}
        row |= {**watch.judge.all(path), "poster": str(path)}
        if contender.peer:
            early = next((one["content"] for one in watch.course if "content" in one), None)
            row |= {"steps": setting.steps, "early": early, "course": watch.course}
        path.with_suffix(".json").write_text(json.dumps(row))
        return row

    def _judge(self, pair: _duel_pairs.Pair, edge: int) -> _measures.Judge:
        key = pair.name, edge
        if key not in self._judges:
            self._judges[key] = _measures.Judge(pair.content, pair.style, pair.mask, edge, self._setting.device)
        return self._judges[key]


class Programme(Protocol):
    """What is to be done, as it comes to be known."""

    def next(self, running: list[Task]) -> Task | None:
        """What a free process is to do, if there is something; taken off the list."""

    def hear(self, row: Row) -> None:
        """One row of what a process found."""

    def tick(self) -> None:
        """Called every second or so, to keep what is known so far."""


class _Crew:
    """Processes, of which each has a task or waits for one."""

    def __init__(self, programme: Programme, setting: _contenders.Setting) -> None:
        self._programme, self._setting = programme, setting
        self._start_by, self._again = "forkserver", list[Task]()
        self.busy: dict[connection.Connection, tuple[Any, Task]] = {}
        self._idle: list[tuple[connection.Connection, Any]] = []

    def send_out(self, jobs: int) -> None:
        """Give tasks to so many processes, as long as there are any."""
        while len(self.busy) < jobs:
            running = [one for _, one in self.busy.values()]
            task = self._again.pop() if self._again else self._programme.next(running)
            if task is None:
                return
            ours, process = self._idle.pop() if self._idle else self._start()
            ours.send(task)
            self.busy[ours] = process, task

    def _start(self) -> tuple[connection.Connection, Any]:
        context = multiprocessing.get_context(self._start_by)
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._setting), daemon=False)  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        return ours, process

    def listen(self, seconds: float) -> None:
        """To whoever has something to say within this time."""
        for ours in connection.wait(list(self.busy), seconds):
            assert isinstance(ours, connection.Connection)
            try:
                row = ours.recv()
            except (EOFError, OSError):
                process, task = self.busy.pop(ours)
                process.join(5)
                self._fail(task, f"its process ended with {process.exitcode}")
                continue
            if row is None:
                self._idle.append((ours, self.busy.pop(ours)[0]))
            elif row["what"] == "unfit":
                self._replace(ours, row["error"])
            else:
                self._programme.hear(row)

    def _replace(self, ours: connection.Connection, why: str) -> None:
        """A process that cannot use the device, by one that is started anew where it was forked."""
        task = self.busy.pop(ours)[1]
        if self._start_by == "spawn":
            self._fail(task, why)
        else:
            self._start_by = "spawn"
            self._again.append(task)

    def _fail(self, task: Task, why: str) -> None:
        about = {"pair": task.pair, "edge": task.edge, "contender": task.contender}
        self._programme.hear({"what": "failed", **about, "error": why})

    def end(self) -> None:
        for process in [*(one for one, _ in self.busy.values()), *(one for _, one in self._idle)]:
            _steps.end_group(process.pid)
            process.join(5)


def run(programme: Programme, setting: _contenders.Setting, jobs: int, ends: float) -> None:
    """Until nothing is left, or time.monotonic() passes `ends`. A process that fails tells why in a row `failed`, and
    another takes its place."""
    here = Path(__file__).resolve().parent
    known = [str(here), str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(known)  # a server of forks may know no other
    multiprocessing.set_forkserver_preload(["_preloaded"])
    crew = _Crew(programme, setting)
    try:
        while True:
            crew.send_out(jobs)
            left = ends - time.monotonic()
            if not crew.busy or left <= 0:
                return
            crew.listen(min(1.0, left))
            programme.tick()
    finally:
        crew.end()


def _serve(answers: connection.Connection, setting: _contenders.Setting) -> None:
    with contextlib.suppress(PermissionError):
        os.setpgid(0, 0)  # so that whatever it starts ends with it
    threading.Thread(target=_steps._end_with_parent, daemon=True).start()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as a worker of ours has it before CUDA begins
    torch.set_num_threads(setting.threads)
    try:
        torch.zeros(1, device=setting.device)
    except Exception as error:
        answers.send({"what": "unfit", "error": f"{type(error).__name__}: {error}"})
        return
    bench = Bench(setting, answers.send)
    while True:
        try:
            task = answers.recv()
        except EOFError:
            return
        try:
            bench.carry_out(task)
        except Exception:
            about = {"pair": task.pair, "edge": task.edge, "contender": task.contender}
            answers.send({"what": "failed", **about, "error": traceback.format_exc()})
            if setting.device != "cpu":  # which may be beyond use in this process
                return
        answers.send(None)
