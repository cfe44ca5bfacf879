"""What goes on around a task on a worker, without one."""

from __future__ import annotations

import contextvars
import os
from types import SimpleNamespace
from typing import Any

import pytest

from tiler.engine import worker as module
from tiler.engine.worker import attempt
from tiler.errors import CancelledError, StoreError

Told = list[Any]


@pytest.fixture
def told() -> Told:
    return []


def test_a_task_does_not_begin_after_one_that_failed_nor_where_it_is_not_wanted() -> None:
    error = StoreError("of ours")
    assert attempt(pytest.fail, [1, [2, [error, 3]]], "topic") is error
    assert module.part(error, "losses") is error
    assert module.part({"losses": 4}, "losses") == 4
    module.want("topic", False)
    try:
        assert isinstance(attempt(pytest.fail, [], "topic"), CancelledError)
        assert attempt(max, [3, 5], "other") == 5
    finally:
        module.want("topic", True)
    assert attempt(max, [[3, 5]], "topic") == 5


@pytest.mark.parametrize("lost", [False, True])
def test_what_may_pass_is_told_and_tried_again_and_what_is_ours_is_not(
    monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    events: list[Any] = []
    monkeypatch.setattr(module, "device_lost", lambda error: lost)
    monkeypatch.setattr(module, "_end_worker", lambda: events.append("ended"))
    freed: list[str] = []
    monkeypatch.setattr(module, "let_go", lambda error: freed.append(str(error)))

    def ours() -> None:
        raise StoreError("of ours")

    def passes() -> None:
        raise StoreError("the disk\nis away") from OSError()

    with module.heard_by(events.append):
        assert str(attempt(ours, [], "topic")) == "of ours"
        assert events == []
        with pytest.raises(StoreError):
            attempt(passes, [], "topic")
    assert freed == ["of ours", "the disk\nis away"], "the memory that its frames hold"
    told = {"event": "retry", "task": "passes", "error": "StoreError: the disk"}
    assert events == [told, "ended"][: 1 + lost]
    assert module.line(ValueError("x" * 999)) == f"ValueError: {'x' * 300}"
    assert module.line(ValueError()) == "ValueError: "


def test_what_a_task_tells_goes_to_whoever_asked_for_it(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    """On a worker to its topic, unless it is wanted no more; elsewhere to whom is said, for as long as that is."""
    with module.heard_by(told.append):
        with module.heard_by(pytest.fail):
            pass
        module.reporter()({"event": "a"})
    module.reporter()({"event": "to nobody"})
    worker = SimpleNamespace(log_event=lambda topic, event: told.append((topic, event)))
    monkeypatch.setattr(module, "get_worker", lambda: worker)
    report = attempt(module.reporter, [], "topic")
    report({"event": "b"})
    assert told == [{"event": "a"}, ("topic", {"event": "b"})]
    module.want("topic", False)
    try:
        with pytest.raises(CancelledError, match=r"^the render was stopped$"):
            report({"event": "c"})
    finally:
        module.want("topic", True)
    assert len(told) == 2


def test_what_is_told_outside_of_a_task_has_a_place_too(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    worker = SimpleNamespace(log_event=lambda topic, event: told.append((topic, event)))
    monkeypatch.setattr(module, "get_worker", lambda: worker)
    contextvars.Context().run(lambda: module.reporter()({"event": "a"}))
    assert told == [("tiler", {"event": "a"})]


def test_workers_are_beside_each_other_one_at_a_time(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    class Lock:
        def __init__(self, name: str) -> None:
            told.append(name)

        def __enter__(self) -> None:
            told.append("locked")

        def __exit__(self, *exc_info: object) -> None:
            told.append("let go")

    with module.beside(lambda: {"gpus": []}) as found:
        assert found == ("", {"": {"gpus": []}})
    client = SimpleNamespace(run=lambda function, on_error: told.append(on_error) or {"a": function(), "b": function()})
    monkeypatch.setattr(module, "Lock", Lock)
    monkeypatch.setattr(module, "get_worker", lambda: SimpleNamespace(address="b"))
    monkeypatch.setattr(module, "get_client", lambda: client)
    with module.beside(dict) as (address, workers):
        assert (address, workers) == ("b", {"a": {}, "b": {}})
    assert told == ["tiler", "locked", "ignore", "let go"]


@pytest.mark.parametrize("nanny", [None, "nanny"])
def test_a_worker_whose_gpu_is_lost_ends_once_that_is_told(monkeypatch: pytest.MonkeyPatch, nanny: str | None) -> None:
    done: list[Any] = []
    loop = SimpleNamespace(add_callback=lambda *given, **named: done.append((*given, named)))
    worker = SimpleNamespace(nanny=nanny, loop=loop, close="close")

    def end(status: int) -> None:
        done.append(status)
        raise SystemExit

    monkeypatch.setattr(module, "get_worker", lambda: worker)
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=done.append))
    monkeypatch.setattr(os, "_exit", end)
    if nanny:
        with pytest.raises(SystemExit):
            module._end_worker()
    else:
        module._end_worker()
    assert done == [0.5, 1 if nanny else ("close", {"reason": "its GPU is lost"})]
