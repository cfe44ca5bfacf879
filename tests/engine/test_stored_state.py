"""A level's state in the store, tile by tile: what is whole, what is forgotten, and what lies beside it untouched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tiler.engine.store import RenderStore
from tiler.geometry import Part, Rect, TileGrid

GRID = TileGrid(40, 90, 32, 32, feather=4)
LAYERS = {"relu1_1": (5, 4), "relu2_1": (3, 2)}


@pytest.fixture
def store(tmp_path: Path) -> RenderStore:
    made = RenderStore.create(str(tmp_path / "job.zarr"), {"job": {"id": "x"}})
    made.create_state(1, GRID, LAYERS, "float32", "float64", 2)
    return made


@pytest.fixture
def path(store: RenderStore) -> str:
    return store.state_path(1)


def mark(store: RenderStore, path: str, slot: int, states: list[int]) -> None:
    for tile, state in enumerate(states):
        if state >= 0:
            store.mark(path, slot, state, tile)


def test_a_patch_is_padded_to_the_others_size_and_read_as_it_is(store: RenderStore, path: str) -> None:
    """Whatever lay there: nothing of it comes through."""
    array = store._array(f"{path}/moments")
    assert array.shape == (2, 6, 6, 36, 40)
    array[1, 5] = 9
    pixels, moments = torch.rand(3, 12, 30), torch.rand(6, 12, 30, dtype=torch.float64)
    store.write_patch(1, 1, 5, pixels, moments)
    assert torch.equal(store.read_patch(1, 1, 5, Rect(2, 1, 12, 30), "moments"), moments[:, 2:, 1:])
    assert torch.equal(store.read_patch(1, 1, 5, Rect(0, 0, 12, 30), "pixels"), pixels)
    assert not np.asarray(array[1, 5, :, 12:]).any()
    assert not np.asarray(array[1, 5, :, :, 30:]).any()
    store.write_patch(1, 1, 5, pixels)
    assert not np.asarray(array[1, 5]).any()


@pytest.mark.parametrize(
    ("slots", "latest"),
    [
        (([3] * 6, [4] * 6), (4, 1)), (([5] * 6, [4] * 6), (5, 0)), (([5] * 5 + [-1], [4] * 6), (4, 1)),
        (([4] * 6, [5, 4, 4, 4, 4, 4]), (4, 0)), (([-1] * 6, [-1] * 6), None), (([0] * 6, [-1] * 6), (0, 0)),
        (([-1] * 5 + [7], [-1] * 6), None),
    ],
)  # fmt: skip
def test_the_latest_checkpoint_is_the_newest_that_is_whole(
    slots: Any, latest: tuple[int, int] | None, store: RenderStore, path: str
) -> None:
    for slot, states in enumerate(slots):
        mark(store, path, slot, states)
    assert store.latest(path) == store.latest(path, GRID) == latest
    np.testing.assert_array_equal(store.states(path), slots)
    np.testing.assert_array_equal(store.read_marks(path), slots)


def test_of_a_level_in_part_only_its_own_tiles_count(store: RenderStore, path: str) -> None:
    part = replace(GRID, part=Part((1, 4), (1.0, 1.0)))
    mark(store, path, 0, [-1, 6, 5, 5, 6, -1])
    assert store.latest(path) is None
    assert store.latest(path, part) == (6, 0)
    mark(store, path, 1, [7, 7, 7, 7, -1, 7])
    assert store.latest(path, part) == (6, 0)
    store.create_state(1, part, LAYERS, "float32", "float64", 2)
    assert store.states(path)[0, 4] == 6, "what is whole is kept"
    store.unmark(path, 0, 1)
    store.create_state(1, part, LAYERS, "float32", "float64", 2)
    assert (store.states(path) == -1).all()


def test_a_level_that_was_made_room_for_and_not_begun_keeps_its_arrays(store: RenderStore, path: str) -> None:
    store.write_loss(1, 0, 3, 0.25, 0.5)
    store.unmark(path, 0, 3)
    store.create_state(1, GRID, LAYERS, "float32", "float64", 2)
    assert store.read_loss(1, 0, 3).tolist() == [0.25, 0.5]


def test_only_names_of_tiles_are_taken_for_marks(store: RenderStore, path: str) -> None:
    mark(store, path, 1, [-1, 3, -1, -1, 3, -1])
    folder = Path(store.url) / path / "marks/c/1"
    for name in ("6", "10000000000", "x", "-1", "4.part", "²"):
        (folder / name).write_bytes(b"junk")
    assert store.read_marks(path).tolist() == store.states(path).tolist() == [[-1] * 6, [-1, 3, -1, -1, 3, -1]]


def test_losses_are_read_of_a_tile_and_of_all(store: RenderStore) -> None:
    for tile in range(6):
        store.write_loss(1, 1, tile, tile + 0.25, tile + 0.5)
    assert store.read_loss(1, 1, 4).tolist() == [4.25, 4.5]
    assert store.read_losses(1, 1).tolist() == [[tile + 0.25, tile + 0.5] for tile in range(6)]


def test_totals_are_of_all_their_regions_and_there_once_they_are_whole(store: RenderStore) -> None:
    totals = {"relu1_1": np.random.default_rng(1).random((2, 5, 4)), "relu2_1": np.ones((2, 3, 2))}
    assert not store.has_totals("styles/0/1", list(totals))
    store.write_totals("styles/0/1", totals)
    assert store.has_totals("styles/0/1", list(totals))
    assert not store.has_totals("styles/0/0", list(totals))
    for layer, total in totals.items():
        np.testing.assert_array_equal(store.read_total("styles/0/1", layer), total, strict=True)


# Taken back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "left"),
    [((0, 2), [5, 5, -1, 5, 5, 5]), ((0, 2, 1), [5, 5, -1, 5, 5, 5]), ((0,), [5] * 6)],
)
@pytest.mark.parametrize("name", ["pixels", "grams/relu2_1", "losses", "marks"])
def test_of_a_tile_s_state_its_mark_is_taken_back(
    name: str, index: tuple[int, ...], left: list[int], store: RenderStore, path: str
) -> None:
    mark(store, path, 0, [5] * 6)
    mark(store, path, 1, [4] * 6)
    store.forget(f"{path}/{name}", index)
    assert store.states(path).tolist() == [left, [4] * 6]


@pytest.mark.parametrize(
    ("forgotten", "gone"),
    [
        ("levels/1/S/pixels", ["levels/1/S"]), ("levels/1/S/grams/relu1_1", ["levels/1/S"]),
        ("styles/1/0/totals/relu2_1", ["styles/1/0"]), ("levels/1/rest/totals/relu1_1", ["levels/1/rest"]),
        ("styles/1/0/picture", ["styles/1/0/picture"]), ("levels/1/content", ["levels/1/content"]),
        ("levels/1/coarse", ["levels/1/coarse"]), ("levels/1/guides", ["levels/1/guides"]),
        ("levels/1/alpha", ["levels/1/alpha"]), ("init", ["init"]), ("levels/1", ["levels/1"]),
        ("levels/1/image", ["levels/1/image", "levels/1/poster"]),
        ("levels/1/poster", ["levels/1/image", "levels/1/poster"]),
    ],
)  # fmt: skip
def test_what_is_damaged_goes_with_what_depends_on_it_and_nothing_else(
    forgotten: str, gone: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, dropped, attributes = RenderStore.__new__(RenderStore), list[str](), {"report": 1, "other": 2}
    monkeypatch.setattr(store, "_drop", dropped.append)
    monkeypatch.setattr(store, "_attributes", lambda path: {"levels/1": attributes}[path])
    monkeypatch.setattr(store, "unmark", pytest.fail)
    store.forget(forgotten, ())
    assert dropped == gone
    assert attributes == ({"other": 2} if len(gone) > 1 else {"report": 1, "other": 2})
