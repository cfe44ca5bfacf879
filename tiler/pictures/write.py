"""The poster's way out: float bands to a file, streamed, under its final name only when it is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import OutputError
from tiler.pictures.cog import copy_cog
from tiler.pictures.georef import ExtraTag, Georef, world_suffixes
from tiler.pictures.outputs import check_output, publish, scratch
from tiler.pictures.png import write_png
from tiler.pictures.stream import VipsError, consume, load_vips
from tiler.pictures.tiff import save_tiff

# Bounds what rounding and packing need beside the caller's own band.
_VALUES_AT_ONCE = 2**21


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
    picture (see `Georef.scaled`); GeoTIFF tags in .tif, a world file beside .png, .jpg and .webp. metadata: text chunks
    in .png, an attribute in .zarr, a JSON description in the others. compression: "deflate" (default), "zstd", "lzw" or
    "none" for .tif, "lossy" (default) or "lossless" for .webp. quality: 1..100 of .jpg, lossy .webp and DeepZoom's
    tiles. cog: a .tif as Cloud Optimized GeoTIFF (needs rasterio).

    The sRGB profile is embedded. An existing file is replaced in one step at the end; on any failure, also one
    raised by `bands`, it stays as it was and nothing is left behind. Memory does not grow with the height
    (.webp is the exception: its encoder holds the picture). Raises OutputError; what `bands` raises passes.
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
            from tiler.pictures.deepzoom import write_dzi

            write_dzi(path, height, width, pixels, quality, len(first) == 4, tags)
        elif form.name == "OME-Zarr":
            from tiler.pictures.deepzoom import halvings
            from tiler.pictures.omezarr import CHUNK, write_omezarr

            write_omezarr(path, len(first), pixels, tags, halvings(height, width, CHUNK)[::-1])
        else:
            suffix = path.suffix.lower()
            with scratch(path, suffix) as temporary, scratch(path, suffix) as spare:
                georef_tags = georef.tags() if georef and form.name == "TIFF" else []

                def save(image: Any) -> None:
                    image = _with_tags(image, form.name, dpi, tags)
                    _save(image, form.name, temporary, compression, quality, georef_tags, spare)

                if form.name == "PNG":
                    write_png(temporary, height, width, pixels, profile=_srgb(), dpi=dpi, text=tags)
                else:
                    consume(pixels, height, width, save)
                if cog:
                    copy_cog(temporary, spare, compression or "deflate")
                    os.replace(spare, temporary)
                publish(temporary, path)
        if georef and form.name not in ("DeepZoom", "OME-Zarr"):
            _write_beside(path, georef, world=form.name != "TIFF")
    except (VipsError, OSError) as error:
        raise failed(path, error) from None


def failed(path: Path, error: Exception) -> OutputError:
    """The one-line error of a write that broke off."""
    return OutputError(f"{path}: could not be written ({getattr(error, 'strerror', None) or error})")


def peek(path: Path, bands: Iterable[np.ndarray]) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """(the first band, all bands)."""
    iterator = iter(bands)
    first = next(iterator, None)
    if first is None:
        raise OutputError(f"{path}: there are no pixels to write")
    return first, chain([first], iterator)


def to_integers(path: Path, bands: Iterable[np.ndarray], height: int, width: int, bits: int) -> Iterator[np.ndarray]:
    """uint8 or uint16 `[rows, width, C]`; OutputError unless they are `height` rows of one shape, all finite."""
    peak = np.float32(2**bits - 1)
    top, channels = 0, 0
    for band in bands:
        channels = channels or len(band)
        if band.ndim != 3 or len(band) != channels or band.shape[2] != width or top + band.shape[1] > height:
            raise OutputError(
                f"{path}: a band of shape {band.shape} at row {top} does not fit {channels} x {height} x {width}"
            )
        step = max(1, _VALUES_AT_ONCE // (channels * width))
        for start in range(0, band.shape[1], step):
            part = band[:, start : start + step]
            if not np.isfinite(part).all():
                raise OutputError(
                    f"{path}: rows from {top + start} on hold NaN or infinite values; nothing was written"
                )
            scaled = np.rint(np.clip(part, 0, 1).astype(np.float32) * peak)
            yield scaled.transpose(1, 2, 0).astype(np.uint8 if bits == 8 else np.uint16)
        top += band.shape[1]
    if top != height:
        raise OutputError(f"{path}: the bands end at row {top} of {height}; nothing was written")


def _srgb() -> bytes:
    """libvips' own profile: the same bytes every time, where a profile made now would hold the time."""
    return bytes(load_vips().Operation.call("profile_load", "srgb"))


def _with_tags(image: Any, form: str, dpi: float | None, metadata: Mapping[str, str]) -> Any:
    vips = load_vips()
    text = vips.GValue.gstr_type
    image = image.copy(**({} if dpi is None else {"xres": dpi / 25.4, "yres": dpi / 25.4}))
    image.set_type(vips.GValue.blob_type, "icc-profile-data", _srgb())
    image.set_type(text, "resolution-unit", "in")
    if not metadata:
        return image
    description = json.dumps(dict(metadata))
    if form == "TIFF":
        image.set_type(text, "image-description", description)
    else:
        # libvips drops a last " (...)", which it writes itself when it reads EXIF.
        image.set_type(text, "exif-ifd0-ImageDescription", f"{description} (text, ASCII)")
    return image


def _save(
    image: Any,
    form: str,
    path: Path,
    compression: str | None,
    quality: int,
    georef_tags: Sequence[ExtraTag],
    spare: Path,
) -> None:
    name = os.fspath(path)
    if form == "JPEG":
        image.jpegsave(name, Q=quality)
    elif form == "WebP":
        image.webpsave(name, Q=quality, lossless=compression == "lossless", exact=True)
    else:
        save_tiff(image, path, compression or "deflate", georef_tags, spare)


def _write_beside(path: Path, georef: Georef, world: bool) -> None:
    """The world file where the format has no place for the transform, and the CRS that came as a .prj file."""
    texts = {world_suffixes(path.suffix)[0]: georef.world_file()} if world else {}
    if georef.prj:
        texts[".prj"] = georef.prj
    for suffix, text in texts.items():
        with scratch(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
            publish(temporary, path.with_suffix(suffix))
