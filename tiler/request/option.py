"""What a field of RenderConfig says of itself: help, range, who decides it, and which files its value names.

Who decides. A job is asked for, a machine decides: a store or a job file may come from somebody else.

* ASKED travels: in a store, and in a job file. What is rendered, in what look, at what size, in what form.
* HERE is this machine's and this run's: the command line's, Python's or that of a job file that was named there. It is
  not written into a store, and what a store says of it is not heard.
* TYPED connects somewhere: the command line's or Python's word only. In a job file it is refused.

What was decided for each value that leads somewhere:

* `scheduler` TYPED: what answers there is unpickled, which runs code.
* `store` HERE, and TYPED where it is an address (`s3://`): this machine's keys would open it. A store that is gone on
  with is the one that was named.
* `workers` HERE: a store must not start a thousand processes. `threads` and `device` are ASKED: the last bits of a
  picture depend on them.
* `output` and `tiles` ASKED: without its poster's name a job is not whole. What a store or a job file names is replaced
  only where it lies beside it, or is what the very same store wrote there.
* What is read (pictures, masks, `init`, `weights`) ASKED: regular files, looked at before they are opened and compared
  by SHA-256 when a job goes on, but for the overlay, which no state depends on, and the weights, whose numbers count;
  nothing in them runs. They show in the poster only, which stays here.
* A name is a file of this machine: no address is fetched (`weights` torchvision is one fixed place, with a checksum),
  and nothing in it is expanded but a leading `~`; `$VAR` and `%VAR%` are letters.
"""

from __future__ import annotations

import difflib
import math
import os
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiler.errors import ConfigError
from tiler.request.given import Named, given, is_given
from tiler.request.regions import spelled

ASKED, HERE, TYPED = "asked", "here", "typed"


@dataclass(frozen=True)
class Places:
    """Which files a field's value names. written: rather than read. words: values that name no file. paired: the value
    is NAME=FILE[,FILE]."""

    written: bool = False
    words: tuple[str, ...] = ()
    paired: bool = False


def option(
    default: Any,
    help: str,
    group: str | None,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    metavar: str | None = None,
    spelling: Callable[[object], str] | None = None,
    repeat: bool = False,
    places: Places | None = None,
    decided: str = ASKED,
) -> Any:
    """A field with its facts as metadata. spelling: gives a text its final form, or raises ValueError with what is
    allowed. repeat: the option may be given several times, one item of the field's tuple each."""
    meta = dict(help=help, group=group, low=low, high=high, choices=choices, metavar=metavar, spelling=spelling)
    return field(default=default, metadata=dict(**meta, repeat=repeat, places=places, decided=decided))


def expanded(path: str) -> str:
    """With the home folder in place of a leading `~`. Raises ConfigError where nobody's is meant: a shell would have
    said so, and a folder called `~` is never what was wanted."""
    if not path.startswith("~"):
        return path
    found, first = os.path.expanduser(path), path.split("/")[0]
    if found == path and (path == "~" or "/" in path) and not os.path.isdir(first):
        raise ConfigError(f"{path}: there is no home folder {first}; for a folder of this name: ./{path}")
    return found


def checked(name: str, value: Any, hint: Any, meta: Mapping[str, Any]) -> Any:
    """`value` as the hinted type and within its range, or ConfigError."""
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if typing.get_origin(hint) is tuple:
        if isinstance(value, Mapping) and meta.get("repeat"):
            value = [_pair(name, *pair, meta) for pair in value.items()]
        items = [value] if isinstance(value, str | int | float | Path) or is_given(value) else value
        if not isinstance(items, list | tuple):
            raise ConfigError(f"{name} = {_said(value)}; allowed: a list")
        return tuple(checked(name, item, typing.get_args(hint)[0], meta) for item in items)
    return _checked_one(name, value, hint, meta)


def _pair(name: str, key: Any, value: Any, meta: Mapping[str, Any]) -> str:
    """A table's entry as the text NAME=FILE[,FILE]."""
    pixels = bool(meta.get("places"))
    files = [value] if isinstance(value, str | Path) or (pixels and is_given(value)) else value
    usable = isinstance(files, list | tuple) and all(
        isinstance(one, str | Path) or (pixels and is_given(one)) for one in files
    )
    if not usable or "=" in str(key):
        raise ConfigError(f"{name}.{key} = {_said(value)}; allowed: a name without '=', and a text or a list of texts")
    if isinstance(value, str):
        return f"{key}={value}"
    files = [given(f"{name}.{key}", one) if is_given(one) else str(one) for one in files]
    return Named.of(f"{key}={spelled(files)}", files)


def _said(value: Any) -> str:
    """In one line: arrays write many."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_said, value))}]"
    return f"an array of shape {tuple(value.shape)}" if hasattr(value, "shape") else repr(value)


def _usable(text: str) -> bool:
    """Whether it can be a file's name: JSON can hold halves of letters, which no encoding knows."""
    try:
        return bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _checked_one(name: str, value: Any, kind: type, meta: Mapping[str, Any]) -> Any:
    if meta.get("spelling"):
        try:
            value = meta["spelling"](value)
        except ValueError as error:
            raise ConfigError(f"{name} = {value!r}; allowed: {error}") from None
    if isinstance(value, Path) and kind is str:
        value = str(value)
    places = meta.get("places")
    if places and not places.written and not places.paired and is_given(value):
        return given(name, value)
    if kind is bool and isinstance(value, bool):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number:
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if not isinstance(value, kind) or isinstance(value, bool):
        words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        raise ConfigError(f"{name} = {_said(value)}; allowed: {words[kind]}")
    if isinstance(value, str) and not _usable(value):
        raise ConfigError(f"{name} = {value!r}; allowed: a text that is not empty")
    if meta.get("choices") and value not in meta["choices"]:
        near = difflib.get_close_matches(str(value), meta["choices"], 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"{name} = {value!r}; allowed: {', '.join(meta['choices'])}{hint}")
    low, high = meta.get("low"), meta.get("high")
    if isinstance(value, int | float) and not (
        (isinstance(value, int) or math.isfinite(value))
        and (low is None or value >= low)
        and (high is None or value <= high)
    ):
        allowed = f"{low} or more" if high is None else f"{low} to {high}"
        raise ConfigError(f"{name} = {value}; allowed: {allowed}")
    return value
