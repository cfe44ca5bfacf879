"""What is calm in a content takes after what is calm in its styles: each region as two, its calm part as large a share
of it in the content as in the style.

Statistics of a whole picture do not say where its skies and seas are, and put dots of forest there. Regions by colour
do, but may have another share in the content than in the style; ranks have not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tiler import pictures
from tiler.pictures import calm
from tiler.request.config import CALM, RenderConfig, needs_content
from tiler.request.guiding import Opened, guide_bands
from tiler.request.together import tells_calm

_ROWS = 256
# A region stays one where less than that would be left of it.
_LEAST = 0.02


def settle_calm(
    config: RenderConfig, opened: Opened, styles: Sequence[pictures.Picture]
) -> tuple[RenderConfig, list[str]]:
    """The same with a number where it is open how much of the content is calm, and no region says where something is;
    a line that says why it is not 0. styles: of `config.regions.sources`. Raises PictureError for pixels that are
    damaged."""
    if config.calm is not None or not tells_calm(config) or config.regions.guided:
        return config, []
    if not needs_content(vars(config)) or not config.style_weight:
        return replace(config, calm=0.0), []
    counted = zip(styles, config.regions.sources, config.style_counts, strict=True)
    seen = ((one.picture, _seen(style, opened.get(one.mask or ""))) for style, one, counts in counted if counts)
    style = next((picture for picture, found in seen if _stands_out(*found)), None)
    if style is None:
        return replace(config, calm=0.0), []
    why = f"{style}: has parts far calmer than the rest, which the calmest {CALM:g} % of the content take after; "
    return replace(config, calm=CALM), [f"{why}calm 0: all of it is treated alike"]


def _stands_out(changes: np.ndarray, counts: np.ndarray) -> bool:
    return calm.stands_out(changes, counts, CALM / 100)


def _seen(style: pictures.Picture, mask: pictures.Picture | None) -> tuple[np.ndarray, np.ndarray]:
    """[h, w] each: how much a style changes around its pixels, and how much they count."""
    changes = calm.changes(style)
    height, width = changes.shape
    bands = pictures.part_bands(style, mask, height, width, _ROWS)
    return changes, np.concatenate([band[0] for band in bands])


@dataclass(frozen=True)
class Calm:
    """content: [h, w] in 0..1, how much of each pixel is of its region's calm part. styles: the same of each style's
    pixels, first as part of what is not calm, for each, then of what is."""

    content: np.ndarray
    styles: tuple[np.ndarray, ...]

    @classmethod
    def of(
        cls, config: RenderConfig, content: pictures.Picture, opened: Opened, styles: Sequence[pictures.Picture]
    ) -> Calm:
        """content: the part of the file that is rendered. opened: pictures by file name. styles: of
        `config.regions.sources`. Raises PictureError for pixels that are damaged."""
        plane, shares = _of_content(config, content, opened)
        pairs = [
            _of_style(style, opened.get(source.mask or ""), shares[source.region])
            for style, source in zip(styles, config.regions.sources, strict=True)
        ]
        edge = config.region_edge / 100 * max(plane.shape)
        busy, calm_parts = zip(*pairs, strict=True)
        return cls(calm.softened(plane, edge, config.wrap), (*busy, *calm_parts))

    def guides(self, bands: Iterator[np.ndarray], height: int, width: int, rows: int) -> Iterator[np.ndarray]:
        """Bands [R, n, width] of where the regions are as those of what is not calm in each, then what is."""
        for band, plane in zip(bands, calm.plane_bands(self.content, height, width, rows), strict=True):
            yield np.concatenate([band * (1 - plane), band * plane])

    def parts(
        self, index: int, bands: Iterator[np.ndarray], height: int, width: int, rows: int
    ) -> Iterator[np.ndarray]:
        """Bands [1, n, width] of what counts of a style as those of one part of it."""
        for band, plane in zip(bands, calm.plane_bands(self.styles[index], height, width, rows), strict=True):
            yield band * plane


def _of_content(config: RenderConfig, content: pictures.Picture, opened: Opened) -> tuple[np.ndarray, list[float]]:
    """([h, w]: what is calm; the share of each region that is)."""
    changes = calm.changes(content, config.wrap)
    height, width = changes.shape
    guides = np.concatenate(list(guide_bands(config, content, opened, height, width, _ROWS)), 1)
    shown = np.concatenate([band[0] for band in content.bands(height, width, _ROWS, "alpha")])
    plane, shares = np.zeros(changes.shape, np.float32), []
    for guide in guides:
        counts, share = guide * shown, config.calm_share
        if counts.any():
            part, share = calm.calmest(changes, counts, share)
            # What is not shown says nothing, and counts in the level's statistics: of either part its share.
            plane += guide * (shown * part + (1 - shown) * np.float32(share))
        shares.append(share)
    return plane, shares


def _of_style(style: pictures.Picture, mask: pictures.Picture | None, share: float) -> tuple[np.ndarray, np.ndarray]:
    """What is not calm of a style, and what is; all of it, twice, where either would be next to nothing."""
    changes, counts = _seen(style, mask)
    if counts.any():
        part, share = calm.calmest(changes, counts, share)
        if share <= 1 - _LEAST:
            return (~part).astype(np.float32), part.astype(np.float32)
    whole = np.ones(changes.shape, np.float32)
    return whole, whole
