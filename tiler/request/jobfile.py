"""Job files: a render's options in TOML, which may come from somebody else (see `tiler.request.option`)."""

from __future__ import annotations

import os
import stat
import tomllib
import typing
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import tomli_w

from tiler.errors import ConfigError
from tiler.request.config import RenderConfig, check_keys, with_places
from tiler.request.option import TYPED, Places, checked, expanded

MOST_BYTES = 2**18


def read_job_file(
    path: str | Path, said: Mapping[str, Any] | None = None, notes: list[str] | None = None
) -> dict[str, Any]:
    """The fields that a job file gives values to, with names relative to the file as they are from the current folder.

    A file to be read that is not beside the job file is looked for in the current folder as well; `notes` gets a line
    for each name whose place could be mistaken. said: what the command line gives, which wins. Raises ConfigError when
    the file cannot be read, is not TOML, or says what is not for a file to say.
    """
    said = said or {}
    values = job_values(_text(path), str(path), said)
    folder, found = Path(os.path.realpath(Path(path).parent)), [] if notes is None else notes
    if folder != Path.cwd():
        values |= with_places(values, lambda name, places: _placed(name, places, folder, found), said.get("region", ()))
    return values


def job_values(text: bytes, source: str, said: Collection[str] = ()) -> dict[str, Any]:
    """The fields that the text of a job file gives values to, but for those that are said elsewhere; names are as they
    stand there. source: where the text is from, for errors. Raises ConfigError."""
    if len(text) > MOST_BYTES:
        raise ConfigError(f"{source}: is larger than {MOST_BYTES} bytes; allowed: a TOML file of options")
    try:
        values = tomllib.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # also numbers of more digits than Python reads
        raise ConfigError(f"{source}: not a TOML file: {error}") from None
    check_keys(values, source)
    hints = typing.get_type_hints(RenderConfig)
    facts = {item.name: item.metadata for item in fields(RenderConfig)}
    values = {key: checked(key, one, hints[key], facts[key]) for key, one in values.items() if key not in said}
    for key, value in values.items():
        if value is not None and (facts[key]["decided"] == TYPED or (key == "store" and "://" in value)):
            typed = f"--{key.replace('_', '-')} {value}"
            raise ConfigError(f"{source}: {key} = {value!r} connects elsewhere; allowed: {typed} on the command line")
    return values


def job_text(values: Mapping[str, Any], source: str) -> bytes:
    """A job file of values as `RenderConfig.to_dict` gives them; those that are None are left out. Raises ConfigError
    where a file's name is no text that a job file could hold."""
    try:
        return tomli_w.dumps({key: value for key, value in values.items() if value is not None}).encode()
    except UnicodeEncodeError as error:
        name = error.object[max(0, error.start - 20) : error.end + 20]
        raise ConfigError(f"{source}: {name!r} cannot be written in a job file; allowed: names in UTF-8") from None


def _text(path: str | Path) -> bytes:
    try:
        # Opening a pipe would wait for its writer, and a device may have no end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ConfigError(f"--job {path}: is not a regular file; allowed: a TOML file")
        with open(path, "rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"--job {path}: {error.strerror}") from None


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
