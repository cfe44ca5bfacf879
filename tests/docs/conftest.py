"""Pools of the manual's tests are of no processes: these are tested elsewhere."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reader import Reader
from serial_pool import Here

import tiler

_WITH_POOLS = ("tiler.render", "tiler.planning.plan", "tiler.series.sheet")


@pytest.fixture
def reader(tmp_path: Path, small_weights: str, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """In a folder of its own."""
    found = Reader(tmp_path, small_weights)
    monkeypatch.chdir(tmp_path)
    for name in _WITH_POOLS:
        monkeypatch.setattr(importlib.import_module(name), "Pool", Here)
    for name, place in {"render": "tiler.render", "plan": "tiler.planning.plan"}.items():
        monkeypatch.setattr(tiler, name, _smaller(found, getattr(importlib.import_module(place), name)))
    return found


def _smaller(reader: Reader, whole: Callable[..., Any]) -> Callable[..., Any]:
    return lambda config, *more, **named: whole(reader.small(config), *more, **named)
