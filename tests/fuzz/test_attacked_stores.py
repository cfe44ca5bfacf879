"""Stores that were damaged or forged: an answer or one line, in bounded time and memory; nothing outside is touched."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def metadata(path: str, *keys: Any, value: Any) -> Callable[[Path], None]:
    """Changes one value of one zarr.json; path: the first that it fits."""

    def change(store: Path) -> None:
        file = sorted(store.glob(f"{path}/zarr.json".lstrip("/")))[0]
        values = found = json.loads(file.read_text())
        for key in keys[:-1]:
            found = found[key]
        found[keys[-1]] = value
        file.write_text(json.dumps(values))

    return change


def link(path: str) -> Callable[[Path], None]:
    def change(store: Path) -> None:
        place = store / path
        shutil.rmtree(place, ignore_errors=True)
        place.symlink_to(store.parent / "outside")

    return change


def claims(store: Path) -> None:
    """Chunks of a few bytes that say that they unpack to two gigabytes."""
    for chunk in (store / "levels/1/poster/c").rglob("*"):
        if chunk.is_file():
            data = chunk.read_bytes()
            chunk.write_bytes(data[:4] + (2**31 - 2**20).to_bytes(4, "little") + data[8:])


JOB, STATE = ("attributes", "tiler", "job"), "levels/1/state-*"
CHUNKS = ("chunk_grid", "configuration", "chunk_shape")
LEVEL = {"index": 0, "height": 2**20, "width": 2**20, "steps": 1, "peak_rate": 0.02}
ATTACKS: dict[str, tuple[str, Callable[[Path], object], str, str]] = {
    "marks of 3e8 tiles": (
        "begun", metadata(f"{STATE}/marks", "shape", value=[2, 3 * 10**8]), "info", "marks is int32"
    ),
    "levels without number": (
        "begun", metadata("", *JOB, "cut", "levels", value=[LEVEL] * 200_000), "info", "zarr.json is larger"
    ),
    "large levels": ("begun", metadata("", *JOB, "cut", "levels", value=[LEVEL] * 24), "verify", "out of order"),
    "a large image": (
        "finished", metadata("levels/0/image", "shape", value=[3, 2**20, 2**20]), "verify", "allowed: uint16"
    ),
    "chunks of 1": (
        "finished", metadata("levels/1/poster", *CHUNKS, value=[1, 1, 1]), "export", ""
    ),
    "foreign codecs": (
        "finished", metadata("levels/1/poster", "codecs", value=[{"name": "numcodecs.pickle"}]), "export", "codecs"
    ),
    "members in the group": (
        "begun", metadata("", "consolidated_metadata", value={"kind": "inline"}), "info", "members"
    ),
    "another fill value": ("begun", metadata(f"{STATE}/marks", "fill_value", value=5), "verify", "marks is int32"),
    "chunks that claim": ("finished", claims, "export", "does not unpack to"),
    "no metadata's size": ("begun", lambda store: os.truncate(store / "zarr.json", 2**33), "info", "is larger than"),
    "seconds without end": ("begun", metadata("", "attributes", "tiler", "seconds", value=math.inf), "info", "seconds"),
    "seconds of text": ("begun", metadata("", "attributes", "tiler", "seconds", value="5"), "info", "seconds"),
    "a report of no number": (
        "finished", metadata("levels/0", "attributes", "report", "seconds", value=math.nan), "info", "report.seconds"
    ),
    "a report without seconds": (
        "finished", metadata("levels/0", "attributes", "report", value={"rounds": 1}), "info", "report"
    ),
    "asked of another kind": ("begun", metadata("", "attributes", "tiler", "asked", value=[5]), "resume", ""),
    "a half of a letter": (
        "begun", metadata("", "attributes", "tiler", "config", "output", value="\ud800"), "info", ""
    ),
    "other steps than asked for": (
        "begun", metadata("", *JOB, "cut", "levels", 1, "steps", value=10**6), "resume", "not what was asked"
    ),
    **{f"{path} elsewhere, {command}": (which, link(path), command, "is a link")
       for path in ("levels", "levels/1", "levels/1/poster", "levels/1/poster/c")
       for which, command in (("finished", "resume"), ("finished", "export"), ("finished", "verify"))},
    "a group that is none": ("begun", metadata("styles/1", "attributes", value=[5]), "resume", ""),
    "a group of digits": (
        "finished",
        lambda store: [one.unlink() for one in (store / "levels/0/image/c").rglob("0") if one.is_file()]
        + [(store / "styles/zarr.json").write_bytes(b"1" * 100_000)],
        "resume",
        "styles",
    ),
    "styles elsewhere, finished": ("finished", link("styles"), "resume", "is a link"),
    "styles elsewhere, begun": ("begun", link("styles"), "resume", "is a link"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_known_attacks(stores: Stores, name: str) -> None:
    which, change, command, words = ATTACKS[name]
    wrong, said = stores.after(which, change, command)
    assert wrong == ""
    assert words in said


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
