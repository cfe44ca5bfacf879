"""Which GPUs a worker sees and takes, and what it says of itself, without a GPU."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tiler.engine import measuring
from tiler.engine.machine import CONTEXT_BYTES

VISIBLE = "CUDA_VISIBLE_DEVICES"


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """gpus(count, visible, begun): what torch and the environment say."""

    def say(count: int, visible: str | None = None, begun: bool = False) -> None:
        monkeypatch.setenv(VISIBLE, "")
        if visible is None:
            monkeypatch.delenv(VISIBLE)
        else:
            monkeypatch.setenv(VISIBLE, visible)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: begun)
        monkeypatch.setattr(measuring.socket, "gethostname", lambda: "here")

    return say


@pytest.mark.parametrize(
    ("count", "visible", "seen"),
    [
        (0, None, []), (3, None, ["0", "1", "2"]), (3, "5, 7 ,2", ["5", "7", "2"]), (2, "5,7,2", ["5", "7"]),
        (2, " ,GPU-a,,GPU-b", ["GPU-a", "GPU-b"]), (2, "", []), (0, "1", []),
    ],
)  # fmt: skip
def test_a_worker_sees_the_gpus_that_it_may_see(
    count: int, visible: str | None, seen: list[str], gpus: Callable[..., None]
) -> None:
    gpus(count, visible)
    assert measuring.look() == {"host": "here", "gpus": seen}


@pytest.mark.parametrize(("begun", "left"), [(False, "2"), (True, "1,2")])
def test_a_gpu_is_taken_before_cuda_has_begun(begun: bool, left: str, gpus: Callable[..., None]) -> None:
    gpus(2, "1,2", begun)
    measuring.take_gpu("2")
    assert os.environ[VISIBLE] == left


@pytest.mark.parametrize(
    ("count", "begun", "left"), [(2, False, "2"), (1, False, "1"), (0, False, "1,2"), (2, True, "1,2")]
)
def test_who_sees_several_still_takes_its_own(
    count: int, begun: bool, left: str, gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(count, "1,2" if count != 1 else "1", begun)
    asked: list[Any] = []

    @contextlib.contextmanager
    def beside(function: Any) -> Any:
        asked.append(function)
        sees = {"host": "here", "gpus": ["1", "2"]}
        yield "b", {"a": sees, "b": sees}

    monkeypatch.setattr(measuring, "beside", beside)
    measuring.settle_gpu()
    assert os.environ[VISIBLE] == left
    assert asked == [measuring.look] * (left == "2")


@pytest.mark.parametrize(
    ("count", "shares", "taken", "token"),
    [
        (2, {"tcp://b": "7", "tcp://a": "5"}, "7", "7"), (2, {"tcp://a": "5"}, "0", "0"),
        (1, {"tcp://b": "7"}, "5,7", "7"),
    ],
)  # fmt: skip
def test_a_worker_says_what_it_is_of_the_gpu_that_it_was_given(
    count: int, shares: dict[str, str], taken: str, token: str, gpus: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    gpus(count, "5,7")
    settled: list[str] = []
    memory = SimpleNamespace(rss=900, shared=250)
    for name, value in (
        ("settle_torch", lambda: settled.append(os.environ[VISIBLE])), ("cores", lambda: 6),
        ("memory_bytes", lambda: 1000), ("memory_there", lambda: 4000), ("_processor", lambda: "P"),
        ("kernels_on", lambda kind: ("torch", f"no {kind}")),
        ("best_precision", lambda kind: {"cpu": "fp32", "cuda": "bf16"}[kind]),
    ):  # fmt: skip
        monkeypatch.setattr(measuring, name, value)
    monkeypatch.setattr(measuring.psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: memory))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (70, 80))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 5)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "G")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    found = measuring.measure(shares, SimpleNamespace(address="tcp://b"))
    assert settled == ["5,7"]
    assert os.environ[VISIBLE] == taken
    assert {*found.pop("versions")} == {"tiler", "torch", "cuda", "cudnn", "triton"}
    assert found.pop("gpu") == {
        "id": token, "name": "G", "free_bytes": 70, "total_bytes": 80, "held_bytes": 5 + CONTEXT_BYTES,
        "kernels": "torch", "why": "no cuda",
    }  # fmt: skip
    assert found == {
        "host": "here", "gpus": ["5", "7"][:count], "cores": 6, "free_bytes": 1000, "total_bytes": 4000,
        "held_bytes": 650, "processor": "P", "bf16": ["cuda"], "mps": False,
    }  # fmt: skip
    memory = SimpleNamespace(rss=900)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = measuring.measure(shares)
    assert (found["gpu"], found["bf16"], found["held_bytes"], {*found["versions"]}) == (
        None,
        [],
        900,
        {"tiler", "torch"},
    )


@pytest.mark.parametrize(("there", "said"), [("3.4", "3.4"), (None, "none")])
def test_a_gpu_s_worker_says_its_triton_s_version(
    there: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        assert name == "triton"
        if there is None:
            raise importlib.metadata.PackageNotFoundError
        return there

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert measuring._versions(True)["triton"] == said


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("processor\t: 0\nmodel name\t: Fast: CPU \nmodel name\t: Other\n", "Fast: CPU"),
        ("processor\t: 0\n", "named"), (None, "named"),
    ],
)  # fmt: skip
def test_a_processor_is_told_by_its_model(
    lines: str | None, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if lines is not None:
        (tmp_path / "cpuinfo").write_text(lines)
    monkeypatch.setattr(measuring, "Path", lambda path: tmp_path / path.removeprefix("/proc/"))
    monkeypatch.setattr(measuring.platform, "processor", lambda: "named")
    monkeypatch.setattr(measuring.platform, "machine", lambda: "kind")
    assert measuring._processor() == said
    if said == "named":
        monkeypatch.setattr(measuring.platform, "processor", str)
        assert measuring._processor() == "kind"
