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


def colour_match(source: ColourMoments, target: ColourMoments) -> np.ndarray:
    """[3, 4] affine map that gives pixels with `source`'s moments the mean and covariance of `target`.

    Of all such maps this is the one that moves colours least (Monge-Kantorovich; Pitié & Kokaram 2007), so blue stays
    the bluest. A floor on the variances keeps grey and flat pictures from being blown up into noise.
    """
    floor = _VARIANCE_FLOOR * np.eye(3)
    ours, theirs = source.covariance + floor, target.covariance + floor
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
    moved = [np.tensordot(one[:, :3], pixels, 1) + one[:, 3, None, None] for one in matrices]
    blended = moved[0] if guides is None else sum(guide * one for guide, one in zip(guides, moved, strict=True))
    return np.clip(blended, 0, 1).astype(pixels.dtype)


def _power(symmetric: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(symmetric)
    return (vectors * np.maximum(values, 1e-12) ** exponent) @ vectors.T
