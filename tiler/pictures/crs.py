"""Coordinate reference systems in the forms that files want. rasterio knows them (the extra `[geo]`); it is imported
only where it is used."""

from __future__ import annotations

import io
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from tiler.pictures.georef import Georef, from_tags

_PROJECTED, _GEOGRAPHIC, _OF_ITS_OWN = 3072, 2048, 32767


def crs_of(georef: Georef) -> Any:
    """rasterio's CRS. Raises ValueError, or an error of rasterio's, where none is named or known."""
    from rasterio.crs import CRS
    from rasterio.io import MemoryFile

    if georef.prj is not None:
        return CRS.from_wkt(georef.prj, morph_from_esri_dialect=True)
    if not georef.keys:
        raise ValueError("no coordinate reference system is named")
    # GDAL reads GeoTIFF keys, in all their variants, from a TIFF only.
    import tifffile

    pixel = io.BytesIO()
    tifffile.imwrite(pixel, np.zeros((1, 1), np.uint8), photometric="minisblack", extratags=georef.tags())
    with MemoryFile(pixel.getvalue()) as file, file.open() as dataset:
        if dataset.crs is None:
            raise ValueError("no coordinate reference system is named")
        return dataset.crs


def names_crs(georef: Georef) -> bool:
    return georef.prj is not None or bool(georef.keys)


def texts(georef: Georef) -> tuple[str | None, str | None]:
    """(the text of a .prj file, what GDAL's .aux.xml says), each None where there is none.

    Without rasterio, and of what it does not know, the first is the input's own and the second its EPSG code."""
    try:
        crs = crs_of(georef) if find_spec("rasterio") and names_crs(georef) else None
        if crs is not None:
            return georef.prj or crs.to_wkt(version="WKT1_ESRI"), crs.to_wkt()
    except Exception:  # of rasterio's many, none of which makes a finished poster useless
        pass
    codes = {key: value for key, place, _, value in _entries(georef.keys) if place == 0}
    code = codes.get(_PROJECTED) or codes.get(_GEOGRAPHIC)
    return georef.prj, georef.prj or (f"EPSG:{code}" if code and code != _OF_ITS_OWN else None)


def with_keys(georef: Georef) -> Georef:
    """The same with a .prj file's CRS as GeoTIFF keys, which stay with the picture; unchanged where they cannot say
    it."""
    if georef.prj is None or find_spec("rasterio") is None:
        return georef
    import rasterio
    from rasterio.io import MemoryFile

    profile = dict(driver="GTiff", width=1, height=1, count=1, dtype="uint8", transform=rasterio.Affine.scale(1, -1))
    try:
        with MemoryFile() as file:
            with file.open(crs=crs_of(georef), **profile) as dataset:
                dataset.write(np.zeros((1, 1, 1), np.uint8))
            keyed = from_tags(io.BytesIO(file.read()), (0,), [])
        if keyed is None or crs_of(keyed) != crs_of(georef):
            return georef
    except Exception:
        return georef
    return replace(keyed, transform=georef.transform) if keyed and keyed.keys else georef


def _entries(keys: tuple[int, ...]) -> list[tuple[int, ...]]:
    """(key, where its value is, count, value or offset); the first four numbers of the directory are its head."""
    return [keys[at : at + 4] for at in range(4, len(keys) - 3, 4)]
