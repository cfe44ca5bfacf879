"""Failures that really happen to workers and disks: the message, the exit code, the store, and the bytes in the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from obstore.exceptions import GenericError
from obstore.store import MemoryStore
from processes import RENDER, Running
from zarr.storage import ObjectStore

from tiler.engine import place
from tiler.engine.schedule import Pool
from tiler.engine.turn import Turns
from tiler.errors import TilerError
from tiler.rendering import render
from tiler.request.config import RenderConfig

FAULTS = str(Path(__file__).parent / "faults")
SMALL = ("--long-edge=96", "--steps=4,6", "--tile=32", "--min-edge=48", "--threads=1")


@pytest.fixture
def options(small_weights: str) -> tuple[str, ...]:
    return (*SMALL, f"--weights={small_weights}", "--log-json")


@pytest.fixture
def expected(undisturbed, small_weights: str) -> bytes:
    """The undisturbed render's bytes."""
    poster, _ = undisturbed(*SMALL, f"--weights={small_weights}")
    return poster


def _faulty(inputs: Path, fault: str, *arguments: str) -> Running:
    environment = {
        "FAULT": fault,
        "FAULT_COUNT": str(inputs / "count"),
        "PYTHONPATH": os.pathsep.join(filter(None, (FAULTS, os.environ.get("PYTHONPATH")))),
    }
    render = Running(inputs, *arguments, **environment)
    render.end()
    return render


def _events(render: Running, kind: str) -> list[dict]:
    return [event for event in render.events() if event["event"] == kind]


def _retries(events: list[dict[str, Any]]) -> list[str]:
    return [event["error"] for event in events if event["event"] == "retry"]


def _one_line(render: Running, code: int, *words: str) -> None:
    assert render.process.returncode == code, render.stderr
    assert len(render.stderr.splitlines()) == 1, render.stderr
    for word in words:
        assert word in render.stderr
    assert render.leftovers() == []


def _check_resumed(here, inputs: Path, expected: bytes) -> None:
    assert here("verify", "poster.zarr").returncode == 0
    resumed = here("resume", "poster.zarr", "--log-json")
    assert resumed.returncode == 0, resumed.stderr
    assert (inputs / "poster.png").read_bytes() == expected


def test_a_task_that_raises_is_tried_again_and_then_ends_the_render(
    here, inputs, options, expected, events, monkeypatch
) -> None:
    begin, left = Turns.begin, 1

    def injected(self: Turns, now: Any, tile: Any, given: Any) -> Any:
        nonlocal left
        if left and (self._level, now.state, tile.index) == (1, 1, 1):
            left -= 1
            raise RuntimeError("injected")
        return begin(self, now, tile, given)

    monkeypatch.setattr(Turns, "begin", injected)
    once = here(*RENDER, *options)
    assert once.returncode == 0, once.stderr
    assert _retries(events(once.stdout)) == ["RuntimeError: injected"]
    assert (inputs / "poster.png").read_bytes() == expected

    shutil.rmtree(inputs / "poster.zarr")
    (inputs / "poster.png").unlink()
    left = 99
    always = here(*RENDER, *options)
    assert (always.returncode, len(always.stderr.splitlines())) == (1, 1), always.stderr
    assert "a task could not be finished" in always.stderr
    assert "RuntimeError: injected" in always.stderr
    assert len(_retries(events(always.stdout))) == 3
    assert not (inputs / "poster.png").exists()
    left = 0
    _check_resumed(here, inputs, expected)


def test_a_lost_gpu_ends_its_process_and_another_goes_on(inputs, options, expected) -> None:
    """A GPU is lost for the whole process: without another one each try of the task would fail."""
    once = _faulty(inputs, "cuda:1:16", *RENDER, *options)
    assert once.process.returncode == 0, once.stderr
    assert [event["error"][:24] for event in _events(once, "retry")] == ["RuntimeError: CUDA error"]
    assert len(_events(once, "worker lost")) == len(_events(once, "worker joined")) == 1
    assert (inputs / "poster.png").read_bytes() == expected


def _first_task() -> Callable[[], dict[str, Any]]:
    """What a worker's first task does about GPUs, where each worker sees two that are made up."""

    def run() -> dict[str, Any]:
        import torch

        from tiler.engine.measuring import settle_gpu

        torch.cuda.device_count = lambda: len(os.environ.get("CUDA_VISIBLE_DEVICES", "0,1").split(","))
        settle_gpu()
        time.sleep(0.2)  # so that no worker does all
        return {"pid": os.getpid(), "gpu": os.environ.get("CUDA_VISIBLE_DEVICES", "all")}

    return run


