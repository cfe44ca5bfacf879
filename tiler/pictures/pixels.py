"""Pictures that are given as pixels: arrays of numpy, Dask or zarr, PIL images, xarray's arrays. They become TIFFs of
their own, and from there on are files like all others."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import PictureError
from tiler.pictures.georef import Georef
from tiler.pictures.replace import new_file

KINDS = (
    "allowed: a file's name, a PIL image, an xarray DataArray of 1, 3 or 4 bands, or an array [height, width] or "
    "[height, width, 3 or 4] of unsigned 8 or 16 bits or of floats in 0..1 (with stretch, of any integers or floats)"
)
_DTYPES = {
    "b1": None,
    "f2": "f4",
    "f8": "f4",
    "i1": "i2",
    "i8": "f4",
    "u8": "f4",
    **{kind: kind for kind in ("u1", "u2", "u4", "i2", "i4", "f4")},
}
_BYTES_AT_ONCE, _NODATA_TAG, _CLASSIC_BYTES = 2**24, 42113, 2**32 - 2**25
_MODES = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}


@dataclass(frozen=True)
class Pixels:
    """values: [height, width] or [height, width, channels], read a few rows at a time. space: of the colours, L, RGB or
    CMYK, after which opacity may come. profile: an ICC profile; without one they are sRGB. nodata: the value of pixels
    that are not there."""

    values: Any = field(repr=False)
    space: str
    has_alpha: bool = False
    profile: bytes | None = field(default=None, repr=False)
    georef: Georef | None = None
    nodata: float | None = None

    @classmethod
    def of(cls, value: Any) -> Pixels:
        """Raises PictureError, in one line, for what no picture can be made of."""
        if _is_of(value, "PIL.Image", "Image"):
            return _of_image(value)
        if _is_of(value, "xarray", "DataArray"):
            from tiler.pictures.labelled import parts_of

            values, georef, nodata = parts_of(value)
            return cls(*_shaped(values), georef=georef, nodata=nodata)
        return cls(*_shaped(value))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the file's values."""
        kind = np.dtype(self.values.dtype)
        return np.dtype(str(_DTYPES[kind.str[1:]]))

    def bands(self) -> Iterator[np.ndarray]:
        """[rows, width] or [rows, width, channels], as they are in the file, from top to bottom."""
        row = self.dtype.itemsize * int(np.prod(self.values.shape[1:]))
        rows = max(1, _BYTES_AT_ONCE // row)
        for top in range(0, self.values.shape[0], rows):
            yield np.ascontiguousarray(np.asarray(self.values[top : top + rows]).astype(self.dtype, copy=False))

    def digest(self) -> str:
        """By what the picture is known: all of it, but for how it was given."""
        found = hashlib.sha256(self._head())
        for band in self.bands():
            found.update(band.data)
        return found.hexdigest()

    def _head(self) -> bytes:
        place = self.georef and asdict(self.georef)
        shape = tuple(int(side) for side in self.values.shape)
        return repr((shape, self.dtype.str, self.space, self.has_alpha, self.profile, place, self.nodata)).encode()

    def write(self, path: Path, digest: str) -> None:
        """A TIFF of it. Raises PictureError where the pixels are others by now than when `digest` was taken, and
        nothing is written then."""
        import tifffile

        seen = hashlib.sha256(self._head())

        def heard() -> Iterator[np.ndarray]:
            for band in self.bands():
                seen.update(band.data)
                yield band

        shape = tuple(int(side) for side in self.values.shape)
        first = max(1, _BYTES_AT_ONCE // (self.dtype.itemsize * int(np.prod(shape[1:]))))
        extra = [*(self.georef.tags() if self.georef else ())]
        if self.nodata is not None:
            text = f"{self.nodata:.17g}"
            extra.append((_NODATA_TAG, "s", len(text) + 1, text, True))
        how: dict[str, Any] = dict(
            photometric={"L": "minisblack", "RGB": "rgb", "CMYK": "separated"}[self.space],
            planarconfig="contig" if len(shape) == 3 else None,
            extrasamples=["unassalpha"] if self.has_alpha else None,
            rowsperstrip=min(first, shape[0]),
            iccprofile=self.profile,
            extratags=extra,
            software=False,
            metadata=None,
        )
        with new_file(path, ".tif") as temporary:
            large = int(np.prod(shape)) * self.dtype.itemsize > _CLASSIC_BYTES
            with tifffile.TiffWriter(temporary, bigtiff=large) as file:
                file.write(heard(), shape=shape, dtype=self.dtype, **how)
            if seen.hexdigest() != digest:
                raise PictureError(f"{path.name}: the array it is made of has changed since it was given")


def is_pixels(value: Any) -> bool:
    """Whether it is to be taken as pixels rather than as a name or a list of names."""
    return (hasattr(value, "shape") and hasattr(value, "dtype")) or _is_of(value, "PIL.Image", "Image")


def _is_of(value: Any, module: str, name: str) -> bool:
    """Without importing what nobody can have made it with."""
    return module in sys.modules and isinstance(value, getattr(sys.modules[module], name))


def _shaped(values: Any) -> tuple[Any, str, bool]:
    """(values, space, whether the last channel is opacity)."""
    shape, kind = tuple(values.shape), np.dtype(values.dtype).str[1:]
    channels = shape[2] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or channels not in (1, 3, 4) or 0 in shape:
        first = shape[0] in (3, 4) if len(shape) == 3 else False
        hint = "; channels come last" if first else ""
        raise PictureError(f"an array of shape {shape}{hint}; {KINDS}")
    if _DTYPES.get(kind) is None:
        raise PictureError(f"an array of {np.dtype(values.dtype)}; {KINDS}")
    if len(shape) == 3 and channels == 1:
        values = values[:, :, 0]
    return values, "L" if channels == 1 else "RGB", channels == 4


def _of_image(image: Any) -> Pixels:
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile")
    transparent = "transparency" in image.info
    mode = _MODES.get(image.mode, image.mode)
    if transparent and mode in ("L", "RGB"):
        mode = {"L": "LA", "RGB": "RGBA"}[mode]
    if mode == "I" or mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.int64)
        if wide.min(initial=0) < 0 or wide.max(initial=0) > 65535:
            raise PictureError(f"a PIL image of mode I with values {wide.min()} to {wide.max()}; allowed: 0 to 65535")
        return Pixels(wide.astype(np.uint16), "L", profile=profile)
    if mode not in ("L", "LA", "RGB", "RGBA", "CMYK", "F"):
        raise PictureError(f"a PIL image of mode {image.mode}; allowed: 1, L, LA, P, RGB, RGBA, CMYK, I, F")
    if 0 in image.size:
        raise PictureError(f"a PIL image of {image.size[0]} x {image.size[1]} pixels; {KINDS}")
    values = np.asarray(image if image.mode == mode else image.convert(mode))
    alpha = mode in ("LA", "RGBA")
    return Pixels(values, {"LA": "L", "RGBA": "RGB", "F": "L"}.get(mode, mode), alpha, profile)
