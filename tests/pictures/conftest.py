"""What tests of pictures share."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def still_open(tmp_path: Path) -> Callable[[], list[str]]:
    """Files of the test's folder that this process has open, once what nobody holds any more is gone. Others may come
    and go meanwhile: other tests' servers end in their own time."""

    def found() -> list[str]:
        gc.collect()
        places = []
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                places.append(os.readlink(f"/proc/self/fd/{number}"))
        return [place for place in places if place.startswith(str(tmp_path))]

    return found
