"""One option over several values, as --vary says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_type_hints

from tiler.errors import ConfigError
from tiler.request.config import FILE, RUN, SIZE, RenderConfig, check_keys
from tiler.request.spoken import read_value

MOST_VARIED, MOST_VALUES = 2, 24
_FIXED = (None, SIZE, FILE, RUN)
_FLAGS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


@dataclass(frozen=True)
class Varied:
    """name: of a field. texts: its values, as they were said; values: what they mean."""

    name: str
    texts: tuple[str, ...]
    values: tuple[Any, ...]

    @property
    def title(self) -> str:
        return self.name.replace("_", " ")

    @classmethod
    def of(cls, said: str) -> Varied:
        """From NAME=VALUE,VALUE... Raises ConfigError."""
        name, equals, rest = said.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        texts = tuple(text.strip() for text in rest.split(","))
        if not (equals and name and all(texts)):
            raise ConfigError(f"vary = {said!r}; allowed: NAME=VALUE,VALUE,... such as content-weight=0.05,0.2,0.8")
        return cls.over(name, texts)

    @classmethod
    def over(cls, name: str, texts: Sequence[str]) -> Varied:
        """name: of a field. Raises ConfigError."""
        check_keys({name: None}, "vary")
        item = next(item for item in fields(RenderConfig) if item.name == name)
        if item.metadata["group"] in _FIXED or item.metadata["repeat"]:
            raise ConfigError(f"vary: {name} is the same for all; allowed: options of the look and the work")
        if not 0 < len(texts) <= MOST_VALUES or len({*texts}) < len(texts):
            raise ConfigError(f"vary = {name}: {len(texts)} values; allowed: up to {MOST_VALUES}, each once")
        return cls(name, tuple(texts), tuple(value_of(item, text) for text in texts))

    def on(self, config: RenderConfig, number: int) -> RenderConfig:
        """The same with one of the values. Raises ConfigError where that does not fit."""
        return replace(config, **{self.name: self.values[number]})


def value_of(item: Any, text: str) -> Any:
    """What a text means for a field. Raises ConfigError."""
    if isinstance(item.default, bool):
        if text.lower() not in _FLAGS:
            raise ConfigError(f"{item.name} = {text}; allowed: yes, no")
        return _FLAGS[text.lower()]
    return read_value(item, get_type_hints(RenderConfig)[item.name], text)


def varied(said: Sequence[str]) -> list[Varied]:
    """All that is varied, one or two. Raises ConfigError."""
    return checked_varied([Varied.of(one) for one in said])


def checked_varied(found: list[Varied]) -> list[Varied]:
    """The same. Raises ConfigError where these are none, or too many."""
    if not 0 < len(found) <= MOST_VARIED or len({one.name for one in found}) < len(found):
        names = ", ".join(one.name for one in found) or "nothing"
        raise ConfigError(f"vary: {names}; allowed: one or two different options")
    return found
