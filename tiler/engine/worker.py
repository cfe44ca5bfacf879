"""What runs on a worker around a task: whom it tells, whether it is still wanted, what becomes of what goes wrong."""

from __future__ import annotations

import contextlib
import contextvars
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from distributed import Lock, get_client, get_worker

from tiler.engine.faults import device_lost, let_go
from tiler.errors import CancelledError, TilerError
from tiler.version import __version__

# Outside of a worker nobody listens, but for whom `heard_by` says.
_listener: contextvars.ContextVar[Callable[[dict[str, Any]], None]] = contextvars.ContextVar(
    "listener", default=lambda event: None
)
# Of a cluster that renders share, one after the other, each hears its own tasks only.
_topic: contextvars.ContextVar[str] = contextvars.ContextVar("topic", default="tiler")
# On a worker: whose tasks are not wanted any more, by topic.
_stopped: set[str] = set()
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


def want(topic: str, wanted: bool) -> dict[str, Any]:
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


def version() -> str:
    """Of the tiler that a worker imports."""
    return __version__


def attempt(function: Callable[..., Any], arguments: list[Any], topic: str) -> Any:
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
        reporter()({"event": "retry", "task": function.__name__, "error": line(error)})
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


def part(found: Any, name: Any) -> Any:
    return found if isinstance(found, TilerError) else found[name]


def line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"
