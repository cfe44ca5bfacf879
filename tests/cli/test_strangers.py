"""What lies in the current folder or in shared folders, what is configured for other clusters, and other people's
processes: none of it gets into a render."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import sys
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from distributed import Security
from distributed.comm import connect
from processes import RENDER, Running

from tiler.engine import cluster
from tiler.engine.certificate import certificate
from tiler.engine.store import RenderStore

MODULES = (
    "sitecustomize usercustomize signal random numpy zarr torch dask distributed tornado psutil kernels PIL yaml ssl"
)
SMALL = ("--long-edge=48", "--levels=1", "--steps=40", "--tile=32", "--threads=1", "--log-json")


def _plant(folder: Path) -> Path:
    """Modules in `folder` that leave their names in a file there when they are run."""
    folder.mkdir(exist_ok=True)
    for name in MODULES.split():
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write('{name} ')\n")
    return folder / "ran"


def _listeners(render: Running) -> list[tuple[str, int]]:
    found = []
    for one in {*render.family, *render.descendants()}:
        with contextlib.suppress(psutil.Error):
            found += [tuple(each.laddr) for each in one.net_connections("inet") if each.status == psutil.CONN_LISTEN]
    return found


async def _speaks(address: str, security: Security) -> bool:
    try:
        comm = await connect(address, timeout=5, **security.get_connection_args("client"))
    except (OSError, TypeError, ValueError):
        return False
    try:  # with TLS 1.3 the refusal comes after the handshake
        await comm.write({"op": "identity", "reply": True})
        return bool(await asyncio.wait_for(comm.read(), 5))
    except (TimeoutError, OSError):
        return False
    finally:
        comm.abort()


def _of(shown: str, key: str) -> Security:
    return Security(require_encryption=True, tls_ca_file=shown, tls_client_cert=shown, tls_client_key=key)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the sockets of other processes")
def test_nothing_planted_runs_and_nobody_else_is_heard(inputs: Path, small_weights: str, tmp_path: Path) -> None:
    ran = _plant(inputs)
    shared = tmp_path / "shared"
    shared.mkdir()
    also_ran = _plant(shared / "dask-scratch-space")
    (inputs / "dask.yaml").write_text("distributed: {worker: {preload: [random]}}\n")
    tool = tmp_path / "bin" / "tool.py"
    tool.parent.mkdir()
    tool.write_text("from tiler.cli import main\nif __name__ == '__main__':\n    main()\n")
    others = {
        "TMPDIR": str(shared),
        "DASK_TEMPORARY_DIRECTORY": str(shared),
        "DASK_CONFIG": str(inputs / "dask.yaml"),
        "DASK_SCHEDULER_ADDRESS": "tcp://127.0.0.1:9",
        "DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": "ws",
        "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "forkserver",
        "DASK_DISTRIBUTED__WORKER__LIFETIME__DURATION": "1s",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }
    for who in ("SCHEDULER", "WORKER", "NANNY", "CLIENT"):
        others[f"DASK_DISTRIBUTED__{who}__PRELOAD"] = f'["{inputs / "signal.py"}"]'
    render = Running(inputs, *RENDER, *SMALL, f"--weights={small_weights}", program=(str(tool),), **others)
    render.wait_for("tile")
    os.kill(render.process.pid, 0)
    listeners = _listeners(render)
    ours = certificate()
    heard = [
        port
        for _, port in listeners
        for scheme, security in (("tcp", Security()), ("tls", _of(*ours)))
        if asyncio.run(_speaks(f"{scheme}://127.0.0.1:{port}", security))
    ]
    assert render.end() == 0, render.stderr
    assert {host for host, _ in listeners} == {"127.0.0.1"}
    assert len(listeners) >= 3  # the scheduler, a nanny and a worker
    assert heard == []
    assert not ran.exists(), ran.read_text()
    assert not also_ran.exists(), also_ran.read_text()
    assert sorted(path.name for path in shared.iterdir()) == ["dask-scratch-space"]
    assert not [path for path in (shared / "dask-scratch-space").iterdir() if path.suffix != ".py"]


def test_who_has_the_certificate_is_heard_and_nothing_of_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """That strangers are not is worth something only beside somebody who is."""
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    environment, path = {name: value for name, value in os.environ.items() if "DASK" not in name}, list(sys.path)
    with cluster.own_cluster(1, 1) as client:
        address, security = client.scheduler.address, client.security
        assert address.startswith("tls://127.0.0.1:")
        assert asyncio.run(_speaks(address, security))
        assert not asyncio.run(_speaks(address, _of(*certificate())))
        [worker] = client.scheduler_info()["workers"].values()
        assert asyncio.run(_speaks(worker["nanny"], security))
        [born] = client.run(lambda: dict(os.environ)).values()
        # Or a clock that is set forward would end all workers.
        assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.worker_ttl) is None
    assert born["PYTHONSAFEPATH"] == "1"
    assert born["MALLOC_ARENA_MAX"] == "1"
    assert {name: value for name, value in os.environ.items() if "DASK" not in name} == environment
    assert sys.path == path
    assert not asyncio.run(_speaks(address, security))


def test_no_clock_that_is_set_during_a_run_ends_it() -> None:
    """Whoever connects again after years, either way, still finds the certificate valid."""
    shown = x509.load_pem_x509_certificate(certificate()[0].encode())
    now, years = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=9 * 365)
    assert shown.not_valid_before_utc < now - years
    assert shown.not_valid_after_utc > now + years


def test_each_run_has_a_name_of_its_own_in_the_store(here, inputs: Path, small_weights: str) -> None:
    """By which tasks of the one before know that they are late (tests/engine/test_stale_run.py)."""
    names = set()
    for _ in range(2):
        done = here(*RENDER, "--long-edge=32", "--levels=1", "--steps=1", "--threads=1", f"--weights={small_weights}")
        assert done.returncode == 0, done.stderr
        names.add(RenderStore.open(str(inputs / "poster.zarr")).holder())
    assert [len(name) for name in names] == [32, 32]
