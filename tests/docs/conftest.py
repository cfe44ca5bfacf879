"""What the manual's pages and notebooks are run with."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reader import Reader
from serial_pool import Here

import tiler

_WITH_POOLS = ("tiler.rendering", "tiler.planning.measured", "tiler.series.sheet", "tiler.growing.grow")
_SMALLER = {"render": "tiler.rendering", "plan": "tiler.planning.measured", "preview": "tiler.series.preview"}


@pytest.fixture
def reader_of_processes(tmp_path: Path, small_weights: str, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """In a folder of its own, with workers as they are."""
    found = Reader(tmp_path, small_weights)
    monkeypatch.chdir(tmp_path)
    for name in tiler.__all__:  # the first that is asked for puts all in their places, also over what is replaced here
        getattr(tiler, name)
    for name, place in _SMALLER.items():
        monkeypatch.setattr(tiler, name, _smaller(found, getattr(importlib.import_module(place), name)))
    return found


@pytest.fixture
def reader(reader_of_processes: Reader, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Without processes."""
    for name in _WITH_POOLS:
        monkeypatch.setattr(importlib.import_module(name), "Pool", Here)
    return reader_of_processes


def _smaller(reader: Reader, whole: Callable[..., Any]) -> Callable[..., Any]:
    return lambda config, *more, **named: whole(reader.small(config), *more, **named)
