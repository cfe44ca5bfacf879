"""Run functions on workers. It, `cluster` and `sole` alone import dask; it knows functions and arguments, not tiles."""

from __future__ import annotations

import contextlib
import contextvars
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dask
import dask.system
import psutil
from distributed import Client, KilledWorker, Lock, get_client, get_worker, wait
from distributed.system import MEMORY_LIMIT

from tiler.engine.cluster import QUIET, own_cluster
from tiler.engine.faults import device_lost, let_go
from tiler.engine.place import first_line
from tiler.engine.sole import sole_render
from tiler.errors import CancelledError, RenderError, SchedulerError, TilerError, WorkerDiedError
from tiler.version import __version__

# Outside of a worker nobody listens, but for whom `heard_by` says.
_listener: contextvars.ContextVar[Callable[[dict[str, Any]], None]] = contextvars.ContextVar(
    "listener", default=lambda event: None
)
# Of a cluster that several renders share, each hears its own tasks only.
_topic: contextvars.ContextVar[str] = contextvars.ContextVar("topic", default="tiler")
# On a worker: whose tasks are not wanted any more, by topic.
_stopped: set[str] = set()
_RETRIES = 2
_WAIT_SECONDS = 60
_FAREWELL_SECONDS = 0.5


def reporter() -> Callable[[dict[str, Any]], None]:
    """A function that sends small dicts from the task that runs now to the pool's `on_report` handler, from any thread
    of its own; outside a worker, to whom `heard_by` says."""
    try:
        worker = get_worker()
    except ValueError:
        return _listener.get()
    topic = _topic.get()

    def report(event: dict[str, Any]) -> None:
        _check_wanted(topic)
        worker.log_event(topic, event)

    return report


def _check_wanted(topic: str) -> None:
    if topic in _stopped:
        raise CancelledError("the render was stopped")


def _want(topic: str, wanted: bool) -> dict[str, Any]:
    """Say whether tasks of this topic are to go on."""
    (_stopped.discard if wanted else _stopped.add)(topic)
    return {}


