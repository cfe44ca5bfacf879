"""Cloud Optimized GeoTIFF, through rasterio: the extra `[geo]`, imported only where it is used."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path


def available() -> bool:
    return find_spec("rasterio") is not None


def copy_cog(source: Path, target: Path, compression: str) -> None:
    """Copies a TIFF as a COG: pixels, georeference, profile, resolution and description stay."""
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
            BLOCKSIZE="512",
            BIGTIFF="IF_SAFER",
            OVERVIEWS="IGNORE_EXISTING",
            RESAMPLING="AVERAGE",
            NUM_THREADS="2",
        )
