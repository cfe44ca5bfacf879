"""An unfinished level is shown as all its tiles last had it, and a finished one as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shallow import SHALLOW

from tiler.engine.address import Address, Block, new_attempt
from tiler.engine.holding import hold
from tiler.engine.home import STORE
from tiler.engine.resident import Resident
from tiler.engine.state import Kept, Stored
from tiler.engine.store import RenderStore
from tiler.engine.workplace import Workplace
from tiler.errors import LevelMovedError, StoreError, TilerError
from tiler.geometry import Rect, Tile
from tiler.geometry.blocks import root
from tiler.output.export import export
from tiler.output.view import View, latest_state
from tiler.request import identity


class StopError(Exception):
    pass


@pytest.fixture
def stopped(render_serially, tmp_path, monkeypatch):
    """stopped(n): the store of a job that stopped before its n-th round of a tile (two levels of 1 and 4 tiles)."""
    count = 0

    def run(relaxed: int, state: str = STORE, blocks: int = 1) -> str:
        nonlocal count
        count += 1
        left, home = relaxed, Stored if state == STORE else Resident
        put = home.put

        def counted(self: Stored | Resident, state: int, tile: Tile, kept: Kept) -> None:
            nonlocal left
            if state:
                if not left:
                    raise StopError
                left -= 1
            put(self, state, tile, kept)

        how = dict(long_edge=80, levels=2, steps=(1, 3), tile=48, steps_per_round=1, precision="fp32", **SHALLOW)
        monkeypatch.setattr(home, "put", counted)
        with pytest.raises(StopError):
            render_serially(blocks, state=state, checkpoint_seconds=0.0, **how)
        monkeypatch.setattr(home, "put", put)
        return str(tmp_path / f"{count}.zarr")

    return run


def whole(view: View) -> np.ndarray:
    return np.concatenate(list(view.bands()), axis=1)


def view_of(url: str, level: int | None = None) -> View:
    store = RenderStore.open(url, writable=False)
    return View.of(store, identity.load_job(store), level)


# One round of the coarse level's tile, and four tiles a round of the fine one.
@pytest.mark.parametrize(("relaxed", "state"), [(1, 0), (3, 0), (5, 1), (8, 1), (9, 2), (12, 2)])
def test_the_newest_complete_state_is_shown(stopped, relaxed: int, state: int) -> None:
    url = stopped(relaxed)
    view = view_of(url, 1)
    assert (view.state, view.steps, view.height, view.width) == ((state, state % 2), state, 63, 80)
    here, grid = Workplace(Address(url, view.job.id)), view.job.cut.grid(1)
    assert len(grid) == 4
    holding = hold(here, Block(1, new_attempt(), ((root(grid),),), 0, STORE))
    np.testing.assert_array_equal(whole(view), holding.read(state, Rect(0, 0, 63, 80), "pixels"))
    assert view_of(url).level == 0
    assert view_of(url, 0).state is None


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize(("relaxed", "state"), [(8, 1), (9, 2)])
def test_of_a_state_in_memory_the_last_checkpoint_is_shown(stopped, relaxed: int, state: int, blocks: int) -> None:
    """They take turns in the slots from the first on, whatever state that is of; their pixels are those of any home."""
    view = view_of(stopped(relaxed, "device", blocks), 1)
    assert (view.state, view.steps) == ((state, (state - 1) % 2), state)
    np.testing.assert_array_equal(whole(view), whole(view_of(stopped(relaxed), 1)))


def test_before_the_first_checkpoint_nothing_is_shown(stopped) -> None:
    url = stopped(4, "device")
    with pytest.raises(StoreError, match="level 1 has not begun"):
        view_of(url, 1)


def test_export_writes_the_unfinished_level_and_changes_nothing(stopped, tmp_path: Path) -> None:
    url = stopped(6)
    before = {path: path.stat().st_mtime_ns for path in Path(url).rglob("*")}
    done = export(Path(url), str(tmp_path / "now.png"), level=1)
    assert (done.level, done.height, done.width, done.steps) == (1, 63, 80, 1)
    expected = np.rint(np.clip(whole(view_of(url, 1)), 0, 1) * 255).transpose(1, 2, 0)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "now.png")), expected)
    assert export(url, str(tmp_path / "best.png")).level == 0
    assert {path: path.stat().st_mtime_ns for path in Path(url).rglob("*")} == before


def test_what_is_not_there_is_said(stopped, tmp_path: Path) -> None:
    url = stopped(0)
    for level in (-1, 2):
        with pytest.raises(StoreError, match=rf"level = {level}; allowed: 0 .coarsest. to 1"):
            view_of(url, level)
    with pytest.raises(StoreError, match="level 1 has not begun"):
        export(url, str(tmp_path / "no.png"), level=1)
    assert not (tmp_path / "no.png").exists()
    assert export(url, str(tmp_path / "start.png")).steps == 0


def test_a_state_that_moves_on_while_it_is_read_is_read_again(stopped, tmp_path: Path, monkeypatch) -> None:
    url = stopped(6)
    store, bands = RenderStore.open(url), View.bands
    path = store.state_path(1)
    moves = 1

    def moving(view: View) -> Iterator[np.ndarray]:
        nonlocal moves
        for band in bands(view):
            if moves:
                moves -= 1
                state, slot = view.state or (0, 0)
                for tile in range(4):
                    store.mark(path, 1 - slot, state + 1, tile)
            yield band

    monkeypatch.setattr(View, "bands", moving)
    assert export(url, str(tmp_path / "now.png"), level=1).steps == 2
    assert latest_state(store, identity.load_job(store), 1) == (2, 0)
    moves = 10**6
    (tmp_path / "now.png").write_bytes(b"before")
    with pytest.raises(LevelMovedError, match="goes on faster"):
        export(url, str(tmp_path / "now.png"), level=1)
    assert (tmp_path / "now.png").read_bytes() == b"before"


def test_a_level_that_is_finished_while_it_is_read_is_read_again(stopped, tmp_path: Path) -> None:
    url = stopped(6)
    store, view = RenderStore.open(url), view_of(url, 1)
    bands = view.bands()
    next(bands)
    store.finish_level(1, {"seconds": 1.0, "rounds": 2})
    with pytest.raises(LevelMovedError):
        list(bands)


def test_damage_is_not_called_a_move(stopped, tmp_path: Path) -> None:
    url = stopped(6)
    view = view_of(url, 1)
    for chunk in (Path(url) / view.store.state_path(1) / "pixels" / "c" / str(view.state[1])).rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(TilerError, match="cannot be read") as error:
        export(url, str(tmp_path / "now.png"), level=1)
    assert not isinstance(error.value, LevelMovedError)
