"""How many wrong versions of the code the tests notice: single mutations, each run against tests that run its line.

    python benchmarks/mutants.py --count 100 --seed 1 --jobs 2 [--layer style ...] [--json FILE] [--record]

Mutants are drawn line by line, so that a long expression counts no more than a short one; the same seed draws the same
ones as long as the source is the same. Each runs in a copy of the tree, no further than the first test that fails,
which is then tried on the code as it is. Its tests are those that run its line, the fastest first: 40 seconds' worth,
then all others, for 150 seconds. Which these are is recorded first, in minutes, and of changed tests anew
(`--record`: of all; after large changes of the code). Where no test's own process runs the line, they are the layer's,
in the order below. Tests of processes of their own may notice what survives these, so the figure is a lower bound. A
mutant whose first tests take longer than the limit is undecided: it hangs, or the machine is busy. Mutants that change
nothing are listed with the reason in `equivalent_mutants.toml`.

Not mutmut: it leaves out code outside of functions and follows forks only, and most of this engine runs in workers and
processes of their own. Not cosmic-ray: it changes files in place, runs all mutants there are (tens of thousands) and
knows one test command.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import queue
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib.util import cache_from_source
from pathlib import Path

import psutil
from _forked import started
from _mutations import Mutation, changes, mutations
from _record import Record

ROOT = Path(__file__).resolve().parents[1]
RECORDED = ROOT / "build" / "mutants"
# Of the tests that are tried first, by what they took when they were recorded; and that all others may take.
SECONDS, MORE = 40.0, 150.0


@dataclass(frozen=True)
class Layer:
    """sources: patterns of files. tests: what should notice where no test runs the line itself, fastest first."""

    name: str
    sources: tuple[str, ...]
    tests: tuple[str, ...]


_TILES = tuple(f"tests/engine/test_{one}.py" for one in ("optimize", "blend", "tiling", "regions", "dream", "protect"))
LAYERS = (
    Layer("geometry", ("tiler/geometry/*.py",), ("tests/geometry", "tests/style/test_halo.py", *_TILES)),
    Layer("triton", ("kernels/*_triton.py", "kernels/*_launch.py"), ("tests/kernels/test_triton.py",)),
    Layer("kernels", ("kernels/*.py",), ("tests/kernels", "tests/style/test_objective.py")),
    Layer("style", ("tiler/style/*.py",), ("tests/style", *_TILES, "tests/bad_input")),
    Layer(
        "engine",
        ("tiler/engine/*.py", "tiler/rendering.py", "tiler/levels.py"),
        ("tests/engine", "tests/cli", "tests/machines"),
    ),
    Layer("request", ("tiler/request/*.py",), ("tests/request", "tests/bad_input", "tests/cli")),
    Layer("planning", ("tiler/planning/*.py",), ("tests/planning", "tests/engine", "tests/cli", "tests/bad_input")),
    Layer(
        "pictures",
        ("tiler/pictures/*.py",),
        ("tests/pictures", "tests/request", "tests/bad_input", "tests/engine/test_regions.py", "tests/cli"),
    ),
    Layer("output", ("tiler/output/*.py",), ("tests/output", "tests/engine", "tests/cli", "tests/bad_input")),
    Layer("growing", ("tiler/growing/*.py",), ("tests/growing",)),
    Layer("series", ("tiler/series/*.py",), ("tests/engine", "tests/cli", "tests/studio")),
    Layer("queue", ("tiler/queue/*.py",), ("tests/queue", "tests/cli", "tests/studio")),
    Layer("studio", ("tiler/studio/*.py",), ("tests/studio",)),
    Layer("cli", ("tiler/cli/*.py", "tiler/*.py"), ("tests/cli", "tests/test_public.py", "tests/bad_input")),
)


@dataclass
class Outcome:
    """What became of a mutant. noticed: by which test; empty: by none. undecided: why that is not known."""

    mutation: Mutation
    layer: str
    before: str
    after: str
    noticed: str = ""
    undecided: str = ""
    seconds: float = 0.0
    equivalent: str = ""

    def line(self) -> str:
        verdict = (self.equivalent and "equivalent") or self.undecided or self.noticed or "SURVIVED"
        change = f"{self.mutation.file}:{self.mutation.line} [{self.mutation.kind}]"
        return f"{self.seconds:5.0f} s  {change}\n         {self.before}\n      -> {self.after}\n         {verdict}"


@dataclass(frozen=True)
class Tree:
    """A copy of the tree that mutants are tried in, one at a time."""

    root: Path

    @classmethod
    def copied(cls, to: Path) -> Tree:
        """Of what git knows and what is new, as it lies there now."""
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
            if name and (ROOT / name).is_file():
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, to / name)
        return cls(to)

    def write(self, name: str, source: bytes) -> None:
        """A file of it. Python would take what it has kept compiled, where size and second are the same."""
        (self.root / name).write_bytes(source)
        Path(cache_from_source(self.root / name)).unlink(missing_ok=True)

    def tested(self, tests: Sequence[str], limit: float) -> tuple[str, float]:
        """(first test that failed, empty if none; seconds)."""
        out = self.root / "build" / "out.txt"
        out.parent.mkdir(exist_ok=True)
        began = time.monotonic()
        running = started(self.root, tests, out)
        running.join(limit)
        code, seconds = running.exitcode, time.monotonic() - began
        _end_all(running.pid or 0)
        running.join()
        if code is None:
            return "time", seconds
        if code == 0:
            return "", seconds
        said = out.read_text(errors="replace")
        failed = [line.split(" ", 1)[1] for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        return (failed or [f"exit code {code}: {said.strip()[-300:]}"])[0], seconds


def _end_all(leader: int) -> None:
    """The tests and every process that they have started, whatever session it is in."""
    try:
        family = psutil.Process(leader).children(recursive=True)
    except psutil.Error:
        family = []
    for one in family:
        with contextlib.suppress(psutil.Error):
            one.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def sources(chosen: Sequence[str]) -> Iterator[tuple[Layer, Path]]:
    """The files of some layers; each belongs to the first layer that it fits."""
    for path in sorted([*(ROOT / "tiler").rglob("*.py"), *(ROOT / "kernels").glob("*.py")]):
        name = str(path.relative_to(ROOT))
        layer = next((one for one in LAYERS if any(_fits(name, pattern) for pattern in one.sources)), None)
        if layer and layer.name in chosen:
            yield layer, path


def _fits(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and fnmatch(name, pattern)


def drawn(chosen: Sequence[str], count: int, seed: int, only: str) -> list[tuple[Layer, Mutation]]:
    """`count` mutations of some layers, each of another line."""
    by_line: dict[tuple[str, int], list[tuple[Layer, Mutation]]] = {}
    content: dict[str, bytes] = {}
    for layer, path in sources(chosen):
        name = str(path.relative_to(ROOT))
        if only in name:
            content[name] = path.read_bytes()
            for mutation in mutations(name, content[name]):
                by_line.setdefault((name, mutation.line), []).append((layer, mutation))
    generator, found = random.Random(seed), []
    lines = sorted(by_line)
    generator.shuffle(lines)
    for line in lines:
        layer, mutation = generator.choice(by_line[line])
        if len(found) < count and changes(mutation, content[mutation.file]):
            found.append((layer, mutation))
    return found


def equivalents() -> dict[tuple[str, str, str], str]:
    """(file, line before, line after) -> why it changes nothing."""
    listed = tomllib.loads((Path(__file__).parent / "equivalent_mutants.toml").read_text())
    return {(one["file"], one["before"], one["after"]): one["why"] for one in listed.get("mutant", [])}


@dataclass
class Trial:
    """All that the threads share. sound: tests that have been seen to pass on the code as it is."""

    todo: queue.SimpleQueue[tuple[Layer, Mutation]]
    limit: float
    record: Record
    known: dict[tuple[str, str, str], str] = field(default_factory=equivalents)
    done: queue.SimpleQueue[Outcome | BaseException] = field(default_factory=queue.SimpleQueue)
    sound: set[str] = field(default_factory=set)

    def work(self, folder: Path) -> None:
        """What is still to do, in a copy of the tree that is made in `folder`."""
        try:
            tree = Tree.copied(folder)
            while True:
                self.done.put(self._tried(tree, *self.todo.get_nowait()))
        except queue.Empty:
            return
        except BaseException as error:
            self.done.put(error)

    def _tried(self, tree: Tree, layer: Layer, mutation: Mutation) -> Outcome:
        source = (tree.root / mutation.file).read_bytes()
        before, after = mutation.lines(source)
        equivalent = self.known.get((mutation.file, before, after), "")
        outcome = Outcome(mutation, layer.name, before, after, equivalent=equivalent)
        if equivalent:
            return outcome
        every = self.record.tests(mutation.file, mutation.line, math.inf, layer.tests)
        tests = self.record.tests(mutation.file, mutation.line, SECONDS, layer.tests) or layer.tests
        tree.write(mutation.file, mutation.applied(source))
        outcome.noticed, outcome.seconds = tree.tested(tests, self.limit)
        others = [test for test in every if test not in {*tests}]
        if not outcome.noticed and others:
            noticed, more = tree.tested(others, MORE)
            outcome.noticed, outcome.seconds = "" if noticed == "time" else noticed, outcome.seconds + more
        tree.write(mutation.file, source)
        if outcome.noticed == "time":
            outcome.undecided = f"undecided: not done after {self.limit:.0f} s"
        elif outcome.noticed.startswith(("exit code 255", "exit code -")):
            outcome.undecided = "undecided: the tests' process was killed"
        test = outcome.noticed.partition(" - ")[0]
        if "::" in test and test not in self.sound:
            failed, _ = tree.tested([test], self.limit)
            if failed:
                outcome.undecided = f"undecided: on the code as it is, {failed}"
            else:
                self.sound.add(test)
        return outcome


def run(todo: list[tuple[Layer, Mutation]], jobs: int, folder: Path, limit: float, record: Record) -> Iterator[Outcome]:
    """Every mutation's outcome, as they come."""
    trial = Trial(queue.SimpleQueue(), limit, record)
    for one in todo:
        trial.todo.put(one)
    for number in range(jobs):
        threading.Thread(target=trial.work, args=(folder / str(number),), daemon=True).start()
    for _ in todo:
        outcome = trial.done.get()
        if isinstance(outcome, BaseException):
            raise outcome
        yield outcome


