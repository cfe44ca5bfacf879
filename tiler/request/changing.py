"""What may be other in a part of a finished poster, and how it is said: NAME=VALUE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from typing import Any

from tiler.errors import ConfigError
from tiler.request.config import LOOK, WORK, RenderConfig, check_keys
from tiler.request.varying import value_of

# The same in all of a poster: what its pixels, levels and tiles are, and whose colours they have.
_OF_ALL = (
    "wrap", "color", "transfer", "stretch", "levels", "min_edge", "weights", "pooling", "precision", "tile", "feather",
    "halo", "content_gsd", "style_gsd",
)  # fmt: skip


def changes(said: Sequence[str]) -> dict[str, Any]:
    """From texts NAME=VALUE, values as RenderConfig has them. Raises ConfigError."""
    found: dict[str, Any] = {}
    for text in said:
        name, equals, value = text.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        if not (equals and name and value.strip()) or name in found:
            raise ConfigError(f"set = {text!r}; allowed: NAME=VALUE such as content-weight=1, each name once")
        check_changes({name: None})
        found[name] = value_of(next(item for item in fields(RenderConfig) if item.name == name), value.strip())
    return found


def changeable(item: Field[Any]) -> bool:
    """Whether a field of RenderConfig may have another value in a part of a poster."""
    return item.metadata["group"] in (LOOK, WORK) and not item.metadata["repeat"] and item.name not in _OF_ALL


def check_changes(values: Mapping[str, Any]) -> None:
    """Raise ConfigError for a field that is the same in all of a poster."""
    check_keys(values, "set")
    for item in fields(RenderConfig):
        if item.name in values and not changeable(item):
            raise ConfigError(
                f"set = {item.name}: is the same in all of a poster; allowed: options of the look and the work: "
                "content_weight, style_scale, seed or steps"
            )
