"""What a tile's round says of itself."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from distributed import Client, Status
from distributed.comm import CommClosedError
from serial_pool import SerialPool

from tiler.engine import optimize
from tiler.engine.resident import Resident
from tiler.engine.schedule import Pool
from tiler.errors import RenderError


def test_seconds_of_the_steps_alone(render_serially: Callable[..., np.ndarray], monkeypatch) -> None:
    """0.2 s are in the round's steps, 0.1 s on the device beside them, 0.3 s in keeping what came of it."""
    found: list[dict[str, Any]] = []
    relax, problem, put = optimize.relax, optimize.TileProblem, Resident.put
    monkeypatch.setattr(SerialPool, "on_report", lambda self, handler: setattr(self, "_handler", found.append))
    monkeypatch.setattr(optimize, "relax", lambda *a: (time.sleep(0.2), relax(*a))[1])
    monkeypatch.setattr(optimize, "TileProblem", lambda *a: (time.sleep(0.1), problem(*a))[1])
    monkeypatch.setattr(Resident, "put", lambda *a: (time.sleep(0.3), put(*a))[1])
    render_serially(long_edge=64, levels=1, steps=(1,), tile=1024)
    assert [event["event"] for event in found] == ["step", "tile"]
    one = found[1]
    assert one["stepping"] >= 0.2
    assert one["seconds"] >= one["stepping"] + 0.4


def test_who_came_and_who_went_is_said_once_also_when_all_went(monkeypatch) -> None:
    seen = iter(["a", "a", "", "", "b", "bc"])
    pool = object.__new__(Pool)
    workers = lambda n_workers: {"workers": {each: {"status": "running"} for each in next(seen)}}  # noqa: E731
    pool._known, pool._client = None, _client(workers)
    said: list[tuple[str, str, int]] = []
    pool._handler = lambda event: said.append((event["event"], event["worker"], event["workers"]))
    assert [pool.workers for _ in range(6)] == [1, 1, 1, 1, 1, 2]
    assert said == [("worker lost", "a", 0), ("worker joined", "b", 1), ("worker joined", "c", 2)]


def test_who_is_paused_is_said_once_each_time() -> None:
    """As Dask pauses a worker whose memory is nearly full: nothing goes on there until it is not."""
    pool = object.__new__(Pool)
    said: list[str] = []
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, memory_limit=0) as client:
        pool._known, pool._client = None, client
        pool._handler = lambda event: said.append(event["text"])
        [address] = pool.addresses
        for status in (Status.paused, Status.running, Status.paused):
            client.run(lambda dask_worker, status=status: setattr(dask_worker, "status", status))
            for _ in range(50):
                pool.gone([address])
                if client.sync(client.scheduler.identity)["workers"][address]["status"] == status.name:
                    break
                time.sleep(0.1)
            assert pool.gone([address]) == []
        client.run(lambda dask_worker: setattr(dask_worker, "status", Status.running))
    assert len(said) == 2
    assert said[0].startswith(f"worker {address} is waited for: Dask has paused it, ")


@pytest.mark.parametrize(("deaths", "said"), [(0, ""), (2, ""), (3, "a worker cannot be used: CommClosedError: gone")])
def test_who_dies_while_all_are_asked_is_missed_and_the_others_are_asked_again(deaths: int, said: str) -> None:
    pool, left = object.__new__(Pool), [CommClosedError("gone")] * deaths

    def run(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        if left:
            raise left.pop()
        return {"b": function(*arguments)}

    pool._client = SimpleNamespace(run=run, wait_for_workers=lambda workers, timeout: None)
    with pytest.raises(RenderError, match=said) if said else contextlib.nullcontext():
        assert pool.everywhere(lambda one: {"told": one}, 7) == {"b": {"told": 7}}


def test_a_call_is_made_as_often_as_it_is_asked_for() -> None:
    """Also the same with the same arguments: a task is asked for what it does to a store, too."""
    pool = object.__new__(Pool)
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as client:
        pool._client, pool._topic, pool._open = client, "these", []
        one, other = [pool.submit(os.urandom, 8) for _ in range(2)]
        assert one.result() != other.result()


def test_what_cannot_come_any_more_is_told_in_words() -> None:
    """As where the scheduler is gone: what was asked for is cancelled, and its tasks are nowhere."""
    pool = object.__new__(Pool)
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as client:
        pool._client, pool._topic, pool._open = client, "these", []
        promise = pool.submit(time.sleep, 1)
        client.cancel(promise.future)
        assert promise.done(5)
        with pytest.raises(RenderError, match="the connection to the scheduler is lost; the store keeps what is done"):
            promise.result()


def _client(identity: Callable[..., Any]) -> SimpleNamespace:
    """Whose own idea of the cluster is without workers, as it is every two seconds."""
    scheduler = SimpleNamespace(identity=identity)
    own = SimpleNamespace(scheduler_info=lambda n_workers: {"workers": {}}, wait_for_workers=lambda *_, **__: None)
    return SimpleNamespace(scheduler=scheduler, sync=lambda call, **how: call(**how), **own.__dict__)


def test_workers_are_those_that_the_scheduler_knows() -> None:
    pool, told = object.__new__(Pool), iter([{}, {"b": {"status": "running"}, "a": {"status": "closing"}}])
    pool._known, pool._client = None, _client(lambda n_workers: {"workers": next(told)})
    assert pool.addresses == ["a", "b"]


@pytest.mark.parametrize("ask", [lambda pool: pool.addresses, lambda pool: pool.grow(3)])
def test_a_worker_that_does_not_come_is_told_in_words(ask: Callable[[Pool], Any]) -> None:
    def wait(workers: int, timeout: float) -> None:
        raise TimeoutError(0, workers, timeout)  # as distributed does: no text in it

    pool = object.__new__(Pool)
    cluster = SimpleNamespace(worker_spec={}, scale=lambda workers: None)
    pool._client = SimpleNamespace(wait_for_workers=wait, cluster=cluster)
    with pytest.raises(RenderError, match="waited 60 s for"):
        ask(pool)


def test_a_scheduler_that_does_not_answer_has_lost_no_worker() -> None:
    def identity(n_workers: int) -> None:
        raise OSError("timed out")

    pool = object.__new__(Pool)
    pool._known, pool._client = {"a": "running"}, _client(identity)
    assert pool.gone(["a"]) == []