def main() -> None:
    names = [layer.name for layer in LAYERS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--layer", action="append", choices=names, help="may be given several times; default: all")
    parser.add_argument("--only", default="", help="of files with this in their name")
    parser.add_argument("--limit", type=float, default=900, help="seconds a mutant's tests may take")
    parser.add_argument("--record", action="store_true", help="see anew which test runs which line")
    parser.add_argument("--json", type=Path, help="outcomes go into this file")
    parser.add_argument("--list", action="store_true", help="print the mutations and run nothing")
    asked = parser.parse_args()
    chosen = asked.layer or names
    todo = drawn(chosen, asked.count, asked.seed, asked.only)
    outcomes: list[Outcome] = []
    if asked.list:
        for layer, mutation in todo:
            before, after = mutation.lines((ROOT / mutation.file).read_bytes())
            print(Outcome(mutation, layer.name, before, after, "not run").line())
        return
    record = Record(ROOT, RECORDED)
    record.update([test for layer in LAYERS if layer.name in chosen for test in layer.tests], asked.record)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for outcome in run(todo, asked.jobs, Path(folder), asked.limit, record):
            outcomes.append(outcome)
            print(outcome.line(), flush=True)
    report(outcomes, asked)


def report(outcomes: list[Outcome], asked: argparse.Namespace) -> None:
    counted = [one for one in outcomes if not one.equivalent]
    decided = [one for one in counted if not one.undecided]
    total, noticed = Counter(one.layer for one in decided), Counter(one.layer for one in decided if one.noticed)
    print(f"\nseed {asked.seed}: {sum(noticed.values())} of {len(decided)} noticed")
    print(f"{len(counted) - len(decided)} undecided, {len(outcomes) - len(counted)} equivalent")
    for name in total:
        print(f"  {name}: {noticed[name]} of {total[name]}")
    print("Survivors:")
    for one in counted:
        if one.undecided or not one.noticed:
            print(one.line())
    if asked.json:
        rows = [
            {"file": one.mutation.file, "line": one.mutation.line, "kind": one.mutation.kind, "layer": one.layer,
             "before": one.before, "after": one.after, "noticed": one.noticed, "undecided": one.undecided,
             "equivalent": one.equivalent, "seconds": round(one.seconds, 1)}
            for one in outcomes
        ]  # fmt: skip
        asked.json.write_text(json.dumps({"seed": asked.seed, "mutants": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
