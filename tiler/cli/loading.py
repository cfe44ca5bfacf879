"""How a command loads what it needs."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Modules are imported in this block: they make objects by the hundred thousand that all stay, and to look for
    garbage among them would take a tenth of a command's start."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
