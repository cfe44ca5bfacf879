"""Cloud Optimized GeoTIFF, through rasterio: the extra `[geo]`, imported only where it is used."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path


def available() -> bool:
    return find_spec("rasterio") is not None


# Of a picture much smaller than a block libvips reads nothing.
_BLOCK, _SMALL = 512, 128


def copy_cog(source: Path, target: Path, compression: str, longest: int) -> None:
    """Copies a TIFF as a COG: pixels, georeference, profile, resolution and description stay. longest: pixels of its
    longest side."""
    import rasterio
    import rasterio.shutil

    # GDAL's own cache would grow with the machine's memory.
    with rasterio.Env(GDAL_CACHEMAX=128):
        rasterio.shutil.copy(
            os.fspath(source),
            os.fspath(target),
            driver="COG",
            COMPRESS=compression.upper(),
            PREDICTOR="NO" if compression == "none" else "YES",
            BLOCKSIZE=str(_SMALL if longest <= _SMALL else _BLOCK),
            BIGTIFF="IF_SAFER",
            OVERVIEWS="IGNORE_EXISTING",
            RESAMPLING="AVERAGE",
            NUM_THREADS="2",
        )
