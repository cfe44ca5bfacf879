"""The poster's way out: float bands to a file, streamed, under its final name only when it is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import OutputError
from tiler.pictures.bands import failed, halvings, peek, to_integers
from tiler.pictures.cog import copy_cog
from tiler.pictures.crs import with_keys
from tiler.pictures.deepzoom import write_dzi
from tiler.pictures.georef import Georef
from tiler.pictures.omezarr import CHUNK, write_omezarr
from tiler.pictures.outputs import check_format, check_output, typical_bytes
from tiler.pictures.png import write_png
from tiler.pictures.replace import new_file
from tiler.pictures.sidecars import check_sidecars, write_sidecars
from tiler.pictures.stream import VipsError, consume, load_vips
from tiler.pictures.tiff import waiting_bytes, write_tiff


def write_picture(
    path: str | os.PathLike[str],
    height: int,
    width: int,
    bands: Iterable[np.ndarray],
    *,
    bits: int = 8,
    dpi: float | None = None,
    georef: Georef | None = None,
    metadata: Mapping[str, str] | None = None,
    compression: str | None = None,
    quality: int = 95,
    cog: bool = False,
) -> None:
    """Writes a picture in the format of `path`'s extension (.png, .tif, .jpg, .webp, .dzi, .zarr), or nothing at all.

    bands: float `[C, rows, width]` from top to bottom, sRGB; C is 3, or 4 with straight alpha; any number of
    rows each, `height` in all. Values are clipped to 0..1 and rounded to the nearest integer, ties to even.
    bits: 8, or 16 for .png, .tif and .zarr. dpi: written where the format has a place for it. georef: of the written
    picture (see `Georef.scaled`); GeoTIFF tags in .tif; beside .png, .jpg and .webp a world file, a .prj and GDAL's
    .aux.xml. metadata: text chunks in .png, an attribute in .zarr, a JSON description in the others. compression:
    "deflate" (default), "zstd", "lzw" or "none" for .tif, "lossy" (default) or "lossless" for .webp. quality: 1..100 of
    .jpg, lossy .webp and DeepZoom's tiles. cog: a .tif as Cloud Optimized GeoTIFF (needs rasterio).

    The sRGB profile is embedded. Where `path` is a link, what it points to is written. An existing file is replaced in
    one step at the end, and its mode kept; on any failure, also one raised by `bands`, it stays as it was and nothing
    is left behind. Of folders only those are replaced that hold nothing but what this function wrote. Memory does not
    grow with the height (.webp is the exception: its encoder holds the picture). Raises OutputError; what `bands`
    raises passes.
    """
    path = Path(path)
    first, bands = peek(path, bands)
    form = check_output(path, height, width, len(first), bits, compression, cog)
    if not 1 <= quality <= 100:
        raise OutputError(f"{path}: quality {quality}; 1 to 100 is allowed")
    pixels = to_integers(path, bands, height, width, bits)
    tags = dict(metadata or {})
    try:
        if form.name == "DeepZoom":
            write_dzi(path, height, width, pixels, quality, len(first) == 4, tags)
        elif form.name == "OME-Zarr":
            write_omezarr(path, len(first), pixels, tags, halvings(height, width, CHUNK)[::-1])
        else:
            check_sidecars(path, georef)
            with new_file(path, path.suffix.lower()) as temporary:
                if form.name == "PNG":
                    write_png(temporary, height, width, pixels, profile=_srgb(), dpi=dpi, text=tags)
                elif form.name == "TIFF":
                    how = {"dpi": dpi, "description": json.dumps(tags) if tags else None}
                    _write_tiff(temporary, height, width, pixels, georef, compression or "deflate", cog, how)
                else:
                    save = partial(_save, form.name, temporary, compression, quality)
                    consume(pixels, height, width, lambda image: save(_with_tags(image, dpi, tags)))
            write_sidecars(path, georef)
    except (VipsError, OSError) as error:
        raise failed(path, error) from None


def spare_bytes(
    path: str | os.PathLike[str],
    height: int,
    width: int,
    channels: int = 3,
    bits: int = 8,
    compression: str | None = None,
    cog: bool = False,
) -> int:
    """Of disk that writing a picture takes for a while beside its file (`typical_bytes`): what its coarser pages wait
    in, or what a COG is copied from, with GDAL's own overviews."""
    if check_format(path).name != "TIFF":
        return 0
    copied = typical_bytes(path, height, width, channels, bits, compression) * 5 // 4 if cog else 0
    return max(copied, waiting_bytes(height, width, channels * bits // 8))


def _srgb() -> bytes:
    """libvips' own profile: the same bytes every time, where a profile made now would hold the time."""
    return bytes(load_vips().Operation.call("profile_load", "srgb"))


def _with_tags(image: Any, dpi: float | None, metadata: Mapping[str, str]) -> Any:
    vips = load_vips()
    image = image.copy(**({} if dpi is None else {"xres": dpi / 25.4, "yres": dpi / 25.4}))
    image.set_type(vips.GValue.blob_type, "icc-profile-data", _srgb())
    if not metadata:
        return image
    # libvips drops a last " (...)", which it writes itself when it reads EXIF.
    image.set_type(vips.GValue.gstr_type, "exif-ifd0-ImageDescription", f"{json.dumps(dict(metadata))} (text, ASCII)")
    return image


def _write_tiff(
    path: Path,
    height: int,
    width: int,
    pixels: Iterable[np.ndarray],
    georef: Georef | None,
    compression: str,
    cog: bool,
    how: dict[str, Any],
) -> None:
    tags = with_keys(georef).tags() if georef else []
    write_tiff(path, height, width, pixels, compression=compression, profile=_srgb(), tags=tags, **how)
    if cog:
        spare = path.with_name(f"spare{path.suffix}")
        copy_cog(path, spare, compression, max(height, width))
        os.replace(spare, path)


def _save(form: str, path: Path, compression: str | None, quality: int, image: Any) -> None:
    if form == "JPEG":
        image.jpegsave(os.fspath(path), Q=quality)
    else:
        image.webpsave(os.fspath(path), Q=quality, lossless=compression == "lossless", exact=True)
