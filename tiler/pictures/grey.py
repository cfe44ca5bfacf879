"""Whether a picture has colours at all."""

from __future__ import annotations

import numpy as np

from tiler.pictures.picture import Picture

# Pixels of the long edge that are looked at, at most; and what channels differ by where grey came from another space of
# colours: a few of 65535. A tint that can be stored in 8 bits is one.
_EDGE, _ROUNDED = 512, 1e-4
_ROWS = 256


def is_grey(picture: Picture) -> bool:
    """Whether R, G and B are the same everywhere. Raises PictureError for pixels that are
    damaged."""
    bands = picture.bands(*picture.small(_EDGE), _ROWS)
    return all(float(np.ptp(band, axis=0).max()) <= _ROUNDED for band in bands)
