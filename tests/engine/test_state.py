"""Where a level's state lives: what is put comes back by state, tile, part and kind, and what is gone says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tiler.engine.state import Kept, Stored, spread, write_kept
from tiler.engine.store import RenderStore
from tiler.errors import StateLostError, StoreError
from tiler.geometry import Rect, Tile, TileGrid

GRID = TileGrid(40, 90, 32, 32, feather=4)
FIRST, LAST = GRID.tile(0), GRID.tile(5)
CPU = torch.device("cpu")


def kept(tile: Tile, seed: int, **more: Any) -> Kept:
    generator = torch.Generator().manual_seed(seed)
    pixels, moments = (torch.rand(count, tile.blend.height, tile.blend.width, generator=generator) for count in (3, 6))
    return Kept(pixels, moments, **more)


@pytest.fixture
def store(tmp_path: Path) -> RenderStore:
    made = RenderStore.create(str(tmp_path / "job.zarr"), {"job": {"id": "x"}})
    made.create_state(1, GRID, {"relu1_1": (4, 4)}, "float32", "bfloat16", regions=3)
    return made


def stored(store: RenderStore, base: int, checks: list[int] | None = None) -> Stored:
    checked: list[int] = [] if checks is None else checks
    return Stored(store, 1, range(len(GRID)), base, CPU, torch.float64, lambda: checked.append(1))


def test_a_patch_s_shape_is_neither_square_nor_that_of_its_neighbour() -> None:
    assert (FIRST.blend.height, FIRST.blend.width) == (36, 36)
    assert (LAST.blend.height, LAST.blend.width) == (12, 30)


def test_sums_are_spread_over_the_regions_that_are_asked_for() -> None:
    sums = torch.arange(1.0, 25).reshape(2, 4, 3)
    assert spread(sums, (1, 4), (1, 4)) is sums
    assert torch.equal(spread(sums, (1, 4), (4, 1)), sums.flip(0))
    found = spread(sums, (1, 4), range(6))
    assert found.shape == (6, 4, 3)
    assert [region for region in range(6) if found[region].any()] == [1, 4]
    assert torch.equal(found[[1, 4]], sums)
    assert torch.equal(spread(sums[1:], (1,), (0, 1)), torch.stack([0 * sums[1], sums[1]]))
    nothing = spread(sums[:0], (), (0, 2))
    assert nothing.shape == (2, 4, 3)
    assert not nothing.any()
    with pytest.raises(ValueError, match="zip"):
        spread(sums, (1,), (0,))


# In the store -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [0, 1])
def test_the_store_gives_back_what_was_put_of_two_states(base: int, store: RenderStore) -> None:
    state = stored(store, base)
    given = {(number, tile.index): kept(tile, 7 * number + tile.index) for number in (4, 5) for tile in (FIRST, LAST)}
    for (number, index), one in given.items():
        state.put(number, GRID.tile(index), one)
    part = Rect(3, 5, 11, 29)
    for (number, index), one in given.items():
        pixels, moments = (state.read(number, GRID.tile(index), part, kind) for kind in ("pixels", "moments"))
        assert one.moments is not None
        assert torch.equal(pixels, one.pixels[:, 3:11, 5:29].double())
        assert torch.equal(moments, one.moments[:, 3:11, 5:29].bfloat16().double())
        assert pixels.dtype == moments.dtype == torch.float64
        slot = (number + base) % 2
        assert store.states(store.state_path(1))[slot, index] == number
    assert state.present(4) == state.present(5) == {0, 5}
    assert state.present(6) == state.present(3) == set()


def test_a_state_of_the_store_is_the_newest_where_all_these_tiles_have_it(store: RenderStore) -> None:
    state, path = stored(store, 0), store.state_path(1)
    assert state.newest([0, 5]) == -1
    for slot, number, tile, newest in (
        (0, 2, 0, -1), (0, 2, 5, 2), (1, 3, 5, 2), (1, 3, 1, 2), (1, 3, 0, 3), (0, 4, 5, 3), (0, 4, 0, 4),
    ):  # fmt: skip
        store.mark(path, slot, number, tile)
        assert state.newest([0, 5]) == newest
    assert state.newest([1]) == 3
    assert state.newest([1, 2]) == state.newest([0, 1, 2]) == -1
    store.unmark(path, 0, 5)
    assert state.newest([0, 1, 5]) == 3
    store.unmark(path, 1, 5)
    assert state.newest([0, 5]) == -1


@pytest.mark.parametrize("base", [0, 1])
def test_a_state_of_the_store_that_was_written_over_is_refused(base: int, store: RenderStore) -> None:
    """Of the whole level or of some of its tiles; while a level is seeded there is none that could have been."""
    state, path, tiles = stored(store, base), store.state_path(1), range(len(GRID))

    said = list[str]()

    def lost(number: int, *some: list[int]) -> bool:
        try:
            state.require(number, *some)
        except StateLostError as error:
            said.append(str(error))
            return True
        return False

    assert (lost(0), lost(0, [5]), lost(1)) == (False, False, True)
    store.mark(path, base, 0, 3)
    assert (lost(0), lost(0, [5])) == (False, False)
    store.mark(path, 1 - base, 1, 3)
    assert (lost(0), lost(0, [3]), lost(0, [5])) == (True, False, True)
    store.unmark(path, 1 - base, 3)
    for tile in tiles:
        store.mark(path, base, 0, tile)
    assert (lost(0), lost(1), lost(2)) == (False, True, True)
    for tile in tiles:
        store.mark(path, 1 - base, 1, tile)
    assert (lost(0), lost(1)) == (False, False)
    store.mark(path, base, 2, 5)
    assert (lost(0), lost(0, [5]), lost(0, [0, 1]), lost(2), lost(2, [5]), lost(2, [5, 0])) == (
        True, True, False, True, False, True,
    )  # fmt: skip
    assert (lost(1), lost(1, [3])) == (False, False)
    assert {*said} == {f"level 2: its state {number} has been written over" for number in range(3)}


def test_statistics_and_losses_in_the_store_are_those_that_were_put(store: RenderStore) -> None:
    checks: list[int] = []
    state, sums = stored(store, 1, checks), torch.arange(1.0, 33).reshape(2, 4, 4)
    state.put(6, LAST, kept(LAST, 1, losses=(0.25, 0.75)))
    assert len(checks) == 2
    state.put_grams(6, LAST, {"relu1_1": sums}, (0, 2))
    assert len(checks) == 3
    state.put(7, LAST, kept(LAST, 2, losses=(1.5, 2.5), grams={"relu1_1": sums + 40}, regions=(1, 2)))
    found = state.grams(6, LAST, "relu1_1", (2, 1, 0))
    assert torch.equal(found, torch.stack([sums[1], sums[0] * 0, sums[0]]))
    assert torch.equal(state.grams(7, LAST, "relu1_1", (1,)), sums[:1] + 40)
    assert (state.losses(6, LAST), state.losses(7, LAST)) == ((0.25, 0.75), (1.5, 2.5))
    assert {type(loss) for loss in (*state.losses(6, LAST), *Kept(sums).losses)} == {float}
    assert Kept(sums).losses == (0, 0)
    assert [store.read_regions(store.state_path(1), slot, 5) for slot in (1, 0)] == [(0, 2), (1, 2)]


class Watched:
    """A store that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *given: self.told.append((name, *given))

    def state_path(self, level: int) -> str:
        return f"levels/{level}/s"


