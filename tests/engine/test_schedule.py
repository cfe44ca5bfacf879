"""What a pool of workers says, tries again and gives back, of a cluster that is not there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import dask
import pytest
from distributed import KilledWorker

from tiler.engine import schedule
from tiler.engine.schedule import Pool, Promise
from tiler.engine.worker import attempt, part, want
from tiler.errors import RenderError, SchedulerError, StoreError, TilerError, WorkerDiedError
from tiler.version import __version__

Told = list[Any]
ALL = "identity", -1  # of the scheduler, with all of its workers: by itself it names a few
THERE = {"b": {"status": "running"}, "a": {"status": "running"}}


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def pool(told: Told, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """Of two workers of its own, which a client that writes down what it is asked stands for."""
    client = SimpleNamespace(
        cluster=SimpleNamespace(worker_spec={0: 1, 1: 1}, scale=lambda count: told.append(("scale", count))),
        wait_for_workers=lambda count, timeout: told.append(("wait for", count, timeout)),
        scheduler=SimpleNamespace(identity="identity"),
        sync=lambda function, n_workers: {"workers": THERE if (function, n_workers) == ALL else {}},
        as_current=contextlib.nullcontext,
        cancel=lambda futures: told.append(("cancel", futures)),
        subscribe_topic=lambda topic, handler: handler(("when", {"event": topic})),
    )

    class Own:
        def __enter__(self) -> Any:
            return client

        def __exit__(self, *exc_info: object) -> None:
            told.append("closed")

    monkeypatch.setattr(schedule, "own_cluster", lambda *given: told.append(given) or Own())
    monkeypatch.setattr(schedule, "cores", lambda: 7)
    return Pool(workers=2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, (1, 7)), ({"workers": 2}, (2, 3)), ({"workers": 8}, (8, 1)), ({"workers": 2, "threads": 5}, (2, 5))],
)
def test_workers_share_the_cores(pool: Pool, told: Told, options: dict[str, Any], expected: tuple[int, int]) -> None:
    told.clear()
    with Pool(**options):
        assert told == [expected]
    assert told == [expected, "closed"]


# Who is there -----------------------------------------------------------------------------------------------------


def test_who_comes_and_who_goes_is_told_once(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Any] = []
    pool.on_report(events.append)
    assert events == [{"event": pool._topic}]
    events.clear()
    there = [dict.fromkeys("ba", "running")]
    monkeypatch.setattr(pool, "_there", lambda: there[0])
    assert (pool.workers, events) == (2, [])
    there[0] = dict.fromkeys("dbc", "running")
    assert pool.gone(["b", "a", "x"]) == ["a", "x"]
    assert pool.workers == 3
    assert events == [
        {"event": kind, "worker": worker, "workers": 3}
        for kind, worker in (("worker lost", "a"), ("worker joined", "c"), ("worker joined", "d"))
    ]
    there[0] = {}
    assert pool.workers == 1


def test_who_is_there_is_what_the_scheduler_says_and_else_who_was(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool.addresses == ["a", "b"]

    def gone(*given: Any, **named: Any) -> Any:
        raise OSError

    monkeypatch.setattr(pool._client, "sync", gone)
    assert pool._there() == {}
    pool._known = {"c": "running"}
    assert pool._there() == {"c": "running"}


def test_a_pool_waits_until_somebody_is_there(pool: Pool, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([{}, {}, dict.fromkeys("ca", "running")])
    monkeypatch.setattr(pool, "_there", lambda: next(found))
    told.clear()
    assert pool.addresses == ["a", "c"]
    assert told == [("wait for", 1, 60)] * 3


def test_a_pool_grows_to_what_is_asked_for_and_never_shrinks(pool: Pool, told: Told) -> None:
    told.clear()
    for workers in (1, 2, 3):
        pool.grow(workers)
    assert told == [("scale", 3), ("wait for", 3, 60)]
    pool._client.cluster = None
    pool.grow(9)
    assert len(told) == 2

    def late(count: int, timeout: float) -> None:
        raise TimeoutError

    pool._client.wait_for_workers = late
    with pytest.raises(RenderError, match=r"^waited 60 s for 4 worker\(s\); the store keeps what is done$"):
        pool._await(4)


def _client(told: Told) -> type:
    """A cluster's client that is there, and tells what it is asked."""

    class Client:
        cluster = None

        def __init__(self, address: str, timeout: float, set_as_default: bool) -> None:
            told.append((address, timeout, set_as_default))

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *exc_info: object) -> None:
            told.append("closed")

        def wait_for_workers(self, count: int, timeout: float) -> None:
            told.append((count, timeout))

    return Client


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (OSError("nobody\nis there"), "no scheduler answers: nobody"),
        (ValueError(), "no scheduler answers: ValueError"),
        (TimeoutError(), "waited 60 s for a worker to join; start one with: dask worker tcp://x:1"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_said_and_let_go(
    monkeypatch: pytest.MonkeyPatch, told: Told, wrong: Exception, said: str
) -> None:
    class Client(_client(told)):  # type: ignore[misc]
        def __init__(self, address: str, timeout: float, set_as_default: bool) -> None:
            super().__init__(address, timeout, set_as_default)
            assert dask.config.get("distributed.comm.timeouts.connect") == "15s"
            if not isinstance(wrong, TimeoutError):
                raise wrong

        def wait_for_workers(self, count: int, timeout: float) -> None:
            super().wait_for_workers(count, timeout)
            raise wrong

    monkeypatch.setattr(schedule, "Client", Client)
    monkeypatch.setattr(schedule, "sole_render", lambda *whose: contextlib.nullcontext())
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        with pytest.raises(SchedulerError) as error:
            Pool("tcp://x:1", 5)
        assert dask.config.get("distributed.comm.timeouts.connect") == "1s"
    assert str(error.value) == f"--scheduler tcp://x:1: {said}"
    assert told == [("tcp://x:1", 15, False), *([(1, 60), "closed"] if isinstance(wrong, TimeoutError) else [])]


def test_a_cluster_that_answers_is_asked_for_its_version_and_left_with_the_block(
    monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    client = _client(told)

    @contextlib.contextmanager
    def sole_render(*whose: Any) -> Iterator[None]:
        told.append(("its turn", type(whose[0]), whose[1]))
        yield
        told.append("its turn is over")

    monkeypatch.setattr(schedule, "Client", client)
    monkeypatch.setattr(schedule, "sole_render", sole_render)
    monkeypatch.setattr(schedule, "own_cluster", pytest.fail)
    monkeypatch.setattr(schedule, "_check_versions", lambda client, scheduler: told.append((type(client), scheduler)))
    with Pool("tcp://x:1", 5) as pool:
        pool.grow(9)
        turn = ("its turn", client, "tcp://x:1")
        assert told == [("tcp://x:1", 15, False), turn, (1, 60), (client, "tcp://x:1")]
    assert told[4:] == ["its turn is over", "closed"]


# What is tried again ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors", "ends"),
    [
        ([], {"a": {}}),
        ([OSError(), OSError()], {"a": {}}),
        ([OSError()] * 2 + [OSError("it died\nand more")], "a worker cannot be used: OSError: it died"),
        ([ValueError()], "a worker cannot be used: ValueError: "),
        ([StoreError("of ours")], "of ours"),
    ],
)
def test_what_every_worker_is_asked_is_asked_again_where_one_dies(
    pool: Pool, told: Told, errors: list[Exception], ends: Any
) -> None:
    left = list(errors)

    def run(function: Any, *given: Any) -> dict[str, Any]:
        assert (function, given) == (len, (1, 2))
        if left:
            raise left.pop(0)
        return {"a": {}}

    pool._client.run = run
    told.clear()
    if isinstance(ends, str):
        with pytest.raises(TilerError) as error:
            pool.everywhere(len, 1, 2)  # type: ignore[arg-type]
        assert str(error.value) == ends
    else:
        assert pool.everywhere(len, 1, 2) == ends  # type: ignore[arg-type]
    assert left == []
    assert told == [("wait for", 1, 60)] * min(2, sum(isinstance(one, OSError) for one in errors))


def test_a_task_goes_to_the_worker_that_is_named_and_is_forgotten_once_done(pool: Pool, told: Told) -> None:
    told.clear()
    done: list[bool] = [False]

    def submit(function: Any, *given: Any, **options: Any) -> Any:
        told.append((function, *given, options))
        return SimpleNamespace(done=lambda: done[0], number=len(told))

    pool._client.submit = submit
    first = pool.submit(len, 3, worker="a")
    second = pool.submit(len, [first, [first, 4]])
    retried = {"pure": False, "retries": 2}
    assert told == [
        (attempt, len, [3], pool._topic, {**retried, "workers": ["a"], "allow_other_workers": True}),
        (attempt, len, [[first.future, [first.future, 4]]], pool._topic, retried),
    ]
    assert pool._open == [first.future, second.future]
    done[0] = True
    third = second.part("losses")
    assert told[2] == (part, second.future, "losses", {"pure": False})
    assert pool._open == [third.future]
    pool.drop()
    assert (told[3], pool._open) == (("cancel", [third.future]), [])


def test_who_rests_waits_for_all_that_is_open_and_a_wait_has_its_end(
    pool: Pool, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(futures: list[Any], timeout: float | None) -> None:
        told.append((futures, timeout))
        raise TimeoutError

    monkeypatch.setattr(schedule, "wait", wait)
    told.clear()
    pool._open = ["one", "two"]
    pool.rest()
    pool.wait(["three"], 2.5)
    assert told == [(["one", "two"], None), (["three"], 2.5)]


@pytest.mark.parametrize("fails", [False, True])
def test_who_is_stopped_may_be_asked_for_something_else(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, told: Told, fails: bool
) -> None:
    def rest() -> None:
        told.append("rest")
        if fails:
            raise ZeroDivisionError

    told.clear()
    monkeypatch.setattr(pool, "everywhere", lambda function, topic, wanted: told.append((function, topic, wanted)))
    monkeypatch.setattr(pool, "rest", rest)
    if fails:
        with pytest.raises(ZeroDivisionError):
            pool.stop()
    else:
        pool.stop()
    asked = want, pool._topic
    assert told == [(*asked, False), "rest", (*asked, True), ("cancel", [])]


@pytest.mark.parametrize(
    ("comes_to", "error", "said"),
    [
        (StoreError("of ours"), StoreError, "of ours"),
        (KilledWorker("task", SimpleNamespace(address="a"), 3), WorkerDiedError,
         "4 workers died on the same task, perhaps out of memory; the store keeps what is done; free some memory, or "
         "take fewer --workers"),
        (ZeroDivisionError("so\nit is"), RenderError,
         "a task could not be finished; the store keeps what is done. ZeroDivisionError: so"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("raised", [True, False])
def test_what_a_task_comes_to_is_said_in_words(
    pool: Pool, comes_to: Exception, error: type[Exception], said: str, raised: bool
) -> None:
    def result() -> Any:
        if raised:
            raise comes_to
        return comes_to

    future = SimpleNamespace(result=result)
    if raised or isinstance(comes_to, TilerError):
        with pytest.raises(error) as found:
            pool.result(future)
        assert str(found.value) == said
    else:
        assert pool.result(future) is comes_to


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ({"a": __version__, "b": "0.0.1"}, "worker b has tiler 0.0.1, this is "),
        (ImportError("No module\nnamed tiler"), r"its workers cannot import tiler .*, install it there: No module$"),
    ],
)
def test_workers_of_another_version_are_not_used(versions: Any, said: str) -> None:
    def run(function: Any) -> dict[str, str]:
        assert function() == __version__
        if isinstance(versions, Exception):
            raise versions
        return dict(versions)

    client: Any = SimpleNamespace(run=run)
    with pytest.raises(SchedulerError, match=rf"^--scheduler tcp://x:1: {said}"):
        schedule._check_versions(client, "tcp://x:1")


@pytest.mark.parametrize("seconds", [0.0, 2.5])
def test_a_promise_is_looked_at_at_once_or_waited_for(seconds: float, told: Told) -> None:
    future = SimpleNamespace(done=lambda: 1)
    pool: Any = SimpleNamespace(wait=lambda futures, seconds: told.append((futures, seconds)), result=lambda one: one)
    promise = Promise(pool, future)
    assert promise.done(seconds) is True
    assert told == [([future], seconds)] * bool(seconds)
    told.clear()
    assert promise.done() is True
    assert told == [], "nobody waits who does not say so"
    assert promise.result() is future
