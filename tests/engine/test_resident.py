"""A block's state in memory: what is put comes back, and a patch goes once nobody has still to see it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_state import CPU, FIRST, GRID, LAST, kept

from tiler.engine import resident as resident_module
from tiler.engine.home import DEVICE, HOST
from tiler.engine.resident import Resident
from tiler.engine.state import Kept
from tiler.errors import StateLostError
from tiler.geometry import Rect, Tile, TileGrid
from tiler.geometry.sight import most_at_once, sights, within

ROOM = resident_module._Room
GRIDS = st.builds(
    lambda rows, cols, halo, wrap_y, wrap_x: TileGrid(16 * rows, 16 * cols, 16, 16, 4, halo, 16, wrap_y, wrap_x),
    st.integers(1, 5), st.integers(1, 5), st.sampled_from([0, 8, 32]), st.booleans(), st.booleans(),
)  # fmt: skip


def resident(
    dtype: torch.dtype = torch.float32,
    moments: torch.dtype = torch.float32,
    home: str = DEVICE,
    device: torch.device = CPU,
    tiles: Sequence[Tile] = (FIRST, GRID.tile(1), LAST),
    alone: bool = False,
) -> Resident:
    """alone: whether its tiles do not see each other; all do else."""
    numbers = [tile.index for tile in tiles]
    return Resident(device, home, dtype, moments, tiles, {one: [one] if alone else numbers for one in numbers})


@pytest.mark.parametrize("home", [DEVICE, HOST])
def test_memory_gives_back_what_was_put_of_two_states(home: str) -> None:
    state = resident(moments=torch.bfloat16, home=home)
    given = {(number, tile.index): kept(tile, 7 * number + tile.index) for number in (4, 5) for tile in (FIRST, LAST)}
    for (number, index), one in given.items():
        state.put(number, GRID.tile(index), one)
    part = Rect(3, 5, 11, 29)
    for (number, index), one in given.items():
        tile = GRID.tile(index)
        pixels, moments = (state.read(number, tile, part, kind) for kind in ("pixels", "moments"))
        assert one.moments is not None
        assert torch.equal(pixels, one.pixels[:, 3:11, 5:29])
        assert torch.equal(moments, one.moments[:, 3:11, 5:29].bfloat16().float())
        assert (pixels.dtype, moments.dtype, moments.shape) == (torch.float32, torch.float32, (6, 8, 24))
        assert state.kept(number, tile).moments.dtype == torch.bfloat16  # type: ignore[union-attr]


def test_memory_keeps_a_copy_and_uses_its_place_again() -> None:
    state, one = resident(torch.float64, alone=True), kept(LAST, 1)
    state.put(0, LAST, one)
    first = state.kept(0, LAST)
    expected = one.pixels.clone().double()
    one.pixels.zero_()
    assert torch.equal(first.pixels, expected)
    state.put(1, LAST, kept(LAST, 2))
    with pytest.raises(StateLostError):
        state.kept(0, LAST)
    state.put(2, LAST, third := kept(LAST, 3))
    assert third.moments is not None
    again = state.kept(2, LAST)
    assert torch.equal(again.pixels, third.pixels.double())
    assert again.pixels.data_ptr() == first.pixels.data_ptr()
    assert again.moments.data_ptr() == first.moments.data_ptr()  # type: ignore[union-attr]
    state.put(4, LAST, Kept(third.pixels))
    assert not state.read(4, LAST, Rect(0, 0, 12, 30), "moments").any()


@pytest.mark.parametrize(("asked", "tile"), [(1, LAST), (4, LAST), (0, LAST), (2, FIRST)])
def test_memory_says_which_state_of_which_tile_is_not_here(asked: int, tile: Tile) -> None:
    state = resident()
    state.put(2, LAST, kept(LAST, 1))
    for ask in (
        lambda: state.kept(asked, tile),
        lambda: state.losses(asked, tile),
        lambda: state.read(asked, tile, Rect(0, 0, 1, 2), "pixels"),
        lambda: state.grams(asked, tile, "relu1_1", (0,)),
        lambda: state.put_grams(asked, tile, {}, (0,)),
    ):
        with pytest.raises(StateLostError, match=rf"^tile {tile.index}: its state {asked} is not here$"):
            ask()
    assert state.kept(2, LAST)


def test_a_state_that_was_put_in_part_is_not_there() -> None:
    """As when memory runs out between its pixels and its moments. Its room is used again."""
    state = resident()
    state.put(3, LAST, one := kept(LAST, 1))
    for _ in range(2):
        with pytest.raises(RuntimeError):
            state.put(4, LAST, Kept(one.pixels, torch.zeros(6, 2, 3)))
    with pytest.raises(StateLostError):
        state.kept(4, LAST)
    assert state.newest([LAST.index]) == 3
    assert len(state._rooms._free) == 1
    state.put(4, LAST, one)
    with pytest.raises(RuntimeError):
        state.put(4, LAST, Kept(one.pixels, torch.zeros(6, 2, 3)))
    assert state.newest([LAST.index]) == 3


def test_the_newest_state_is_one_that_all_the_tiles_have() -> None:
    state = resident()
    assert state.newest([0, 5]) == -1
    for number, tiles, newest in (
        (0, (FIRST,), -1), (0, (LAST,), 0), (1, (LAST,), 0), (1, (FIRST,), 1), (2, (FIRST,), 1), (2, (LAST,), 2),
    ):  # fmt: skip
        for tile in tiles:
            state.put(number, tile, kept(tile, number))
        assert state.newest([0, 5]) == newest
        assert tiles[0].index in state.present(number)
    assert state.newest([0]) == state.newest([5]) == 2
    assert state.newest([0, 1]) == -1


@pytest.mark.parametrize("number", [4, 5])
def test_statistics_and_losses_in_memory_are_those_that_were_put(number: int) -> None:
    state, sums, after = resident(), torch.arange(1.0, 9).reshape(2, 2, 2), number + 1
    state.put(number, LAST, kept(LAST, 1, losses=(0.25, 0.75)))
    state.put(after, LAST, kept(LAST, 2, losses=(1.5, 2.5), grams={"relu1_1": sums + 10}, regions=(0, 1)))
    with pytest.raises(StateLostError, match=rf"^tile 5: the statistics of its state {number} are not here$"):
        state.grams(number, LAST, "relu1_1", (0,))
    state.put_grams(number, LAST, {"relu1_1": sums}, (0, 2))
    assert torch.equal(state.grams(number, LAST, "relu1_1", (2, 1, 0)), torch.stack([sums[1], sums[0] * 0, sums[0]]))
    assert torch.equal(state.grams(after, LAST, "relu1_1", (1,)), sums[1:] + 10)
    assert (state.losses(number, LAST), state.losses(after, LAST)) == ((0.25, 0.75), (1.5, 2.5))
    assert torch.equal(state.kept(number, LAST).pixels, kept(LAST, 1).pixels)


def test_a_copy_of_what_is_kept_is_of_its_own() -> None:
    one = kept(LAST, 1, losses=(1.0, 2.0), regions=(3,))
    copy = one.copied()
    assert one.moments is not None
    assert copy.moments is not None
    for mine, its in ((one.pixels, copy.pixels), (one.moments, copy.moments)):
        assert torch.equal(mine, its)
        mine.zero_()
        assert its.all()
    assert (copy.losses, copy.regions) == ((1.0, 2.0), (3,))


# What goes, and when ----------------------------------------------------------------------------------------------


def told(state: int, tile: Tile) -> Kept:
    """Whose patch this is can be seen in each pixel."""
    pixels = torch.full((3, tile.blend.height, tile.blend.width), float(state * 1000 + tile.index))
    return Kept(pixels, pixels.repeat(2, 1, 1) + 0.5)


def reads(state: Resident, number: int, tile: Tile) -> None:
    whole = tile.blend.relative_to(tile.blend)
    for kind, more in (("pixels", 0.0), ("moments", 0.5)):
        found = state.read(number, tile, whole, kind)
        assert found.shape[1:] == (tile.blend.height, tile.blend.width)
        assert (found == number * 1000 + tile.index + more).all()


@given(GRIDS, st.randoms())
def test_what_a_round_reads_is_there_and_no_more_rooms_are_made_than_counted(grid: TileGrid, random: Any) -> None:
    order = [tile.index for tile in grid]
    random.shuffle(order)
    sees = within({*order}, sights(grid))
    state, made = resident_of(grid, sees), list[int]()
    with mock.patch.object(resident_module, "_Room", lambda *rooms: made.append(1) or ROOM(*rooms)):
        for tile in grid:
            state.put(0, tile, told(0, tile))
        for number in range(3):
            for index in order:
                assert state.newest(order) == number
                for seen in sees[index]:
                    reads(state, number, grid.tile(seen))
                state.put(number + 1, grid.tile(index), told(number + 1, grid.tile(index)))
            assert state.present(number) == set()
            assert state.present(number + 1) == {*order}
            for tile in grid:
                reads(state, number + 1, tile)
            assert len(made) == most_at_once(order, sees)


def resident_of(grid: TileGrid, sees: Any) -> Resident:
    return Resident(CPU, DEVICE, torch.float32, torch.float32, list(grid), sees)


def test_what_is_held_stays_and_is_waited_for_rather_than_more_taken() -> None:
    """While a checkpoint is written, the next rounds use no more memory."""
    state = resident(alone=True, tiles=(LAST,))
    state.put(0, LAST, told(0, LAST))
    state.put(1, LAST, told(1, LAST))
    [held] = state.hold(1, [LAST])
    state.put(2, LAST, told(2, LAST))
    assert (held.kept.pixels == 1005).all()
    going_on = threading.Thread(target=state.put, args=(3, LAST, told(3, LAST)), daemon=True)
    going_on.start()
    going_on.join(0.1)
    assert going_on.is_alive()
    assert (held.kept.pixels == 1005).all()
    assert held.kept.moments is not None
    assert (held.kept.moments == 1005.5).all()
    held.let_go()
    going_on.join(5)
    assert not going_on.is_alive()
    held.let_go()  # again, which frees nobody else's
    reads(state, 3, LAST)
    state.put(4, LAST, told(4, LAST))
    reads(state, 4, LAST)
    assert len(state._rooms._free) == 1


def test_what_is_held_and_not_over_is_in_nobody_s_way() -> None:
    state = resident(alone=True, tiles=(LAST,))
    state.put(0, LAST, told(0, LAST))
    [held] = state.hold(0, [LAST])
    held.let_go()
    reads(state, 0, LAST)
    for number in range(1, 4):
        state.put(number, LAST, told(number, LAST))
        reads(state, number, LAST)
    with pytest.raises(StateLostError):
        state.hold(2, [LAST])


def test_of_a_state_that_is_not_whole_nothing_is_held() -> None:
    state = resident()
    state.put(1, FIRST, told(1, FIRST))
    with pytest.raises(StateLostError, match="tile 5: its state 1 is not here"):
        state.hold(1, [FIRST, LAST])
    assert [room.holds for _, room in state._found.values()] == [0]


@pytest.mark.parametrize(
    ("home", "kind", "waits"), [(HOST, "cuda", True), (DEVICE, "cuda", False), (HOST, "cpu", False)]
)
def test_only_what_a_gpu_copies_to_the_host_is_waited_for(
    home: str, kind: str, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Any] = []
    stream = SimpleNamespace(synchronize=lambda: waited.append("done"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: waited.append(device) or stream)
    device, asked = torch.device(kind), list[Any]()
    state = resident(moments=torch.bfloat16, home=home, device=device)
    state.settle()
    assert waited == [device, "done"] * waits
    whole = torch.empty
    monkeypatch.setattr(torch, "empty", lambda size, **how: asked.append(how) or whole(size))
    state.put(0, LAST, kept(LAST, 1))
    where = {"device": "cpu", "pin_memory": True} if waits else {"device": device}
    assert asked == [{"dtype": torch.float32, **where}, {"dtype": torch.bfloat16, **where}]
