"""Checkpoints that are written behind: one that went wrong is no checkpoint, whoever asks how often."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tiler.engine import behind
from tiler.engine.behind import Behind
from tiler.engine.home import DEVICE
from tiler.engine.resident import Resident
from tiler.engine.state import Kept
from tiler.errors import StateLostError, StoreError
from tiler.geometry import TileGrid

TILES = list(TileGrid(32, 64, 32, 32, 8, 8, 1))


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> tuple[Behind, list[int], list[Exception], Resident]:
    """(a checkpoint of two tiles that is being written, the tiles that were, what the next writes of the second raise,
    the state)."""
    wrote, trouble = list[int](), list[Exception]([OSError("no space left")] * behind._TRIES)

    def write(store: Any, level: int, slot: int, state: int, tile: Any, kept: Kept, check: Any) -> None:
        if trouble and tile.index == 1:
            raise trouble.pop()
        wrote.append(tile.index)

    monkeypatch.setattr(behind, "write_kept", write)
    here: Any = SimpleNamespace(store=None, job=SimpleNamespace(device=SimpleNamespace(kind="cpu")), check_run=None)
    state = Resident(torch.device("cpu"), DEVICE, torch.float32, torch.float32, TILES, {0: [0, 1], 1: [0, 1]})
    for tile in TILES:
        state.put(3, tile, Kept(torch.zeros(3, tile.blend.height, tile.blend.width)))
    found = Behind(here, 0)
    found.begin(state, TILES, 3, 1)
    return found, wrote, trouble, state


def test_a_repeated_task_does_not_take_half_a_checkpoint_for_a_whole_one(begun) -> None:
    """Workers repeat a task that fails: what was not written is, and then only is it settled."""
    written, wrote, trouble, _ = begun
    trouble += [OSError("still none")] * behind._TRIES
    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            written.settle()
    assert 1 not in wrote
    written.settle()
    assert wrote[-2:] == [0, 1]
    written.settle()
    assert len(wrote) == 4  # once more for each that failed, and not again


def test_who_lets_a_block_go_waits_and_does_not_care(begun) -> None:
    written, wrote, _, _ = begun
    written.rest()
    assert wrote == [0]


def test_what_went_wrong_is_said_again_where_the_state_has_gone_on(begun) -> None:
    """And not that it has: that would send the level back, as if a worker were lost."""
    written, wrote, _, state = begun
    written.rest()
    for tile in TILES:
        state.put(4, tile, Kept(torch.zeros(3, tile.blend.height, tile.blend.width)))
    with pytest.raises(StateLostError):
        state.hold(3, TILES)
    for _ in range(3):
        with pytest.raises(OSError, match="no space left"):
            written.settle()
    assert 1 not in wrote


def test_what_goes_wrong_once_is_tried_again_while_it_is_there(begun) -> None:
    """But not where somebody else has taken the store over."""
    failed, wrote, trouble, state = begun
    failed.rest()
    wrote.clear()
    written = Behind(failed._here, 0)
    trouble[:] = [OSError("busy")] * (behind._TRIES - 1)
    written.begin(state, TILES, 3, 0)
    written.settle()
    assert wrote == [0, 1]
    trouble[:] = [StoreError("taken over")]
    written.begin(state, TILES, 3, 0)
    with pytest.raises(StoreError, match="taken over"):
        written.settle()
    assert wrote == [0, 1, 0]
