"""Whatever befalls a render, the state it goes on with is the undisturbed render's, to the last bit, or none.

A machine of hypothesis' kills, damages and resumes one job as it likes, and compares all that the store and the workers
then say to have with a plain table: what an undisturbed render had, by state and tile.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from lives import SMALLEST, TILE, Lives

from tiler.engine.resident import Resident
from tiler.engine.state import Kept

States = dict[tuple[int, int], Kept]
QUICK = settings(
    max_examples=4, stateful_step_count=8, deadline=None, phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck), print_blob=True,
)  # fmt: skip


# By mode: tiles report theirs in the one, and are measured in the other.
STATISTICS = {"fast": "w2", "exact": "gram"}


class Undisturbed:
    """By mode: a store with the pictures in it, and by tile too: all states, and the image."""

    def __init__(self, folder: Path, inputs: Path, weights: str) -> None:
        self._folder, self._made = folder, lambda **options: Lives(self._new(), inputs, weights, **options)
        self.begun = cache(self._begun)
        self.told = cache(self._told)

    def _new(self) -> Path:
        return Path(mkdtemp(dir=self._folder))

    def _begun(self, mode: str) -> Lives:
        found = self._made(mode=mode, statistics=STATISTICS[mode])
        with found.in_charge():
            found.begin("device", 1)
            while found._pool and not any(task.__name__ == "begin" for task, _ in found._pool.asked):
                found.go(1)
            found.kill()
        return found

    def _told(self, mode: str, tile: int) -> tuple[States, np.ndarray]:
        states: States = {}
        put, put_grams = Resident.put, Resident.put_grams

        def keep(self: Resident, state: int, tile: Any, *rest: Any) -> None:
            (put_grams if len(rest) > 1 else put)(self, state, tile, *rest)
            states[state, tile.index] = self.kept(state, tile).copied()

        lives = self._made(mode=mode, tile=tile, statistics=STATISTICS[mode])
        with (
            lives.in_charge(),
            mock.patch.object(Resident, "put", keep),
            mock.patch.object(Resident, "put_grams", keep),
        ):
            lives.begin("device", 1)
            lives.go()
        assert lives.outcomes == ["done"]
        return states, lives.image()

    def copied(self, mode: str) -> tuple[Lives, Path]:
        folder = self._new()
        return self.begun(mode).copied(folder), folder


def _same(found: Kept, expected: Kept) -> bool:
    """To the last bit; statistics where they are there."""
    assert found.moments is not None
    assert expected.moments is not None
    return (
        torch.equal(found.pixels, expected.pixels)
        and torch.equal(found.moments.float(), expected.moments.float())
        and found.losses == expected.losses
        and all(torch.equal(sums, expected.grams[layer]) for layer, sums in found.grams.items())
    )


# What is left of a file's bytes.
DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda data: None,
    "flipped": lambda data: bytes(byte ^ 4 * (i == len(data) // 2) for i, byte in enumerate(data)),
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
}
EVENTS = (
    *["it dies midway", "a task comes again", "some of a checkpoint is written"] * 3,
    *["it dies", "a worker is lost", "a worker comes", "the store is damaged", "memory ends"],
)


class Misfortunes(RuleBasedStateMachine):
    undisturbed: Undisturbed

    @initialize(mode=st.sampled_from(["fast", "exact"]), last_home=st.sampled_from(["device", "store"]))
    def born(self, mode: str, last_home: str) -> None:
        self.last_home = last_home
        self.states = {tile: self.undisturbed.told(mode, tile) for tile in (TILE, SMALLEST)}
        self.lives, self.folder = self.undisturbed.copied(mode)
        self.charge = self.lives.in_charge()
        self.charge.__enter__()

    # One rule: of several, hypothesis would leave out some in every example, and mostly one that all depends on.
    @rule(
        home=st.sampled_from(["device", "store"]),
        blocks=st.sampled_from([1, 2, 4]),
        tasks=st.sampled_from(range(1, 10)),
        what=st.sampled_from(EVENTS),
        number=st.sampled_from(range(160)),
        how=st.sampled_from(sorted(DAMAGES)),
    )
    def live(self, home: str, blocks: int, tasks: int, what: str, number: int, how: str) -> None:
        """home, blocks: of a new life, where there is none."""
        lives = self.lives
        if not lives.alive:
            lives.begin(home, blocks)
        lives.go(tasks)
        if what == "it dies midway":
            lives.cut(number)
        elif what in ("it dies", "the store is damaged"):
            lives.kill()
        elif what == "some of a checkpoint is written":
            lives.write(number % 5)
        elif lives.alive and what == "a worker is lost":
            lives.lose(number % 4)
        elif lives.alive and what == "a worker comes":
            lives.join()
        elif lives.alive and what == "a task comes again":
            lives.repeat(number)
        elif what == "memory ends":
            lives.memory_ends = True
        if what == "the store is damaged":
            self._damage(number, how)

    def _damage(self, number: int, how: str) -> None:
        chunks = self.lives.chunks()
        if chunks:
            chunk = chunks[number % len(chunks)]
            data = DAMAGES[how](chunk.read_bytes())
            chunk.unlink()
            if data is not None:
                chunk.write_bytes(data)

    @invariant()
    def what_is_there_is_what_an_undisturbed_render_had(self) -> None:
        states, _ = self._expected()
        for where in (self.lives.held, self.lives.stored):
            for state, tile, kept in where():
                assert _same(kept, states[state, tile]), f"{where.__name__}: tile {tile} has not state {state}"

    def _expected(self) -> tuple[States, np.ndarray]:
        return self.states[self.lives.job.cut.tile]

    def teardown(self) -> None:
        try:
            self.lives.kill()
            self.lives.memory_ends = False
            tile = self.lives.job.cut.tile
            self.lives.begin(self.last_home, 2, 60)
            self.lives.go()
            assert self.lives.outcomes[-1] == "done"
            assert self.lives.job.cut.tile == tile, "memory was not short"
            np.testing.assert_array_equal(self.lives.image(), self._expected()[1])
        finally:
            self.lives.kill()
            self.charge.__exit__(None, None, None)
            shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, pictures_dir: Path, small_weights: str) -> type[Misfortunes]:
    class Here(Misfortunes):
        undisturbed = Undisturbed(tmp_path_factory.mktemp("lives"), pictures_dir, small_weights)

    return Here


def run(machine: type[Misfortunes], how: settings) -> None:
    with warnings.catch_warnings():
        # A write that ends with its process leaves what zarr was about to do.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        run_state_machine_as_test(machine, settings=how)


def test_whatever_happens_to_it_the_poster_is_the_same(machine: type[Misfortunes]) -> None:
    run(machine, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_whatever_happens_to_it_the_poster_is_the_same_often(machine: type[Misfortunes]) -> None:
    run(machine, settings(QUICK, max_examples=400, stateful_step_count=30))
