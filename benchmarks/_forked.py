"""pytest in a fork of a process that has imported what takes long, and nothing of ours: seconds less a mutant."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# Without what starts threads as it is imported: a fork would lack them.
_LARGE = ["torch", "numpy", "zarr", "distributed", "hypothesis", "pytest", "PIL.Image", "tifffile", "click"]
_OPTIONS = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--tb=no", "-rfE", "--timeout=100")
_MOST_BYTES = 12 << 30


class _Chosen:
    """Of what is collected, some tests or files of tests, in their order; all where none of them is there."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        found: dict[str, list[Any]] = {}
        for item in items:
            for name in (item.nodeid, item.nodeid.partition("::")[0]):
                found.setdefault(name, []).append(item)
        items[:] = list(dict.fromkeys(item for name in self._names for item in found.get(name, []))) or items


def started(tree: Path, tests: Sequence[str], out: Path) -> BaseProcess:
    """A process that runs tests (of files, folders or by their names) of the code in `tree` up to the first that fails,
    in a session of its own; what it prints goes to `out`."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as tests/conftest.py, which comes too late here
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([Path(__file__).stem, *_LARGE])
    process = server.Process(target=_run, args=(tree, list(tests), out))
    process.start()
    return process


def _run(tree: Path, tests: list[str], out: Path) -> None:
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

    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    sys.exit(int(pytest.main([*_OPTIONS, *files], plugins=[_Chosen(tests)])))
