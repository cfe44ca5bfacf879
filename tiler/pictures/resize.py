"""Resizing a libvips image to an exact size, streaming. Pixel centres map to pixel centres.

Images are float: the weights of libvips' integer filters do not quite add up to 1, and colours would drift by a
third of an 8-bit step.
"""

from __future__ import annotations

from typing import Any

from tiler.pictures.stream import load_vips

# How much of a reduction Lanczos does after cheap block averaging has done the rest. Against Lanczos alone
# 3 leaves a quarter of the error of libvips' own default of 2; rows in memory grow with it.
_GAP = 3.0


def resize(image: Any, height: int, width: int, shrink: str = "lanczos3", enlarge: str = "bicubic") -> Any:
    """Antialiased Lanczos-3 where it shrinks, Catmull-Rom where it grows, the two sides on their own; or libvips' other
    filters of these names."""
    # Width first (image.resize does it last): the rows that wait for the vertical filter are short ones then.
    if width < image.width:
        image = image.reduceh(image.width / width, kernel=shrink, gap=_GAP)
    if height < image.height:
        image = image.reducev(image.height / height, kernel=shrink, gap=_GAP)
    scale_y, scale_x = height / image.height, width / image.width
    if scale_y == 1 and scale_x == 1:
        return image
    # Not image.resize: when it grows an image it moves it by half a pixel.
    return image.affine(
        [scale_x, 0, 0, scale_y],
        interpolate=load_vips().Interpolate.new(enlarge),
        oarea=[0, 0, width, height],
        idx=0.5 - 0.5 / scale_x,
        idy=0.5 - 0.5 / scale_y,
        extend="copy",
        premultiplied=True,
    )
