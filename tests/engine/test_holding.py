"""What a worker's block takes from a checkpoint, and for how long it keeps what others sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tiler.engine.address import Address, Block, new_attempt
from tiler.engine.blend import composite
from tiler.engine.holding import Holding, hold
from tiler.engine.home import DEVICE, STORE
from tiler.engine.state import Kept, Stored
from tiler.engine.store import RenderStore
from tiler.engine.turn import Round
from tiler.engine.workplace import Workplace
from tiler.errors import StateLostError
from tiler.geometry import Rect, Tile
from tiler.geometry.blocks import root
from tiler.request import identity


class StopError(Exception):
    pass


@pytest.fixture
def held(
    render_serially: Callable[..., np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[RenderStore, Holding]]:
    """The store of a level of four tiles that is about to end, and all of them held elsewhere."""

    def stop(*arguments: object) -> None:
        raise StopError

    monkeypatch.setattr(RenderStore, "finish_level", stop)
    with pytest.raises(StopError):
        render_serially(long_edge=48, levels=1, steps=(2,), tile=32, steps_per_round=1, state=STORE)
    url = str(tmp_path / "1.zarr")
    store = RenderStore.open(url, writable=False)
    job = identity.load_job(store)

    def holding(home: str) -> tuple[RenderStore, Holding]:
        return store, hold(
            Workplace(Address(url, job.id)), Block(0, new_attempt(), ((root(job.cut.grid(0)),),), 0, home)
        )

    return holding


def test_a_checkpoint_is_taken_up_by_memory(held: Callable[[str], tuple[RenderStore, Holding]]) -> None:
    store, holding = held(DEVICE)
    found = store.latest(store.state_path(0))
    assert found is not None
    state, slot = found
    assert state == 2
    with pytest.raises(StateLostError):
        holding.read(state, Rect(0, 0, 20, 30), "pixels")
    holding.restore(slot, state)
    for tile in holding.tiles:
        whole = tile.blend.relative_to(tile.blend)
        np.testing.assert_array_equal(
            holding._state.read(state, tile, whole, "pixels"), store.read_patch(0, slot, tile.index, whole, "pixels")
        )


def test_a_state_in_the_store_is_there_already(
    held: Callable[[str], tuple[RenderStore, Holding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, holding = held(STORE)
    monkeypatch.setattr(Stored, "put", lambda *arguments: pytest.fail("written over what it is read from"))
    holding.restore(0, 2)


@pytest.mark.parametrize("kind", ["pixels", "moments"])
def test_what_is_read_is_a_copy_of_the_patches_that_lie_there(
    held: Callable[[str], tuple[RenderStore, Holding]], kind: str
) -> None:
    """Of one, and of four and where they overlap: a round works in it, and is perhaps repeated."""
    store, holding = held(DEVICE)
    holding.restore(0, 2)
    grid = holding._grid

    def stored(tile: Tile, part: Rect) -> torch.Tensor:
        return store.read_patch(0, 0, tile.index, part.relative_to(tile.blend), kind)

    for rect, patches in ((Rect(2, 1, 12, 11), 1), (Rect(0, 0, 38, 48), 4)):
        assert len([*grid.overlapping(rect)]) == patches
        expected = composite(grid, rect, stored)
        assert expected.any()
        for _ in range(2):
            found = holding.read(2, rect, kind)
            assert torch.equal(found, expected)
            found.fill_(7)


@pytest.mark.parametrize("home", [DEVICE, STORE])
def test_losses_are_those_that_were_kept(held: Callable[[str], tuple[RenderStore, Holding]], home: str) -> None:
    _, holding = held(home)
    losses = {tile.index: (0.25 + tile.index, 0.5 + tile.index) for tile in holding.tiles}
    for tile in holding.tiles:
        pixels = torch.zeros(3, tile.blend.height, tile.blend.width)
        holding._state.put(3, tile, Kept(pixels, losses=losses[tile.index]))
    assert holding.losses(3) == losses


def test_what_others_sent_of_two_states_is_kept(held: Callable[[str], tuple[RenderStore, Holding]]) -> None:
    """Of the one that is begun, and of the one before, whose tasks may be repeated; not of a whole level's."""
    _, holding = held(DEVICE)
    part = Rect(0, 0, 1, 1), np.zeros((3, 1, 1), np.float32)
    for state in range(6):
        holding.receive(state, [{("pixels", 1): part}, {("moments", 2): part}])
        assert [*holding._strips] == [*range(max(0, state - 1), state + 1)]
        assert {*holding._strips[state]} == {("pixels", 1), ("moments", 2)}


def test_a_state_that_has_been_written_over_is_refused(
    held: Callable[[str], tuple[RenderStore, Holding]],
) -> None:
    """By every task. The store keeps the newest two: 1 and 2 of these."""
    _, holding = held(STORE)
    tasks: dict[str, Callable[[], object]] = {
        "seed": holding.seed,
        "measure": lambda: holding.measure(0),
        "sums": lambda: holding.sums(0),
        "relax": lambda: holding.relax(Round(0, 0, 1, {}), holding.tiles, lambda event: None),
        "losses": lambda: holding.losses(0),
        "finish": lambda: holding.finish(0),
    }
    for name, late in tasks.items():
        with pytest.raises(StateLostError, match="its state 0 has been written over"):
            pytest.fail(f"{name} gave {late()}")
