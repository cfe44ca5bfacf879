"""What the machine that computes is and has: asked on workers, one record each, merged."""

from __future__ import annotations

import subprocess
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import dask.system
import pytest
import torch
from distributed.utils import has_keyword

from tiler.engine import host, measuring
from tiler.engine.asking import ask, share_gpus
from tiler.engine.host import cores
from tiler.engine.machine import ANY, CONTEXT_BYTES, Gpus, Host, Machine, difference, is_one, joined, merged
from tiler.engine.measuring import measure

GB = 10**9


def worker(host: str = "a", gpu: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    found = {
        "host": host, "gpus": ["0", "1"] if gpu else [], "gpu": gpu, "cores": 8, "free_bytes": 20 * GB,
        "total_bytes": 24 * GB, "held_bytes": GB, "processor": "P", "bf16": ["cuda"] if gpu else [],
        "versions": {"torch": "2.13"},
    }  # fmt: skip
    return {**found, **values}


def card(gpu: str = "0", **values: Any) -> dict[str, Any]:
    found = {"id": gpu, "name": "H100", "free_bytes": 70 * GB, "held_bytes": GB, "kernels": "triton", "why": ""}
    found |= {"total_bytes": 80 * GB}
    return {**found, **values}


def test_memory_is_of_the_tightest_host_and_what_workers_hold_is_theirs() -> None:
    found = merged([worker(), worker(free_bytes=19 * GB), worker("b", free_bytes=12 * GB, cores=5)])
    # a: 19 + 2 x 1 GB for two; b: 12 + 1 GB for one
    assert (found.workers, found.host.workers, found.host.free_bytes) == (3, 2, 21 * GB)
    assert found.host.cores == 2 * 4  # a has 4 for each worker, b has 5
    assert found.host.total_bytes == 24 * GB
    found = merged([worker(), worker(), worker("b", free_bytes=8 * GB, total_bytes=9 * GB, cores=3)])
    assert found.host.total_bytes == 9 * GB
    assert (found.host.workers, found.host.free_bytes, found.host.cores) == (1, 9 * GB, 3)


def test_nothing_in_particular_bounds_nothing() -> None:
    found = ANY
    assert (found.workers, found.gpus, found.bf16, found.versions, found.device) == (1, None, (), (), "cpu")
    assert (found.host.workers, found.host.cores, found.host.free_bytes) == (1, 1, 2**62)


def test_what_is_not_said_of_a_machine_bounds_nothing() -> None:
    gpus = Gpus(3, 2, 10, "H100")
    assert (gpus.kernels, gpus.why, gpus.total_bytes) == ("triton", "", 2**62)
    assert (Host(), Machine().host, Machine().mps, Host().total_bytes) == (
        Host(1, 1, 2**62, "", 2**62),
        Host(),
        False,
        2**62,
    )
    assert CONTEXT_BYTES == 500_000_000
    assert (Machine(gpus=gpus).device, Machine(gpus=gpus).trouble("cuda")) == ("cuda", "")
    assert Machine(gpus=gpus, host=Host(name="P")).facts("cuda") == {"device": "H100", "kernels": "triton"}
    versions = (("cuda", "12"), ("cudnn", "9"), ("tiler", "1"), ("triton", "3"))
    assert Machine(host=Host(name="P"), versions=versions).facts("cuda") == {"device": "P", "tiler": "1"}
    assert Machine(gpus=gpus, host=Host(name="P"), versions=versions).facts("cpu") == {"device": "P", "tiler": "1"}


def test_every_worker_has_a_core_and_the_tightest_host_is_that_of_least_for_each() -> None:
    """b has 30 GB for three, a 12 for one; of b's cores, 2 are fewer than its workers."""
    on_b = [
        worker("b", free_bytes=free * GB, held_bytes=held * GB, cores=2) for free, held in ((27, 0), (28, 1), (29, 2))
    ]
    found = merged([worker("a", free_bytes=11 * GB, processor="Q"), *on_b])
    assert (found.host.workers, found.host.free_bytes, found.host.cores) == (3, 30 * GB, 3)
    assert (found.workers, found.host.name) == (4, "P + Q")
    found = merged([worker("a", free_bytes=8 * GB), *on_b])
    assert (found.host.workers, found.host.free_bytes, found.host.cores) == (1, 9 * GB, 1)


def test_of_gpus_the_smallest_counts_and_each_host_s_own() -> None:
    """Also those that nobody has taken yet."""
    found = merged(
        [
            worker(
                "a", card("0", total_bytes=40 * GB, why="too old", kernels="torch"), gpus=["0", "1", "2"], bf16=["cpu"]
            ),
            worker("b", card("0", total_bytes=30 * GB, name="A10"), gpus=["0"], bf16=["cpu", "cuda"]),
            worker("b", card("0", total_bytes=50 * GB), gpus=["0"], bf16=["cuda", "cpu"], versions={}),
        ]
    )
    assert found.gpus == Gpus(4, 2, 71 * GB, "A10 + H100", "torch + triton", "too old", 30 * GB)
    assert found.bf16 == ("cpu",)
    assert found.versions == (("torch", "2.13 + none"),)
    assert not found.mps


def test_facts_are_of_one_machine_where_each_has_one_value() -> None:
    assert is_one({"device": "A", "torch": "2"})
    assert not is_one({"device": "A", "torch": "2 + 3"})
    assert not is_one({"device": "A + B", "torch": "2"})
    assert joined({"device": "B + A", "torch": 2}, {"device": "A", "new": "x"}) == {
        "device": "A + B", "torch": "2", "new": "x"
    }  # fmt: skip
    assert difference({"device": "A + B", "torch": "2"}, {"device": "C", "torch": "3", "new": "x"}).startswith(
        "goes on with device C (before: A + B); torch 3 (before: 2): "
    )


def test_a_gpu_counts_where_every_worker_has_one() -> None:
    two = merged([worker(gpu=card("0")), worker(gpu=card("1", free_bytes=60 * GB))])
    assert two.device == "cuda"
    assert two.bf16 == ("cuda",)
    assert two.gpus is not None
    assert (two.gpus.count, two.gpus.workers, two.gpus.free_bytes) == (2, 1, 61 * GB)
    assert two.gpus.total_bytes == 80 * GB
    shared = merged([worker(gpu=card("0")), worker(gpu=card("0", free_bytes=69 * GB))]).gpus
    assert shared is not None
    assert (shared.count, shared.workers, shared.free_bytes) == (2, 2, 71 * GB)
    uneven = merged(
        [worker(gpu=card(one, free_bytes=free * GB)) for one, free in (("0", 50), ("1", 40), ("0", 60))]
    ).gpus
    assert uneven is not None
    assert (uneven.count, uneven.workers, uneven.free_bytes) == (2, 2, 41 * GB)
    hosts = merged([worker("a", card("0"), gpus=["0"]), worker("b", card("0"), gpus=["0"])]).gpus
    assert hosts is not None
    assert (hosts.count, hosts.workers) == (2, 1)
    mixed = merged([worker(gpu=card()), worker("b")])
    assert (mixed.device, mixed.gpus, mixed.bf16) == ("cpu", None, ())


def test_what_differs_between_workers_is_all_said() -> None:
    found = merged(
        [
            worker(gpu=card(), versions={"torch": "2.13"}),
            worker("b", card(name="A100", kernels="torch", why="too old"), versions={"torch": "2.11", "triton": "3"}),
        ]
    )
    assert found.facts("cuda") == {
        "device": "A100 + H100", "torch": "2.11 + 2.13", "triton": "3 + none", "kernels": "torch + triton"
    }  # fmt: skip
    assert found.facts("cpu") == {"device": "P", "torch": "2.11 + 2.13"}
    assert found.trouble("cuda") == "Triton cannot run on A100 + H100, torch + triton takes its place: too old"
    assert found.trouble("cpu") == merged([worker(gpu=card())]).trouble("cuda") == ""


def test_workers_share_out_the_gpus_of_their_host() -> None:
    def sees(host: str, *gpus: str) -> dict[str, Any]:
        return {"host": host, "gpus": list(gpus)}

    same = {name: sees("a", "0", "1", "2") for name in "wxyz"}
    assert share_gpus(same) == {"w": "0", "x": "1", "y": "2", "z": "0"}
    assert share_gpus({"w": sees("a", "0", "1"), "x": sees("b", "0", "1")}) == {"w": "0", "x": "0"}
    # Each was given its own already, or its own first.
    assert share_gpus({"w": sees("a", "1"), "x": sees("a", "0")}) == {"w": "1", "x": "0"}
    assert share_gpus({"w": sees("a", "1", "0"), "x": sees("a", "0", "1")}) == {"w": "1", "x": "0"}
    # One that has begun keeps its own, whoever else comes.
    assert share_gpus({"a": sees("a", "0", "1"), "z": sees("a", "0")}) == {"z": "0", "a": "1"}
    assert share_gpus({"w": sees("a")}) == {}


class FakeCuda:
    """Of torch.cuda, what a worker is asked: two GPUs, of which the one that is visible counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._env = monkeypatch
        self.begun = False
        for name in ("is_available", "is_initialized", "device_count", "mem_get_info", "memory_reserved"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Fake 9000")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
        monkeypatch.setattr(measuring, "kernels_on", lambda device: ("torch", "no driver"))

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return self.begun

    def device_count(self) -> int:
        import os

        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return 2 if visible is None else len(visible.split(","))

    def mem_get_info(self) -> tuple[int, int]:
        self.begun = True
        return 70 * GB, 80 * GB

    def memory_reserved(self) -> int:
        return 2 * GB


class FakePool:
    """Two workers that are asked in turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch, self.seen = monkeypatch, dict[str, str]()

    def everywhere(self, function: Any, *arguments: Any) -> dict[str, Any]:
        import os

        found = {}
        for address in ("tcp://1", "tcp://2"):
            with self._patch.context() as patch:
                patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
                FakeCuda(patch)
                given = (
                    {"dask_worker": SimpleNamespace(address=address)} if has_keyword(function, "dask_worker") else {}
                )
                found[address] = function(*arguments, **given)
                self.seen[address] = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
        return found


def test_each_worker_computes_on_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the process that asks has none."""
    pool = FakePool(monkeypatch)
    found = ask(pool)  # type: ignore[arg-type]
    assert pool.seen == {"tcp://1": "0", "tcp://2": "1"}
    assert found.device == "cuda"
    assert found.gpus is not None
    assert (found.gpus.count, found.gpus.workers, found.gpus.name) == (2, 1, "Fake 9000")
    assert found.gpus.free_bytes == 70 * GB + 2 * GB + CONTEXT_BYTES
    assert (found.gpus.kernels, found.gpus.why) == ("torch", "no driver")
    assert {*dict(found.versions)} == {"tiler", "torch", "cuda", "cudnn", "triton"}


def test_what_bytes_depend_on_is_settled_before_cuda_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    fake = FakeCuda(monkeypatch)
    order: list[bool] = []
    whole = measuring.settle_torch
    monkeypatch.setattr(measuring, "settle_torch", lambda: (order.append(fake.begun), whole()))
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = True
    measure({})
    assert order == [False]
    assert fake.begun
    assert os.environ.pop("CUBLAS_WORKSPACE_CONFIG") == ":4096:8"
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_fall_from_triton_is_told_by_an_event_and_by_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        measuring.settle_torch()
        warnings.warn("Triton can't run on this GPU: no driver", RuntimeWarning, stacklevel=1)
        warnings.warn("something else", RuntimeWarning, stacklevel=1)
    assert [str(one.message) for one in told] == ["something else"]


def test_this_machine_is_asked_too() -> None:
    found = merged([measure({})])
    assert found.host.cores == cores() == dask.system.CPU_COUNT
    assert found.host.free_bytes > 10**8
    assert found.host.free_bytes <= found.host.total_bytes < 2**62
    assert found.host.name
    assert dict(found.versions)["torch"] == torch.__version__
    assert {"tiler", "torch"} == {*dict(found.versions)} - ({"cuda", "cudnn", "triton"} if found.gpus else set())
    assert found.workers == 1


@pytest.mark.parametrize(("limit", "free", "there"), [(50, 50, 50), (100, 80, 100), (300, 80, 200)])
def test_memory_is_what_the_machine_has_within_this_process_s_limits(
    monkeypatch: pytest.MonkeyPatch, limit: float, free: int, there: int
) -> None:
    monkeypatch.setattr(host, "MEMORY_LIMIT", limit)
    monkeypatch.setattr(host.psutil, "virtual_memory", lambda: SimpleNamespace(available=80, total=200))
    assert (host.memory_bytes(), host.memory_there()) == (free, there)


def test_a_quota_of_cores_counts() -> None:
    """Of a container on a larger machine: dask's own count, which looks at control groups."""
    code = (
        "import dask.system as s; s._try_extract_cgroup_cpu_quota = lambda: (150000, 100000)\n"
        "s.CPU_COUNT = s.cpu_count()\n"
        "from tiler.engine.host import cores; print(cores(), s.os.cpu_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    counted, there = map(int, done.stdout.split())
    assert counted == min(2, there)


def test_going_on_with_other_facts_is_said_and_kept() -> None:
    before = {"device": "A100", "torch": "2.13"}
    assert difference(before, dict(before)) == difference({}, before) == ""
    now = {"device": "H100", "torch": "2.13"}
    assert difference(before, now) == (
        "goes on with device H100 (before: A100): the last bits of what follows may differ from those of a render in "
        "one go"
    )
    both = joined(before, now)
    assert both == {"device": "A100 + H100", "torch": "2.13"}
    assert difference(both, now) == difference(both, before) == ""
    assert joined({}, now) == now
    assert Machine().facts("cpu") == {"device": ""}


def test_an_apple_gpu_can_be_asked_for_where_every_worker_has_one_and_is_said_to_be_untested() -> None:
    assert not merged([worker()]).mps
    assert not merged([worker(mps=True), worker()]).mps
    found = merged([worker(mps=True), worker(mps=True)])
    assert (found.mps, found.device) == (True, "cpu")
    assert found.trouble("mps").startswith("device mps is untested: ")
    assert found.trouble("cpu") == ""


@pytest.mark.parametrize("said", [{}, {"PYTORCH_ALLOC_CONF": "x:1"}, {"PYTORCH_CUDA_ALLOC_CONF": "y:2"}], ids=str)
def test_memory_is_handed_out_as_the_user_says_or_in_segments_that_grow(
    said: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
    for name in names:
        monkeypatch.setenv(name, "")  # so that it is undone
        monkeypatch.delenv(name)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    measuring.settle_torch()
    found = {name: measuring.os.environ[name] for name in names if name in measuring.os.environ}
    assert found == (said or {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"})
