"""What travels to a machine without a network is all that the render needs there."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import wheels
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
THERE = {"python_version": "3.12", "python_full_version": "3.12.3", "extra": ""}
# With what they need themselves.
FOUND_THERE = ("torch", "torchvision", "triton", "numpy", "pillow", "pytest", "hypothesis")


def closure(names: list[str]) -> set[str]:
    """These and whatever they need, by the records of what is installed here."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = wheels.normalised(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            needed = [Requirement(text) for text in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:  # a GPU's libraries; and no installed package of ours needs it here
            continue
        waiting += [one.name for one in needed if one.marker is None or one.marker.evaluate(THERE)]
    return found


def test_every_version_is_known() -> None:
    pins = wheels.pins()
    assert all(wheels.normalised(name) in pins for name in (*wheels.BINARY, wheels.BUILT, wheels.PICTURES))


def test_nothing_is_missing_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [Requirement(text).name for text in (*project["dependencies"], "pytest-timeout")]
    there = closure(list(FOUND_THERE)) | {*wheels.LEFT_OUT}
    travels = {wheels.normalised(name) for name in (*wheels.BINARY, wheels.BUILT)}
    assert closure([name for name in needed if wheels.normalised(name) not in there]) - there - travels == set()
