"""Stores that were damaged or forged: an answer or one line, in bounded time and memory; nothing outside is touched."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest
from attacked_stores import Stores
from hypothesis import given, settings
from hypothesis import strategies as st

COMMANDS = ("info", "verify", "export", "resume")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, small_weights: str) -> Stores:
    return Stores(tmp_path_factory.mktemp("stores"), small_weights)


def test_they_are_whole_before(stores: Stores) -> None:
    for which in ("finished", "begun"):
        for command in COMMANDS:
            assert stores.attack(which, [command], None) == []


def test_of_a_few(stores: Stores) -> None:
    @settings(max_examples=12, derandomize=True)
    @given(st.sampled_from(("finished", "begun")), st.sampled_from(COMMANDS), st.integers(0, 2**32))
    def attacked(which: str, command: str, seed: int) -> None:
        assert stores.attack(which, [command], seed) == []

    attacked()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_for_minutes(stores: Stores) -> None:
    """TILER_FUZZ_SECONDS (600) and TILER_FUZZ_SEED (0) say how long and from where; all that is found is listed."""
    seconds, first = (float(os.environ.get(f"TILER_FUZZ_{name}", one)) for name, one in (("SECONDS", 600), ("SEED", 0)))
    began, found, count = time.monotonic(), [], 0
    for seed in itertools.count(int(first)):
        if time.monotonic() - began > seconds:
            break
        for which in ("finished", "begun"):
            found += stores.attack(which, COMMANDS, seed)
            count += len(COMMANDS)
    print(f"{count} commands on stores of the seeds {int(first)} to {seed - 1}, {len(found)} findings")
    Path(os.environ.get("TILER_FUZZ_LOG", os.devnull)).write_text("\n".join([f"{count} commands", *found]))
    assert found == []
