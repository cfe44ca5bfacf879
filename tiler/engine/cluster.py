"""A cluster of our own on this machine: its processes, what they inherit at birth, and who may speak to them.

Nothing that lies in the current folder runs in it, nothing that is configured for other clusters of Dask's changes it,
and nobody without the run's certificate gets an answer, on whatever port of the loopback interface.
"""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import sys
import tempfile
from collections.abc import Iterator, Mapping
from multiprocessing import resource_tracker
from typing import Any

import dask
from distributed import Client, Nanny, Scheduler, Security, SpecCluster
from distributed.utils import LoopRunner

from tiler.engine.certificate import certificate
from tiler.engine.place import first_line
from tiler.engine.waiting import patience
from tiler.errors import RenderError

# Of a worker's two tasks one reads or writes while the other computes (tiler.engine.workplace).
_THREADS, _STARTS, _CLOSE_SECONDS = 2, 5, 3
# A worker's memory, which Dask would have handed back after every free: torch's large buffers come and go each step,
# and stay mapped (a step of 512 px takes 0.88 of the time in fp32, 0.93 in bf16). One heap for all threads, or each
# would keep the largest buffers that it ever had (a fifth of a worker's memory).
HEAP = {"MALLOC_TRIM_THRESHOLD_": f"{2**34}", "MALLOC_MMAP_THRESHOLD_": f"{2**34}", "MALLOC_ARENA_MAX": "1"}
QUIET = {"distributed.logging.distributed": "critical", "distributed.comm.timeouts.connect": "15s"}


@contextlib.contextmanager
def own_cluster(workers: int, threads: int) -> Iterator[Client]:
    """A client of `workers` new processes, which end with the block, whatever they are at: a tile that is not marked is
    computed again. threads: of torch, in each. Raises RenderError when they do not start."""
    nannies: list[Nanny] = []

    def nanny(*arguments: Any, **options: Any) -> Nanny:
        nannies.append(Nanny(*arguments, **options))
        return nannies[-1]

    with contextlib.ExitStack() as stack:
        birth = _birth(threads)
        stack.enter_context(_environment(birth))
        _hush_resource_tracker()
        scratch = stack.enter_context(_scratch())
        stack.enter_context(dask.config.set(_settings(birth, scratch)))
        secret = _security()
        common = {"host": "127.0.0.1", "protocol": "tls", "security": secret, "dashboard": False}
        # No memory limit of dask's: tiles are sized to fit, and its guess of what is free would pause them.
        options = {**common, "nthreads": _THREADS, "memory_limit": 0, "silence_logs": 50, "local_directory": scratch}
        worker = {"cls": nanny, "options": options}
        scheduler = {"cls": Scheduler, "options": {**common, "port": 0, "dashboard_address": "127.0.0.1:0"}}
        loop = stack.enter_context(_loop())
        stack.callback(_kill, nannies)
        cluster = stack.enter_context(_closing(_cluster(workers, worker, scheduler, secret, loop)))
        client = stack.enter_context(_closing(Client(cluster, set_as_default=False)))
        stack.callback(_kill, nannies)
        yield client


def _kill(nannies: list[Nanny]) -> None:
    """At once, which saves a second of farewells."""
    while nannies:
        nanny = nannies.pop()
        nanny.close_gracefully()  # so that it does not start another
        if nanny.pid:
            with contextlib.suppress(ProcessLookupError):  # it has just died
                os.kill(nanny.pid, signal.SIGKILL)


@contextlib.contextmanager
def _closing(part: Any) -> Iterator[Any]:
    """What goes wrong in closing it tells nobody anything; what ended the block does."""
    try:
        yield part
    finally:
        with contextlib.suppress(Exception):
            part.close(timeout=_CLOSE_SECONDS)


@contextlib.contextmanager
def _loop() -> Iterator[Any]:
    """Dask's event loop. A terminal's Ctrl-C reaches all processes: those that this thread starts do not hear it."""
    runner = LoopRunner()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        runner.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield runner.loop
    finally:
        runner.stop(_CLOSE_SECONDS)


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    """A folder of this run's. Dask would take one that anybody may have made, and look for modules there."""
    try:
        made = tempfile.TemporaryDirectory(prefix="tiler-", ignore_cleanup_errors=True)
    except OSError as error:
        raise RenderError(f"no folder for temporary files can be made (TMPDIR): {error.strerror}") from None
    with made as folder:
        try:
            yield folder
        finally:
            sys.path[:] = [each for each in sys.path if not each.startswith(folder)]


def _birth(threads: int) -> dict[str, str]:
    """What a worker inherits. It is started by `python -c`, which looks for modules in the current folder first, where
    the pictures are and perhaps a signal.py."""
    return {"OMP_NUM_THREADS": str(threads), "PYTHONSAFEPATH": "1", **HEAP, **patience(os.environ)}


@contextlib.contextmanager
def _environment(birth: Mapping[str, str]) -> Iterator[None]:
    """This process's own, where Dask puts what workers inherit, is afterwards as it was."""
    before = {name: os.environ.get(name) for name in (*birth, "PYTHONHASHSEED")}
    os.environ["PYTHONSAFEPATH"] = "1"  # also of the resource tracker
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _settings(birth: Mapping[str, str], scratch: str) -> dict[str, Any]:
    """Dask's defaults and ours. Files and variables that configure Dask are for other clusters: they could load modules
    into these, end workers after a while, or make them listen elsewhere."""
    defaults = dask.config.merge(*dask.config.defaults)
    ours: dict[str, Any] = {
        **QUIET,
        "temporary-directory": scratch,
        "distributed.nanny.pre-spawn-environ": dict(birth),
        # Pages that tell anybody what is being done.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.worker.profile.enabled": False,
        # A block's tasks are where its state is; stolen by another worker, they find nothing there.
        "distributed.scheduler.work-stealing": False,
        # Nannies see a process end; by the clock, one that is set forward would end all.
        "distributed.scheduler.worker-ttl": None,
        # So long after a worker's death its nanny is closed if none is there at that moment, be it that another one has
        # just died and the next is starting.
        "distributed.deploy.lost-worker-timeout": "365 days",
    }
    return {**dict.fromkeys(dask.config.config), **defaults, **ours}


def _security() -> Security:
    """Whoever has the run's one certificate may speak, and nobody else."""
    shown, key = certificate()
    both = {
        f"tls_{role}_{part}": value
        for role in ("client", "scheduler", "worker")
        for part, value in (("cert", shown), ("key", key))
    }
    return Security(require_encryption=True, tls_ca_file=shown, tls_min_version=ssl.TLSVersion.TLSv1_3, **both)


def _cluster(
    count: int, worker: dict[str, Any], scheduler: dict[str, Any], secret: Security, loop: Any, attempts: int = _STARTS
) -> SpecCluster:
    """A nanny replaces a worker that dies once it was up; one that dies while it starts fails the whole cluster."""
    try:
        return SpecCluster(
            dict.fromkeys(range(count), worker), scheduler, worker, security=secret, loop=loop, silence_logs=50
        )
    except RuntimeError as error:
        if attempts > 1:
            return _cluster(count, worker, scheduler, secret, loop, attempts - 1)
        raise RenderError(f"{count} worker(s) could not be started: {first_line(error)}") from error


def _hush_resource_tracker() -> None:
    """A worker that is killed leaves a codec's semaphore behind. Python's tracker process removes it, and would say so
    on standard error."""
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.pop()
