"""What a text on the command line means for a field of RenderConfig."""

from __future__ import annotations

from dataclasses import Field
from typing import Any

from tiler.errors import ConfigError

_NUMBERS = {int: "a whole number", float: "a number"}


def element(hint: Any) -> type:
    """int, float or str of a field's hint, whatever tuple or None is around it."""
    return next(kind for kind in (int, float, str) if kind.__name__ in str(hint))


def read_value(item: Field[Any], hint: Any, text: str) -> Any:
    """One occurrence of an option. Of one that may be repeated, each is one item of the tuple, and may itself be one.
    Raises ConfigError."""
    kind = element(hint)
    listed = str(hint).count("tuple") > bool(item.metadata["repeat"])
    words = text.split(",") if listed else [text]
    try:
        values = [kind(word.strip()) for word in words]
    except ValueError:
        raise ConfigError(f"{item.name} = {text}; allowed: {_NUMBERS[kind]}") from None
    return values if listed else values[0]
