"""Regions that find themselves, as what a page says of them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiler.errors import ConfigError
from tiler.request.config import RenderConfig
from tiler.request.proposing import MOST, with_regions
from tiler.request.regions import with_files
from tiler.studio.folder import Folder

# What a proposal says, in place of what a page said before.
_SAID = ("labels", "label", "style_mask")


def regions(folder: Folder, config: RenderConfig, count: Any) -> dict[str, Any]:
    """What to say of `styles` and of _SAID so that so many regions are found; 1 takes them away again, also where their
    files are gone. The files lie in the folder, called like the content, to be mended by hand. config: as a page says
    it. Raises TilerError."""
    if type(count) is not int or not 1 <= count <= MOST:
        raise ConfigError(f"count = {str(count)[:20]}; allowed: 1 to {MOST}")
    styles = config.styles or tuple(dict.fromkeys(source.picture for source in config.regions.sources))
    if count == 1:
        return {"styles": styles, **dict.fromkeys(_SAID)}
    poster = folder.root / f"{Path(config.content or '').stem}.png"
    plain = replace(config, styles=styles, labels=None, label=(), style_mask=(), output=str(poster))
    for file in (poster.with_name(f"{poster.stem}-labels{suffix}") for suffix in (".png", ".toml")):
        if file.is_symlink():
            raise ConfigError(f"{file}: is a link; regions are written beside their content")
    found, _ = with_regions(folder.confined(plain), count)

    def named(file: str) -> str:
        return os.path.relpath(file, folder.root)

    lines = {name: [with_files(text, named, ()) for text in getattr(found, name)] for name in _SAID[1:]}
    return {"styles": [], "labels": named(str(found.labels)), **lines}
