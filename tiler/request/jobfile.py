"""Job files: a render's options in TOML, which may come from somebody else (see `tiler.request.option`)."""

from __future__ import annotations

import os
import stat
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from tiler.errors import ConfigError
from tiler.request.config import RenderConfig, check_keys, with_places
from tiler.request.option import TYPED, Places, checked, expanded

_MOST_BYTES = 2**18


def read_job_file(
    path: str | Path, said: Mapping[str, Any] | None = None, notes: list[str] | None = None
) -> dict[str, Any]:
    """The fields that a job file gives values to, with names relative to the file as they are from the current folder.

    A file to be read that is not beside the job file is looked for in the current folder as well; `notes` gets a line
    for each name whose place could be mistaken. said: what the command line gives, which wins. Raises ConfigError when
    the file cannot be read, is not TOML, or says what is not for a file to say.
    """
    values, said = _parsed(path), said or {}
    check_keys(values, str(path))
    hints = typing.get_type_hints(RenderConfig)
    facts = {item.name: item.metadata for item in fields(RenderConfig)}
    values = {key: checked(key, one, hints[key], facts[key]) for key, one in values.items() if key not in said}
    for key, value in values.items():
        if value is not None and (facts[key]["decided"] == TYPED or (key == "store" and "://" in value)):
            typed = f"--{key.replace('_', '-')} {value}"
            raise ConfigError(f"{path}: {key} = {value!r} connects elsewhere; allowed: {typed} on the command line")
    folder, found = Path(os.path.realpath(Path(path).parent)), [] if notes is None else notes
    if folder != Path.cwd():
        values |= with_places(values, lambda name, places: _placed(name, places, folder, found), said.get("region", ()))
    return values


def _parsed(path: str | Path) -> dict[str, Any]:
    try:
        # Opening a pipe would wait for its writer, and a device may have no end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ConfigError(f"--job {path}: is not a regular file; allowed: a TOML file")
        with open(path, "rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ConfigError(f"--job {path}: is larger than {_MOST_BYTES} bytes; allowed: a TOML file of options")
        return tomllib.loads(text.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"--job {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also numbers of more digits than Python reads
        raise ConfigError(f"--job {path}: not a TOML file: {error}") from None


def _placed(name: str, places: Places, folder: Path, notes: list[str]) -> str:
    name = expanded(name)
    if os.path.isabs(name):
        return name
    beside, here = folder / name, Path(name)
    if places.written:
        notes.append(f"{name}: relative to the job file, {beside}")
    elif os.path.exists(here) and not os.path.exists(beside):
        notes.append(f"{name}: not beside the job file; taken from the current folder")
        return name
    elif os.path.exists(here) and not os.path.samefile(here, beside):
        notes.append(f"{name}: taken from beside the job file, not from the current folder")
    return str(beside)
