"""Have functions run on workers: it knows functions and arguments, not tiles. What goes on there is in `worker`."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from typing import Any

import dask
from distributed import Client, KilledWorker, wait
from distributed.utils import silence_logging_cmgr

from tiler.engine.cluster import QUIET, own_cluster
from tiler.engine.host import cores
from tiler.engine.place import first_line
from tiler.engine.sole import sole_render
from tiler.engine.worker import attempt, line, part, version, want
from tiler.errors import RenderError, SchedulerError, TilerError, WorkerDiedError
from tiler.version import __version__

_RETRIES = 2
_WAIT_SECONDS = 60


class Promise:
    """What a task on a worker comes to. As an argument of another task it goes there from worker to worker."""

    def __init__(self, pool: Pool, future: Any) -> None:
        self._pool, self.future = pool, future

    def part(self, name: Any) -> Promise:
        """An entry of the dict that it comes to."""
        return self._pool.promise(part, self.future, name)

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
        self._known: dict[str, str] | None = None
        self._open: list[Any] = []
        try:
            own = None if scheduler else own_cluster(workers, threads or max(1, cores() // workers))
            self._client = self._stack.enter_context(own) if own else self._connect(str(scheduler))
        except BaseException:
            self._stack.close()
            raise

    def _connect(self, scheduler: str) -> Client:
        self._stack.enter_context(dask.config.set(QUIET))
        self._stack.enter_context(silence_logging_cmgr(logging.CRITICAL))  # what goes wrong is told here
        try:
            client = self._stack.enter_context(Client(scheduler, timeout=15, set_as_default=False))
            self._stack.enter_context(sole_render(client, scheduler))
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise SchedulerError(f"--scheduler {scheduler}: no scheduler answers: {first_line(error)}") from None
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
                    raise RenderError(f"a worker cannot be used: {line(error)}") from error
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

    def _there(self) -> dict[str, str]:
        """The workers' addresses and what each is at, by what the scheduler says now. `Client.scheduler_info` would
        give what the client itself asks every two seconds, which is without them, where that comes between."""
        try:
            found = self._client.sync(self._client.scheduler.identity, n_workers=-1)["workers"]
        except OSError:  # as it was, until somebody finds out that the scheduler is gone
            return self._known or {}
        return {address: worker["status"] for address, worker in found.items()}

    def _look(self) -> set[str]:
        now, known = self._there(), self._known
        before, self._known = now if known is None else known, now
        for kind, which in (("worker lost", before.keys() - now), ("worker joined", now.keys() - before)):
            for address in sorted(which):
                self._handler({"event": kind, "worker": address, "workers": len(now)})
        for address in sorted(now):
            if now[address] == "paused" and (known or {}).get(address) != "paused":
                self.note(
                    f"worker {address} is waited for: Dask has paused it, near the memory limit that it was started "
                    "with; started with --memory-limit 0 it is not"
                )
        return set(now)

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
        found: dict[str, str] = {}
        while not found:  # the only one may go as soon as it has come
            self._await()
            found = self._there()
        return sorted(found)

    def submit(self, function: Callable[..., Any], *arguments: Any, worker: str | None = None) -> Promise:
        """Call `function` on a worker, on this one if it lives. Promises among the arguments, and in lists of these,
        are kept first."""
        where = {"workers": [worker], "allow_other_workers": True} if worker else {}
        told = [_futures(one) for one in arguments]
        return self.promise(attempt, function, told, self._topic, retries=_RETRIES, **where)

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
        self.everywhere(want, self._topic, False)
        try:
            self.rest()
        finally:
            self.everywhere(want, self._topic, True)
            self.drop()

    def drop(self) -> None:
        """Whatever was asked for and has not begun is not wanted any more."""
        self._client.cancel(self._open)
        self._open = []

    def wait(self, futures: list[Any], seconds: float | None = None) -> None:
        """Until all of them are there, or failed, or cannot come any more; so many seconds at most."""
        with self._client.as_current(), contextlib.suppress(TimeoutError, CancelledError):
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
        except CancelledError:
            raise RenderError(
                "the connection to the scheduler is lost; the store keeps what is done; go on when it is there again"
            ) from None
        except Exception as error:
            raise RenderError(f"a task could not be finished; the store keeps what is done. {line(error)}") from error
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
        found = client.run(version)
    except Exception as error:
        raise SchedulerError(
            f"--scheduler {scheduler}: its workers cannot import tiler {__version__}, install it there: "
            f"{first_line(error)}"
        ) from None
    for worker, other in found.items():
        if other != __version__:
            raise SchedulerError(
                f"--scheduler {scheduler}: worker {worker} has tiler {other}, this is {__version__}; "
                "install the same version everywhere"
            )
