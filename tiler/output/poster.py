"""A finished poster as an array that is read where it is looked at. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiler.engine import place
from tiler.engine.store import RenderStore
from tiler.errors import ConfigError, StoreError
from tiler.geometry import Rect
from tiler.output.export import georef_of_view, has_alpha, with_alpha
from tiler.output.view import View
from tiler.pictures import crs
from tiler.request.identity import load_job

if TYPE_CHECKING:
    import dask.array
    import xarray

_PEAK = np.float32(65535)


@dataclass(frozen=True)
class Georeference:
    """transform: (a, b, c, d, e, f), x = a*col + b*row + c and y = d*col + e*row + f, of pixel corners, as rasterio's
    Affine takes them. crs: WKT, or EPSG:N where rasterio is not installed; None where the content named none."""

    transform: tuple[float, float, float, float, float, float]
    crs: str | None


class Poster:
    """[channels, height, width] uint16, 0 to 65535, sRGB: red, green, blue, and straight opacity where the content has
    some; what the poster's file holds, without its overlay. Parts are read when they are asked for:
    `poster[:, :256, :256]` is an array of numpy. Slices of step 1 are allowed."""

    dtype = np.dtype(np.uint16)
    ndim = 3

    def __init__(self, url: str, view: View) -> None:
        self.store, self._view = url, view
        self._alpha = has_alpha(view)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_poster, (self.store, self._view.level)

    def __repr__(self) -> str:
        return f"Poster({self.store!r}, level={self.level}, shape={self.shape})"

    @property
    def level(self) -> int:
        """0 = coarsest."""
        return self._view.level

    @property
    def shape(self) -> tuple[int, int, int]:
        return 4 if self._alpha else 3, self._view.height, self._view.width

    @property
    def georeference(self) -> Georeference | None:
        """Where it lies: where the content lies; None where that is not known."""
        found = georef_of_view(self._view)
        if found is None:
            return None
        return Georeference(found.transform, crs.texts(found)[1] if crs.names_crs(found) else None)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Raises IndexError for what is no slice, StoreError for what is damaged."""
        keys = key if isinstance(key, tuple) else (key,)
        at = next((place for place, one in enumerate(keys) if one is Ellipsis), None)
        if at is not None:
            keys = (*keys[:at], *[slice(None)] * (4 - len(keys)), *keys[at + 1 :])
        if len(keys) > 3 or not all(isinstance(one, slice) and one.step in (None, 1) for one in keys):
            raise IndexError(f"{key}: slices of step 1 are allowed, as in poster[:, :256, :256]")
        keys = (*keys, *[slice(None)] * (3 - len(keys)))
        (c0, c1), (y0, y1), (x0, x1) = (one.indices(n)[:2] for one, n in zip(keys, self.shape, strict=True))
        if y1 <= y0 or x1 <= x0:
            return np.zeros((max(0, c1 - c0), max(0, y1 - y0), max(0, x1 - x0)), self.dtype)
        rect = Rect(y0, x0, y1, x1).shifted(self._view.box.y0, self._view.box.x0)
        pixels = self._view.read(rect)
        if self._alpha:
            pixels = with_alpha(self._view, pixels, rect)
        return np.rint(np.clip(pixels[c0:c1], 0, 1) * _PEAK).astype(self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:, :, :], dtype)

    def as_dask(self) -> dask.array.Array:
        """The same as a Dask array, a chunk for each tile of the render: for napari, datashader and others."""
        import dask.array

        grid = self._view.job.cut.grid(self.level)
        chunks = (self.shape[0], min(grid.core_height, self.shape[1]), min(grid.core_width, self.shape[2]))
        return dask.array.from_array(
            self, chunks=chunks, asarray=False, fancy=False, name=False, meta=np.empty((0, 0, 0), self.dtype)
        )

    def as_xarray(self) -> xarray.DataArray:
        """The same as a DataArray (band, y, x) with pixel centres as coordinates, and transform and CRS where rioxarray
        looks for them. Raises ConfigError where xarray is not installed."""
        try:
            import xarray
        except ImportError:
            raise ConfigError("as_xarray needs xarray, which is not installed: pip install xarray") from None
        channels, height, width = self.shape
        coords: dict[str, Any] = {"band": np.arange(1, channels + 1)}
        place = self.georeference
        if place is not None:
            a, b, c, d, e, f = place.transform
            if b == d == 0:
                coords["x"] = c + a * (np.arange(width) + 0.5)
                coords["y"] = f + e * (np.arange(height) + 0.5)
            names = {} if place.crs is None else {"crs_wkt": place.crs, "spatial_ref": place.crs}
            corner = " ".join(f"{value!r}" for value in (c, a, b, f, d, e))
            coords["spatial_ref"] = ((), 0, {**names, "GeoTransform": corner})
        long_name = ("red", "green", "blue", "alpha")[:channels]
        return xarray.DataArray(self.as_dask(), coords, ("band", "y", "x"), "poster", {"long_name": long_name})


def open_poster(store: str, level: int | None = None) -> Poster:
    """The poster of a finished job, read from its store. level: 0 = coarsest; default: the finest.

    Raises StoreError where there is no job, or the level is not finished."""
    url = place.absolute(str(store))
    opened = RenderStore.open(url, writable=False)
    job = load_job(opened)
    view = View.of(opened, job, len(job.cut.levels) - 1 if level is None else level)
    if view.state is not None:
        raise StoreError(
            f"store {url}: level {view.level} is not finished; allowed: one that is, or tiler.export of what is there"
        )
    return Poster(url, view)
