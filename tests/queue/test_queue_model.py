"""The folder of a queue against a model: whatever is done to it by whom, and whoever is killed, no job is lost, none is
rendered twice at once, and each is in the state that it should be in."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tiler.engine import place
from tiler.errors import ConfigError, OutputError, PictureError, RenderError, ResourceError, StoreError, StoreInUseError
from tiler.queue import queue as queue_module
from tiler.queue import runner as runner_module
from tiler.queue import turn as turn_module
from tiler.queue.marks import Marks
from tiler.queue.queue import Queue
from tiler.queue.runner import Runner
from tiler.queue.turn import ELSEWHERE, Ending
from tiler.request.config import RenderConfig

JOB = b'content = "c.png"\nstyles = ["s.png"]\noutput = "%s.png"\n'
BROKEN = {
    "no toml": b"\x00\xff = [",
    "another's": b"[project]\nname = 'x'\n",
    "elsewhere": b'scheduler = "tcp://x:1"\n',
}
SCHEDULERS = (None, "tcp://one:1", "tcp://two:1")
OUTCOMES = {
    "fails": PictureError("it is gone"),
    "breaks off": RenderError("no more"),
    "has no room": ResourceError("x"),
}


class FakeTurn:
    """A process that renders: holds the store until something becomes of it. machine: the model."""

    def __init__(self, machine: QueueMachine, marks: Marks, name: str, said: Mapping[str, Any]) -> None:
        self.events: list[dict[str, Any]] = []
        self._machine, self._marks, self.name, self._stack = machine, marks, name, contextlib.ExitStack()
        self.scheduler, self.ending, self.turn = said.get("scheduler"), None, None
        with contextlib.suppress(StoreInUseError):
            self.turn = self._stack.enter_context(turn_module.taken(marks, name))
        if self.turn is None:
            self.end(Ending(ELSEWHERE))
            return
        assert name not in machine.running, "twice at once"
        machine.running[name] = self

    def end(self, ending: Ending | None) -> None:
        """None: it is killed."""
        self._stack.close()
        self._machine.running.pop(self.name, None)
        self.ending = ending or Ending("broke", "killed")

    def outcome(self, error: Exception | None) -> None:
        def work(config: RenderConfig, progress: Any, hold: Any) -> None:
            assert hold is self.turn.hold
            assert config.scheduler == self.scheduler
            if error:
                raise error

        said = {"scheduler": self.scheduler} if self.scheduler else {}
        self.end(turn_module._rendered(self._marks, self.name, self.turn, said, lambda event: None, work))

    def poll(self) -> Ending | None:
        return self.ending

    def stop(self) -> None:
        if self.ending is None:
            self.end(None)


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp()) / "queue"
        self.folder.mkdir()
        self.queue, self.marks = Queue(self.folder), Marks(self.folder)
        self.order: list[str] = []
        self.state: dict[str, str] = {}
        self.running: dict[str, FakeTurn] = {}
        self.runners: dict[str | None, tuple[Runner, contextlib.ExitStack, list[FakeTurn]]] = {}
        self.foreign: dict[Path, bytes] = {}
        self.told: list[dict[str, Any]] = []
        self.now = 0.0
        self.stack = contextlib.ExitStack()
        for owner, name, new in (
            (queue_module.Request, "of", lambda config: None), (turn_module, "_CLAIM_SECONDS", 0.0),
            (runner_module, "monotonic", lambda: self.now), (place, "_check_writable", lambda *paths: None),
        ):  # fmt: skip
            self.stack.enter_context(mock.patch.object(owner, name, new))

    def teardown(self) -> None:
        try:
            self._work_off()
        finally:
            self.stack.close()
            shutil.rmtree(self.folder.parent)

    def _work_off(self) -> None:
        """A last runner finds everything that is to be done, and nothing else."""
        for where in [*self.runners]:
            self._kill(where)
        waiting = {name for name, state in self.state.items() if state == "waiting"}
        self._begin(None)
        runner, _, turns = self.runners[None]
        finished: list[str] = []
        for _ in range(200):
            self.now += 2
            for turn in [turn for turn in turns if turn.ending is None]:
                turn.outcome(None)
                self.state[turn.name] = "done"
                finished.append(turn.name)
            if not runner.step() or (len(finished) == len(waiting) and not self.running):
                break
        assert sorted(finished) == sorted(waiting)
        assert finished == [name for name in self.order if name in waiting]
        self.states()
        self._kill(None)

    # Whoever uses it

    @rule(like=st.sampled_from(("a", "b", "ö ~/../x", "..", "-r")))
    def add(self, like: str) -> None:
        config = RenderConfig(
            content="c.png", styles=("s.png",), output=str(self.folder / f"{like.replace('/', '')}.png")
        )
        taken = {
            self.queue.config(name).target for name, state in self.state.items() if state not in ("refused", "done")
        }
        if config.target in taken:
            with pytest.raises(OutputError, match=r"would replace what .* writes"):
                self.queue.add(config)
            return
        job = self.queue.add(config)
        assert job.name not in self.order
        self.order.append(job.name)
        self.state[job.name] = "waiting"

    @rule(name=st.sampled_from(("by hand", "z", ".hidden", "0")), text=st.sampled_from((JOB, *BROKEN.values())))
    def put(self, name: str, text: bytes) -> None:
        """A file by hand, or an old one changed."""
        if name in self.running:
            return
        self.folder.mkdir(exist_ok=True)
        whole = text % name.encode() if text is JOB else text
        path = self.folder / f"{name}.toml"
        same = path.exists() and path.read_bytes() == whole
        path.write_bytes(whole)
        if name.startswith("."):
            self.foreign[path] = whole
            return
        if name not in self.order:
            listed = self.marks._order()
            there = {*self.order, name}
            self.order = [*(one for one in listed if one in there), *sorted(there - {*listed})]
        before = self.state.get(name, "waiting")
        held = self.marks.read(name, "mark").get("state")
        kept = held if held in ("paused", "stopped") else before if same else "waiting"
        self.state[name] = kept if text is JOB else "refused"

    @rule(name=st.sampled_from(("notes.txt", "picture.png", ".queue.toml~", "a.zarr.txt")))
    def put_foreign(self, name: str) -> None:
        self.folder.mkdir(exist_ok=True)
        self.foreign[self.folder / name] = name.encode()
        (self.folder / name).write_bytes(name.encode())

    @precondition(lambda self: self.order)
    @rule(data=st.data(), act=st.sampled_from(("pause", "stop", "resume")))
    def steer(self, data: st.DataObject, act: str) -> None:
        name = data.draw(st.sampled_from(self.order))
        if self.state[name] in ("done", "refused"):
            with pytest.raises(ConfigError, match=f"is {self.state[name]}"):
                getattr(self.queue, act)(name)
            return
        getattr(self.queue, act)(name)
        self.state[name] = {"pause": "paused", "stop": "stopped", "resume": "waiting"}[act]

    @precondition(lambda self: self.order)
    @rule(data=st.data(), where=st.sampled_from(("up", "down", "first", "last")))
    def move(self, data: st.DataObject, where: str) -> None:
        name = data.draw(st.sampled_from(self.order))
        self.queue.move(name, where)
        at = self.order.index(name)
        self.order.remove(name)
        to = {"up": max(0, at - 1), "down": at + 1, "first": 0, "last": len(self.order)}[where]
        self.order.insert(to, name)

    @precondition(lambda self: self.order)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.order))
        if name in self.running:
            with pytest.raises(ConfigError, match="still being rendered"):
                self.queue.remove(name, patience=0)
            self.state[name] = "stopped"
            return
        self.queue.remove(name, patience=0)
        self.order.remove(name)
        del self.state[name]
        left = {path.name for path in self.folder.rglob("*") if path.name.startswith(f"{name}.")}
        assert left <= {path.name for path in self.foreign}

    # Whoever works through it

    @rule(where=st.sampled_from(SCHEDULERS))
    def begin(self, where: str | None) -> None:
        if where in self.runners:
            with pytest.raises(StoreError, match="works through it on"):
                self._begin(where)
        else:
            self._begin(where)

    def _begin(self, where: str | None) -> None:
        turns: list[FakeTurn] = []

        def start(folder: Path, name: str, said: Mapping[str, Any]) -> FakeTurn:
            turns.append(FakeTurn(self, self.marks, name, said))
            return turns[-1]

        runner, stack = (
            Runner(self.marks, [where] if where else [], {}, self.told.append, start),
            contextlib.ExitStack(),
        )
        for seat in runner._seats:
            stack.enter_context(self.marks.at(seat.scheduler))
        self.runners[where] = runner, stack, turns

    @precondition(lambda self: self.runners)
    @rule(data=st.data(), passed=st.sampled_from((0.1, 1.5)))
    def step(self, data: st.DataObject, passed: float) -> None:
        where = data.draw(st.sampled_from(sorted(self.runners, key=str)))
        self.now += passed
        runner, _, turns = self.runners[where]
        known = len(turns)
        live = [turn for turn in turns if turn.ending is None]
        open_ = runner.step()
        for turn in turns[known:]:
            if turn.turn is not None:
                assert self.state[turn.name] == "waiting"
                ahead = self.order[: self.order.index(turn.name)]
                unfit = set().union(*(seat.unfit for seat in runner._seats))
                assert not [one for one in ahead if self.state[one] == "waiting" and one not in {*self.running} | unfit]
        for turn in live:  # steered meanwhile
            gone = turn.name not in self.state or self.state[turn.name] in ("paused", "stopped")
            assert (turn.ending is not None) == gone
        for event in self.told:
            if event["event"] == "queue failed" and "times in a row" in self.queue.job(event["job"]).reason:
                self.state[event["job"]] = "failed"
        self.told.clear()
        assert open_ or not [one for one in self.state.values() if one == "paused"]

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from(("ends well", "is killed", *OUTCOMES)))
    def turn_ends(self, data: st.DataObject, how: str) -> None:
        turn = self.running[data.draw(st.sampled_from(sorted(self.running)))]
        if how == "is killed":
            turn.end(None)
            return
        turn.outcome(OUTCOMES.get(how))
        now = {"ends well": "done"}  # though a pause came, a moment too late
        if self.state[turn.name] not in ("paused", "stopped"):
            now |= {"fails": "failed", "has no room": "waiting"}
        self.state[turn.name] = now.get(how, self.state[turn.name])

    @precondition(lambda self: self.runners)
    @rule(data=st.data())
    def runner_is_killed(self, data: st.DataObject) -> None:
        self._kill(data.draw(st.sampled_from(sorted(self.runners, key=str))))

    def _kill(self, where: str | None) -> None:
        _, stack, turns = self.runners.pop(where)
        for turn in turns:
            turn.stop()
        stack.close()

    # What always holds

    @invariant()
    def states(self) -> None:
        found = [(job.name, job.state) for job in self.queue.jobs()]
        assert found == [(name, "running" if name in self.running else self.state[name]) for name in self.order]

    @invariant()
    def foreign_files_stay(self) -> None:
        assert all(path.read_bytes() == data for path, data in self.foreign.items())


QueueMachine.TestCase.settings = settings(max_examples=8, stateful_step_count=25)
TestQueue = QueueMachine.TestCase


@pytest.mark.slow
def test_many_more() -> None:
    run_state_machine_as_test(QueueMachine, settings=settings(max_examples=400, stateful_step_count=50))
