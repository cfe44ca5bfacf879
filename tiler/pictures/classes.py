"""Classes of what pictures show, found by colour and texture: sea and land, say.

A Gaussian mixture with full covariances (scikit-learn) over colour in CIELAB and local contrast: classes that stretch
along a line of colours, as a sea does from deep to shallow, stay one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiler.errors import ConfigError
from tiler.pictures.picture import Picture
from tiler.pictures.stream import load_vips

# Pixels of the long edge that classes are told apart at, and that the mixture is fitted to.
EDGE = 1024
_FITTED = 20_000
_ROWS = 256
# Pixels at EDGE: what is blurred before colours are compared, the window of the contrast, and how far a pixel asks its
# neighbours what it is.
_BLUR, _WINDOW, _AGREE = 2.0, 9, 2.0
# CIELAB units. Light counts half, since slopes change it within a class; a contrast is felt by its logarithm.
_LIGHT, _CONTRAST, _FAINT = 0.5, 8.0, 0.5
# Squared units that a class spreads by at least: a flat colour is no class of its own for being flat.
_SPREAD = 1.0


@dataclass(frozen=True)
class Classes:
    """What was found in some pictures together. planes: of each picture [h, w] the class of every pixel, -1 where it is
    transparent. means: [N, 4] of each class light, two of colour and contrast, in the pictures' own spread. colours:
    [N, 3] mean sRGB, 0..1. shares: [N] of all pixels."""

    planes: tuple[np.ndarray, ...]
    means: np.ndarray
    colours: np.ndarray
    shares: np.ndarray

    def reordered(self, order: Sequence[int]) -> Classes:
        """The same, class order[k] as number k."""
        numbers = np.argsort(order)
        planes = tuple(np.where(plane < 0, plane, numbers[plane]) for plane in self.planes)
        return Classes(planes, self.means[order], self.colours[order], self.shares[order])


def find_classes(pictures: Sequence[Picture], count: int) -> Classes:
    """The `count` classes of several pictures together, alike for the same pictures. A class may stay empty.

    Raises ConfigError where scikit-learn is missing or nothing is to be seen, PictureError for damaged pixels.
    """
    mixture = _mixture()
    shown = [_shown(picture) for picture in pictures]
    features = [_features(pixels, alpha) for pixels, alpha in shown]
    seen = [alpha > 0.5 for _, alpha in shown]
    values = np.concatenate([one[:, mask].T for one, mask in zip(features, seen, strict=True)])
    if len(values) <= count:
        raise ConfigError(f"{pictures[0].path}: shows too little to tell {count} classes apart")
    some = values[:: max(1, len(values) // _FITTED)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fewer colours than classes, which shows in the shares
        fitted = mixture(count, n_init=4, random_state=0, reg_covar=_SPREAD).fit(some)
    planes = [_agreed(fitted, one, mask, count) for one, mask in zip(features, seen, strict=True)]
    pixels = np.concatenate([one[:, mask].T for (one, _), mask in zip(shown, seen, strict=True)])
    flat = np.concatenate([plane[mask] for plane, mask in zip(planes, seen, strict=True)])
    spread = np.maximum(values.std(0), 1.0)
    own = [flat == number for number in range(count)]
    return Classes(
        tuple(planes),
        np.stack([_mean((values - values.mean(0)) / spread, one) for one in own]),
        np.stack([_mean(pixels, one) for one in own]),
        np.array([one.mean() for one in own]),
    )


def pair(ours: Classes, theirs: Classes) -> list[int]:
    """For each of our classes one of theirs, each once: those whose means lie as alike in their pictures as can be."""
    from scipy.optimize import linear_sum_assignment

    apart = np.square(ours.means[:, None] - theirs.means[None]).sum(-1)
    return [int(one) for one in linear_sum_assignment(apart)[1]]


def _mixture() -> Any:
    try:
        from sklearn.mixture import GaussianMixture
    except ModuleNotFoundError:
        raise ConfigError("finding regions needs scikit-learn; pip install 'tiler-render[regions]'") from None
    return GaussianMixture


def _mean(values: np.ndarray, which: np.ndarray) -> np.ndarray:
    return values[which].mean(0) if which.any() else np.zeros(values.shape[1])


def _shown(picture: Picture) -> tuple[np.ndarray, np.ndarray]:
    """([3, h, w] sRGB, [h, w] opacity) with EDGE pixels on the long edge, whatever the picture's own size: contrasts of
    small and large pictures are compared."""
    scale = EDGE / max(picture.height, picture.width)
    size = max(1, round(picture.height * scale)), max(1, round(picture.width * scale))
    found = np.concatenate(list(picture.bands(*size, _ROWS, "rgba")), 1)
    return found[:3], found[3]


def _features(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """[4, h, w]: light, two of colour, contrast of light."""
    from scipy.ndimage import gaussian_filter, uniform_filter

    light, red, yellow = _lab(pixels)
    mean = uniform_filter(light, _WINDOW)
    contrast = np.sqrt(np.maximum(uniform_filter(light * light, _WINDOW) - mean * mean, 0))
    found = [_LIGHT * light, red, yellow]
    return np.stack([*(gaussian_filter(one, _BLUR) for one in found), _CONTRAST * np.log(contrast + _FAINT)])


def _lab(pixels: np.ndarray) -> np.ndarray:
    """CIELAB [3, h, w] of sRGB."""
    rows = np.ascontiguousarray(pixels.transpose(1, 2, 0) * 255, np.float32)
    image = load_vips().Image.new_from_memory(rows.data, rows.shape[1], rows.shape[0], 3, "float")
    found: np.ndarray = image.copy(interpretation="srgb").colourspace("lab").numpy()
    return found.transpose(2, 0, 1).astype(np.float64)


def _agreed(fitted: Any, features: np.ndarray, mask: np.ndarray, count: int) -> np.ndarray:
    """[h, w] the class that a pixel and its neighbours most likely are of."""
    from scipy.ndimage import gaussian_filter

    likely = fitted.predict_proba(features.reshape(len(features), -1).T).T.reshape(count, *mask.shape)
    found = np.argmax([gaussian_filter(one * mask, _AGREE) for one in likely], 0)
    return np.where(mask, found, -1).astype(np.int16)
