"""The command line in this process."""

from __future__ import annotations

import contextlib
import io
import subprocess
from unittest import mock

from tiler.cli import main


def run_main(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `tiler ARGUMENTS` in the current folder would end with and print, as a process of its own would."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch("sys.argv", ["tiler", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
