"""What lies on top of a poster as it is: labels, a grid, a legend. Composited while the file is written."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from tiler import pictures
from tiler.errors import ConfigError, OutputError
from tiler.request import sizes
from tiler.request.config import RenderConfig


def check_overlay(config: RenderConfig, height: int, width: int, found: pictures.Picture | None) -> None:
    """Raise ConfigError for an overlay of another shape than the poster's, OutputError where it would be written over.
    found: the overlay, opened."""
    if config.overlay is None or found is None:
        return
    if config.output and os.path.realpath(config.output) == os.path.realpath(config.overlay):
        raise OutputError(f"{config.output}: is the overlay; choose another name for the poster")
    if not sizes.same_shape((found.height, found.width), (height, width)):
        raise ConfigError(
            f"overlay {config.overlay}: {found.width} x {found.height} pixels; allowed: the poster's shape "
            f"({width} x {height})"
        )


def overlay_notes(found: pictures.Picture | None, height: int, width: int) -> list[str]:
    """What the user should know of an overlay that is not of the poster's size."""
    if found is None or found.is_drawn or (found.height, found.width) == (height, width):
        return []
    return [f"overlay {found.path}: resized from {found.width} x {found.height} to {width} x {height} px"]


def overlay_stage(
    found: pictures.Picture, height: int, width: int, rows: int
) -> Callable[[np.ndarray, int], np.ndarray]:
    """A stage that lays a picture over bands [3 or 4, rows, width] that come from top to bottom, `rows` at a time.

    Porter & Duff 1984, "over": where it is opaque its own pixels remain, where it is transparent the poster's. Raises
    PictureChangedError where the file is another than when it was opened.
    """
    bands = found.bands(height, width, rows, "rgba")

    def stage(band: np.ndarray, y: int) -> np.ndarray:
        above = next(bands)
        if y + band.shape[1] >= height:
            next(bands, None)  # what is looked at once all has been read
        colours, cover, below = above[:3], above[3:], band[3:] if len(band) == 4 else np.ones_like(band[:1])
        shown = (1 - cover) * below
        whole = cover + shown
        mixed = (colours * cover + band[:3] * shown) / np.where(whole > 0, whole, 1)
        mixed = np.where(cover > 0, mixed, band[:3])
        return np.concatenate([mixed, whole] if len(band) == 4 else [mixed]).astype(band.dtype)

    return stage
