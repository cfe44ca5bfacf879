"""The colours of pictures in a store, and a content in others, where colours alone are transferred: in Oklab."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from tiler.engine.store import RenderStore
from tiler.geometry import Rect
from tiler.style.colour import ColourMoments, oklab, recolour_as_seen, without_white

_CONTENT, _ALPHA = "levels/0/content", "levels/0/alpha"
# Pixels that suffice to know a picture's colours by.
_ENOUGH = 2**22


def as_seen(store: RenderStore, picture: str, planes: Iterator[np.ndarray] | None) -> ColourMoments:
    """The moments in Oklab of a picture, of so many of its pixels as suffice. planes: bands [rows, width] of how much
    each pixel counts; None: all do. What is transparent in the content does not."""
    every, (height, width) = 1, store.picture_size(picture)
    while height * width > _ENOUGH * every**2 and every < store.picture_rows:  # which it divides
        every *= 2
    bands = (band[:, ::every, ::every] for band in store.picture_bands(picture))
    weights = None if planes is None else (plane[::every, ::every] for plane in planes)
    if picture != _CONTENT or not store.has_picture(_ALPHA):
        return ColourMoments.of(map(oklab, bands), weights)
    alphas, again = itertools.tee(band[0, ::every, ::every] for band in store.picture_bands(_ALPHA))
    counted = again if weights is None else (alpha * weight for alpha, weight in zip(again, weights, strict=True))
    shown = (oklab(without_white(band, alpha)) for band, alpha in zip(bands, alphas, strict=True))
    return ColourMoments.of(shown, counted)


def recoloured(
    store: RenderStore, part: Rect, content: np.ndarray, maps: Sequence[np.ndarray], guides: np.ndarray | None
) -> np.ndarray:
    """A part of the content [3, h, w] in its styles' colours; where it is transparent, on white as it was."""
    if not store.has_picture(_ALPHA):
        return recolour_as_seen(content, maps, guides)
    alpha = store.read_picture(_ALPHA, part)
    return recolour_as_seen(without_white(content, alpha[0]), maps, guides) * alpha + (1 - alpha)
