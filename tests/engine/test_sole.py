"""One render at a time has a cluster, as long as its process lives and no longer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import dask
import pytest
from distributed import Client, LocalCluster, Variable

from tiler.engine import sole
from tiler.engine.schedule import Pool
from tiler.engine.sole import sole_render
from tiler.errors import SchedulerError

HOLD = """
import sys, time
from distributed import Client
from tiler.engine.sole import sole_render
with Client(sys.argv[1], set_as_default=False) as client, sole_render(client, sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""
QUICK = {
    "distributed.scheduler.locks.lease-timeout": "2s",
    "distributed.scheduler.locks.lease-validation-interval": "500ms",
}


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with (
        dask.config.set(QUICK),
        LocalCluster(n_workers=0, protocol="tcp", dashboard_address=None, host="127.0.0.1") as cluster,
    ):
        yield cluster


def client_of(cluster: LocalCluster) -> Client:
    return Client(cluster.scheduler_address, set_as_default=False)


def test_the_second_is_told_who_has_it_and_gets_it_when_that_ends(cluster: LocalCluster) -> None:
    with client_of(cluster) as first, client_of(cluster) as second:
        with sole_render(first, "tcp://a:1"):
            time.sleep(3)  # longer than a lease that is not renewed
            began = time.monotonic()
            with pytest.raises(SchedulerError) as error, sole_render(second, "tcp://a:1"):
                pytest.fail("two have it")
            assert time.monotonic() - began < 5
            with pytest.raises(SchedulerError, match=f"--scheduler {cluster.scheduler_address}: in use by process "):
                Pool(cluster.scheduler_address)
        assert f"--scheduler tcp://a:1: in use by process {os.getpid()} on " in str(error.value)
        with sole_render(second, "tcp://a:1"):
            pass
        with sole_render(first, "tcp://a:1"):
            pass


def test_whoever_is_killed_has_it_no_more(cluster: LocalCluster) -> None:
    with client_of(cluster) as client:
        command = [sys.executable, "-c", HOLD, cluster.scheduler_address]
        environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__LOCKS__LEASE_TIMEOUT": "2s"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as holder:
            try:
                assert holder.stdout is not None
                assert holder.stdout.readline() == "held\n"
                with (
                    pytest.raises(SchedulerError, match=f"in use by process {holder.pid} on "),
                    sole_render(client, ""),
                ):
                    pass
            finally:
                holder.kill()
        with sole_render(client, ""):
            pass


def test_who_has_it_may_not_have_said_so_yet(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing, or what one who has gone has left, is no sign that nobody is there."""
    monkeypatch.setattr(sole, "_EXPIRY_SECONDS", 0.5)
    monkeypatch.setattr(sole, "_LOOK_SECONDS", 0.1)
    with client_of(cluster) as first, client_of(cluster) as second, sole_render(first, ""):
        said = Variable(sole._NAME, first)
        for left in ("", "{}", "[1]", json.dumps({"client": "gone"}), None):
            said.delete() if left is None else said.set(left)
            with pytest.raises(SchedulerError, match="in use by another process"), sole_render(second, ""):
                pytest.fail("two have it")
