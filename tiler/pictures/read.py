"""Input pictures: what the header says, and the pixels as sRGB bands of any size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tiler.errors import PictureChangedError, PictureError
from tiler.pictures import colour
from tiler.pictures.georef import Georef, read_georef
from tiler.pictures.probe import LONGEST_SIDE, kind_of, load, unreadable
from tiler.pictures.resize import resize
from tiler.pictures.stream import VipsError, bands_of, load_vips
from tiler.pictures.tiff import readable

Channels = Literal["rgb", "rgba", "grey", "alpha"]
Crop = tuple[int, int, int, int]

COUNTS: dict[str, int] = {"rgb": 3, "rgba": 4, "grey": 1, "alpha": 1}
_BITS = {"uchar": 8, "ushort": 16, "uint": 32, "float": 32, "double": 64}
# A header of a few bytes can claim more than any machine has; what streams needs no such limit.
_WHOLE_BYTES = 4 * 2**30
# A block of 8 x 8 takes a bit at least. libjpeg would fill the rest of a forged picture with grey, for minutes.
_JPEG_PIXELS_PER_BYTE = 1024
_CHECK_PIXELS = 2**20


@dataclass(frozen=True)
class Picture:
    """What a picture file's header says. Cheap to make, picklable; pixels are read by `bands`.

    height, width: upright, after the EXIF orientation. channels: 1 (grey), 3 (RGB) or 4 (CMYK), alpha not
    counted. bits: per channel. dpi: None where the file does not say, or says 72, which no printer means.
    georef: None where there is none. origin, file_size: where in the file, (y, x), the picture begins, and the file's
    (height, width); they differ from the picture's own for a part of it (see `cropped`). stamp: tells the file from
    others that come under its name, without reading them.
    """

    path: Path
    height: int
    width: int
    channels: int
    bits: int
    has_alpha: bool
    dpi: float | None
    georef: Georef | None = field(repr=False)
    kind: str
    origin: tuple[int, int] = (0, 0)
    file_size: tuple[int, int] = (0, 0)
    stamp: tuple[int, ...] = field(default=(), repr=False)

    def cropped(self, crop: Crop) -> Picture:
        """The part (y0, x0, y1, x1) as a picture of its own."""
        self._check_request(1, 1, 1, "rgb", crop)
        y0, x0, y1, x1 = crop
        origin = self.origin[0] + y0, self.origin[1] + x0
        georef = self.georef and self.georef.cropped(y0, x0)
        return replace(self, height=y1 - y0, width=x1 - x0, origin=origin, georef=georef)

    def cropped_like(self, other: Picture) -> Picture:
        """The part that `other` is of its file, however many pixels this one has."""
        height, width = other.file_size
        edges = (*other.origin, other.origin[0] + other.height, other.origin[1] + other.width)
        y0, x0, y1, x1 = (
            edge * mine // whole
            for edge, mine, whole in zip(edges, (self.height, self.width) * 2, (height, width) * 2, strict=True)
        )
        return self.cropped((y0, x0, max(y1, y0 + 1), max(x1, x0 + 1)))

    def bands(
        self, height: int, width: int, rows: int, channels: Channels = "rgb", crop: Crop | None = None
    ) -> Iterator[np.ndarray]:
        """The picture resized to height x width, from top to bottom.

        Yields float32 `[C, n, width]` in 0..1, sRGB, n = `rows` but for the last; C is 3 for "rgb", 4 for
        "rgba", 1 for "grey" and "alpha". "rgb" and "grey" show a transparent picture on white; "rgba" is
        straight (not premultiplied); "alpha" is 1 where the picture has none. crop: (y0, x0, y1, x1) in
        source pixels, cut out first. Resizing works on the coded values, as image editors do by default.

        Memory is bounded by the band and by the rows the filter needs. The file's own format can need more:
        WebP, AVIF, interlaced PNG and progressive JPEG are decoded whole by their codecs, a picture turned
        by EXIF goes through a temporary file when it is large.

        Raises PictureError for pixels that are damaged, not finite or (floats) far outside 0..1.
        """
        self._check_request(height, width, rows, channels, crop)
        return self._bands(height, width, rows, channels, crop)

    def check(self) -> None:
        """Decode all pixels once and drop them: what is damaged deep inside a file must show before hours of work, and
        before anything is written. Raises PictureError as `bands` does."""
        for _ in self.bands(self.height, self.width, max(1, _CHECK_PIXELS // self.width)):
            pass

    def _check_request(self, height: int, width: int, rows: int, channels: str, crop: Crop | None) -> None:
        if channels not in COUNTS:
            raise PictureError(f"channels {channels!r}: one of {', '.join(COUNTS)} is allowed")
        if min(height, width, rows) < 1:
            raise PictureError(f"{self.path}: cannot be resized to {height} x {width} in bands of {rows} rows")
        if crop is None:
            return
        y0, x0, y1, x1 = crop
        if not (0 <= y0 < y1 <= self.height and 0 <= x0 < x1 <= self.width):
            raise PictureError(
                f"{self.path}: crop (y0, x0, y1, x1) = {tuple(crop)} is empty or outside {self.height} x {self.width}"
            )

    def _bands(self, height: int, width: int, rows: int, channels: str, crop: Crop | None) -> Iterator[np.ndarray]:
        if channels == "alpha" and not self.has_alpha:
            for top in range(0, height, rows):
                yield np.ones((1, min(rows, height - top), width), np.float32)
            return
        vips = load_vips()
        try:
            with self.source() as source:
                image = self._pipeline(source, height, width, channels, crop)
                # After a resize alpha comes back premultiplied: only so do colours under transparency not bleed.
                premultiplied = bool(image.get_typeof("tiler-premultiplied"))
                # A filter overshoots by a fifth of the range at most; a picture's own values are held to less.
                slack = 0.5 if crop is None and (height, width) == (self.height, self.width) else 1.0
                for band in bands_of(image, rows):
                    yield self._finish(band, channels, premultiplied, slack)
        except (VipsError, vips.Error) as error:
            raise unreadable(self.path, self.kind, error) from None

    @contextmanager
    def source(self) -> Iterator[Path]:
        """The file as libvips can read it (see `tiff.readable`), from beginning to end the one that was opened. Raises
        PictureChangedError where it is not: bands of two pictures must not be mixed."""
        self._check_unchanged()
        with readable(self.path, self.kind) as source:
            yield source
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        if _stamp(self.path) != self.stamp:
            raise PictureChangedError(f"{self.path}: has changed since it was opened")

    def part(self, source: Path, crop: Crop | None = None) -> Any:
        """The libvips image of the picture, or of a part of it, upright; `source` as `source` gives it."""
        image = _upright(self.path, self.kind, source)
        y0, x0, y1, x1 = crop or (0, 0, self.height, self.width)
        if (y1 - y0, x1 - x0) == self.file_size:
            return image
        return image.crop(self.origin[1] + x0, self.origin[0] + y0, x1 - x0, y1 - y0)

    def _pipeline(self, source: Path, height: int, width: int, channels: str, crop: Crop | None) -> Any:
        image = self.part(source, crop)
        same_size = (height, width) == (image.height, image.width)
        pixels, alpha = colour.split_alpha(image)
        if channels == "alpha":
            alpha = colour.widen(alpha)
            return alpha if same_size else resize(colour.unit(alpha), height, width)
        pixels = colour.to_srgb(pixels)
        if alpha is None:
            return pixels if same_size else resize(colour.unit(pixels), height, width)
        alpha = colour.widen(alpha)
        if channels == "rgba" and same_size and alpha.format == pixels.format:
            return pixels.bandjoin(alpha)
        joined = colour.unit(pixels).bandjoin(colour.unit(alpha))
        if channels != "rgba":
            return resize(joined.flatten(background=[1.0] * pixels.bands, max_alpha=1.0), height, width)
        image = resize(joined.premultiply(max_alpha=1.0), height, width).copy()
        image.set_type(load_vips().GValue.gint_type, "tiler-premultiplied", 1)
        return image

    def _finish(self, band: np.ndarray, channels: str, premultiplied: bool, slack: float) -> np.ndarray:
        """From interleaved rows of libvips' own type to what `bands` promises."""
        planes = band.transpose(2, 0, 1).astype(np.float32)
        if band.dtype == np.uint16:
            planes /= np.float32(colour.PEAK)
        else:
            self._check_floats(planes, slack)
        if channels == "rgba":
            planes = _as_rgba(planes, premultiplied)
        elif channels == "rgb" and len(planes) == 1:
            planes = np.repeat(planes, 3, axis=0)
        elif channels == "grey" and len(planes) == 3:
            planes = np.tensordot(np.array(colour.LUMA, np.float32), planes, axes=1)[None]
        return np.clip(planes, 0, 1, out=planes)

    def _check_floats(self, planes: np.ndarray, slack: float) -> None:
        if not np.isfinite(planes).all():
            raise PictureError(f"{self.path}: holds NaN or infinite values; 0..1 are allowed")
        # Highlights and a filter's overshoot stay inside; heights in metres or 0..255 do not.
        low, high = float(planes.min()), float(planes.max())
        if low < -slack or high > 1 + slack:
            raise PictureError(f"{self.path}: holds float values from {low:.4g} to {high:.4g}; 0..1 are allowed")


