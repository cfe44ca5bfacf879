"""Whether a picture has colours at all."""

from __future__ import annotations

import numpy as np

from tiler.pictures.picture import Picture

# Pixels of the long edge that are looked at, at most; and what channels may differ by, as a grey photo's in a JPEG do.
_EDGE, _FAINT = 512, 3.5 / 255
_ROWS = 256


def is_grey(picture: Picture) -> bool:
    """Whether R, G and B are the same everywhere, as far as anybody sees. Raises PictureError for pixels that are
    damaged."""
    bands = picture.bands(*picture.small(_EDGE), _ROWS)
    return all(float(np.ptp(band, axis=0).max()) <= _FAINT for band in bands)
