"""How a run's own workers are started and ended: what they inherit, who may speak, what is left."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import pytest
from dask.utils import parse_timedelta
from here import run_main

from tiler.engine import cluster
from tiler.errors import RenderError

CHOSEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def test_what_a_worker_inherits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CHOSEN:
        monkeypatch.delenv(name, raising=False)
    heap = {"MALLOC_TRIM_THRESHOLD_": "17179869184", "MALLOC_MMAP_THRESHOLD_": "17179869184", "MALLOC_ARENA_MAX": "1"}
    before = {"OMP_NUM_THREADS": "3", "PYTHONSAFEPATH": "1", **heap}
    assert cluster._birth(3) == {**before, "GOMP_SPINCOUNT": "5000"}
    for name in CHOSEN:  # somebody knows better
        with monkeypatch.context() as patched:
            patched.setenv(name, "7")
            assert cluster._birth(3) == before


def test_the_environment_is_afterwards_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("PYTHONSAFEPATH", "PYTHONHASHSEED", "MALLOC_ARENA_MAX"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    with contextlib.suppress(ZeroDivisionError), cluster._environment(cluster._birth(3)):
        assert os.environ["PYTHONSAFEPATH"] == "1"
        os.environ.update(OMP_NUM_THREADS="9", PYTHONHASHSEED="7", MALLOC_ARENA_MAX="5")
        raise ZeroDivisionError
    assert dict(os.environ) == before


def test_a_run_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = list(sys.path)
    with cluster._scratch() as folder:
        assert Path(folder).parent == tmp_path
        assert Path(folder).name.startswith("tiler-")
        assert os.stat(folder).st_mode & 0o777 == 0o700
        sys.path.insert(0, f"{folder}/dask-scratch-space")
    assert sys.path == path
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(RenderError, match=r"no folder for temporary files can be made \(TMPDIR\): No such file"):
        cluster._scratch().__enter__()


def test_settings_are_dasks_own_and_ours_whatever_files_say(monkeypatch: pytest.MonkeyPatch) -> None:
    with dask.config.set({"distributed.worker.lifetime.duration": "1s", "of-others": {"preload": "evil"}}):
        found = cluster._settings({"A": "1"}, "/scratch")
    with dask.config.set(found):
        assert dask.config.get("distributed.worker.lifetime.duration") is None
        assert dask.config.get("of-others") is None
        assert dask.config.get("temporary-directory") == "/scratch"
        assert dask.config.get("distributed.nanny.pre-spawn-environ") == {"A": "1"}
        assert dask.config.get("distributed.scheduler.http.routes") == []
        assert dask.config.get("distributed.worker.http.routes") == []
        assert dask.config.get("distributed.worker.profile.enabled") is False
        assert dask.config.get("distributed.scheduler.worker-ttl") is None


def test_everybody_shows_the_runs_one_certificate_and_nothing_else_will_do() -> None:
    found, other = cluster._security(), cluster._security()
    assert found.require_encryption
    assert found.tls_min_version == ssl.TLSVersion.TLSv1_3
    for role in ("client", "scheduler", "worker"):
        assert getattr(found, f"tls_{role}_cert") == found.tls_ca_file
        assert "PRIVATE KEY" in getattr(found, f"tls_{role}_key")
    assert found.tls_ca_file != other.tls_ca_file
    assert found.tls_client_key != other.tls_client_key


def test_workers_of_a_cluster_that_does_not_start_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []

    def start(workers: dict[int, Any], scheduler: Any, worker: Any, **how: Any) -> Any:
        pid = workers[0]["cls"]().pid
        workers[0]["cls"](pid + 1)
        raise RuntimeError("Nanny failed to start.")

    def nanny(pid: int = 70) -> Any:
        return SimpleNamespace(pid=pid, close_gracefully=lambda: None)

    monkeypatch.setattr(os, "kill", lambda pid, how: killed.append(pid))
    monkeypatch.setattr(cluster, "_hush_resource_tracker", lambda: None)
    monkeypatch.setattr(cluster, "_loop", lambda: contextlib.nullcontext("loop"))
    monkeypatch.setattr(cluster, "Nanny", nanny)
    monkeypatch.setattr(cluster, "SpecCluster", start)
    with pytest.raises(RenderError, match="could not be started"):
        cluster.own_cluster(1, 1).__enter__()
    assert killed == [71, 70] * 5


@pytest.mark.parametrize("fails", [False, True])
def test_a_cluster_is_nobodys_but_this_run_s_and_ends_with_it(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """On the loopback interface, on whatever port is free, and encrypted; without a limit of Dask's to memory."""
    made, seen, killed = list[Any](), dict[str, Any](), list[int]()

    def start(workers: dict[int, Any], scheduler: Any, worker: Any, **how: Any) -> Any:
        made.extend(each["cls"](**each["options"]) for each in workers.values())
        names = ("temporary-directory", "distributed.nanny.pre-spawn-environ", "distributed.worker.profile.enabled")
        seen.update(scheduler=scheduler, how=how, safe=os.environ["PYTHONSAFEPATH"])
        seen.update({name: dask.config.get(name) for name in names})
        return SimpleNamespace(close=lambda timeout: seen.update(closed=len(killed)))

    def nanny(*given: Any, **options: Any) -> Any:
        return SimpleNamespace(pid=70 + len(made), close_gracefully=lambda: None, given=given, options=options)

    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setattr(os, "kill", lambda pid, how: killed.append(pid))
    monkeypatch.setattr(cluster, "_hush_resource_tracker", lambda: seen.update(hushed=True))
    monkeypatch.setattr(cluster, "_security", lambda: "secret")
    monkeypatch.setattr(cluster, "_loop", lambda: contextlib.nullcontext("loop"))
    monkeypatch.setattr(cluster, "Nanny", nanny)
    monkeypatch.setattr(cluster, "SpecCluster", start)
    client = SimpleNamespace(close=lambda timeout: seen.update(left=len(killed)))
    monkeypatch.setattr(cluster, "Client", lambda cluster, set_as_default: seen.update(own=set_as_default) or client)
    with contextlib.suppress(ZeroDivisionError), cluster.own_cluster(2, 3) as found:
        assert found is client
        assert killed == []
        if fails:
            raise ZeroDivisionError
    scratch = seen["temporary-directory"]
    common = {"host": "127.0.0.1", "protocol": "tls", "security": "secret", "dashboard": False}
    options = {"nthreads": 2, "memory_limit": 0, "silence_logs": 50, "local_directory": scratch}
    assert [(one.given, one.options) for one in made] == [((), {**common, **options})] * 2
    assert made[0] is not made[1]
    assert seen["scheduler"]["options"] == {**common, "port": 0, "dashboard_address": "127.0.0.1:0"}
    assert seen["how"] == {"security": "secret", "loop": "loop", "silence_logs": 50}
    assert seen["distributed.nanny.pre-spawn-environ"] == cluster._birth(3)
    assert (seen["distributed.worker.profile.enabled"], seen["own"], seen["hushed"]) == (False, False, True)
    assert (seen["safe"], os.environ.get("PYTHONSAFEPATH")) == ("1", None)
    assert (killed, seen["left"], seen["closed"]) == ([71, 70], 2, 2), "killed first, before anything is closed"
    assert not Path(scratch).exists()


