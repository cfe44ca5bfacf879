"""Renders as processes of their own, to be watched, stopped and killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

RENDER = ("render", "content.png", "style.png", "-o", "poster.png")


class Running:
    """A tiler process in a session of its own, with its output in files."""

    def __init__(
        self, folder: Path, *arguments: str, program: Sequence[str] = ("-m", "tiler"), **environment: str
    ) -> None:
        self._out, self._err = folder / "stdout.txt", folder / "stderr.txt"
        with open(self._out, "w") as out, open(self._err, "w") as err:
            command = [sys.executable, *program, *arguments]
            kinds: dict[str, Any] = dict(stdout=out, stderr=err, start_new_session=True)
            self.process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, **kinds)
        self.family: set[psutil.Process] = {psutil.Process(self.process.pid)}

    @property
    def stderr(self) -> str:
        return self._err.read_text()

    def events(self) -> list[dict[str, Any]]:
        """What --log-json has printed so far, in whole lines."""
        text = self._out.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait_for(self, kind: str, count: int = 1, timeout: float = 100) -> None:
        """Until `count` events of a kind were printed."""
        for _ in _every(0.02, timeout):
            if sum(event["event"] == kind for event in self.events()) >= count:
                return
            assert self.process.poll() is None, f"ended before {count} x {kind}: {self.stderr}"
        raise AssertionError(f"no {count} x {kind} in {timeout} s: {self.stderr}")

    def descendants(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(self.process.pid).children(recursive=True)
            self.family |= set(found)
            return found
        return []

    def workers(self) -> list[psutil.Process]:
        """Worker processes that are up, oldest first."""
        found = []
        for one in self.descendants():
            with contextlib.suppress(psutil.Error):
                if "spawn_main" in str(one.cmdline()):
                    found.append(one)
        return sorted(found, key=lambda one: one.pid)

    def kill(self, victims: Sequence[psutil.Process]) -> None:
        for one in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)

    def end(self, timeout: float = 200) -> int:
        self.descendants()
        return self.process.wait(timeout)

    def leftovers(self, timeout: float = 10) -> list[psutil.Process]:
        """Processes of this render's that are still alive `timeout` seconds after its end."""
        alive: list[psutil.Process] = []
        for _ in _every(0.1, timeout):
            alive = [one for one in self.family if _alive(one)]
            if not alive:
                break
        return alive


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _every(seconds: float, timeout: float) -> Iterator[None]:
    import time

    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        yield
        time.sleep(seconds)
