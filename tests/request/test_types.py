"""Type checkers, as strict as they are, on what users write; `pip install pyright[nodejs]` for the second. The run of
mypy that is part of every test run reads the same file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

IN_USE = Path(__file__).with_name("types_in_use.py")


# As of an installed package, nothing is said of what lies in ours.
MYPY = ("mypy", "--strict", "--follow-imports=silent")


@pytest.mark.slow
@pytest.mark.parametrize("words", [MYPY, ("pyright", "--pythonpath", sys.executable)], ids=lambda words: words[0])
def test_the_public_types_say_what_is_taken(words: tuple[str, ...]) -> None:
    pytest.importorskip(words[0])
    done = subprocess.run([sys.executable, "-m", *words, str(IN_USE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
