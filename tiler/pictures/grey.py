"""Whether a picture has colours at all."""

from __future__ import annotations

import numpy as np

from tiler.pictures.parts import part_bands
from tiler.pictures.picture import Picture

# What channels differ by where grey came from another space of colours: a few of 65535. A tint that can be stored in 8
# bits is one. And a tint that few would see.
ROUNDED, FAINT = 1e-4, 3.5 / 255
# Pixels of the long edge that are looked at, at most; what one must count for: filters leave next to nothing around.
_EDGE, _ROWS, _LITTLE = 512, 256, 0.02


def tint(picture: Picture, mask: Picture | None = None) -> float:
    """What R, G and B differ by at most, 0..1, in the part of a style that counts: that, or what is found first beyond
    FAINT. Raises PictureError for pixels that are damaged."""
    size, found = picture.small(_EDGE), 0.0
    for band, counts in zip(picture.bands(*size, _ROWS), part_bands(picture, mask, *size, _ROWS), strict=False):
        found = max(found, float(np.ptp(band, axis=0)[counts[0] > _LITTLE].max(initial=0)))
        if found > FAINT:
            break
    return found