def open_picture(path: str | os.PathLike[str]) -> Picture:
    """Reads the header of a picture file: PNG, JPEG, TIFF (first page), WebP, AVIF, GIF, BMP or PPM.

    The kind is told by the content, not by the name. Animations are refused. Raises PictureError, in one
    line, for a file that is missing, no picture, damaged in its header, or of pixels that cannot be used.
    """
    path = Path(path)
    kind, stamp = kind_of(path), _stamp(path)
    vips = load_vips()
    try:
        with readable(path, kind, header_only=True) as source:
            image = load(path, kind, source=source)
        frames = image.get("n-pages") if kind in ("gif", "webp") and image.get_typeof("n-pages") else 1
        swapped = _orientation(image) >= 5
    except vips.Error as error:
        raise unreadable(path, kind, error) from None
    height, width = (image.width, image.height) if swapped else (image.height, image.width)
    if frames > 1:
        raise PictureError(f"{path}: is an animation of {frames} frames; save the one you want as a still picture")
    if not (0 < height <= LONGEST_SIDE and 0 < width <= LONGEST_SIDE):
        raise PictureError(f"{path}: its header says {height} x {width}; 1 to {LONGEST_SIDE} pixels a side are allowed")
    if kind == "jpeg" and height * width > _JPEG_PIXELS_PER_BYTE * path.stat().st_size:
        raise PictureError(f"{path}: its header says {height} x {width}, more than its few bytes can hold")
    if _decoded_whole(image, kind) and image.height * image.width * image.bands * 2 > _WHOLE_BYTES:
        raise PictureError(
            f"{path}: {height} x {width} is too large for a {kind.upper()} that cannot be read row by row;"
            " save it as TIFF, or as PNG or JPEG that is not interlaced or progressive"
        )
    try:
        colour.check_pixels(image)
    except colour.PixelsError as error:
        raise PictureError(f"{path}: {error}") from None
    has_alpha = colour.has_alpha(image)
    georef = read_georef(path, kind) if _orientation(image) == 1 else None
    channels, bits = image.bands - has_alpha, _BITS[image.format]
    dpi, size = _dpi(image), (height, width)
    return Picture(path, *size, channels, bits, has_alpha, dpi, georef, kind, file_size=size, stamp=stamp)


