"""Controls of a page, made from RenderConfig's fields, so that a page has no options, ranges or help of its own."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, get_type_hints

from tiler.errors import ConfigError
from tiler.request.changing import changeable, changes
from tiler.request.config import PROOF, RUN, RenderConfig
from tiler.request.option import ASKED
from tiler.request.spoken import element, read_value
from tiler.request.varying import Varied, checked_varied

# What is said otherwise, or what is this machine's to decide.
_APART = (PROOF, RUN)
_FIXED = ("weights",)
# How far a control without a bound reaches, as a factor to its default.
_REACH = 32.0


def shown(item: Field[Any]) -> bool:
    """Whether a page may say it."""
    group, meta = item.metadata["group"], item.metadata
    written = meta["places"] is not None and meta["places"].written
    return group not in _APART and meta["decided"] == ASKED and not written and item.name not in _FIXED


def controls() -> list[dict[str, Any]]:
    """One for every option, JSON values. kind: flag, choice, number, file, files, lines (one item each) or text. low,
    high: of a number, None where there is no bound. reach: (low, high, whether logarithmic) of a slider, or None. part:
    whether it may be other in a part of a poster."""
    hints = get_type_hints(RenderConfig)
    return [_control(item, hints[item.name]) for item in fields(RenderConfig) if shown(item)]


def _control(item: Field[Any], hint: Any) -> dict[str, Any]:
    meta, default = item.metadata, None if item.default is MISSING else item.default
    kind = _kind(item, hint)
    text = ",".join(map(str, default)) if isinstance(default, tuple) and not meta["repeat"] else default
    return {
        "name": item.name,
        "group": meta["group"],
        "help": meta["help"],
        "kind": kind,
        "whole": kind == "number" and element(hint) is int,
        "low": meta["low"],
        "high": meta["high"],
        "choices": list(meta["choices"]) or None,
        "words": list(meta["places"].words) if meta["places"] else [],
        "metavar": meta["metavar"],
        "default": None if meta["repeat"] else text,
        "reach": _reach(meta["low"], meta["high"], default) if kind == "number" else None,
        "part": changeable(item) and meta["places"] is None,
    }


def _kind(item: Field[Any], hint: Any) -> str:
    places = item.metadata["places"]
    if item.name == "styles":
        return "files"
    if item.metadata["repeat"]:
        return "lines"
    if places is not None:
        return "file"
    if isinstance(item.default, bool):
        return "flag"
    if item.metadata["choices"]:
        return "choice"
    return "number" if element(hint) in (int, float) and "tuple" not in str(hint) else "text"


def _reach(low: float | None, high: float | None, default: Any) -> tuple[float, float, bool] | None:
    if low is not None and high is not None and high - low <= 100:
        return low, high, False
    return (default / _REACH, default * _REACH, True) if isinstance(default, float) and default > 0 else None


def config_of(said: Mapping[str, Any]) -> RenderConfig:
    """What a page says, as texts by option (lists of texts where there are several, true and false for flags), as a
    configuration; what is empty counts as not said. Raises ConfigError."""
    known, hints = {item.name: item for item in fields(RenderConfig)}, get_type_hints(RenderConfig)
    values: dict[str, Any] = {"output": "preview.png", "styles": ()}
    for name, value in said.items():
        if name not in known or not shown(known[name]):
            raise ConfigError(f"{name}: a page cannot say that")
        if value in (None, "", []):
            continue
        values[name] = _read(known[name], hints[name], value)
    return RenderConfig.from_dict(values, "page")


def _read(item: Field[Any], hint: Any, value: Any) -> Any:
    kind = _kind(item, hint)
    if kind == "flag" and isinstance(value, bool):
        return value
    if kind in ("files", "lines") and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return [read_value(item, hint, one) if item.metadata["repeat"] else one for one in value]
    if isinstance(value, str) and kind not in ("flag", "files", "lines"):
        return read_value(item, hint, value)
    raise ConfigError(f"{item.name} = {str(value)[:80]}; allowed: a text, or a list of texts where there are several")


def command(said: Mapping[str, Any]) -> str:
    """What renders the poster of it in the studio's folder: a line for a shell."""
    options = []
    for name, value in said.items():
        if name not in ("content", "styles") and value not in (None, "", [], False):
            option = "--" + name.replace("_", "-")
            options += [option] if value is True else [
                f"{option}={one}" for one in (value if isinstance(value, list) else [value])
            ]  # fmt: skip
    names = [said.get("content"), *said.get("styles", [])]
    files = [f"./{name}" if name.startswith("-") else name for name in names if name]
    return shlex.join(["tiler", "render", *files, "-o", "poster.png", *options])


def varied(vary: Any) -> list[Varied]:
    """What a page wants to vary: [[option, [text, ...]], ...], one or two. Raises ConfigError."""
    found = []
    for one in vary if isinstance(vary, list) else [None]:
        match one:
            case [str() as name, [*values]] if all(isinstance(value, str) for value in values):
                if name not in {item.name for item in fields(RenderConfig) if shown(item)}:
                    raise ConfigError(f"vary = {name[:80]}: is no option of the page")
                found.append(Varied.over(name, values))
            case _:
                raise ConfigError("vary: allowed: one or two options, each with a list of values")
    return checked_varied(found)


def changed(said: Any) -> dict[str, Any]:
    """What a page wants to be other in a part of a poster, values as RenderConfig has them. said: texts by option.
    Raises ConfigError."""
    known = {one["name"] for one in controls() if one["part"]}
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise ConfigError("set: allowed: a text for each option")
    for name in said:
        if name not in known:
            raise ConfigError(f"set = {name}: is the same in all of a poster, or a file")
    return changes([f"{name}={value}" for name, value in said.items()])
