"""Whole-image colour statistics that add over bands and tiles, and the map between two of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_VARIANCE_FLOOR = 1e-4
# Rec. 709 weights on the coded values.
_LUMA = np.array([0.2126, 0.7152, 0.0722])
# [3, 4] map from a colour to the grey of its luma.
GREY = np.column_stack([np.tile(_LUMA, (3, 1)), np.zeros(3)])


@dataclass(frozen=True)
class ColourMoments:
    """Sums over pixels of 1, x and x x^T for RGB x in 0..1; they add up over disjoint areas."""

    count: float
    first: np.ndarray
    second: np.ndarray

    @classmethod
    def of(cls, bands: Iterable[np.ndarray], guides: Iterable[np.ndarray] | None = None) -> ColourMoments:
        """Sum over bands [3, rows, width]; with guides [rows, width] each pixel counts as much as they say."""
        count, first, second = 0.0, np.zeros(3), np.zeros((3, 3))
        for band, guide in zip(bands, itertools.repeat(None) if guides is None else guides, strict=False):
            x = band.reshape(3, -1).astype(np.float64)
            weights = None if guide is None else guide.reshape(-1).astype(np.float64)
            weighted = x if weights is None else x * weights
            count += x.shape[1] if weights is None else weights.sum()
            first, second = first + weighted.sum(1), second + weighted @ x.T
        return cls(count, first, second)

    @classmethod
    def blended(cls, moments: Sequence[ColourMoments], shares: Sequence[float]) -> ColourMoments:
        """The moments of a mixture: each part counts by its share, whatever its number of pixels."""
        parts = [(share / m.count, m) for share, m in zip(shares, moments, strict=True)]
        first = np.sum([k * m.first for k, m in parts], axis=0)
        return cls(sum(shares), first, np.sum([k * m.second for k, m in parts], axis=0))

    @property
    def mean(self) -> np.ndarray:
        return self.first / self.count

    @property
    def covariance(self) -> np.ndarray:
        return self.second / self.count - np.outer(self.mean, self.mean)


def colour_match(source: ColourMoments, target: ColourMoments, floor: float = _VARIANCE_FLOOR) -> np.ndarray:
    """[3, 4] affine map that gives pixels with `source`'s moments the mean and covariance of `target`.

    Of all such maps this is the one that moves colours least (Monge-Kantorovich; Pitié & Kokaram 2007), so blue stays
    the bluest. A floor on the variances keeps grey and flat pictures from being blown up into noise.
    """
    least = floor * np.eye(3)
    ours, theirs = source.covariance + least, target.covariance + least
    root, inverse = _power(ours, 0.5), _power(ours, -0.5)
    matrix = inverse @ _power(root @ theirs @ root, 0.5) @ inverse
    return np.column_stack([matrix, target.mean - matrix @ source.mean])


def luma_match(source: ColourMoments, target: ColourMoments) -> np.ndarray:
    """[3, 4] affine map to grey whose luma has the mean and variance of `target`'s luma (Gatys et al. 2016,
    "Preserving Color in Neural Artistic Style Transfer"). Flat pictures are not blown up."""
    ours, theirs = (_LUMA @ moments.covariance @ _LUMA + _VARIANCE_FLOOR for moments in (source, target))
    scale = (theirs / ours) ** 0.5
    return np.column_stack([scale * GREY[:, :3], np.full(3, _LUMA @ target.mean - scale * (_LUMA @ source.mean))])


def style_map(color: str, style: ColourMoments, content: ColourMoments) -> np.ndarray:
    """[3, 4] map that a style is recoloured by. color: match or luminance."""
    return {"match": colour_match, "luminance": luma_match}[color](style, content)


def keep_chroma(pixels: np.ndarray, content: np.ndarray) -> np.ndarray:
    """The luma of pixels [3, h, w] with the chroma of content [3, h, w], in 0..1.

    Where the two together leave the range, luma yields: chroma (Cb, Cr of any definition) is exactly the content's.
    """
    chroma = content - np.tensordot(_LUMA, content, 1)
    luma = np.clip(np.tensordot(_LUMA, pixels, 1), -chroma.min(axis=0), 1 - chroma.max(axis=0))
    return np.clip(luma + chroma, 0, 1).astype(pixels.dtype)


def recolour(pixels: np.ndarray, matrices: Sequence[np.ndarray], guides: np.ndarray | None = None) -> np.ndarray:
    """Apply a [3, 4] map to pixels [3, h, w]; the result is clipped to 0..1 and keeps their float type.

    guides: [len(matrices), h, w], how much of each pixel each map decides; None: the only map decides all.
    """
    return np.clip(_mapped(pixels, matrices, guides), 0, 1).astype(pixels.dtype)


def _mapped(pixels: np.ndarray, matrices: Sequence[np.ndarray], guides: np.ndarray | None) -> np.ndarray:
    moved = [np.tensordot(one[:, :3], pixels, 1) + one[:, 3, None, None] for one in matrices]
    if guides is None:
        return moved[0]
    return np.sum([guide * one for guide, one in zip(guides, moved, strict=True)], axis=0)


# Where only colours are transferred: distances there are those that are seen ------------------------------------------

# Of variances there: colours spread less than the coded values do.
OKLAB_FLOOR = 1e-5
_TO_CONES = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
_TO_LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip
_FROM_LAB, _FROM_CONES = np.linalg.inv(_TO_LAB), np.linalg.inv(_TO_CONES)


def oklab(pixels: np.ndarray) -> np.ndarray:
    """sRGB [3, h, w] in 0..1 as Oklab (Ottosson 2020): lightness in 0..1, and two axes of colour, in their float
    type."""
    linear = np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    return np.tensordot(_TO_LAB, np.cbrt(np.tensordot(_TO_CONES, linear, 1)), 1).astype(pixels.dtype)


def srgb(lab: np.ndarray) -> np.ndarray:
    """The way back, clipped to 0..1."""
    linear = np.tensordot(_FROM_CONES, np.tensordot(_FROM_LAB, lab, 1) ** 3, 1).clip(0, 1)
    coded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.clip(coded, 0, 1).astype(lab.dtype)


def without_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The colours of pixels [3, h, w] that are shown on white, as opaque as alpha [h, w] says, in 0..1."""
    return np.clip((pixels - (1 - alpha)) / np.maximum(alpha, 1 / 65535), 0, 1).astype(pixels.dtype)


def recolour_as_seen(
    pixels: np.ndarray, matrices: Sequence[np.ndarray], guides: np.ndarray | None = None
) -> np.ndarray:
    """As `recolour`, with maps between colours in Oklab."""
    return srgb(_mapped(oklab(pixels), matrices, guides).astype(pixels.dtype))


def _power(symmetric: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(symmetric)
    return (vectors * np.maximum(values, 1e-12) ** exponent) @ vectors.T