def test_a_tile_is_marked_once_all_of_it_is_written_and_unmarked_before() -> None:
    store, one = Watched(), kept(LAST, 1, losses=(0.5, 0.25))
    given: Any = store
    write_kept(given, 2, 1, 8, LAST, one, lambda: store.told.append("check"))
    assert store.told == [
        "check", ("unmark", "levels/2/s", 1, 5), ("write_patch", 2, 1, 5, one.pixels, one.moments),
        ("write_loss", 2, 1, 5, 0.5, 0.25), "check", ("mark", "levels/2/s", 1, 8, 5),
    ]  # fmt: skip
    store.told.clear()
    sums = torch.rand(2, 4, 4)
    write_kept(given, 2, 0, 9, FIRST, kept(FIRST, 1, grams={"a": sums}, regions=(1, 3)), lambda: None)
    assert [name for name, *_ in store.told] == ["unmark", "write_patch", "write_grams", "write_loss", "mark"]
    path, slot, tile, numbers, regions = store.told[2][1:]
    assert (path, slot, tile, regions) == ("levels/2/s", 0, 0, (1, 3))
    np.testing.assert_array_equal(numbers["a"], sums)


@pytest.mark.parametrize(("bearable", "names"), [(0, []), (1, ["unmark", "write_patch", "write_loss"])])
def test_who_may_not_write_any_more_marks_nothing(bearable: int, names: list[str]) -> None:
    store, asked = Watched(), list[int]()
    given: Any = store

    def check() -> None:
        asked.append(1)
        if len(asked) > bearable:
            raise StoreError("taken over")

    with pytest.raises(StoreError, match="taken over"):
        write_kept(given, 2, 1, 8, LAST, kept(LAST, 1), check)
    assert [name for name, *_ in store.told] == names
