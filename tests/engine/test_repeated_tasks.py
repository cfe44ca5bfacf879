"""A task that failed midway comes again: it does what was left, and nothing is begun anew."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from serial_pool import Kept, SerialPool

from tiler.engine.holding import Holding
from tiler.engine.turn import Turns

SMALL: dict[str, Any] = dict(long_edge=96, levels=1, steps=(2,), tile=32, feather=8, halo=8, steps_per_round=1)


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_a_round_that_failed_midway_goes_on(
    render_serially: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch, mode: str, blocks: int
) -> None:
    """At most of the tiles of each round, after those that it followed have lost their part of the state before."""
    expected = render_serially(blocks, mode=mode, **SMALL)
    tell, seed, submit = Turns.tell, Holding.seed, SerialPool.submit
    told, seeded, failed = list[tuple[int, int]](), list[int](), list[int]()

    def failing(self: Turns, now: Any, tile: Any, done: Any) -> None:
        told.append((now.state, tile.index))
        if len(told) % 2 == 0:
            failed.append(tile.index)
            raise RuntimeError("the line is busy")
        tell(self, now, tile, done)

    def again(self: SerialPool, function: Any, *arguments: Any, worker: str | None = None) -> Kept:
        for _ in range(20):
            with contextlib.suppress(RuntimeError):
                return submit(self, function, *arguments, worker=worker)
        raise AssertionError("it does not get any further")

    monkeypatch.setattr(Turns, "tell", failing)
    monkeypatch.setattr(Holding, "seed", lambda self: (seeded.append(1), seed(self)))
    monkeypatch.setattr(SerialPool, "submit", again)
    assert render_serially(blocks, mode=mode, **SMALL).tobytes() == expected.tobytes()
    tiles = sorted({tile for _, tile in told})
    assert len(tiles) == 9
    assert sorted(told) == [(state, tile) for state in range(2) for tile in tiles]
    assert len(failed) == 9
    assert len(seeded) == blocks
