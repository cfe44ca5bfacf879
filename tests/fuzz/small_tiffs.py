"""Small TIFFs that libvips does not read, one for each turn that the second reader takes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import tifffile

_NOISE = np.random.default_rng(29).integers(0, 256, (21, 34, 4), dtype=np.uint8)


def _tiff(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, metadata=None, **{"photometric": "rgb", **options})
    return file.getvalue()


def _with_mask() -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tif:
        tif.write(_NOISE[..., :3], photometric="rgb", compression="zstd", metadata=None)
        tif.write(_NOISE[..., 3] > 99, photometric="minisblack", subfiletype=4, metadata=None)
    return file.getvalue()


_RGB, _GREY, _PALETTE = _NOISE[..., :3], _NOISE[..., 0], np.arange(768, dtype=np.uint16).reshape(3, 256)
_NO_DATA = [(42113, 2, 0, "7", True)]
GOOD_TIFFS = (
    *(_tiff(_RGB, compression=codec, tile=(16, 16)) for codec in ("zstd", "lzma", "lerc", "webp", "jpegxl", "png")),
    _tiff(_NOISE, compression="zstd", extrasamples=["assocalpha"], rowsperstrip=4, predictor=True),
    _tiff(np.moveaxis(_RGB, 2, 0), compression="zstd", planarconfig="separate", tile=(16, 16)),
    _tiff(_GREY, compression="zstd", photometric="palette", colormap=_PALETTE, extratags=_NO_DATA),
    _tiff(_RGB, compression="zstd", photometric="cielab"),
    _tiff(_GREY.astype(np.float32) / 255, compression="zstd", photometric="minisblack", predictor=3, bigtiff=True),
    _with_mask(),
)
