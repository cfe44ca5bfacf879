"""How far a render is, how long it takes yet, and how numbers of bytes are said."""

from __future__ import annotations

from typing import Any

import pytest

from tiler.planning import course
from tiler.planning.course import Course
from tiler.planning.speed import Speed
from tiler.planning.words import size


def levels() -> list[dict[str, Any]]:
    return [
        {"tiles": 2, "steps": 5, "done": False, "work": 100.0},
        {"tiles": 3, "steps": 0, "done": False, "work": 40.0},
        {"tiles": 4, "steps": 10, "done": False, "work": 260.0},
    ]


def step(level: int, tile: int, step: int) -> dict[str, Any]:
    return {"event": "step", "level": level, "tile": tile, "step": step}


def test_it_goes_on_as_fast_as_since_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done by then is no work of this run; what is reported again is done once; a repeated start is anew."""
    now, found = [10.0], Course()
    monkeypatch.setattr(course, "monotonic", lambda: now[0])
    assert (found.share, found.seconds_left) == (1, None)
    for beginning in ("start", "shrink"):
        found({"event": beginning, "levels": levels()})
        now[0] = 10.0
        assert (found.share, found.seconds_left, found.steps(0)) == (0, None, [])
        found(step(0, 1, 2))
        assert (found.share, found.seconds_left) == (pytest.approx(20 / 400), None)
        now[0] = 14.0
        found(step(0, 0, 5))
        found(step(0, 1, 1))
        assert (found.share, found.steps(0), found.steps(1)) == (pytest.approx(70 / 400), [2, 5], [])
        assert found.seconds_left == pytest.approx(330 * 4 / 50)
        found(step(1, 0, 1))
        found(step(2, 1, 1))
        assert found.share == pytest.approx(76.5 / 400)
        found({"event": "level done", "level": 0})
        found({"event": "level done", "level": 1})
        assert found.share == pytest.approx(146.5 / 400)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 MB"), (1, "1 MB"), (1_000_000, "1 MB"), (1_000_001, "2 MB"), (999_000_001, "1000 MB"),
        (1e9, "1.0 GB"), (1_249_999_999, "1.2 GB"), (12_345_678_901, "12.3 GB"),
    ],
)  # fmt: skip
def test_bytes_are_said_so_that_they_are_enough(count: float, said: str) -> None:
    assert size(count) == said


def test_each_kind_of_work_has_its_own_constant_and_slope() -> None:
    speed = Speed(0, 0, one_step=(1, 10), one_measure=(2, 20), one_round=(3, 30), one_held_round=(4, 40))
    found = [work(7) for work in (speed.step, speed.measure, speed.round, speed.held_round)]
    assert found == [71, 142, 213, 284]
