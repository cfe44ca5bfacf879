"""When memory is short: the level starts over with smaller tiles, unless they are small already."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

from tiler.engine import finite, tasks
from tiler.engine.holding import Holding
from tiler.engine.store import RenderStore
from tiler.errors import TileTooLargeError, WorkerDiedError

SMALL = dict(levels=1, steps=1, feather=8, halo=16, precision="fp32")


def _tile(tmp_path: Path) -> int:
    return int(RenderStore.open(str(tmp_path / "1.zarr"), writable=False).attributes["job"]["cut"]["tile"])


def test_large_tiles_are_cut_for_the_rest_of_the_job(render_serially, monkeypatch, tmp_path: Path) -> None:
    """Once their state has gone wherever there may be more memory."""
    whole, homes = Holding.relax, []

    def relax(self, *arguments):
        homes.append(self._block.home)
        if self._here.job.cut.tile > 256:
            raise TileTooLargeError("does not fit")
        return whole(self, *arguments)

    monkeypatch.setattr(Holding, "relax", relax)
    assert np.isfinite(render_serially(long_edge=272, tile=272, **SMALL)).all()
    assert _tile(tmp_path) == 256
    assert homes == ["device", "store", "store"]


def test_small_tiles_are_not_cut_smaller(render_serially, monkeypatch, tmp_path: Path) -> None:
    """It is not they that fill the memory, and the finer levels would have to make do with them."""

    def relax(*arguments):
        raise WorkerDiedError("4 workers died")

    monkeypatch.setattr(Holding, "relax", relax)
    with pytest.raises(WorkerDiedError):
        render_serially(long_edge=48, tile=48, **SMALL)
    assert _tile(tmp_path) == 48


def test_a_tile_that_does_not_fit_while_it_is_measured_is_too_large(render_serially, monkeypatch) -> None:
    whole = finite.measure_pixels

    def measure(backbone, pixels, layers, *arguments):
        if "relu4_2" not in layers:  # a level; of styles the content's layers are measured too
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return whole(backbone, pixels, layers, *arguments)

    monkeypatch.setattr(finite, "measure_pixels", measure)
    with pytest.raises(TileTooLargeError, match="does not fit into the memory"):
        render_serially(long_edge=48, tile=48, **SMALL)


@pytest.mark.parametrize("home", ["device", "store"])
def test_what_a_level_held_is_gone_before_the_next_begins(render_serially, monkeypatch, home: str) -> None:
    """By itself: nobody looks for cycles in between, and a device's memory would hold two levels."""
    real, left = tasks.let_go, []

    def let_go(address, block):
        here = tasks.workplace(address)
        there = weakref.ref(here.held[block.attempt, block.number])
        real(address, block)
        left.append(there())
        return {}

    monkeypatch.setattr(tasks, "let_go", let_go)
    gc.collect()
    gc.disable()
    try:
        render_serially(long_edge=80, tile=40, levels=2, steps=2, state=home, feather=8, halo=16, precision="fp32")
    finally:
        gc.enable()
    assert left == [None, None]
