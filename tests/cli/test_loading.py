"""Loading looks for no garbage, and leaves whether it is looked for as it was."""

from __future__ import annotations

import contextlib
import gc

import pytest

from tiler.cli.loading import loading


@pytest.mark.parametrize("before", [True, False])
def test_no_garbage_is_looked_for_meanwhile(before: bool) -> None:
    if not before:
        gc.disable()
    try:
        with contextlib.suppress(KeyError), loading():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == before
    finally:
        gc.enable()
