from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import LocalCluster
from here import run_main
from PIL import Image

Tiler = Callable[..., "subprocess.CompletedProcess[str]"]


def _draw(folder: Path) -> Path:
    y, x = np.mgrid[0:90, 0:120]
    sea = (x + 9 * np.sin(y / 8)) > 60
    content = np.where(sea[..., None], (120, 160, 210), (150, 190, 150)).astype(np.uint8)
    Image.fromarray(content).save(folder / "content.png")
    grain = np.random.default_rng(5).integers(0, 255, (20, 26, 3), dtype=np.uint8)
    Image.fromarray(grain).resize((104, 80), Image.Resampling.BICUBIC).save(folder / "style.png")
    return folder


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with content.png (a coast) and style.png (coloured grain), the current folder of `tiler`."""
    return _draw(tmp_path)


@pytest.fixture
def tiler(inputs: Path) -> Tiler:
    """Run the command line in a process of its own, in the inputs' folder."""

    def run(*arguments: str, timeout: float = 200, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tiler", *arguments],
            cwd=inputs,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def events() -> Callable[[str], list[dict[str, Any]]]:
    """The JSON lines that --log-json printed."""
    return lambda text: [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """A worker that lives as long as these tests, so that each render costs no start of a process. Its loop runs in
    this process: who replaces a clock replaces a module's own name for it, never `time.monotonic` itself."""
    options = dict(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0", silence_logs=50)
    with LocalCluster(protocol="tcp", host="127.0.0.1", **options) as running:
        yield running.scheduler_address


def _run_here(folder: Path, cluster: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    with contextlib.chdir(folder):
        return run_main(
            *arguments,
            *(
                ("--scheduler", cluster)
                if arguments[0] in ("render", "dream", "resume", "sheet", "proof", "retouch")
                else ()
            ),
        )


@pytest.fixture
def here(inputs: Path, cluster: str) -> Tiler:
    """As `tiler`, in this process and on the shared worker: for what does not depend on processes."""
    return partial(_run_here, inputs, cluster)


@pytest.fixture(scope="session")
def undisturbed(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[bytes, int]]:
    """undisturbed(options...) -> the bytes of the poster.png that they make of the inputs, and how many events it took.

    Made by another number of workers than in a test's own renders, which must not show."""

    @cache
    def run(*options: str) -> tuple[bytes, int]:
        folder = _draw(tmp_path_factory.mktemp("undisturbed"))
        done = _run_here(
            folder, cluster, "render", "content.png", "style.png", "-o", "poster.png", *options, "--log-json"
        )
        assert done.returncode == 0, done.stderr
        return (folder / "poster.png").read_bytes(), len(done.stdout.splitlines())

    return run
