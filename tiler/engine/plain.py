"""Values that came back from JSON, as the types that a dataclass hints: what a store says is checked before use."""

from __future__ import annotations

import math
import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any


def typed(value: Any, hint: Any, name: str) -> Any:
    """`value` as `hint`: int, float, str, bool, None, dataclasses of such, tuples (lists in JSON), dicts with texts as
    keys, and Any.

    Raises ValueError naming what does not fit.
    """
    if hint is Any:
        return value
    if is_dataclass(hint):
        return _dataclass(value, hint, name)
    if isinstance(hint, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return None if value is None and len(kinds) < len(typing.get_args(hint)) else typed(value, kinds[0], name)
    if typing.get_origin(hint) is tuple:
        return _tuple(value, typing.get_args(hint), name)
    if typing.get_origin(hint) is dict:
        return _dict(value, typing.get_args(hint)[1], name)
    if hint is float and type(value) is int and abs(value) < 2**63:
        value = float(value)
    large = type(value) is int and abs(value) >= 2**63
    if type(value) is not hint or large or (type(value) is float and not math.isfinite(value)):
        raise ValueError(f"{name} is {str(value)[:40]!r}, not a {hint.__name__}")
    return value


def _dataclass(value: Any, hint: Any, name: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no table")
    hints, names = typing.get_type_hints(hint), [item.name for item in fields(hint)]
    missing = next((one for one in names if one not in value), None)
    if missing:
        raise ValueError(f"{name}.{missing} is missing")
    return hint(**{one: typed(value[one], hints[one], f"{name}.{one}") for one in names})


def _dict(value: Any, kind: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no table")
    return {key: typed(one, kind, f"{name}.{str(key)[:40]}") for key, one in value.items()}


def _tuple(value: Any, kinds: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is no list")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"{name} has {len(value)} items, not {len(kinds)}")
    return tuple(typed(one, kind, f"{name}[{i}]") for i, (one, kind) in enumerate(zip(value, kinds, strict=True)))
