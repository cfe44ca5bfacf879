"""`tiler` again and again in forks of one process, each struck by a signal at a moment of its final write.

A program: reads a wish as a line of JSON, answers with another. It imports what takes long once, and starts no thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from typing import Any
from unittest import mock

from serial_pool import Here, render_module

import tiler.cli.commands  # noqa: F401
from tiler.cli import main
from tiler.output import export
from tiler.pictures import replace

_LONGEST = 60
# What has begun: the final write, and the change of names at its end.
WRITE, NAMES = b"w", b"n"


def _run(wish: dict[str, Any], told: int) -> None:
    """As a process of its own would; does not return."""
    os.chdir(wish["folder"])
    said = os.open(wish["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(said, number)
    view, listed = export.write_view, replace.write_list

    def written(*arguments: Any) -> Any:
        os.write(told, WRITE)
        return view(*arguments)

    def named(*arguments: Any) -> None:
        os.write(told, NAMES)
        listed(*arguments)

    code = 1
    try:
        with (
            mock.patch.object(export, "write_view", written),
            mock.patch.object(replace, "write_list", named),
            mock.patch.object(render_module(), "Pool", Here),
            mock.patch("sys.argv", ["tiler", *wish["words"]]),
        ):
            main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        os._exit(code)


def _strike(wish: dict[str, Any]) -> dict[str, Any]:
    """words: of the command. signal: 0 for none. after: WRITE or NAMES, whichever the signal waits for, and then for
    `pause` seconds. The answer has the exit code, and the seconds that passed from WRITE to NAMES and to the end."""
    heard, told = os.pipe()
    child = os.fork()
    if not child:
        os.close(heard)
        _run(wish, told)
    os.close(told)
    began: dict[bytes, float] = {}
    struck = not wish["signal"]
    deadline = time.monotonic() + _LONGEST
    while time.monotonic() < deadline:
        at = began.get(wish["after"].encode())
        left = None if struck or at is None else max(0.0, at + wish["pause"] - time.monotonic())
        if left == 0.0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, wish["signal"])
            struck = True
            continue
        if select.select([heard], [], [], 1.0 if left is None else left)[0]:
            found = os.read(heard, 1)
            if not found:
                break
            began.setdefault(found, time.monotonic())
    else:
        os.kill(child, signal.SIGKILL)
    ended = time.monotonic()
    _, status = os.waitpid(child, 0)
    os.close(heard)
    first = began.get(WRITE, ended)
    return {
        "code": os.waitstatus_to_exitcode(status), "names": began.get(NAMES, ended) - first, "end": ended - first
    }  # fmt: skip


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_strike(json.loads(line))), flush=True)
