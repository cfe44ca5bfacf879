"""Workers do tasks in any order that leaves a task what it asked for: nothing else may be taken for granted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from serial_pool import SerialPool

from tiler.engine.holding import Holding
from tiler.engine.worker import heard_by
from tiler.errors import TilerError

SMALL: dict[str, Any] = dict(long_edge=96, levels=1, steps=(3,), tile=32, feather=8, halo=8, steps_per_round=1)


@dataclass
class Task:
    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    done: bool = False
    value: Any = None

    def ready(self) -> bool:
        return all(promise.task.done for promise in _promises(self.arguments))

    def run(self) -> None:
        try:
            self.value = self.call(*map(_values, self.arguments))
        except TilerError as error:
            self.value = error
        self.done = True


@dataclass
class Promise:
    """As `schedule.Promise`. go_on(task): has it done, and others meanwhile."""

    task: Task
    go_on: Callable[[Task], None]
    names: tuple[Any, ...] = field(default=())

    def part(self, name: Any) -> Promise:
        return Promise(self.task, self.go_on, (*self.names, name))

    def done(self, seconds: float = 0.0) -> bool:
        self.go_on(self.task)
        return True

    def result(self) -> Any:
        self.go_on(self.task)
        found = self.task.value
        if isinstance(found, TilerError):
            raise found
        for name in self.names:
            found = found[name]
        return found


def _promises(arguments: Any) -> Iterator[Promise]:
    for one in arguments:
        if isinstance(one, Promise):
            yield one
        elif isinstance(one, list):
            yield from _promises(one)


def _values(argument: Any) -> Any:
    if isinstance(argument, Promise):
        return argument.result()
    return [_values(one) for one in argument] if isinstance(argument, list) else argument


@pytest.mark.parametrize("blocks", [2, 4])
@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_the_order_of_tasks_does_not_show(
    render_serially: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch, mode: str, blocks: int
) -> None:
    expected = render_serially(blocks, mode=mode, **SMALL)
    waiting, seeded, seed, order = list[Task](), list[int](), Holding.seed, random.Random(blocks)
    count = 0

    def go_on(wanted: Task) -> None:
        while not wanted.done:
            one = order.choice([task for task in waiting if task.ready()])
            waiting.remove(one)
            one.run()

    def submit(self: SerialPool, function: Any, *arguments: Any, worker: str | None = None) -> Promise:
        nonlocal count
        count += 1

        def heard(*given: Any) -> Any:
            with heard_by(self._handler):
                return function(*given)

        waiting.append(Task(heard, arguments))
        return Promise(waiting[-1], go_on)

    monkeypatch.setattr(SerialPool, "submit", submit)
    monkeypatch.setattr(Holding, "seed", lambda self: (seeded.append(1), seed(self)))
    for _ in range(3):
        seeded.clear()
        assert render_serially(blocks, mode=mode, **SMALL).tobytes() == expected.tobytes()
        assert len(seeded) == blocks, "a level began anew: something was not there"
    assert count > 3 * 6 * blocks