def test_who_comes_late_and_who_takes_a_place_take_the_gpu_that_is_free() -> None:
    def taken(pool: Pool, workers: int) -> dict[int, str]:
        """GPUs by processes, once so many have run a task."""
        found: dict[int, str] = {}
        deadline = time.monotonic() + 100
        while len(found) < workers and time.monotonic() < deadline:
            waiting = [pool.submit(_first_task()) for _ in range(4 * workers)]
            found = {one["pid"]: one["gpu"] for one in (promise.result() for promise in waiting)}
        return found

    with Pool(None, 1, 1) as pool:
        [(first, gpu)] = taken(pool, 1).items()
        assert gpu == "0"
        pool.grow(2)
        both = taken(pool, 2)
        assert sorted(both.values()) == ["0", "1"]
        assert both[first] == "0"
        os.kill(first, signal.SIGKILL)
        after = taken(pool, 2)
    assert sorted(after.values()) == ["0", "1"]
    assert first not in after


def test_a_worker_that_dies_in_birth_is_started_again(inputs, options, expected) -> None:
    render = Running(inputs, *RENDER, *options)
    while not render.workers():
        assert render.process.poll() is None
    render.kill(render.workers())
    assert render.end() == 0, render.stderr
    assert (inputs / "poster.png").read_bytes() == expected


@pytest.mark.slow
def test_a_worker_that_dies_once_costs_a_tile_and_one_that_dies_again_and_again_costs_the_level(
    tiler, inputs, options, expected
) -> None:
    once = _faulty(inputs, "kill:1:16", *RENDER, *options)
    assert once.process.returncode == 0, once.stderr
    assert len(_events(once, "worker lost")) == len(_events(once, "worker joined")) == 1
    assert not _events(once, "shrink")
    assert (inputs / "poster.png").read_bytes() == expected

    (inputs / "count").unlink()
    larger = ("--long-edge=640", "--min-edge=320", "--tile=512")
    again = _faulty(inputs, "kill:99:257", *RENDER[:4], "smaller.png", *options, *larger)
    assert again.process.returncode == 0, again.stderr
    assert [event["tile"] for event in _events(again, "shrink")] == [256]
    assert any("4 times in a row a worker was lost" in event["text"] for event in _events(again, "note"))
    assert tiler("verify", "smaller.zarr").returncode == 0


@pytest.mark.parametrize(("method", "part"), [("set", "content/c/"), ("get", "content/zarr.json")])
def test_an_object_store_that_is_lost_ends_the_render_in_one_line(
    method: str, part: str, inputs: Path, cluster: str, small_weights: str, monkeypatch
) -> None:
    """From one of this process's own requests on."""
    bucket, lost = MemoryStore(), []
    monkeypatch.setattr(place, "connect", lambda url: bucket)
    requests = {"set": ObjectStore.set, "get": ObjectStore.get}
    for name, whole in requests.items():

        async def request(self, key, *rest, name=name, whole=whole, **more):
            if lost or (name == method and part in key):
                lost.append(key)
                raise GenericError("timed out\nafter 4 tries")
            return await whole(self, key, *rest, **more)

        monkeypatch.setattr(ObjectStore, name, request)
    files = (str(inputs / name) for name in ("content.png", "style.png"))
    small = dict(long_edge=32, levels=1, steps=1, threads=1, weights=small_weights, scheduler=cluster)
    with pytest.raises(TilerError, match=r"s3://posters/job: .*timed out") as error:
        render(RenderConfig(*files, str(inputs / "poster.png"), store="s3://posters/job", **small))
    assert "\n" not in str(error.value)
    assert part in lost[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, large enough for the job."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_then_a_read_only_one(here, inputs, options, expected, small_disk: Path) -> None:
    store = f"--store={small_disk / 'poster.zarr'}"
    full = Running(inputs, *RENDER, *options, store)
    full.wait_for("tile")
    full.process.send_signal(signal.SIGSTOP)  # else it may be done before its disk is full
    subprocess.run(["dd", "if=/dev/zero", f"of={small_disk / 'ballast'}", "bs=64k"], capture_output=True)
    full.process.send_signal(signal.SIGCONT)
    full.end()
    _one_line(full, 1, "No space left on device")
    assert not (inputs / "poster.png").exists()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refused = here("resume", str(small_disk / "poster.zarr"))
    assert refused.returncode == 2
    assert "Read-only file system" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert here("verify", str(small_disk / "poster.zarr")).returncode == 0
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    (small_disk / "ballast").unlink()
    resumed = here("resume", str(small_disk / "poster.zarr"), "--log-json")
    assert resumed.returncode == 0, resumed.stderr
    assert (inputs / "poster.png").read_bytes() == expected


def test_a_store_that_vanishes_ends_the_render(here, inputs, options) -> None:
    render = Running(inputs, *RENDER, *options, "--steps=60,60")
    render.wait_for("tile", 3)
    os.rename(inputs / "poster.zarr", inputs / "away.zarr")
    render.end()
    _one_line(render, render.process.returncode, "poster.zarr")
    assert render.process.returncode in (1, 2)
    assert not (inputs / "poster.png").exists()
    assert not (inputs / "poster.zarr").exists()
    assert here("verify", "away.zarr").returncode == 0
