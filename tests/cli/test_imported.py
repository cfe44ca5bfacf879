"""What importing the package does to the way modules are looked for, and with which code an error ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tiler
from tiler import errors

SOURCE = compile(Path(str(tiler.__file__)).read_text(), "tiler", "exec")


def imported() -> dict[str, Any]:
    """The package's names, as if it lay in /src."""
    names: dict[str, Any] = {"__name__": "tiler", "__path__": [os.path.join("/src", "tiler"), "/else/where"]}
    exec(SOURCE, names)
    return names


@pytest.mark.parametrize(
    ("argv", "safe", "first", "goes"),
    [
        (["-m"], False, "/here", True), (["-m", "render"], False, "/here", True), (["-m"], False, "/else", True),
        (["-m"], True, "/here", False), (["-m"], False, "/src", False), (["-c"], False, "/here", False),
        (["x", "-m"], False, "/here", False), ([], False, "/here", False),
    ],
)  # fmt: skip
def test_modules_are_not_looked_for_where_the_pictures_are(
    argv: list[str], safe: bool, first: str, goes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {name: getattr(sys.flags, name) for name in dir(sys.flags) if not name.startswith("_")}
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "flags", SimpleNamespace(**{**flags, "safe_path": safe}))
    monkeypatch.setattr(sys, "path", [first, "/other", "/third"])
    imported()
    assert sys.path == [*[first] * (not goes), "/other", "/third"]


def test_names_are_looked_up_once() -> None:
    names = imported()
    assert {*names["_PLACES"], "__version__"} == {*names["__all__"]}
    assert "TilerError" not in names
    assert names["__getattr__"]("TilerError") is names["TilerError"] is errors.TilerError
    with pytest.raises(AttributeError, match="module 'tiler' has no attribute 'paint'"):
        names["__getattr__"]("paint")
    assert "paint" not in names


def test_what_was_asked_wrongly_ends_in_2_and_what_could_not_go_on_in_1() -> None:
    found = {name: one.exit_code for name, one in vars(errors).items() if isinstance(one, type)}
    on_its_way = {
        "TileTooLargeError", "RenderError", "CancelledError", "WorkerDiedError", "StateLostError", "DeviceLostError",
        "NotFiniteError",
    }  # fmt: skip
    assert {name for name, code in found.items() if code == 1} == on_its_way
    assert {code for name, code in found.items() if name not in on_its_way} == {2}
    damage = errors.DamageError("words")
    assert (str(damage), damage.path, damage.index) == ("words", "", ())
