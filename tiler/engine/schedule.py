"""Run functions on workers. It and `cluster` alone import dask; it knows functions and arguments, not tiles."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dask
import dask.system
import psutil
from distributed import Client, KilledWorker, Lock, as_completed, get_client, get_worker
from distributed.system import MEMORY_LIMIT

from tiler.engine.cluster import QUIET, own_cluster
from tiler.engine.faults import device_lost, let_go
from tiler.engine.place import first_line
from tiler.errors import ConfigError, RenderError, TilerError, WorkerDiedError
from tiler.version import __version__

# Of a cluster that several renders share, each hears its own tasks only.
_topic: contextvars.ContextVar[str] = contextvars.ContextVar("topic", default="tiler")
# For each worker: two that run, and one that waits its turn.
_IN_FLIGHT = 3
_RETRIES = 2
_WAIT_SECONDS = 60
_FAREWELL_SECONDS = 0.5


def reporter() -> Callable[[dict[str, Any]], None]:
    """A function that sends small dicts from the task that runs now to the pool's `on_report` handler, from any thread
    of its own; outside a worker nobody listens."""
    try:
        worker = get_worker()
    except ValueError:
        return lambda event: None
    topic = _topic.get()
    return lambda event: worker.log_event(topic, event)


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


def _attempt(
    function: Callable[..., dict[str, Any]], arguments: tuple[Any, ...], topic: str
) -> dict[str, Any] | TilerError:
    """Runs on the worker. Errors of ours come back as values: trying again would end the same way."""
    _topic.set(topic)
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


class Pool:
    """Workers of one render: our own processes on this machine, or a running cluster.

    Raises ConfigError when the cluster cannot be reached and RenderError when a task fails for good.
    """

    def __init__(self, scheduler: str | None, workers: int, threads: int) -> None:
        self._stack, self._topic = contextlib.ExitStack(), f"tiler-{uuid.uuid4().hex}"
        self._handler: Callable[[dict[str, Any]], None] = lambda event: None
        self._known: set[str] | None = None
        try:
            own = None if scheduler else own_cluster(workers, threads)
            self._client = self._stack.enter_context(own) if own else self._connect(str(scheduler))
        except BaseException:
            self._stack.close()
            raise

    def _connect(self, scheduler: str) -> Client:
        self._stack.enter_context(dask.config.set(QUIET))
        try:
            client = self._stack.enter_context(Client(scheduler, timeout=15, set_as_default=False))
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise ConfigError(f"--scheduler {scheduler}: no scheduler answers: {first_line(error)}") from None
        try:
            client.wait_for_workers(1, timeout=_WAIT_SECONDS)
        except TimeoutError:
            raise ConfigError(
                f"--scheduler {scheduler}: waited {_WAIT_SECONDS} s for a worker to join; start one with: dask worker "
                f"{scheduler}"
            ) from None
        _check_versions(client, scheduler)
        return client

    def grow(self, workers: int) -> None:
        """Have so many of our own workers, at least; a cluster has those that it has."""
        if self._client.cluster and workers > len(self._client.cluster.worker_spec):
            self._client.cluster.scale(workers)
            self._client.wait_for_workers(workers, timeout=_WAIT_SECONDS)

    def everywhere(self, function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, dict[str, Any]]:
        """Call `function` once on every worker, which it is told as `dask_worker` where it asks for that; results by
        the workers' addresses."""
        try:
            return dict(self._client.run(function, *arguments))
        except TilerError:
            raise
        except Exception as error:
            raise RenderError(f"a worker cannot be used: {_line(error)}") from error

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._stack.close()

    @property
    def workers(self) -> int:
        """How many there are now. They may come and go; who did is reported."""
        now = set(self._client.scheduler_info(n_workers=-1)["workers"])
        before, self._known = now if self._known is None else self._known, now
        for kind, which in (("worker lost", before - now), ("worker joined", now - before)):
            for address in sorted(which):
                self._handler({"event": kind, "worker": address, "workers": len(now)})
        return max(1, len(now))

    def on_report(self, handler: Callable[[dict[str, Any]], None]) -> None:
        """Have `handler` called, perhaps on another thread, with what running tasks report and what befalls workers."""
        self._handler = handler
        self._client.subscribe_topic(self._topic, lambda event: handler(event[1]))

    def run(
        self, function: Callable[..., dict[str, Any]], arguments: Iterable[tuple[Any, ...]]
    ) -> Iterator[dict[str, Any]]:
        """Call `function` once for each tuple, a bounded number at a time; results come as they are ready.

        When one fails for good, its error is raised as soon as those that are running have ended: nothing that was
        begun here writes to the store afterwards.
        """
        waiting = iter(arguments)
        running = as_completed(loop=self._client.loop)
        failure: TilerError | None = None
        for one in itertools.islice(waiting, _IN_FLIGHT * self.workers):
            running.add(self._submit(function, one))
        for future in running:
            try:
                yield self._result(future)
            except TilerError as error:
                failure, waiting = failure or error, iter(())
            # A worker that came, or one that went, changes how many there should be.
            for one in itertools.islice(waiting, max(0, _IN_FLIGHT * self.workers - running.count())):
                running.add(self._submit(function, one))
        if failure is not None:
            raise failure

    def _submit(self, function: Callable[..., dict[str, Any]], one: tuple[Any, ...]) -> Any:
        return self._client.submit(_attempt, function, one, self._topic, pure=False, retries=_RETRIES)

    def _result(self, future: Any) -> dict[str, Any]:
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


def _check_versions(client: Client, scheduler: str) -> None:
    """Another version may compute other bytes; a worker without tiler would fail task by task."""
    try:
        found = client.run(_version)
    except Exception as error:
        raise ConfigError(
            f"--scheduler {scheduler}: its workers cannot import tiler {__version__}, install it there: "
            f"{first_line(error)}"
        ) from None
    for worker, version in found.items():
        if version != __version__:
            raise ConfigError(
                f"--scheduler {scheduler}: worker {worker} has tiler {version}, this is {__version__}; "
                "install the same version everywhere"
            )


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"


def memory_bytes() -> int:
    """Memory that is free now, within the limits (cgroup, ulimit) of this process."""
    return int(min(psutil.virtual_memory().available, MEMORY_LIMIT))


def cores() -> int:
    """CPU cores that this process may keep busy, by its affinity and by its control group's quota."""
    return int(dask.system.CPU_COUNT)