def read_picture(
    path: str | os.PathLike[str],
    height: int | None = None,
    width: int | None = None,
    channels: Channels = "rgb",
    crop: Crop | None = None,
) -> np.ndarray:
    """A whole picture, float32 `[C, height, width]` in 0..1, for those that fit into memory.

    With one of height and width the other follows from the (cropped) picture's shape; with neither the size
    stays. Channels, crop and errors as in `Picture.bands`.
    """
    picture = open_picture(path)
    y0, x0, y1, x1 = crop or (0, 0, picture.height, picture.width)
    source_height, source_width = max(1, y1 - y0), max(1, x1 - x0)
    if height is None:
        height = source_height if width is None else max(1, round(source_height * width / source_width))
    if width is None:
        width = max(1, round(source_width * height / source_height))
    rows = max(1, 2**22 // width)
    bands = picture.bands(height, width, rows, channels, crop)
    whole = np.empty((COUNTS[channels], height, width), np.float32)
    top = 0
    for band in bands:
        whole[:, top : top + band.shape[1]] = band
        top += band.shape[1]
    return whole


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _decoded_whole(image: Any, kind: str) -> bool:
    """Whether the codec holds all the pixels at once, however they are asked for."""
    flags = ("interlaced", "jpeg-multiscan")
    return kind in ("gif", "webp", "heif") or any(image.get_typeof(flag) and image.get(flag) for flag in flags)


def _dpi(image: Any) -> float | None:
    """None for 72 (which libvips fills in, and nobody chose) and for its other default, 1 pixel per mm."""
    dpi = float(image.xres) * 25.4
    return None if image.xres == 1.0 or abs(dpi - 72) < 0.05 else round(dpi, 2)


def _orientation(image: Any) -> int:
    value = image.get("orientation") if image.get_typeof("orientation") else 1
    return value if 1 <= value <= 8 else 1


def _upright(path: Path, kind: str, source: Path) -> Any:
    image = load(path, kind, source=source)
    orientation = _orientation(image)
    if orientation == 1:
        return image
    # Only a left-right flip can be made while rows come from the top down.
    if orientation > 2:
        image = load(path, kind, access="random", source=source)
    return image.autorot()


def _as_rgba(planes: np.ndarray, premultiplied: bool) -> np.ndarray:
    if len(planes) in (1, 3):
        planes = np.concatenate([planes, np.ones_like(planes[:1])])
    pixels, alpha = planes[:-1], planes[-1:]
    if premultiplied:
        # Not clipped before: colour and alpha overshoot together, only their ratio is right.
        pixels = pixels / np.maximum(alpha, 1 / colour.PEAK)
    return np.concatenate([pixels if len(pixels) == 3 else np.repeat(pixels, 3, axis=0), alpha])
