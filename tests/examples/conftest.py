from __future__ import annotations

import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def examples_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a script of the folder is run."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    assert (EXAMPLES / "common.py").exists(), sys.path
