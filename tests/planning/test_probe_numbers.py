"""What a probe makes of the times that it takes, by a clock and tasks that are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tiler.engine import place
from tiler.planning import probe
from tiler.planning.speed import Speed


def _clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(probe, "perf_counter", lambda: now[0])
    return now


def test_a_tiles_times_are_those_of_its_last_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is a half of what two took; what a round takes beside them is the rest. What is made once is not timed:
    the first look, and the first round."""
    now, asked = _clock(monkeypatch), []

    class Holding:
        tiles = ("a tile",)

        def seed(self) -> None:
            now[0] += 1000

        def measure(self, state: int) -> None:
            asked.append(("measure", state))
            now[0] += 7 if len(asked) == 2 else 500

        def sums(self, state: int) -> str:
            return f"sums {state}"

        def relax(self, turn: Any, tiles: Any, send: Any) -> None:
            asked.append((turn, tiles))
            send({"event": "tile", "stepping": 3.0 * len(asked), "seconds": 5.0 * len(asked)})
            send({"event": "kernels"})

    monkeypatch.setattr(probe, "workplace", lambda address: f"at {address}")
    monkeypatch.setattr(probe, "hold", lambda here, block: Holding())
    monkeypatch.setattr(probe, "Block", lambda *what: what)
    monkeypatch.setattr(probe, "root", lambda grid: grid)
    monkeypatch.setattr(probe, "Round", lambda *what: what)
    monkeypatch.setattr(probe.tasks, "add_up", lambda address, level, sums: (address, level, *sums))
    found = probe._time_home("here", SimpleNamespace(cut=SimpleNamespace(grid=lambda level: "all")), "device")  # type: ignore[arg-type]
    assert asked == [
        ("measure", 0),
        ("measure", 0),
        ((0, 0, 1, ("here", 0, "sums 0")), ("a tile",)),
        ((1, 1, 2, ("here", 0, "sums 1")), ("a tile",)),
    ]
    assert found == {"step": 6.0, "round": 8.0, "measure": 7.0}


@pytest.mark.parametrize(
    ("read", "sides"), [((700, 600), [128, 512]), ((90, 210), [128, 224]), ((100, 40), [112]), ((16, 16), [16])]
)
def test_two_tiles_are_timed_no_larger_than_the_jobs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, read: tuple[int, int], sides: list[int]
) -> None:
    """Their sides are multiples of what the deepest layer steps by; the finest level has the largest tiles."""
    now, timed = _clock(monkeypatch), []

    class Pool:
        def submit(self, function: Any, *arguments: Any) -> Any:
            if function is probe.nothing:
                now[0] += 0.25
                return SimpleNamespace(result=lambda: now.__setitem__(0, now[0] + 0.5))
            timed.append(arguments)
            side = arguments[2]
            times = {"pixels": side**2, "step": 1e-6 * side**2, "measure": 3.0, "round": 4.0, "held_round": 5.0}
            return SimpleNamespace(result=lambda: times)

    tile = SimpleNamespace(read=SimpleNamespace(height=read[0], width=read[1]))
    cut = SimpleNamespace(levels=[0, 1, 2], align=16, grid=lambda level: [tile] * (level == 2))
    job = SimpleNamespace(cut=cut, to_dict=lambda: "job")
    found = probe.probe(Pool(), job, 9.0, str(tmp_path / "not there" / "job.zarr"))  # type: ignore[arg-type]
    assert [(job, side) for job, _, side in timed] == [("job", side) for side in sides]
    assert [place.rpartition("/")[2] for _, place, _ in timed] == list(map(str, sides))
    assert all(place.startswith(f"{tmp_path}/.tiler-") for _, place, _ in timed)
    assert list(tmp_path.iterdir()) == []
    assert (found.start, found.task) == (9.0, pytest.approx(0.75))
    assert found.step(10**6) == pytest.approx(1.0)
    for value, line in ((3.0, found.measure), (4.0, found.round), (5.0, found.held_round)):
        assert line(sides[-1] ** 2) == pytest.approx(value)


def test_a_speed_is_a_line_of_each_kind() -> None:
    speed = Speed(1, 2, (3, 0.5), (5, 0.25), (7, 2), (11, 4))
    assert [speed.step(8), speed.measure(8), speed.round(8), speed.held_round(8)] == [7, 7, 23, 43]


def test_a_stores_state_is_probed_on_its_own_disk(tmp_path: Any) -> None:
    assert place.folder_above("s3://bucket/job") is None
    assert place.folder_above(str(tmp_path / "a" / "b" / "job.zarr")) == tmp_path
    assert place.folder_above(str(tmp_path / "job.zarr")) == tmp_path
