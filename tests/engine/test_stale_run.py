"""Tasks of a process that has ended may go on in a cluster: what they would write is somebody else's by now."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serial_pool import Kept, SerialPool
from shallow import SHALLOW

from tiler.engine import behind, workplace
from tiler.engine.address import Address
from tiler.engine.behind import Behind
from tiler.engine.holding import Holding
from tiler.engine.rounds import tasks
from tiler.engine.workplace import Workplace
from tiler.errors import StateLostError, StoreError
from tiler.ingest import Ingest

WRITE = {"add_up_guides", "add_up_style", "begin", "finish"}
# Of one block, and of each of two.
ROUNDS = {1: {"advance"}, 2: {"measure", "relax_border"}}


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        os.path.join(root, name): (
            os.stat(os.path.join(root, name)).st_mtime_ns,
            os.stat(os.path.join(root, name)).st_ino,
        )
        for root, _, names in os.walk(folder)
        for name in names
    }


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_every_task_of_another_run_ends_with_a_word_and_writes_nothing(
    render_serially, pictures_dir: Path, monkeypatch: pytest.MonkeyPatch, mode: str, blocks: int
) -> None:
    seen, submit = set(), SerialPool.submit
    monkeypatch.setattr(Ingest, "begin", lambda *_: None)  # which writes beside the tasks

    def haunted(
        pool: SerialPool, function: Callable[..., Any], address: Address, *rest: Any, worker: Any = None
    ) -> Any:
        if function.__name__ in WRITE | ROUNDS[blocks] and function not in seen:
            seen.add(function)
            before = _files(Path(address.url))
            found = submit(pool, function, replace(address, run="0" * 32), *rest)
            with pytest.raises(StoreError, match="another run has taken it over; this task has written nothing"):
                found.result()
            assert _files(Path(address.url)) == before, function.__name__
        return submit(pool, function, address, *rest)

    options = dict(long_edge=48, steps=(1, 1), min_edge=24, tile=32, color="content", mode=mode, state="store")
    options |= dict(style_mask=(f"rest={pictures_dir / 'content.png'}",), **SHALLOW)
    expected = render_serially(blocks, **options)
    monkeypatch.setattr(SerialPool, "submit", haunted)
    np.testing.assert_array_equal(render_serially(blocks, **options), expected)
    assert {function.__name__ for function in seen} == WRITE | ROUNDS[blocks]


def test_a_checkpoint_of_another_run_is_not_written(render_serially, monkeypatch: pytest.MonkeyPatch) -> None:
    begin, before = Behind.begin, {}

    def late(self: Behind, *arguments: Any) -> None:
        store = self._here.store
        store.update(run="0" * 32)
        before.update(_files(Path(store.url)))
        begin(self, *arguments)

    monkeypatch.setattr(Behind, "begin", late)
    with pytest.raises(StoreError, match="another run has taken it over; this task has written nothing") as error:
        render_serially(long_edge=48, steps=(3,), levels=1, tile=32, mode="exact", checkpoint_seconds=0, **SHALLOW)
    url = str(error.value).split()[1].rstrip(":")
    assert before
    assert _files(Path(url)) == before


def test_tasks_from_before_a_worker_was_lost_write_nothing_after_it(render_serially, monkeypatch) -> None:
    """They may still run on another worker, and read what by then is a later state."""
    options = dict(long_edge=48, steps=(3,), levels=1, tile=32, steps_per_round=1, state="store", **SHALLOW)
    expected, late, submit = render_serially(2, **options), [], SerialPool.submit

    def losing(pool: SerialPool, function: Callable[..., Any], address: Address, *rest: Any, **where: Any) -> Any:
        if function.__name__ == "relax_border" and not late:
            late.append((address, rest))
            return Kept(StateLostError("worker a is gone"))
        if function.__name__ == "finish" and len(late) == 1:
            (before, arguments), files = late[0], _files(Path(address.url))
            late.append(submit(pool, function, before, *rest))
            for found in (late[1], submit(pool, tasks.relax_border, before, *arguments)):
                with pytest.raises(StoreError, match="another run has taken it over"):
                    found.result()
            assert _files(Path(address.url)) == files
        return submit(pool, function, address, *rest)

    monkeypatch.setattr(SerialPool, "submit", losing)
    monkeypatch.setattr(SerialPool, "drop", lambda self: None, raising=False)
    np.testing.assert_array_equal(render_serially(2, **options), expected)
    assert len(late) == 2


@pytest.mark.parametrize("home", ["device", "store"])
@pytest.mark.parametrize("blocks", [1, 2])
def test_a_task_that_is_repeated_late_changes_nothing(render_serially, monkeypatch, home: str, blocks: int) -> None:
    """Whoever schedules them repeats tasks whose results were lost with a worker, and all that led to these."""
    options = dict(long_edge=48, steps=(4,), levels=1, tile=32, steps_per_round=1, state=home, **SHALLOW)
    expected, done, submit, refused = render_serially(blocks, **options), [], SerialPool.submit, []

    def repeating(pool: SerialPool, function: Callable[..., Any], *arguments: Any, **where: Any) -> Any:
        found = submit(pool, function, *arguments)
        done.append((function, arguments))
        for late, given in done[1:-1] if function.__name__ in ("add_up", "advance", "relax_border") else []:
            if late.__name__ in ("advance", "measure", "relax_border", "relax_interior") or home == "store":
                refused.append(isinstance(submit(pool, late, *given).value, StateLostError))
        return found

    monkeypatch.setattr(SerialPool, "submit", repeating)
    np.testing.assert_array_equal(render_serially(blocks, **options), expected)
    assert any(refused) or blocks == 1


def test_a_task_that_runs_keeps_its_strips_from_one_that_is_repeated_beside_it(render_serially, monkeypatch) -> None:
    options = dict(long_edge=48, steps=(4,), levels=1, tile=32, steps_per_round=1, state="device", **SHALLOW)
    expected, relax, rounds = render_serially(2, **options), Holding.relax, []

    def beside(holding: Holding, now: Any, *arguments: Any) -> None:
        rounds.append(now.state)
        holding.receive(now.state - 1, [])
        relax(holding, now, *arguments)

    monkeypatch.setattr(Holding, "relax", beside)
    np.testing.assert_array_equal(render_serially(2, **options), expected)
    assert rounds == [state for state in range(4) for _ in range(4)]  # border and interior of two blocks


def test_nothing_begins_anew_while_a_checkpoint_from_before_is_written(render_serially, monkeypatch) -> None:
    """Of a worker that lives on where another was lost: its thread may be between two looks at whose turn it is."""
    options = dict(long_edge=48, steps=(4,), levels=1, tile=32, steps_per_round=1, checkpoint_seconds=0, **SHALLOW)
    expected, submit, write = render_serially(2, **options), SerialPool.submit, behind.write_kept
    writing, begun, lost = [], [], []

    def slow(store: Any, level: int, slot: int, state: int, tile: Any, kept: Any, check: Any) -> None:
        writing.append(tile.index)
        try:
            check()
            time.sleep(0.2)
            write(store, level, slot, state, tile, kept, check)
        finally:
            writing.remove(tile.index)

    def losing(pool: SerialPool, function: Callable[..., Any], *arguments: Any, **where: Any) -> Any:
        if function == tasks.settle and len(lost) < 2:
            lost.append(function)
            return Kept(StateLostError("worker a is gone"))
        return submit(pool, function, *arguments)

    def made(address: Address) -> Workplace:
        begun.append([*writing])
        return Workplace(address)

    monkeypatch.setattr(behind, "write_kept", slow)
    monkeypatch.setattr(workplace, "Workplace", made)
    monkeypatch.setattr(SerialPool, "submit", losing)
    monkeypatch.setattr(SerialPool, "drop", lambda self: None, raising=False)
    np.testing.assert_array_equal(render_serially(2, **options), expected)
    assert begun == [[], []]
