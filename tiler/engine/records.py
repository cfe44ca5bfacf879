"""What a store says in words and numbers, checked before use: whatever lies in it was perhaps sent by someone."""

from __future__ import annotations

import math
from typing import Any

from tiler.engine.plain import typed


def finite(value: Any, name: str) -> float:
    """A number of 0 or more. Raises ValueError."""
    found = float(typed(value, float, name))
    if found < 0:
        raise ValueError(f"{name} is {found:g}, not 0 or more")
    return found


def report_of(value: Any) -> dict[str, Any]:
    """The summary of a finished level: its `seconds` and `rounds`, and where it had steps its losses, of which `layers`
    has one for each style layer. Raises ValueError."""
    found = typed(value, dict[str, Any], "report")
    layers = typed(found.get("layers", {}), dict[str, float], "report.layers")
    numbers = {key: typed(one, float, f"report.{key}") for key, one in found.items() if key != "layers"}
    for name in ("seconds", "rounds"):
        finite(numbers.get(name), f"report.{name}")
    if not math.isfinite(sum(layers.values())):
        raise ValueError("report.layers has no sum")
    return {**found, "layers": layers} if "layers" in found else found
