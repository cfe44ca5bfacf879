"""What `progress=True` shows: as far as the work is, and what is noted."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tiler.errors import ConfigError
from tiler.planning.bar import Bar, heard

LEVEL = {"height": 30, "width": 40, "tiles": 2, "steps": 5, "done": False, "work": 100.0}
FINER = {**LEVEL, "height": 60, "width": 80, "work": 300.0}
START = {"event": "start", "levels": [{**LEVEL}, {**FINER}]}


def told(capsys: pytest.CaptureFixture[str], *events: dict[str, Any]) -> tuple[float, str]:
    """The bar's share, and what was printed, when all these have been heard."""
    with heard(True) as bar:
        assert isinstance(bar, Bar)
        for event in ({**START, "levels": [{**LEVEL}, {**FINER}]}, *events):
            bar(event)
        share = bar._bar.n
    out, err = capsys.readouterr()
    assert out == ""
    return share, err


def step(level: int, tile: int, step: int) -> dict[str, Any]:
    return {"event": "step", "level": level, "tile": tile, "step": step, "style": 0.1}


def test_the_share_of_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys)[0] == 0
    assert told(capsys, step(0, 0, 2), step(0, 0, 1))[0] == pytest.approx(100 / 2 * 2 / 5 / 400)
    assert told(capsys, {"event": "level done", "level": 0, "loss": 1})[0] == pytest.approx(0.25)
    share, err = told(
        capsys, {"event": "level done", "level": 0}, {"event": "level done", "level": 1}, {"event": "write"}
    )
    assert share == pytest.approx(1)
    assert "writing100%" in err


def test_the_level_and_notes_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    err = told(capsys, {"event": "level", "level": 1}, {"event": "note", "text": "smaller tiles"}, {"event": "tile"})[1]
    assert "level 2 of 2, 80 x 60" in err
    assert "\nsmaller tiles\n" in err.replace("\r", "\n")


def test_what_is_heard_before_there_are_levels(capsys: pytest.CaptureFixture[str]) -> None:
    with heard(True) as bar:
        bar({"event": "plan", "steps": 3})
        bar({"event": "damage", "message": "a chunk"})
    assert "a chunk\n" in capsys.readouterr().err


def test_without_tqdm_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ConfigError, match=r"pip install 'tiler-render\[notebook\]'"), heard(True):
        pass


@pytest.mark.parametrize("nothing", [None, False])
def test_nothing_is_shown_unasked(nothing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with heard(nothing) as tell:
        tell(START)
    assert capsys.readouterr() == ("", "")


def test_a_function_is_called_with_every_event() -> None:
    events: list[dict[str, Any]] = []
    with heard(events.append) as tell:
        tell(START)
    assert events == [START]
