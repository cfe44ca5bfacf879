"""SIGTERM and SIGINT at random moments of every command: what it ends with, what it says, and what it leaves."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import RENDER, Running

from tiler.output.verify import verify

SMALL = ("--long-edge=48", "--steps=4,3", "--tile=32", "--min-edge=24", "--threads=1", "--log-json")
COMMANDS = {
    "render": (*RENDER, "--tiles=tiles", *SMALL),
    "resume": ("resume", "poster.zarr", "--log-json"),
    "export": ("export", "whole.zarr", "-o", "again.tif", "--tiles=again"),
    "verify": ("verify", "whole.zarr"),
    "info": ("info", "whole.zarr"),
    "plan": ("plan", "content.png", "style.png", "--long-edge=48"),
    "dream": ("dream", "style.png", "-o", "dream.png", "--octaves=2", "--steps=2", "--long-edge=48", "--log-json"),
}
# Of 16 signals: renders and what goes on with them have the most to lose.
TURNS = ("render",) * 5 + ("resume",) * 5 + ("export",) * 2 + ("dream", "plan", "verify", "info")


@contextlib.contextmanager
def _busy(count: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def _hears(pid: int) -> bool:
    """Whether the process has a handler for SIGTERM; before that the interpreter has not come to a line of ours."""
    with contextlib.suppress(OSError, StopIteration):
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
        caught = next(line.split()[1] for line in status if line.startswith("SigCgt"))
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
    return False


def _send(dice: random.Random, render: Running, number: int, longest: int) -> None:
    """At a random moment, to the process or, as a terminal does, to all of its group; now and then once more."""
    while not _hears(render.process.pid) and render.process.poll() is None:
        time.sleep(0.001)
    events = dice.randrange(longest) if longest and dice.random() < 0.7 else 0
    while len(render.events()) < events and render.process.poll() is None:
        time.sleep(0.005)
    with contextlib.suppress(subprocess.TimeoutExpired):  # most time goes before the first event
        render.process.wait(dice.uniform(0, 0.3 if events else 4))
    render.descendants()
    for _ in range(dice.choice((1, 1, 2))):
        with contextlib.suppress(ProcessLookupError):
            if dice.random() < 0.5:
                os.killpg(render.process.pid, number)
            else:
                os.kill(render.process.pid, number)
        time.sleep(dice.uniform(0, 0.3))


def _check_end(render: Running, inputs: Path, number: int, command: str) -> str:
    began = time.monotonic()
    code = render.end(60)
    said = f"{command}, signal {number}: {code} after {time.monotonic() - began:.1f} s: {render.stderr}"
    assert code in (0, 128 + number, -number), said  # the last when it struck after the command had ended
    if code == 128 + number:
        lines = render.stderr.strip().splitlines()
        assert sum("tiler: stopped" in line for line in lines) == 1, said
        assert "Traceback" not in render.stderr, said
    assert render.leftovers() == [], said
    left = [path.name for path in inputs.iterdir() if path.name.startswith(".tiler-") or path.suffix == ".part"]
    assert left == [], said
    assert not (inputs / "poster.zarr" / ".writer").exists(), said
    return "finished" if code == 0 else "by the signal itself" if code < 0 else str(code)


def _soak(inputs: Path, undisturbed, weights: str, signals: list[int], seed: int) -> Counter[str]:
    mine = (f"--weights={weights}",)
    expected, _ = undisturbed(*SMALL[:-1], *mine)
    done = Running(inputs, *RENDER[:3], "-o", "whole.png", *SMALL, *mine)
    assert done.end() == 0, done.stderr
    dice, counts, events = random.Random(seed), Counter[str](), len(done.events())
    for turn, number in enumerate(signals):
        command = dice.choice(TURNS)
        if command == "resume" and not (inputs / "poster.zarr" / "zarr.json").exists():
            command = "render"
        own = mine if command in ("render", "plan", "dream") else ()
        render = Running(inputs, *COMMANDS[command], *own)
        _send(dice, render, number, events if "--log-json" in COMMANDS[command] else 0)
        ended = _check_end(render, inputs, number, f"seed {seed}, signal {turn + 1}, {command}")
        counts[f"{signal.Signals(number).name} {ended}"] += 1
        print(f"seed {seed}: {turn + 1}: {command}: {ended}", flush=True)
        if command in ("render", "resume") and (inputs / "poster.zarr" / "zarr.json").exists():
            assert verify(str(inputs / "poster.zarr")) == [], f"seed {seed}, signal {turn + 1}"
        if command in ("render", "resume") and ended == "finished":
            assert (inputs / "poster.png").read_bytes() == expected, f"seed {seed}, signal {turn + 1}"
            shutil.rmtree(inputs / "poster.zarr")
    return counts


def test_some_signals(inputs: Path, undisturbed, small_weights: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    signals = [signal.SIGTERM, signal.SIGTERM, signal.SIGINT]
    assert _soak(inputs, undisturbed, small_weights, signals, seed).total() == len(signals)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_three_hundred_signals_on_a_busy_machine(inputs: Path, undisturbed, small_weights: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    signals = [signal.SIGTERM] * 200 + [signal.SIGINT] * 100
    random.Random(seed).shuffle(signals)
    with _busy(int(os.environ.get("BUSY", "4"))):
        print(_soak(inputs, undisturbed, small_weights, signals, seed))
