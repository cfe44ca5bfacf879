"""pytest in a fork of a process that has imported what takes long, and nothing of ours: seconds less a mutant."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

# Without what starts threads as it is imported: a fork would lack them.
_LARGE = ["torch", "numpy", "zarr", "distributed", "hypothesis", "pytest", "PIL.Image", "tifffile", "click"]
_MOST_BYTES = 12 << 30


def started(tree: Path, options: Sequence[str], out: Path) -> BaseProcess:
    """A process that runs pytest on the code in `tree`, in a session of its own; what it prints goes to `out`."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as tests/conftest.py, which comes too late here
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([Path(__file__).stem, *_LARGE])
    process = server.Process(target=_run, args=(tree, list(options), out))
    process.start()
    return process


def _run(tree: Path, options: list[str], out: Path) -> None:
    os.setsid()
    # A list that grows for ever ends as an error, and takes nobody else along.
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_BYTES, _MOST_BYTES))
    nowhere, printed = os.open(os.devnull, os.O_RDONLY), os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, to in ((0, nowhere), (1, printed), (2, printed)):
        os.dup2(to, number)
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    os.environ.update(PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    import pytest

    sys.exit(int(pytest.main(options)))
