"""Controls of a page, made from RenderConfig's fields, so that a page has no options, ranges or help of its own."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, get_type_hints

from tiler.errors import ConfigError
from tiler.request.config import FILE, PROOF, RUN, RenderConfig
from tiler.request.option import ASKED
from tiler.request.spoken import element, read_value
from tiler.request.varying import MOST_VARIED

# What a preview shows nothing of, or what is this machine's to decide.
_APART = (PROOF, FILE, RUN)
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
    high: of a number, None where there is no bound. reach: (low, high, whether logarithmic) of a slider, or None."""
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


def several(said: Mapping[str, Any], vary: Any) -> list[tuple[str, dict[str, Any]]]:
    """(caption, what is said) of every combination of values. vary: [[option, [value, ...]], ...], at most two, none
    for one picture. Raises ConfigError."""
    found = [("", dict(said))]
    given: list[Any] = vary if isinstance(vary, list) else [None]
    if len(given) > MOST_VARIED or not all(_is_varied(one) for one in given):
        raise ConfigError("vary: allowed: one or two options, each with a list of values")
    for name, values in given:
        found = [
            (f"{caption}, {name} {value}".removeprefix(", ").replace("_", " "), {**one, name: value})
            for caption, one in found
            for value in values
        ]
    if len(found) > MOST_CELLS:
        raise ConfigError(f"vary: {len(found)} previews; allowed: up to {MOST_CELLS}")
    return found


MOST_CELLS = 36


def _is_varied(one: Any) -> bool:
    match one:
        case [str(), [*values]]:
            return bool(values) and all(isinstance(value, str | bool) for value in values)
    return False
