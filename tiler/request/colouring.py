"""Whether a poster has colours: of pencil, ink and engravings there are none to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tiler.pictures import Picture
from tiler.pictures.grey import is_grey
from tiler.request.config import RenderConfig


def settle_colour(config: RenderConfig, styles: Sequence[Picture]) -> tuple[RenderConfig, list[str]]:
    """The same, grey where it is to have the styles' colours and all of them are grey, and a line that says so. What is
    dreamt brings colours of its own. Raises PictureError for pixels that are damaged."""
    open_to_it = config.color == "style" and config.transfer == "style" and config.style_weight > 0
    counted = [style for style, share in zip(styles, config.style_shares, strict=True) if share]
    if not open_to_it or config.dream_weight or not all(map(is_grey, counted)):
        return config, []
    which = f"{counted[0].path}: is grey" if len(counted) == 1 else "all styles are grey"
    otherwise = "; color content: with the content's colours" if config.content else ""
    return replace(config, color="grey"), [f"{which}, so the poster is{otherwise}"]