@contextlib.contextmanager
def heard_by(handler: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Who hears what tasks report that run in this process, and on no worker."""
    token = _listener.set(handler)
    try:
        yield
    finally:
        _listener.reset(token)


@contextlib.contextmanager
def beside(function: Callable[[], dict[str, Any]]) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """In a task: its worker's address, and what `function` gives on every worker of the cluster, by address. No two
    workers are in such a block at the same time, so what one does in it the next one sees. Outside of a worker there
    is nobody else."""
    try:
        address = get_worker().address
    except ValueError:
        yield "", {"": function()}
        return
    with Lock("tiler"):
        yield address, get_client().run(function, on_error="ignore")


def _version() -> str:
    """Of the tiler that a worker imports."""
    return __version__


def _attempt(function: Callable[..., Any], arguments: list[Any], topic: str) -> Any:
    """Runs on the worker. Errors of ours come back as values: trying again would end the same way."""
    _topic.set(topic)
    if topic in _stopped:
        return CancelledError("the render was stopped")
    wrong = _found_wrong(arguments)
    if wrong is not None:
        return wrong
    try:
        return function(*arguments)
    except Exception as error:
        lost = device_lost(error)
        let_go(error)
        if isinstance(error, TilerError) and error.__cause__ is None:  # a cause is the store's trouble, which may pass
            return error
        reporter()({"event": "retry", "task": function.__name__, "error": _line(error)})
        if lost:
            _end_worker()
        raise


def _end_worker() -> None:
    """Nothing can be computed in this process any more. Its nanny starts another, and the scheduler gives that its
    tasks; a worker without a nanny leaves the cluster."""
    worker = get_worker()
    time.sleep(_FAREWELL_SECONDS)  # for what was reported to be sent
    if worker.nanny:
        os._exit(1)
    worker.loop.add_callback(worker.close, reason="its GPU is lost")


def _found_wrong(arguments: Iterable[Any]) -> TilerError | None:
    """An error that a task before this one came to."""
    for one in arguments:
        wrong = one if isinstance(one, TilerError) else _found_wrong(one) if isinstance(one, list) else None
        if wrong is not None:
            return wrong
    return None


def _part(found: Any, name: Any) -> Any:
    return found if isinstance(found, TilerError) else found[name]


class Promise:
    """What a task on a worker comes to. As an argument of another task it goes there from worker to worker."""

    def __init__(self, pool: Pool, future: Any) -> None:
        self._pool, self.future = pool, future

    def part(self, name: Any) -> Promise:
        """An entry of the dict that it comes to."""
        return self._pool.promise(_part, self.future, name)

    def done(self, seconds: float = 0.0) -> bool:
        """Whether it is there, after so many seconds at most."""
        if seconds:
            self._pool.wait([self.future], seconds)
        return bool(self.future.done())

    def result(self) -> Any:
        """Wait for it. Raises TilerError."""
        return self._pool.result(self.future)


class Pool:
    """Workers, for one render after the other: our own processes on this machine, or a running cluster. A context
    manager, with whose block the processes end.

    scheduler: the address of a Dask cluster; None: processes of our own. workers: how many of these. threads: CPU
    threads of each; default: cores / workers. Raises SchedulerError when the cluster cannot be reached or another
    process renders with it, and RenderError when a task fails for good.
    """

    def __init__(self, scheduler: str | None = None, workers: int = 1, threads: int | None = None) -> None:
        self._stack, self._topic = contextlib.ExitStack(), f"tiler-{uuid.uuid4().hex}"
        self._handler: Callable[[dict[str, Any]], None] = lambda event: None
        self._known: set[str] | None = None
        self._paused: set[str] = set()
        self._open: list[Any] = []
        try:
            own = None if scheduler else own_cluster(workers, threads or max(1, cores() // workers))
            self._client = self._stack.enter_context(own) if own else self._connect(str(scheduler))
        except BaseException:
            self._stack.close()
            raise

    def _connect(self, scheduler: str) -> Client:
        self._stack.enter_context(dask.config.set(QUIET))
        try:
            client = self._stack.enter_context(Client(scheduler, timeout=15, set_as_default=False))
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise SchedulerError(f"--scheduler {scheduler}: no scheduler answers: {first_line(error)}") from None
        self._stack.enter_context(sole_render(client, scheduler))
        try:
            client.wait_for_workers(1, timeout=_WAIT_SECONDS)
        except TimeoutError:
            raise SchedulerError(
                f"--scheduler {scheduler}: waited {_WAIT_SECONDS} s for a worker to join; start one with: dask worker "
                f"{scheduler}"
            ) from None
        _check_versions(client, scheduler)
        return client

    def grow(self, workers: int) -> None:
        """Have so many of our own workers, at least; a cluster has those that it has."""
        if self._client.cluster and workers > len(self._client.cluster.worker_spec):
            self._client.cluster.scale(workers)
            self._await(workers)

    def _await(self, workers: int = 1) -> None:
        """Raises RenderError when so many are not there in time."""
        try:
            self._client.wait_for_workers(workers, timeout=_WAIT_SECONDS)
        except TimeoutError:
            raise RenderError(
                f"waited {_WAIT_SECONDS} s for {workers} worker(s); the store keeps what is done"
            ) from None

    def everywhere(self, function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, dict[str, Any]]:
        """Call `function` once on every worker, which it is told as `dask_worker` where it asks for that; results by
        the workers' addresses. Once more where one dies meanwhile: another takes its place, or it is missed."""
        for left in reversed(range(_RETRIES + 1)):
            try:
                return dict(self._client.run(function, *arguments))
            except TilerError:
                raise
            except Exception as error:
                if not left or not isinstance(error, OSError):
                    raise RenderError(f"a worker cannot be used: {_line(error)}") from error
            self._await()
        raise AssertionError("not reached")

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._stack.close()

    @property
    def workers(self) -> int:
        """How many there are now. They may come and go; who did is reported."""
        return max(1, len(self._look()))

    def gone(self, addresses: Iterable[str]) -> list[str]:
        """Which of these workers are no more."""
        return sorted({*addresses} - self._look())

    def _there(self) -> set[str]:
        """The workers, by what the scheduler says now. `Client.scheduler_info` would give what the client itself asks
        every two seconds, which is without them, where that comes between."""
        try:
            found = self._client.sync(self._client.scheduler.identity, n_workers=-1)["workers"]
        except OSError:  # as it was, until somebody finds out that the scheduler is gone
            return self._known or set()
        paused = {address for address, worker in found.items() if worker["status"] == "paused"}
        for address in sorted(paused - self._paused):
            self.note(
                f"worker {address} is waited for: Dask has paused it, near the memory limit that it was started with; "
                "started with --memory-limit 0 it is not"
            )
        self._paused = paused
        return set(found)

    def _look(self) -> set[str]:
        now = self._there()
        before, self._known = now if self._known is None else self._known, now
        for kind, which in (("worker lost", before - now), ("worker joined", now - before)):
            for address in sorted(which):
                self._handler({"event": kind, "worker": address, "workers": len(now)})
        return now

    def on_report(self, handler: Callable[[dict[str, Any]], None]) -> None:
        """Have `handler` called, perhaps on another thread, with what running tasks report and what befalls workers."""
        self._handler = handler
        self._client.subscribe_topic(self._topic, lambda event: handler(event[1]))

    def note(self, text: str) -> None:
        """Have a line reported."""
        self._handler({"event": "note", "text": text})

    @property
    def addresses(self) -> list[str]:
        """Of the workers that there are now, one at least."""
        found: set[str] = set()
        while not found:  # the only one may go as soon as it has come
            self._await()
            found = self._there()
        return sorted(found)

    def submit(self, function: Callable[..., Any], *arguments: Any, worker: str | None = None) -> Promise:
        """Call `function` on a worker, on this one if it lives. Promises among the arguments, and in lists of these,
        are kept first."""
        where = {"workers": [worker], "allow_other_workers": True} if worker else {}
        told = [_futures(one) for one in arguments]
        return self.promise(_attempt, function, told, self._topic, retries=_RETRIES, **where)

    def promise(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Promise:
        """Of what the scheduler is asked for."""
        future = self._client.submit(function, *arguments, pure=False, **options)
        self._open = [*(one for one in self._open if not one.done()), future]
        return Promise(self, future)

    def rest(self) -> None:
        """Wait until nothing that was asked for is going on: what was begun writes to the store no more."""
        self.wait(self._open)

    def stop(self) -> None:
        """End what is being computed, at its next step, and forget what was asked for. The workers stay, and may be
        asked for something else."""
        self.everywhere(_want, self._topic, False)
        try:
            self.rest()
        finally:
            self.everywhere(_want, self._topic, True)
            self.drop()

    def drop(self) -> None:
        """Whatever was asked for and has not begun is not wanted any more."""
        self._client.cancel(self._open)
        self._open = []

    def wait(self, futures: list[Any], seconds: float | None = None) -> None:
        """Until all of them are there, or failed; so many seconds at most."""
        with self._client.as_current(), contextlib.suppress(TimeoutError):
            wait(futures, timeout=seconds)

    def result(self, future: Any) -> Any:
        """Wait for it. Raises TilerError."""
        try:
            result = future.result()
        except TilerError:
            raise
        except KilledWorker as error:
            raise WorkerDiedError(
                f"{error.allowed_failures + 1} workers died on the same task, perhaps out of memory; the store keeps "
                "what is done; free some memory, or take fewer --workers"
            ) from None
        except Exception as error:
            raise RenderError(f"a task could not be finished; the store keeps what is done. {_line(error)}") from error
        if isinstance(result, TilerError):
            raise result
        return result


def _futures(argument: Any) -> Any:
    if isinstance(argument, Promise):
        return argument.future
    return [_futures(one) for one in argument] if isinstance(argument, list) else argument


def _check_versions(client: Client, scheduler: str) -> None:
    """Another version may compute other bytes; a worker without tiler would fail task by task."""
    try:
        found = client.run(_version)
    except Exception as error:
        raise SchedulerError(
            f"--scheduler {scheduler}: its workers cannot import tiler {__version__}, install it there: "
            f"{first_line(error)}"
        ) from None
    for worker, version in found.items():
        if version != __version__:
            raise SchedulerError(
                f"--scheduler {scheduler}: worker {worker} has tiler {version}, this is {__version__}; "
                "install the same version everywhere"
            )


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"


def memory_bytes() -> int:
    """Memory that is free now, within the limits (cgroup, ulimit) of this process."""
    return int(min(psutil.virtual_memory().available, MEMORY_LIMIT))


def memory_there() -> int:
    """Memory that there is, free or not, within the same limits."""
    return int(min(psutil.virtual_memory().total, MEMORY_LIMIT))


def cores() -> int:
    """CPU cores that this process may keep busy, by its affinity and by its control group's quota."""
    return int(dask.system.CPU_COUNT)
