from __future__ import annotations

import importlib
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from tiler.cli import main

Refused = Callable[[list[str]], str]


def listing(folder: Path) -> dict[Path, bytes | int]:
    """Everything in the folder: a file's bytes, and what else is there by its kind."""
    found: dict[Path, bytes | int] = {}
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        found[path] = path.read_bytes() if stat.S_ISREG(mode) else stat.S_IFMT(mode)
    return found


def _no_workers(*arguments: object) -> NoReturn:
    pytest.fail("was not refused before workers were started")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a content.png and a style.png that are fine."""
    grain = np.random.default_rng(7).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(grain).save(tmp_path / "content.png")
    Image.fromarray(grain[::-1]).save(tmp_path / "style.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Run tiler in this process; the one line with which it refuses, having left everything as it was."""

    def run(arguments: list[str]) -> str:
        before = listing(folder)
        monkeypatch.setattr("sys.argv", ["tiler", *arguments])
        monkeypatch.setattr(importlib.import_module("tiler.rendering"), "Pool", _no_workers)
        with pytest.raises(SystemExit) as stop:
            main()
        out, error = capfd.readouterr()
        assert (stop.value.code, out) == (2, ""), error
        assert error.startswith("tiler: ")
        assert error.count("\n") == 1, error
        assert error.endswith("\n")
        assert len(error) < 700
        assert "Traceback" not in error
        assert listing(folder) == before
        return error

    return run
