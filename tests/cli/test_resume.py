"""A render that was killed and started again writes the bytes of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from processes import RENDER

OPTIONS = ("--long-edge=96", "--tile=32", "--min-edge=48", "--threads=1", "--checkpoint-seconds=0")
STEPS = {"fast": "8,8", "exact": "4,4"}  # in exact mode each is a round


def _wait_for_tiles(process: subprocess.Popen[str], count: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        count -= '"event": "tile"' in line
        if not count:
            return
    pytest.fail("the render ended before it could be killed")


# In fast mode the kills of test_soak.py do the same.
@pytest.mark.parametrize(
    ("mode", "whom"),
    [
        pytest.param("fast", "client", marks=pytest.mark.slow),
        ("exact", "client"),
        pytest.param("fast", "worker", marks=pytest.mark.slow),
    ],
)
def test_a_killed_render_ends_byte_identical(
    here, undisturbed, inputs: Path, small_weights: str, mode: str, whom: str
) -> None:
    options = (*OPTIONS, f"--steps={STEPS[mode]}", f"--mode={mode}", f"--weights={small_weights}")
    expected, _ = undisturbed(*options)
    command = [sys.executable, "-m", "tiler", *RENDER, *options, "--log-json"]
    process = subprocess.Popen(command, cwd=inputs, stdout=subprocess.PIPE, text=True)
    _wait_for_tiles(process, 5)
    if whom == "client":
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        assert not (inputs / "poster.png").exists()
        again = here(*RENDER, *options, "--log-json")
        assert again.returncode == 0, again.stderr
        log = again.stdout
    else:
        workers = [
            one for one in psutil.Process(process.pid).children(recursive=True) if "spawn_main" in str(one.cmdline())
        ]
        os.kill(max(workers, key=lambda one: one.memory_info().rss).pid, signal.SIGKILL)
        log, _ = process.communicate(timeout=200)
        assert process.returncode == 0
    assert '"event": "step"' in log
    assert (inputs / "poster.png").read_bytes() == expected
