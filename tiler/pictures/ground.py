"""How much ground a pixel shows: geodesy through rasterio, the extra `[geo]`, imported only where it is used."""

from __future__ import annotations

import math
from importlib.util import find_spec

from tiler.errors import PictureError
from tiler.pictures.crs import crs_of
from tiler.pictures.georef import Georef
from tiler.pictures.picture import Picture

EARTH_RADIUS = 6_371_008.8  # mean radius in metres


def metres_per_pixel(picture: Picture) -> float:
    """Length on the ground of a pixel at the picture's centre: the mean (geometric) of its two sides, in metres.

    Measured on the globe, so that degrees, feet and the stretch of a projection such as Mercator's come out right.
    Raises PictureError where the picture does not say where it lies, or on which globe.
    """
    if find_spec("rasterio") is None:
        raise PictureError(f"{picture.path}: reading its ground scale needs the package rasterio (the extra 'geo')")
    if picture.georef is None:
        raise PictureError(f"{picture.path}: has no georeference")
    y, x = picture.height / 2, picture.width / 2
    try:
        corners = _longitudes_latitudes(picture.georef, [(x - 0.5, y), (x + 0.5, y), (x, y - 0.5), (x, y + 0.5)])
        left, right, above, below = corners
        found = math.sqrt(_distance(left, right) * _distance(above, below))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PictureError(f"{picture.path}: its place on the globe is unclear ({reason})") from None
    if not (math.isfinite(found) and found > 0):
        raise PictureError(f"{picture.path}: its centre has no place on the globe")
    return found


def _longitudes_latitudes(georef: Georef, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (column, row) points, in degrees."""
    from rasterio.warp import transform

    a, b, c, d, e, f = georef.transform
    xs, ys = [a * x + b * y + c for x, y in points], [d * x + e * y + f for x, y in points]
    longitudes, latitudes = transform(crs_of(georef), "EPSG:4326", xs, ys)
    return list(zip(longitudes, latitudes, strict=True))


def _distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Along the great circle between two (longitude, latitude), in metres: the haversine formula."""
    (x0, y0), (x1, y1) = (tuple(map(math.radians, point)) for point in (one, other))
    half = math.sin((y1 - y0) / 2) ** 2 + math.cos(y0) * math.cos(y1) * math.sin((x1 - x0) / 2) ** 2
    return 2 * EARTH_RADIUS * math.asin(math.sqrt(half))
