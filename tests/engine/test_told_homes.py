"""What a store tells of where its levels' state lives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tiler.engine.home import Home, homes_of
from tiler.engine.store import RenderStore
from tiler.errors import StoreError
from tiler.jobs import MOVED, Homes


def test_a_finished_level_keeps_its_home_and_one_that_moves_is_told(tmp_path: Path) -> None:
    store, events = RenderStore.create(str(tmp_path / "a.zarr"), {"job": {"id": "x"}}), []
    assert homes_of(store) == ()
    first = [Home("device", "a"), Home("device", "b")]
    Homes(store, first, events.append)
    assert homes_of(store) == (*first,)
    store.write_picture("levels/0/content", 4, 4, [np.zeros((3, 4, 4), np.float32)])
    store.finish_level(0, {"rounds": 0, "seconds": 1.0})
    homes = Homes(store, [Home("store", "c"), Home("host", "d")], events.append)
    assert homes_of(store) == (first[0], Home("host", "d"))
    for event in ({"event": "note", "text": "x"}, {"event": "note", "text": "y", "level": 1, "home": "store"}):
        homes.tell(event)
        assert events[-1] is event
    assert homes_of(RenderStore.open(store.url)) == (first[0], Home("store", MOVED))


@pytest.mark.parametrize("wrong", [5, [{"where": "device"}], [{"where": "nowhere", "why": ""}]])
def test_a_home_that_is_none_is_refused(wrong: object, tmp_path: Path) -> None:
    store = RenderStore.create(str(tmp_path / "a.zarr"), {"homes": wrong})
    with pytest.raises(StoreError, match=r"a\.zarr: homes"):
        homes_of(store)
