"""A Dask cluster and an object store of real processes on this machine's loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from socket import create_server, socket
from typing import Any

import numpy as np
import pytest
from here import run_main
from PIL import Image

Cluster = Callable[..., str]
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


def free_port() -> int:
    with closing(create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[Any]) -> None:
    for _ in range(600):
        assert process.poll() is None, "ended at once"
        with closing(socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("does not answer")


@pytest.fixture
def processes() -> Iterator[Callable[..., subprocess.Popen[Any]]]:
    """Start processes that end with the test."""
    with ExitStack() as stack:

        def start(command: list[str], folder: Path, **environment: str) -> subprocess.Popen[Any]:
            log = stack.enter_context(open(folder / "log.txt", "a"))
            process = subprocess.Popen(
                [sys.executable, *command], cwd=folder, env={**os.environ, **environment}, stdout=log, stderr=log
            )
            stack.callback(process.wait, 30)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def cluster(processes: Callable[..., subprocess.Popen[Any]], tmp_path: Path) -> Cluster:
    """Start a scheduler and `workers` workers, each in a folder of its own; the scheduler's address."""

    def start(workers: int = 2, scheme: str = "tcp", **environment: str) -> str:
        port = free_port()
        address = f"{scheme}://127.0.0.1:{port}"
        common = ["--no-dashboard", "--protocol", scheme]
        (tmp_path / "elsewhere").mkdir()
        scheduler = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), *common]
        wait_for(port, processes(scheduler, tmp_path / "elsewhere", **environment))
        for _ in range(workers):
            worker = ["-m", "distributed.cli.dask_worker", address, "--host", "127.0.0.1", "--nthreads", "2", *common]
            processes([*worker, "--no-nanny"], tmp_path / "elsewhere", OMP_NUM_THREADS="1", **environment)
        return address

    return start


@pytest.fixture
def object_store(processes: Callable[..., subprocess.Popen[Any]], tmp_path: Path) -> dict[str, str]:
    """The environment in which s3:// means moto's server, which holds the bucket `posters`."""
    import obstore
    import requests

    port = free_port()
    (tmp_path / "s3").mkdir()
    command = ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    wait_for(port, processes(command, tmp_path / "s3"))
    requests.put(f"http://127.0.0.1:{port}/posters", timeout=30).raise_for_status()
    assert obstore
    return {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with content.png and style.png."""
    folder = tmp_path / "here"
    folder.mkdir()
    y, x = np.mgrid[0:90, 0:120]
    sea = (x + 9 * np.sin(y / 8)) > 60
    content = np.where(sea[..., None], (120, 160, 210), (150, 190, 150)).astype(np.uint8)
    Image.fromarray(content).save(folder / "content.png")
    grain = np.random.default_rng(5).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(grain).save(folder / "style.png")
    return folder


@pytest.fixture
def tiler(inputs: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tiler", *arguments],
            cwd=inputs,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=200,
        )

    return run


@pytest.fixture
def here(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As `tiler`, in this process: for what ends before workers are started."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patched:
            patched.chdir(inputs)
            for name, value in environment.items():
                patched.setenv(name, value)
            return run_main(*arguments)

    return run
