"""Workers that come while a level is computed get blocks of their own, from a checkpoint on, and no byte changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from serial_pool import SerialPool

from tiler.engine.address import Block
from tiler.engine.rounds import tasks

SMALL = dict(long_edge=64, tile=32, levels=1, steps=3, steps_per_round=1, feather=8, halo=16, precision="fp32")


@pytest.mark.parametrize(("first", "later"), [(1, 2), (2, 4), (4, 5)])
def test_who_comes_gets_a_block(
    render_serially: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch, first: int, later: int
) -> None:
    """As long as there are tiles: of four, a fifth gets none, and nothing is begun again for it."""
    expected = render_serially(checkpoint_seconds=3600.0, **SMALL)
    begun: list[int] = []
    submit = SerialPool.submit

    def watched(self: Any, function: Any, *arguments: Any, **where: Any) -> Any:
        if function == tasks.begin:
            begun.append(len(next(one for one in arguments if isinstance(one, Block)).shares))
        if function == tasks.settle:
            self.addresses = [f"worker {number}" for number in range(later)]
        return submit(self, function, *arguments, **where)

    monkeypatch.setattr(SerialPool, "submit", watched)
    found = render_serially(blocks=first, checkpoint_seconds=0.0, **SMALL)
    np.testing.assert_array_equal(found, expected)
    assert begun == [first] * first + ([later] * later if later <= 4 else [])
