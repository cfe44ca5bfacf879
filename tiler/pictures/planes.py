"""Pictures as planes of numbers in 0..1: masks, and label pictures whose colours name regions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from tiler.pictures import colour
from tiler.pictures.numbers import check_floats
from tiler.pictures.picture import Picture
from tiler.pictures.resize import resize
from tiler.pictures.source import Opener

# A blurred edge rises from 2 to 98 % within this many sigmas.
_SIGMAS = 4
# Of the pieces in which pixels are told apart.
_SIDE = 64


def mask_bands(picture: Picture, height: int, width: int, rows: int, edge: float = 0) -> Iterator[np.ndarray]:
    """How white a picture is, resized: bands [1, n, width] float32 in 0..1 from top to bottom; transparent counts as
    black. edge: width in output pixels that an edge is softened over, at least.

    Raises PictureError for pixels that are damaged.
    """

    def grey(pixels: Any, alpha: Any | None) -> Any:
        luma = colour.unit(pixels) if pixels.bands == 1 else colour.luma(colour.unit(pixels))
        return luma if alpha is None else luma * colour.unit(alpha)

    return _planes(picture, grey, height, width, rows, edge)


def label_bands(
    picture: Picture,
    palette: Sequence[tuple[int, int, int]],
    height: int,
    width: int,
    rows: int,
    edge: float = 0,
) -> Iterator[np.ndarray]:
    """Which colour of `palette` (0..255) each pixel is nearest to, resized: bands [palette, n, width] float32 in 0..1
    that sum to 1. Pixels are told apart at the picture's own size, so that no mixture of two labels makes a third;
    transparent ones count as white.

    Raises PictureError for pixels that are damaged.
    """

    def nearest(pixels: Any, alpha: Any | None) -> Any:
        image = colour.unit(pixels)
        if alpha is not None:
            image = image.bandjoin(colour.unit(alpha)).flatten(background=[1.0] * pixels.bands, max_alpha=1.0)
        image = image if image.bands == 3 else image.bandjoin([image, image])
        apart = [image - [value / 255 for value in one] for one in palette]
        distances = [(one * one).bandmean() for one in apart]
        least = distances[0].bandrank(distances[1:], index=0)
        # As masks of 0 or 255; of equals the first wins.
        found = [distances[0] == least]
        taken = found[0]
        for distance in distances[1:]:
            found.append((distance == least) & (taken ^ 255))
            taken = taken | found[-1]
        planes = found[0].bandjoin(found[1:])
        # Else each operation would keep, in each thread, all that a strip of the result is made from: 70 MB a colour.
        across = -(-planes.width // _SIDE)
        return planes.tilecache(tile_width=_SIDE, tile_height=_SIDE, max_tiles=3 * across + 4, threaded=True) / 255

    return _planes(picture, nearest, height, width, rows, edge)


def _planes(picture: Picture, convert: Any, height: int, width: int, rows: int, edge: float) -> Iterator[np.ndarray]:
    def pipeline(opened: Opener) -> Any:
        pixels, alpha = picture.part(opened)
        planes = convert(colour.to_srgb(pixels), None if alpha is None else colour.widen(alpha)).cast("float")
        # Without the negative lobes of sharper filters: they would put a rim of the region beyond its edge.
        planes = resize(planes, height, width, shrink="linear", enlarge="bilinear")
        return planes.gaussblur(edge / _SIGMAS, precision="float", min_ampl=0.01) if edge else planes

    picture.refuse_signed()
    with closing(picture.streamed(pipeline, rows)) as bands:
        for band, _ in bands:
            check_floats(picture.path, band, 1.0)
            yield np.clip(band.transpose(2, 0, 1), 0, 1)
