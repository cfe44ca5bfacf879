"""Kill whoever works through a queue again and again: no job is lost, none is rendered twice at once, and the posters
are those of `tiler render`."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from here import run_main
from processes import Running

from tiler.queue.queue import Queue

SMALL = ("--long-edge=96", "--tile=32", "--min-edge=48", "--threads=1")
KINDS = (("--steps=8,8",), ("--steps=6,9", "--mode=exact"))
WORK = ("level", "step", "tile", "level done", "write")


class _Runners:
    """One on this machine and one on a cluster, each with a log of its own. places: words for each."""

    def __init__(self, inputs: Path, places: list[tuple[str, ...]]) -> None:
        self._inputs, self._places, self._count = inputs, places, itertools.count()
        self.all: list[Running] = []
        self.now: list[Running | None] = [None] * len(places)

    def begin(self) -> None:
        """Those that are not there."""
        for at, words in enumerate(self._places):
            if self.now[at] is None:
                folder = self._inputs / f"run-{next(self._count)}"
                folder.mkdir()
                queue = str(self._inputs / "q")
                options = ("--log-json", "--checkpoint-seconds=0", *words)
                self.now[at] = Running(folder, "queue", "run", queue, *options)
                self.all.append(self.now[at])

    def look(self) -> bool:
        """Whether any is there still. Raises where one has ended badly."""
        for at, run in enumerate(self.now):
            if run is not None:
                run.descendants()
                if run.process.poll() is not None:
                    assert run.process.returncode == 0, run.stderr
                    assert run.leftovers() == []
                    self.now[at] = None
        return any(self.now)

    def kill(self, dice: random.Random) -> str:
        """One runner, a process that renders for it, or all that is its. Returns what was killed."""
        at = dice.choice([at for at, run in enumerate(self.now) if run is not None])
        run, whom = self.now[at], dice.choice(("runner", "renderer", "everything"))
        assert run is not None
        everyone, me = run.descendants(), [one for one in run.family if one.pid == run.process.pid]
        turns = [one for one in everyone if _is_turn(one)]
        victims = {"runner": me, "renderer": turns[:1], "everything": [*everyone, *me]}[whom]
        run.kill(victims)
        if victims and whom != "renderer":
            run.end(20)
            self.now[at] = None
        return whom if victims else ""


def _is_turn(process: Any) -> bool:
    try:
        words = process.cmdline()
    except Exception:
        return False
    return "take" in words and "queue" in words


def _worked(runs: list[Running]) -> list[tuple[str, float, float]]:
    """(job, from, to) of every turn in which anything was computed."""
    found: list[tuple[str, float, float]] = []
    for run in runs:
        turns: list[tuple[str, list[float]]] = []
        for event in run.events():
            if event["event"] == "queue begun":
                turns.append((event["job"], []))
            elif event["event"] in WORK:
                assert event["job"] == turns[-1][0]  # one at a time
                turns[-1][1].append(event["time"])
        found += [(name, min(times), max(times)) for name, times in turns if times]
    return found


def _soak(inputs: Path, cluster: str, undisturbed, weights: str, jobs: int, kills: int, seed: int) -> Counter[str]:
    options = [(*SMALL, *kind, *((f"--weights={weights}",) if weights else ())) for kind in KINDS]
    expected = [undisturbed(*one)[0] for one in options]
    dice, counts, done, rounds = random.Random(seed), Counter[str](), 0, 0
    line, runners = Queue(inputs / "q"), _Runners(inputs, [(), (f"--scheduler={cluster}",)])
    wanted: dict[str, bytes] = {}
    while done < kills or not rounds:
        rounds += 1
        for number in range(jobs):
            name, kind = f"{rounds}-{number}", number % len(KINDS)
            words = ("add", str(inputs / "q"), str(inputs / "content.png"), str(inputs / "style.png"), "--name", name)
            added = run_main("queue", *words, *options[kind])
            assert added.returncode == 0, added.stderr
            wanted[name] = expected[kind]
        runners.begin()
        deadline = time.monotonic() + 600
        while runners.look():
            assert time.monotonic() < deadline, f"seed {seed}: {line.jobs()}"
            if done < kills:
                time.sleep(dice.uniform(0, 5))
                if runners.look() and (whom := runners.kill(dice)):
                    done += 1
                    counts[whom] += 1
                    print(f"seed {seed}: kill {done}: {whom}", flush=True)
                assert {job.name for job in line.jobs()} == {*wanted}, f"seed {seed}"
                if any(job.state != "done" for job in line.jobs()):
                    runners.begin()
            else:
                time.sleep(0.1)
        states = {job.name: (job.state, job.reason) for job in line.jobs()}
        assert states == dict.fromkeys(wanted, ("done", "")), f"seed {seed}, after {done} kills"
    for name, poster in wanted.items():
        assert (inputs / "q" / f"{name}.png").read_bytes() == poster, f"seed {seed}: {name}"
    worked = sorted(_worked(runners.all))
    assert {name for name, _, _ in worked} == {*wanted}
    for (name, _, until), (after, since, _) in itertools.pairwise(worked):
        assert name != after or until <= since, f"seed {seed}: {name} twice at once"
    counts["posters"], counts["turns"] = len(wanted), len(worked)
    return counts


@pytest.mark.slow  # until its time on idle cores is known
def test_three_kills(inputs: Path, cluster: str, undisturbed, small_weights: str) -> None:
    seed = random.SystemRandom().randrange(10**6)
    counts = _soak(inputs, cluster, undisturbed, small_weights, 2, 3, seed)
    assert counts["posters"] >= 2


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thirty_kills(inputs: Path, cluster: str, undisturbed) -> None:
    """With the real backbone."""
    seed = random.SystemRandom().randrange(10**6)
    print(_soak(inputs, cluster, undisturbed, "", 4, 30, seed))
