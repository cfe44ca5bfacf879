"""Whether a poster has colours: of pencil, ink and engravings there are none to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tiler.pictures import Picture
from tiler.pictures.grey import FAINT, ROUNDED, tint
from tiler.request.config import RenderConfig
from tiler.request.guiding import Opened


def settle_colour(config: RenderConfig, opened: Opened, styles: Sequence[Picture]) -> tuple[RenderConfig, list[str]]:
    """The same, grey where it is to have the styles' colours and all that counts of them is grey, and a line that says
    so, or that they are so nearly. What is dreamt brings colours of its own. styles: of `config.regions.sources`.
    Raises PictureError for pixels that are damaged."""
    open_to_it = config.color == "style" and config.transfer == "style" and config.style_weight > 0
    if not open_to_it or config.dream_weight:
        return config, []
    pairs = zip(styles, config.regions.sources, config.style_counts, strict=True)
    counted = [(style, opened.get(one.mask or "")) for style, one, counts in pairs if counts]
    most = 0.0
    for style, mask in counted:
        most = max(most, tint(style, mask))
        if most > FAINT:
            return config, []
    which = f"{counted[0][0].path}: is" if len(counted) == 1 else "all styles are"
    if most > ROUNDED:
        return config, [f"{which} nearly grey; color grey: makes a grey poster"]
    otherwise = "; color content: with the content's colours" if config.content else ""
    return replace(config, color="grey"), [f"{which} grey, so the poster is{otherwise}"]