def test_workers_are_killed_and_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []

    def kill(pid: int, how: int) -> None:
        done.append((pid, how))
        if pid == 8:
            raise ProcessLookupError

    monkeypatch.setattr(os, "kill", kill)
    nannies = [SimpleNamespace(pid=pid, close_gracefully=lambda pid=pid: done.append(pid)) for pid in (7, None, 8)]
    cluster._kill(nannies)  # type: ignore[arg-type]
    assert done == [8, (8, signal.SIGKILL), None, 7, (7, signal.SIGKILL)]
    assert nannies == []


def test_what_goes_wrong_in_closing_hides_nothing() -> None:
    waited: list[Any] = []

    def close(timeout: float) -> None:
        waited.append(timeout)
        raise OSError("it is gone")

    with pytest.raises(KeyError), cluster._closing(SimpleNamespace(close=close)):
        raise KeyError
    with cluster._closing(SimpleNamespace(close=close)):
        pass
    assert waited == [3] * 2


@pytest.mark.parametrize("failures", [0, 1, 4, 5, 9])
def test_workers_that_die_while_they_start_are_tried_again(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    begun: list[Any] = []

    def start(workers: Any, scheduler: Any, worker: Any, **options: Any) -> str:
        begun.append((workers, scheduler, worker, options))
        if len(begun) <= failures:
            raise RuntimeError("Nanny failed to start.\nand more")
        return "a cluster"

    monkeypatch.setattr(cluster, "SpecCluster", start)
    worker, scheduler = {"cls": "W"}, {"cls": "S"}
    asked: Any = (2, worker, scheduler, "secret", "loop")
    if failures < 5:
        assert cluster._cluster(*asked) == "a cluster"
    else:
        with pytest.raises(RenderError, match=r"^2 worker\(s\) could not be started: Nanny failed to start\.$"):
            cluster._cluster(*asked)
    assert len(begun) == min(failures + 1, 5)
    how = dict(security="secret", loop="loop", silence_logs=50)
    assert begun[-1] == ({0: worker, 1: worker}, scheduler, worker, how)


def test_the_loop_does_not_hear_ctrl_c_and_this_thread_does() -> None:
    seen: list[Any] = []
    with cluster._loop() as loop:
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        from distributed.utils import sync

        async def masked() -> None:
            seen.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))

        sync(loop, masked)
    assert signal.SIGINT in seen[0]
    assert not loop.asyncio_loop.is_running()


def test_a_folder_that_cannot_be_removed_ends_no_render(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole, asked = tempfile.TemporaryDirectory, list[dict[str, Any]]()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryDirectory", lambda **how: asked.append(how) or whole(**how))
    with cluster._scratch():
        assert asked[0]["ignore_cleanup_errors"]


def test_a_tracker_that_says_nothing_of_a_killed_workers_semaphores(monkeypatch: pytest.MonkeyPatch) -> None:
    before, asked = list(sys.warnoptions), list[Any]()
    monkeypatch.setattr(cluster.resource_tracker, "ensure_running", lambda: asked.append(sys.warnoptions[-1]))
    cluster._hush_resource_tracker()
    assert asked == ["ignore:resource_tracker:UserWarning"]
    assert sys.warnoptions == before


def test_a_nanny_whose_workers_die_one_after_the_other_is_kept() -> None:
    """Dask closes it where no worker is there at the moment at which one has been gone for so long."""
    settings = cluster._settings({}, "scratch")
    assert parse_timedelta(settings["distributed.deploy.lost-worker-timeout"]) > 30 * 24 * 3600


def test_commands_are_patient_before_they_load_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CHOSEN:
        monkeypatch.setenv(name, "1")  # so that whatever is set below is taken back
        monkeypatch.delenv(name)
    run_main("--version")
    assert [os.environ.get(name) for name in CHOSEN] == ["5000", None]
