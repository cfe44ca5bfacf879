"""Which part of a picture is calm: where light changes least, seen from as far as the whole picture is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tiler.pictures.picture import Picture
from tiler.pictures.resize import resize
from tiler.pictures.stream import load_vips

# Pixels of the long edge that calm is told at, at most, the window that light changes within, and how far one window
# speaks for: the width of each of three means.
EDGE = 512
_WINDOW, _REACH = 5, 17
# Variance that nobody sees, of light in 0..1; and steps of its logarithm that count as alike, so that what is flat is
# alike everywhere, whatever rounds last.
_FAINT, _STEPS = (0.5 / 255) ** 2, 50
# So many times less contrast is far calmer: paper beside ink, a sky; satellite photos of land and sea have 3 to 4.
_FAR = 5
_ROWS = 256


def changes(picture: Picture, wrap: str = "none") -> np.ndarray:
    """[h, w] how much light changes around each pixel, with up to EDGE pixels on the long edge: whole numbers, which
    tell more from less and no more than that. wrap: axes along which the picture goes on at its opposite edge.

    Raises PictureError for pixels that are damaged.
    """
    bands = picture.bands(*picture.small(EDGE), _ROWS, "grey")
    light = np.concatenate([band[0] for band in bands]).astype(np.float64)
    mean = _mean(light, _WINDOW, wrap)
    variance = np.maximum(_mean(light * light, _WINDOW, wrap) - mean * mean, 0)
    for _ in range(3):
        variance = _mean(variance, _REACH, wrap)
    return np.rint(_STEPS * np.log(np.maximum(variance, _FAINT) / _FAINT))


def calmest(changes: np.ndarray, counts: np.ndarray, share: float) -> tuple[np.ndarray, float]:
    """([h, w] bool: the calmest part, at least `share` of all that counts; its true share, which is more where much is
    alike). counts: [h, w] of 0 or more, not 0 everywhere."""
    order = np.argsort(changes, axis=None, kind="stable")
    summed = np.cumsum(counts.ravel()[order], dtype=np.float64)
    ranked = changes.ravel()[order]
    calm = changes <= ranked[np.searchsorted(summed, share * summed[-1])]
    # Added up in the same order: a share of all is then 1, and no more.
    return calm, float(summed[np.count_nonzero(calm) - 1] / summed[-1])


def stands_out(changes: np.ndarray, counts: np.ndarray, share: float) -> bool:
    """Whether the calmest `share` of what counts is far calmer than the rest, by their medians."""
    some = changes[counts > 0.5]
    if not some.size:
        return False
    calm, rest = np.quantile(some, (share / 2, (1 + share) / 2))
    return bool(rest - calm >= 2 * _STEPS * np.log(_FAR))


def softened(plane: np.ndarray, edge: float, wrap: str = "none") -> np.ndarray:
    """A plane [h, w] of 0 and 1 whose edges are `edge` pixels wide."""
    for _ in range(3):
        plane = _mean(plane.astype(np.float64), 2 * round(edge / 6) + 1, wrap)
    return plane.astype(np.float32)


def plane_bands(plane: np.ndarray, height: int, width: int, rows: int) -> Iterator[np.ndarray]:
    """A plane [h, w] float32 in 0..1, resized: bands [n, width] from top to bottom."""
    plane = np.ascontiguousarray(plane, np.float32)
    image = load_vips().Image.new_from_memory(plane.data, plane.shape[1], plane.shape[0], 1, "float")
    image = resize(image, height, width, shrink="linear", enlarge="bilinear")
    for top in range(0, height, rows):
        band = image.crop(0, top, width, min(rows, height - top)).numpy()
        yield np.clip(band.reshape(-1, width), 0, 1)


def _mean(plane: np.ndarray, width: int, wrap: str) -> np.ndarray:
    """Over `width` pixels along both axes, an odd number; what lies beyond an edge is as the edge is."""
    for name in "yx":  # turned after each
        ends = (width // 2 + 1, width // 2)
        summed = np.cumsum(np.pad(plane, (ends, (0, 0)), mode="wrap" if name in wrap else "edge"), 0)
        plane = ((summed[width:] - summed[:-width]) / width).T
    return plane
