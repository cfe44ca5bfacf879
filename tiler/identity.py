"""Whether a store holds the job that is asked for: same inputs, same configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from tiler.config import RUN, RenderConfig
from tiler.errors import PictureError, StoreError

# Paths are compared by what the files hold; where things run does not change the job, but the number of threads
# changes the order of floating-point sums and with it the last bits.
_BY_CONTENT = ("content", "styles", "output")


def inputs(config: RenderConfig) -> dict[str, str]:
    """sha256 of every file that the render reads, by role."""
    files = {"content": config.content, **{f"style {i}": path for i, path in enumerate(config.styles, 1)}}
    if config.init not in ("content", "noise"):
        files["init"] = config.init
    if config.weights not in ("bundled", "torchvision"):
        files["weights"] = config.weights
    return {role: _digest(Path(path)) for role, path in files.items()}


def _digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror}") from None


def check_same(url: str, stored: Mapping[str, Any], config: RenderConfig, found: Mapping[str, str]) -> None:
    """Raise StoreError naming the first difference between a stored job and the one asked for.

    What the user left open (None) keeps the stored value.
    """
    advice = "choose another --store, or start over with --force-new"
    then, now = stored.get("config", {}), config.to_dict()
    for item in fields(config):
        free = item.name in _BY_CONTENT or (item.metadata["group"] == RUN and item.name != "threads")
        value, before = now[item.name], then.get(item.name)
        if item.name == "steps" and value and len(value) == 1:
            value = value * len(before or [])
        open_choice = value is None or (value == "auto" and item.name == "precision")
        if not (free or open_choice or value == before):
            raise StoreError(f"store {url}: holds another job: {item.name} was {before}, now {value}; {advice}")
    for role in sorted({*stored.get("inputs", {}), *found}):
        if stored.get("inputs", {}).get(role) != found.get(role):
            raise StoreError(f"store {url}: holds another job: the {role} file differs; {advice}")
