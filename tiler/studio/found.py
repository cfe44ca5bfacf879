"""Regions that find themselves, as what a page says of them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiler.errors import ConfigError
from tiler.request.config import RenderConfig
from tiler.request.proposing import MOST, is_of, with_regions
from tiler.request.regions import with_files
from tiler.studio.folder import Folder

# What a proposal says, in place of what a page said before.
_SAID = ("labels", "label", "style_mask")


def regions(folder: Folder, config: RenderConfig, count: Any, used: Collection[Path] = ()) -> dict[str, Any]:
    """What to say of `styles` and of _SAID so that so many regions are found; 1 takes them away again, also where their
    files are gone. The files lie in the folder, called like the content, to be mended by hand. config: as a page says
    it. used: label pictures of posters that are still to be rendered: these stay, and others get another name. Raises
    TilerError."""
    if type(count) is not int or not 1 <= count <= MOST:
        raise ConfigError(f"count = {str(count)[:20]}; allowed: 1 to {MOST}")
    styles = config.styles or tuple(dict.fromkeys(source.picture for source in config.regions.sources))
    if count == 1:
        return {"styles": styles, **dict.fromkeys(_SAID)}
    plain = folder.confined(replace(config, styles=styles, labels=None, label=(), style_mask=()))
    stem = Path(config.content or "").stem
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    for poster in (folder.root / f"{name}.png" for name in names):
        labels = poster.with_name(f"{poster.stem}-labels.png")
        for file in (labels, labels.with_suffix(".toml")):
            if file.is_symlink():
                raise ConfigError(f"{file}: is a link; regions are written beside their content")
        if labels not in used or is_of(str(plain.content), plain.styles, count, labels):
            break
    found, _ = with_regions(replace(plain, output=str(poster)), count)

    def named(file: str) -> str:
        return os.path.relpath(file, folder.root)

    lines = {name: [with_files(text, named, ()) for text in getattr(found, name)] for name in _SAID[1:]}
    return {"styles": [], "labels": named(str(found.labels)), **lines}
