"""Regions that find themselves, as what a page says of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tiler.errors import ConfigError
from tiler.request.config import RenderConfig
from tiler.request.proposing import MOST, propose, says_where
from tiler.request.regions import with_files
from tiler.studio.folder import Folder

# What a proposal says, in place of what a page said before.
_SAID = ("labels", "label", "style_mask")


def regions(folder: Folder, config: RenderConfig, count: Any) -> dict[str, Any]:
    """What to say of `styles` and of _SAID so that so many regions are found; 1 takes them away again. The files lie in
    the folder, called like the content, to be mended by hand. config: with absolute names. Raises TilerError."""
    if type(count) is not int or not 1 <= count <= MOST:
        raise ConfigError(f"count = {str(count)[:20]}; allowed: 1 to {MOST}")
    if config.content is None:
        raise ConfigError("content is missing: regions are found by what it and its styles have in common")
    said = [name for name in says_where(config) if name not in _SAID]
    if said:
        raise ConfigError(f"{said[0]}: says already what is where; allowed: a content and styles, one value for all")
    styles = [*dict.fromkeys(source.picture for source in config.regions.sources)]

    def named(file: str) -> str:
        return os.path.relpath(file, folder.root)

    if count == 1:
        return {"styles": [named(style) for style in styles], **dict.fromkeys(_SAID)}
    labels = folder.root / f"{Path(config.content).stem}-labels.png"
    for file in (labels, labels.with_suffix(".toml")):
        if file.is_symlink():
            raise ConfigError(f"{file}: is a link; regions are written beside their content")
    found = propose(config.content, styles, count, labels).options
    lines = {name: [with_files(text, named, ()) for text in found[name]] for name in _SAID[1:]}
    return {"styles": [], "labels": labels.name, **lines}
