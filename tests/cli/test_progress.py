"""What people read while a render runs: a recorded list of events, a clock of our own, every line known."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tiler.cli import progress
from tiler.cli.progress import duration, make_progress, size
from tiler.planning import course

LEVELS = [
    dict(height=48, width=64, tiles=1, steps=10, done=False, work=10 * 3000),
    dict(height=96, width=128, tiles=4, steps=5, done=False, work=5 * 18000),
]
START = dict(
    event="start", levels=LEVELS, mode="fast", precision="bf16", device="cpu", workers=2, tile=64, output="p.png",
    store="/s/p.zarr",
)  # fmt: skip
PLAN = dict(
    event="plan", memory_bytes=2_500_000_000, gpu_bytes=None, store_bytes=31_000_000, output_bytes=900_001, steps=15,
    tile_steps=30,
)  # fmt: skip

Feed = Callable[..., list[str]]


def set_clock(monkeypatch: pytest.MonkeyPatch, now: list[float]) -> None:
    for module in (progress, course):
        monkeypatch.setattr(module, "monotonic", lambda: now[0])


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Feed:
    """feed((seconds, event), ...) -> the lines that are printed then, by one printer."""
    now = [0.0]
    set_clock(monkeypatch, now)
    monkeypatch.setattr(progress, "_memory", lambda: 3 * 2**29)
    printer = progress._Printer(live=False)

    def run(*events: tuple[float, dict[str, Any]]) -> list[str]:
        for at, event in events:
            now[0] = at
            printer(event)
        return capsys.readouterr().err.splitlines()

    return run


def _step(level: int, tile: int, step: int, style: float) -> dict[str, Any]:
    return dict(event="step", level=level, tile=tile, step=step, style=style, content=0.5, tv=0.1)


def _started() -> list[tuple[float, dict[str, Any]]]:
    return [
        (0, PLAN),
        (100, {**START, "levels": [dict(level) for level in LEVELS]}),
        (100, dict(event="level", level=0)),
    ]


def test_what_is_said_at_the_start(feed: Feed) -> None:
    assert feed(*_started()) == [
        "needs about 2.5 GB of memory, 31 MB of disk for the state and 1 MB for the poster; 15 steps, 30 counted by "
        "tiles",
        "128 x 96 px, 2 levels, mode fast, bf16 on cpu, 2 worker(s), tiles up to 64 px",
        "poster: p.png   state: /s/p.zarr",
    ]
    assert "GB of memory, 8.0 GB on each GPU, " in feed((0, {**PLAN, "gpu_bytes": 8_000_000_000}))[0]


def test_percent_and_time_left_count_pixels_times_steps_of_this_run(feed: Feed) -> None:
    feed(*_started())
    # The first step tells where it goes on from: 4 of 10 steps of the first level are 12000 of 120000.
    assert feed((106, _step(0, 0, 4, 2.0))) == [
        "level 1 of 2 (64 x 48), step 4 of 10, 0 of 1 tiles done, style loss 2.0000, 10 %, ..., 1.5 GB"
    ]
    # 9000 more in 12 s; 99000 are left, so 132 s.
    assert feed((108, _step(0, 0, 5, 1.8)), (118, _step(0, 0, 7, 1.5))) == [
        "level 1 of 2 (64 x 48), step 7 of 10, 0 of 1 tiles done, style loss 1.5000, 18 %, 2 min 12 s left, 1.5 GB"
    ]


def test_a_level_of_several_tiles_counts_each_tiles_share(feed: Feed) -> None:
    feed(*_started(), (106, _step(0, 0, 1, 2.0)))
    done = dict(event="level done", level=0, style=0.1234, seconds=65.4)
    assert feed((115, done)) == ["level 1 of 2: 64 x 48 px, 1 tile(s), 10 steps, style loss 0.1234, 1 min 05 s"]
    feed((116, dict(event="level", level=1)), (117, _step(1, 2, 5, 3.0)))
    # 30000 + 5/5 and 2/5 of a quarter of 90000 = 61500 of 120000, 58500 since the first step 24 s ago.
    assert feed((130, _step(1, 0, 2, 1.0))) == [
        "level 2 of 2 (128 x 96), step 5 of 5, 1 of 4 tiles done, style loss 2.0000, 51 %, 24 s left, 1.5 GB"
    ]
    # Repeated steps of a tile whose worker died take nothing back, and those of the level before are not shown.
    assert feed((140, _step(0, 0, 1, 9.0))) == []
    assert "step 5 of 5, 1 of 4 tiles done, style loss 2.5000, 51 %" in feed((150, _step(1, 2, 1, 4.0)))[0]


def test_another_render_of_the_same_call_begins_at_nothing(feed: Feed) -> None:
    feed(*_started(), (106, _step(0, 0, 10, 2.0)))
    feed(*_started())
    assert ", 10 %, " in feed((206, _step(0, 0, 4, 2.0)))[-1]


def test_lines_come_every_five_seconds_where_nobody_watches(feed: Feed) -> None:
    feed(*_started(), (106, _step(0, 0, 1, 2.0)))
    assert feed((110.9, _step(0, 0, 2, 2.0))) == []
    assert len(feed((111.1, _step(0, 0, 3, 2.0)))) == 1


def test_what_went_wrong_and_is_mended(feed: Feed) -> None:
    feed(*_started())
    smaller = [dict(level) for level in LEVELS]
    assert feed(
        (1, dict(event="damage", message="chunk 3 is gone")),
        (2, dict(event="not finite", text="a loss is infinite")),
        (3, dict(event="retry", task="relax_tile", error="OSError: no")),
        (4, dict(event="worker lost", worker="tcp://a:1", workers=1)),
        (5, dict(event="worker joined", worker="tcp://a:2", workers=2)),
        (6, dict(event="shrink", level=1, tile=32, levels=smaller)),
        (7, dict(event="note", text="one\nline")),
        (8, dict(event="something new")),
        (8, dict(event="kernels", text="torch takes Triton's place")),
        (9, dict(event="write", output="p.png")),
        (10, dict(event="done", seconds=3725, output="p.png")),
    ) == [
        "chunk 3 is gone; computing it again",
        "a loss is infinite; trying again",
        "task relax_tile failed and is tried again: OSError: no",
        "worker tcp://a:1 is gone, 1 left; its tiles are computed again",
        "worker tcp://a:2 joined, 2 now",
        "out of memory; level 2 starts over with tiles up to 32 px",
        r"one\nline",
        "torch takes Triton's place",
        "writing p.png",
        "done in 1 h 02 min: p.png",
    ]


def test_a_live_line_is_drawn_over_the_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    set_clock(monkeypatch, now)
    monkeypatch.setattr(progress, "_memory", lambda: 0)
    monkeypatch.setenv("COLUMNS", "40")
    printer = progress._Printer(live=True)
    for _, event in _started():
        printer(event)
    capsys.readouterr()
    for step, now[0] in ((1, 1.0), (2, 1.1), (3, 1.3)):  # the second comes too soon
        printer(_step(0, 0, step, 2.0))
    printer(dict(event="note", text="a line"))
    printer.clear()
    first, second = (f"level 1 of 2 (64 x 48), step {n} of 10, 0 of 1"[:39] for n in (1, 3))
    assert capsys.readouterr().err == f"\r\x1b[K{first}\r\x1b[K{second}\r\x1b[Ka line\n"


def test_a_live_line_is_wiped_at_the_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever ends it: the next line, of an error or of the shell, starts where it stood."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with contextlib.suppress(KeyError), make_progress(quiet=False, log_json=False) as printer:
        printer(dict(event="write", output="p.png"))
        raise KeyError
    assert capsys.readouterr().err == "\r\x1b[Kwriting p.png\r\x1b[K"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.49, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (65, "1 min 05 s"), (3599.4, "59 min 59 s"),
     (3600, "1 h 00 min"), (3725, "1 h 02 min"), (7379, "2 h 02 min"), (360_000, "100 h 00 min")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 MB"), (1, "1 MB"), (1_234_567, "2 MB"), (999_999_999, "1000 MB"), (1_234_567_890, "1.2 GB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_quiet_prints_nothing_and_json_prints_each_event(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet, log_json, count in ((True, False, 0), (False, True, 2), (True, True, 0)):
        with make_progress(quiet, log_json) as printer:
            printer(dict(event="note", text="x"))
            printer(dict(event="done", seconds=float("nan"), output="p"))
        out, err = capsys.readouterr()
        assert err == ""
        assert len(out.splitlines()) == count
    with make_progress(False, True) as printer:
        printer(dict(event="note", text="x"))
    found = json.loads(capsys.readouterr().out)
    assert found.pop("time") == pytest.approx(time.time(), abs=60)
    assert found == dict(event="note", text="x")
