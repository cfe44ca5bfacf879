"""Pictures of which only the opaque part counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tiler.errors import PictureError
from tiler.pictures.picture import Picture
from tiler.pictures.planes import mask_bands

_LOOK_EDGE, _ROWS = 256, 256
_OPAQUE = 0.995  # what a filter makes of an opaque picture's alpha, and more


def as_style(picture: Picture) -> Picture:
    """The same; where it has transparent parts, as one of which only the rest counts. Those are shown in the rest's
    mean colour then, so that the backbone, which sees beyond an edge, sees nothing strange there.

    Raises PictureError where all of it is transparent.
    """
    if not picture.has_alpha:
        return picture
    band = np.concatenate(list(picture.bands(*picture.small(_LOOK_EDGE), _ROWS, "rgba")), 1)
    alpha = band[3]
    if alpha.min() >= _OPAQUE:
        return picture
    if not alpha.any():
        raise PictureError(f"{picture.path}: is transparent all over; a style needs parts that are not")
    red, green, blue = (
        float((plane * alpha).sum(dtype=np.float64) / alpha.sum(dtype=np.float64)) for plane in band[:3]
    )
    return replace(picture, in_part=True, backdrop=(red, green, blue))


def part_bands(picture: Picture, mask: Picture | None, height: int, width: int, rows: int) -> Iterator[np.ndarray]:
    """What part of a style counts: bands [1, n, width] in 0..1, where its mask is white and it is not transparent."""
    alphas = picture.bands(height, width, rows, "alpha") if picture.in_part else None
    masks = None if mask is None else mask_bands(mask, height, width, rows)
    if alphas is None or masks is None:
        yield from alphas or masks or picture.bands(height, width, rows, "alpha")
        return
    for alpha, white in zip(alphas, masks, strict=True):
        yield alpha * white
