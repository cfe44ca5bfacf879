"""Every kind of bad input in the tables: one line, exit code 2, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import bad_options
import bad_pictures
import bad_places
import bad_stores
import bad_weights
import pytest

KINDS = {
    "pictures": bad_pictures.CASES,
    "options": bad_options.CASES,
    "weights": bad_weights.CASES,
    "places": bad_places.CASES,
    "stores": bad_stores.CASES,
}
CASES = {f"{kind}: {name}": case for kind, cases in KINDS.items() for name, case in cases.items()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.timeout(20)
def test_one_line_exit_code_2_and_nothing_left(name: str, folder: Path, refused) -> None:
    case = CASES[name]
    message = refused(case.make(folder))
    for word in case.words:
        assert word in message
