"""Tasks of a process that has ended may go on in a cluster: what they would write is somebody else's by now."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serial_pool import SerialPool

from tiler.engine import tasks
from tiler.errors import StoreError

WRITE = {"seed", "measure_style", "measure_tile", "add_up_guides", "add_up_style", "add_up_level", "relax_tile"}


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        os.path.join(root, name): (
            os.stat(os.path.join(root, name)).st_mtime_ns,
            os.stat(os.path.join(root, name)).st_ino,
        )
        for root, _, names in os.walk(folder)
        for name in names
    }


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_every_task_of_another_run_ends_with_a_word_and_writes_nothing(
    render_serially, pictures_dir: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    seen = set()

    def haunted(pool: SerialPool, function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        for address, *rest in list(arguments):
            if function is not tasks.grade and function not in seen:
                seen.add(function)
                before = _files(Path(address.url))
                with pytest.raises(StoreError, match="another run has taken it over; this task has written nothing"):
                    function(replace(address, run="0" * 32), *rest)
                assert _files(Path(address.url)) == before, function.__name__
            yield function(address, *rest)

    options = dict(long_edge=48, steps=(2, 2), min_edge=24, tile=16, color="content", mode=mode)
    masked = dict(style_mask=(f"rest={pictures_dir / 'content.png'}",))
    expected = render_serially(**options, **masked)
    monkeypatch.setattr(SerialPool, "run", haunted)
    np.testing.assert_array_equal(render_serially(**options, **masked), expected)
    assert {function.__name__ for function in seen} == WRITE | {"finish_tile"}
