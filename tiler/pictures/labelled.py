"""What an xarray DataArray says of a picture: which axis is which, and where it lies on the map."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tiler.errors import PictureError
from tiler.pictures.crs import with_keys
from tiler.pictures.georef import Georef

_X, _Y = ("x", "lon", "longitude", "easting"), ("y", "lat", "latitude", "northing")
# GeoTIFF's key directory of a CRS that has an EPSG code: pixel is area; projected or geographic.
_PROJECTED, _GEOGRAPHIC = (1, 3072), (2, 2048)
# Of a step between two coordinates, how much it may differ from the others'.
_UNEVEN = 1e-3


def parts_of(array: Any) -> tuple[Any, Georef | None, float | None]:
    """([height, width] or [height, width, bands], georeference, no-data value), north at the top where coordinates say
    so. Raises PictureError, in one line, where it is no picture, or lies where no file can say."""
    y, x, bands = _axes(array)
    array = array.squeeze([name for name in bands if array.sizes[name] == 1], drop=True)
    bands = [name for name in bands if name in array.dims]
    if len(bands) > 1 or any(array.sizes[name] not in (3, 4) for name in bands):
        shape = " x ".join(f"{name} {array.sizes[name]}" for name in array.dims)
        raise PictureError(f"a DataArray of {shape}; allowed: 1, 3 or 4 bands, as array.isel({bands[0]}=[0, 1, 2]) has")
    array = array.transpose(y, x, *bands)
    transform = _given_transform(array)
    if transform is None:
        across, down = _steps(array, x), _steps(array, y)
        if down and down[1] > 0 and _crs(array) is not None:
            array, down = array.isel({y: slice(None, None, -1)}), _steps(array.isel({y: slice(None, None, -1)}), y)
        if across and down:
            transform = (across[1], 0.0, across[0] - across[1] / 2, 0.0, down[1], down[0] - down[1] / 2)
    crs = _crs(array)
    georef = None if transform is None else _placed(Georef(transform), crs)
    return array.data, georef, _nodata(array)


def _axes(array: Any) -> tuple[str, str, list[str]]:
    names = [str(name) for name in array.dims]
    x, y = (next((name for name in names if name.lower() in known), None) for known in (_X, _Y))
    if x is None or y is None:
        raise PictureError(f"a DataArray of dimensions {', '.join(names)}; allowed: y and x, and perhaps bands")
    return y, x, [name for name in names if name not in (x, y)]


def _steps(array: Any, name: str) -> tuple[float, float] | None:
    """(first coordinate, step); None where there are none that are even."""
    if name not in array.coords or array.sizes[name] < 2:
        return None
    values = np.asarray(array[name].values)
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        return None
    values = values.astype(np.float64)
    steps = np.diff(values)
    step = (values[-1] - values[0]) / len(steps)
    if step == 0 or np.abs(steps - step).max() > _UNEVEN * abs(step):
        raise PictureError(f"a DataArray whose coordinates {name} are not evenly spaced; allowed: those of a raster")
    return float(values[0]), float(step)


def _spatial(array: Any) -> dict[str, Any]:
    """What rioxarray and CF keep in a coordinate without values."""
    name = array.encoding.get("grid_mapping") or array.attrs.get("grid_mapping") or "spatial_ref"
    return dict(array.coords[name].attrs) if name in array.coords else {}


def _given_transform(array: Any) -> tuple[float, float, float, float, float, float] | None:
    """As GDAL writes it: c a b f d e. It speaks of the array that was opened, so coordinates that are there win."""
    text = _spatial(array).get("GeoTransform")
    if text is None or any(name in array.coords for name in (*_X, *_Y)):
        return None
    try:
        c, a, b, f, d, e = (float(word) for word in str(text).split())
    except ValueError:
        return None
    return a, b, c, d, e, f


def _crs(array: Any) -> str | None:
    said = _spatial(array)
    found = said.get("crs_wkt") or said.get("spatial_ref") or array.attrs.get("crs")
    return None if found is None else str(found)


def _placed(georef: Georef, crs: str | None) -> Georef:
    """With the CRS as GeoTIFF keys, by its EPSG code, or by what rasterio makes of its text."""
    if crs is None:
        return georef
    code = re.fullmatch(r"\s*epsg:(\d{4,5})\s*", crs, re.I) or re.search(
        r'(?:AUTHORITY\["EPSG","?|ID\["EPSG",)(\d{4,5})"?\]\]\s*$', crs
    )
    if code and not re.fullmatch(r"\s*epsg:\d+\s*", crs, re.I):
        kind, key = _GEOGRAPHIC if re.match(r"\s*GEOG", crs) else _PROJECTED
        return _keyed(georef, kind, key, int(code[1]))
    if code and int(code[1]) in (4326, 3857):
        return _keyed(georef, *(_GEOGRAPHIC if code[1] == "4326" else _PROJECTED), int(code[1]))
    found = with_keys(Georef(georef.transform, prj=_wkt(crs)))
    if not found.keys:
        raise PictureError(f"a DataArray in {crs[:60]}, which GeoTIFF cannot say without the extra `geo`")
    return found


def _wkt(crs: str) -> str:
    try:
        from rasterio.crs import CRS

        return str(CRS.from_user_input(crs).to_wkt())
    except Exception:  # of rasterio's many; what it cannot read is told by the caller
        return crs


def _keyed(georef: Georef, kind: int, key: int, code: int) -> Georef:
    return Georef(georef.transform, keys=(1, 1, 0, 3, 1024, 0, 1, kind, 1025, 0, 1, 1, key, 0, 1, code))


def _nodata(array: Any) -> float | None:
    """Floats that were masked when they were read have NaN in place of what the file has."""
    if array.dtype.kind == "f" and array.encoding.get("_FillValue") is not None:
        return float("nan")
    found = array.attrs.get("_FillValue", array.attrs.get("nodata"))
    return None if found is None else float(found)
