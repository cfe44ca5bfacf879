"""One thing at a time: what is told of it, and what becomes of the one before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tiler.errors import CancelledError, ConfigError
from tiler.studio.bench import Bench, Task


class Pool:
    """Workers, which are made and let go."""

    made: list[Pool]

    def __init__(self) -> None:
        self.made.append(self)
        self.inside = False

    def __enter__(self) -> Pool:
        self.inside = True
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.inside = False


class Work(Task):
    """does(): what there is to do. pool: what it was given."""

    def __init__(self, does: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.does, self.over = does, threading.Event()

    def work(self, pool: Any, cancelled: Callable[[], bool], hear: Callable[[dict[str, Any]], None]) -> None:
        self.pool, self.cancelled, self.hear = pool, cancelled, hear
        assert pool.inside
        try:
            self.does()
        finally:
            self.over.set()


def _raising(error: Exception) -> Callable[[], None]:
    def does() -> None:
        raise error

    return does


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[Pool]:
    monkeypatch.setattr(Pool, "made", [], raising=False)
    return Pool.made


def _bench(**more: Any) -> Bench:
    return Bench(lambda words: f"<{words}>", Pool, **more)  # type: ignore[arg-type]


def test_nothing_is_told_of_what_has_not_begun() -> None:
    nothing = {"run": 0, "done": False, "error": "", "notes": [], "share": 0.0, "seconds_left": None}
    assert Task().told() == nothing
    with pytest.raises(NotImplementedError):
        Task().work(None, lambda: False, lambda event: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (CancelledError("stopped"), ""),
        (ConfigError("seed = -1"), "<seed = -1>"),
        (ValueError("first\nsecond"), "<ValueError: first>"),
        (KeyError(), "<KeyError: >"),
    ],
)
def test_what_goes_wrong_is_a_line(pools: list[Pool], error: Exception, told: str) -> None:
    task, bench = Work(_raising(error)), _bench()
    bench._do(task)
    assert (task.done, task.error) == (True, told)
    again = Work()
    bench._do(again)
    assert (again.done, again.error, len(pools)) == (True, "", 1)


def test_what_a_render_tells_is_kept_each_note_once(pools: list[Pool]) -> None:
    def does() -> None:
        levels = [{"work": 30.0, "steps": 3, "tiles": 1, "done": False}]
        task.hear({"event": "start", "levels": levels})
        task.hear({"event": "step", "level": 0, "tile": 0, "step": 1})
        for number in (0, 1, 0, *range(2, 21)):
            task.hear({"event": "note", "text": number})

    task = Work(does)
    _bench()._do(task)
    assert task.told()["share"] == pytest.approx(1 / 3)
    assert task.notes == [f"<{number}>" for number in range(1, 21)]
    task.hear({"event": "note", "text": 20})
    assert task.notes == [f"<{number}>" for number in range(1, 21)]
    assert task.told()["notes"] == task.notes


def test_workers_stay_until_the_end(pools: list[Pool]) -> None:
    with _bench(name="here") as bench:
        assert bench._thread.name == "here"
        assert pools == []
        for _ in range(2):
            task = Work()
            bench.ask(task)
            assert task.over.wait(20)
        assert task.pool is pools[0]
        assert pools[0].inside
    assert not bench._thread.is_alive()
    assert [one.inside for one in pools] == [False]


def test_workers_that_do_not_stay_are_made_each_time(pools: list[Pool]) -> None:
    bench = _bench(stay=False)
    first, second = Work(_raising(ConfigError("x"))), Work()
    bench._do(first)
    assert [one.inside for one in pools] == [False]
    bench._do(second)
    assert [one.inside for one in pools] == [False, False]
    assert second.pool is pools[1]


def test_who_asks_for_another_has_the_one_before_cancelled(pools: list[Pool]) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def does() -> None:
        begun.set()
        go_on.wait(20)

    first, second, third = Work(does), Work(), Work()
    with _bench() as bench:
        assert bench.ask(first) == 1
        assert begun.wait(20)
        assert not first.cancelled()
        assert not first.done
        assert bench.ask(second) == 2
        assert first.cancelled()
        assert (first.done, second.done) == (True, False)
        assert bench.ask(third) == 3  # the second has not begun, and never does
        assert second.done
        go_on.set()
        assert third.over.wait(20)
        bench.stop()
        assert third.cancelled()
    assert not second.over.is_set()
    assert [task.told()["run"] for task in (first, second, third)] == [1, 2, 3]
    assert third.error == ""
