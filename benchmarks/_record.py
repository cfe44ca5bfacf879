"""Which test runs which line, for how long: a plugin for pytest under coverage.py, and the reader of what it leaves.

What other processes run is not seen: workers', and commands' that a test starts as processes of their own.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import coverage
import pytest
from filelock import FileLock

_seconds: dict[str, float] = {}


def pytest_configure() -> None:
    """Processes that tests start must not find this folder's modules in place of the packages."""
    here, paths = Path(__file__).parent, os.environ["PYTHONPATH"].split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if Path(path) != here)
    sys.path[:] = [path for path in sys.path if Path(path) != here]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    measured, began = coverage.Coverage.current(), time.monotonic()
    assert measured
    measured.switch_context(item.nodeid)
    outcome = yield
    measured.switch_context("")
    _seconds[item.nodeid] = round(time.monotonic() - began, 3)
    return outcome


def pytest_sessionfinish() -> None:
    measured = coverage.Coverage.current()
    assert measured
    assert measured.config.data_file
    Path(measured.config.data_file).with_suffix(".new.json").write_text(json.dumps(_seconds))


class Record:
    """The lines that tests of the tree at `root` have run. folder: where it is kept."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root, self._data, self._places = root, folder / "lines", folder / "lines.json"
        self._hashes = folder / "hashes.json"

    def update(self, tests: Sequence[str], anew: bool) -> None:
        """Run the tests that are new or changed, all where there is no record: as long as that takes in one process,
        and half as long again. tests: files and folders."""
        self._data.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._data.with_suffix(".lock")):
            self._update(tests, anew)

    def _update(self, tests: Sequence[str], anew: bool) -> None:
        before: dict[str, str] = json.loads(self._hashes.read_text()) if self._hashes.exists() and not anew else {}
        names = {str(one.relative_to(self._root)) for test in tests for one in self._files(self._root / test)}
        changed = sorted(name for name in names if before.get(name) != _hash(self._root / name))
        if changed:
            took = json.loads(self._places.read_text()) if before else {}
            self._run(changed, bool(before))
            self._places.write_text(json.dumps({**took, **json.loads(self._data.with_suffix(".new.json").read_text())}))
            # What a test gives a name without a file of it is measured, too.
            measured = [name for name in self._measured() if name not in before and (self._root / name).is_file()]
            now = {name: _hash(self._root / name) for name in (*changed, *measured)}
            self._hashes.write_text(json.dumps({**before, **now}))

    def _files(self, test: Path) -> list[Path]:
        return [test] if test.is_file() else list(test.rglob("test_*.py"))

    def _run(self, tests: Sequence[str], more: bool) -> None:
        settings = self._data.with_suffix(".rc")
        settings.write_text("[run]\nrelative_files = True\nsource = tiler,kernels\n")
        command = [
            sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", f"--data-file={self._data}",
            *(["--append"] if more else []),
            "-m", "pytest", "-p", "_record", "-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-seed=0", *tests,
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        done = subprocess.run(command, cwd=self._root, env=environment, check=False).returncode
        if done not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):  # some count what this process has open
            raise SystemExit(f"the tests' lines could not be recorded: pytest ended with {done}")

    def tests(self, name: str, line: int, seconds: float, layer: Sequence[str]) -> list[str]:
        """Tests that run the statement at `line` of a file, as many of the fastest as take `seconds`, those of a file
        together, files of fast tests first. What is run when a module is imported belongs to all tests that run
        anything of it, and to those of its layer (files and folders): what it made then may be read by any of them. So
        does every line of a file that is not as it was."""
        times: dict[str, float] = json.loads(self._places.read_text())
        data = coverage.CoverageData(str(self._data))
        data.read()
        contexts = data.contexts_by_lineno(name)
        same = json.loads(self._hashes.read_text()).get(name) == _hash(self._root / name)
        lines = _run_with(self._root / name, line) if same else None
        running = {one for at, who in contexts.items() if lines is None or at in lines for one in who if one}
        if lines is None:
            running |= {one for one in times if any(one.startswith((f"{test}/", f"{test}::")) for test in layer)}
        # A test whose recording was stopped has no time.
        took = {one: times.get(one, 1.0) for one in running}
        left, files = seconds, defaultdict(list)
        for test in sorted(running, key=took.__getitem__):
            left -= took[test]
            if left >= 0 or not files:
                files[test.partition("::")[0]].append(test)
        by_pace = sorted(files.values(), key=lambda tests: sum(map(took.__getitem__, tests)) / len(tests))
        return [test for tests in by_pace for test in tests]

    def _measured(self) -> list[str]:
        data = coverage.CoverageData(str(self._data))
        data.read()
        return sorted(data.measured_files())


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run_with(path: Path, line: int) -> range | None:
    """Lines of the statement that `line` is in, of a function's body if it is its head; None outside of functions."""
    found: range | None = None
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or 0):
            found = _smallest(found, range(node.body[0].lineno, (node.end_lineno or 0) + 1))
            for one in ast.walk(node):
                if isinstance(one, ast.stmt) and one is not node:
                    body = getattr(one, "body", None)
                    end = body[0].lineno - 1 if body else one.end_lineno or 0
                    if one.lineno <= line <= max(end, one.lineno):
                        found = _smallest(found, range(one.lineno, max(end, one.lineno) + 1))
    return found


def _smallest(found: range | None, other: range) -> range:
    return other if found is None or len(other) < len(found) else found
