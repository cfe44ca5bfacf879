"""A picture file as the rest of the product sees it: its size and place, and its pixels as sRGB bands of any size."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tiler.errors import PictureChangedError, PictureError
from tiler.pictures import colour, mosaic
from tiler.pictures.georef import Georef
from tiler.pictures.kept import Kept, keep
from tiler.pictures.meaning import Meaning
from tiler.pictures.numbers import check_floats, check_signed, range_notes
from tiler.pictures.probe import LONGEST_SIDE, is_harmless, unreadable
from tiler.pictures.resize import resize
from tiler.pictures.source import DRAWN, Opener, header, opener
from tiler.pictures.stream import VipsError, bands_of, heard, load_vips
from tiler.pictures.stretch import Spread, percentiles
from tiler.pictures.tiffpage import Page

Channels = Literal["rgb", "rgba", "grey", "alpha"]
Crop = tuple[int, int, int, int]
COUNTS: dict[str, int] = {"rgb": 3, "rgba": 4, "grey": 1, "alpha": 1}
_CHECK_PIXELS = 2**20  # of a band; no row has more


@dataclass(frozen=True)
class Picture:
    """What a picture file's header says. Cheap to make, picklable; pixels are read by `bands`.

    height, width: upright, after the EXIF orientation. channels: 1 (grey), 3 (RGB, Lab) or 4 (CMYK), alpha not
    counted. bits: per channel. georef: None where there is none. origin, file_size: where in the file, (y, x), the
    picture begins, and the file's (height, width); they differ from the picture's own for a part of it (see
    `cropped`). stamp: tells the file from others that come under its name, without reading them. meaning: of its
    channels. page: of a TIFF, where it lies. spread: which of its values become 0 and 1 (see `stretched`). notes:
    what the user should know of how it is read. backdrop: the colour (sRGB 0..1) that "rgb" and "grey" show
    transparent parts on. in_part: only what is opaque counts. scale: of a drawing, which is drawn anew at every size
    that is asked for, how many times its own size this is (see `drawn`). kept: its pixels, where they are read more
    than once (see `kept_in`).
    """

    path: Path
    height: int
    width: int
    channels: int
    bits: int
    has_alpha: bool
    georef: Georef | None = field(repr=False)
    kind: str
    origin: tuple[int, int] = (0, 0)
    file_size: tuple[int, int] = (0, 0)
    stamp: tuple[int, ...] = field(default=(), repr=False)
    meaning: Meaning = field(default=Meaning("rgb"), repr=False)
    page: Page | None = field(default=None, repr=False)
    spread: Spread | None = None
    notes: tuple[str, ...] = field(default=(), repr=False)
    backdrop: tuple[float, float, float] = (1.0, 1.0, 1.0)
    in_part: bool = False
    scale: float = 1.0
    kept: Kept | None = field(default=None, repr=False, compare=False)

    def small(self, edge: int) -> tuple[int, int]:
        """(height, width) with up to `edge` pixels on the longer side."""
        scale = min(1.0, edge / max(self.height, self.width))
        return max(1, round(self.height * scale)), max(1, round(self.width * scale))

    @property
    def is_drawn(self) -> bool:
        """Whether it has no pixels of its own: it is as sharp at any size."""
        return self.kind in DRAWN

    def kept_in(self, folder: Path) -> Picture:
        """The same, decoded once however often it, and what is made of it, is read: its pixels wait in a file without a
        name in `folder`. As it is, with a note, where they would take much of the room that is free there."""
        if self.is_drawn:
            return self
        kept, note = keep(self.path, self._bytes, folder)
        return replace(self, kept=kept, notes=(*self.notes, *note))

    @property
    def _bytes(self) -> int:
        """Of all the file's pixels as its reader gives them."""
        height, width = self.file_size
        return height * width * (self.channels + self.has_alpha) * max(1, self.bits // 8)

    def cropped(self, crop: Crop) -> Picture:
        """The part (y0, x0, y1, x1) as a picture of its own."""
        self._check_request(1, 1, 1, "rgb", crop)
        y0, x0, y1, x1 = crop
        origin = self.origin[0] + y0, self.origin[1] + x0
        georef = self.georef and self.georef.cropped(y0, x0)
        return replace(self, height=y1 - y0, width=x1 - x0, origin=origin, georef=georef)

    def drawn(self, height: int, width: int, crop: Crop | None) -> Picture:
        """A drawing, or the part `crop` of it, in as many pixels as it takes to be height x width."""
        y0, x0, y1, x1 = crop or (0, 0, self.height, self.width)
        tall, wide = self.file_size
        wanted = max(height / (y1 - y0), width / (x1 - x0))
        scale = self.scale * min(wanted, LONGEST_SIDE / max(tall, wide))
        vips = load_vips()
        try:
            image = header(self.path, self.kind, None, scale)
        except vips.Error as error:
            raise unreadable(self.path, self.kind, error) from None
        down, across = image.height / tall, image.width / wide
        top, left = round((self.origin[0] + y0) * down), round((self.origin[1] + x0) * across)
        bottom, right = round((self.origin[0] + y1) * down), round((self.origin[1] + x1) * across)
        top, left = min(top, image.height - 1), min(left, image.width - 1)
        sides = max(1, bottom - top), max(1, right - left)
        size = (image.height, image.width)
        return replace(self, height=sides[0], width=sides[1], origin=(top, left), file_size=size, scale=scale)

    def cropped_like(self, other: Picture) -> Picture:
        """The part that `other` is of its file, however many pixels this one has."""
        height, width = other.file_size
        edges = (*other.origin, other.origin[0] + other.height, other.origin[1] + other.width)
        y0, x0, y1, x1 = (
            edge * mine // whole
            for edge, mine, whole in zip(edges, (self.height, self.width) * 2, (height, width) * 2, strict=True)
        )
        return self.cropped((y0, x0, max(y1, y0 + 1), max(x1, x0 + 1)))

    def stretched(self, low: float, high: float) -> Picture:
        """The same with its values spread over the whole range: what `low` and `high` percent of all its opaque pixels'
        colour values lie below becomes 0 and 1. Of the whole file, so a part of it looks as it does in the whole.
        What is not finite is no data then, and transparent."""
        whole = replace(self, height=self.file_size[0], width=self.file_size[1], origin=(0, 0), spread=None)
        found = percentiles(whole._raw, low, high)
        if found.spread is None:
            note = (
                f"{self.path}: is all alike between {low:g} % and {high:g} % of its values, and not spread (--stretch)"
            )
            return replace(self, spread=None, notes=(*self.notes, note))
        return replace(self._with_holes() if found.holes else self, spread=found.spread)

    def _with_holes(self) -> Picture:
        """The same, of floats, transparent where they are not finite; it is decoded another way then."""
        assert self.page is not None
        meaning = replace(self.meaning, alpha=self.meaning.colours)
        nodata = np.nan if self.page.nodata is None else self.page.nodata
        page = replace(self.page, plain=False, nodata=nodata, meaning=meaning)
        note = f"{self.path}: values that are not finite are taken as no data, and transparent"
        seen = replace(self, page=page, meaning=meaning, has_alpha=True, notes=(*self.notes, note))
        return replace(seen, kept=self.kept and self.kept.anew(seen._bytes))

    def bands(
        self,
        height: int,
        width: int,
        rows: int,
        channels: Channels = "rgb",
        crop: Crop | None = None,
        within: Crop | None = None,
    ) -> Iterator[np.ndarray]:
        """The picture resized to height x width, from top to bottom.

        Yields float32 `[C, n, width]` in 0..1, sRGB, n = `rows` but for the last; C is 3 for "rgb", 4 for
        "rgba", 1 for "grey" and "alpha". "rgb" and "grey" show a transparent picture on its backdrop; "rgba" is
        straight (not premultiplied); "alpha" is 1 where the picture has none. crop: (y0, x0, y1, x1) in
        source pixels, cut out first. within: (y0, x0, y1, x1) of the resized picture, all that is made of it: the
        same pixels. Resizing works on the coded values, as image editors do by default.

        Memory is bounded by the band and by the rows the filter needs. The file's own format can need more:
        WebP, AVIF, interlaced PNG and progressive JPEG are decoded whole by their codecs, a picture turned
        by EXIF goes through a temporary file when it is large.

        Raises PictureError for pixels that are not finite or (floats) far outside 0..1, and for damage, as far as the
        file's codec can tell: not all have a checksum.
        """
        self._check_request(height, width, rows, channels, crop)
        return self._bands(height, width, rows, channels, crop, within)

    def check(self) -> list[str]:
        """Decode all pixels once and drop them: what is damaged deep inside a file must show before hours of work, and
        before anything is written. Returns notes on how its values lie. Raises PictureError as `bands` does."""
        if self.bits <= 8:
            self._decode_all()
            return []
        low, high, rows = np.inf, -np.inf, _CHECK_PIXELS // self.width
        for band in self._resized(self.height, self.width, rows, "rgba", None, None, clip=False):
            shown = band[:3, band[3] > 0]
            if shown.size:
                low, high = min(low, float(shown.min())), max(high, float(shown.max()))
        return [] if self.spread else range_notes(self.path, low, high, self.bits)

    def _decode_all(self) -> None:
        """Whole numbers of few bits are what they are: nothing but decoding them can go wrong."""
        self.refuse_signed()

        def pipeline(opened: Opener) -> Any:
            return self._pipeline(opened, self.height, self.width, "rgba", None)

        with closing(self.streamed(pipeline, max(1, _CHECK_PIXELS // self.width))) as bands:
            for _ in bands:
                if self.kept is not None and self.kept.whole:
                    return

    def refuse_signed(self) -> None:
        """Raise PictureError for numbers that mean no colour, as a file's header tells."""
        check_signed(self.path, self.page is not None and self.page.signed and self.spread is None)

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

    def _bands(
        self, height: int, width: int, rows: int, channels: str, crop: Crop | None, within: Crop | None
    ) -> Iterator[np.ndarray]:
        if self.is_drawn:
            yield from self.drawn(height, width, crop)._resized(height, width, rows, channels, None, within)
        else:
            yield from self._resized(height, width, rows, channels, crop, within)

    def _resized(
        self,
        height: int,
        width: int,
        rows: int,
        channels: str,
        crop: Crop | None,
        within: Crop | None,
        clip: bool = True,
    ) -> Iterator[np.ndarray]:
        y0, x0, y1, x1 = within or (0, 0, height, width)
        if channels == "alpha" and not self.has_alpha:
            for top in range(y0, y1, rows):
                yield np.ones((1, min(rows, y1 - top), x1 - x0), np.float32)
            return
        self.refuse_signed()
        # A filter overshoots by a fifth of the range at most; a picture's own values are held to less.
        slack = 0.5 if crop is None and (height, width) == (self.height, self.width) else 1.0

        def pipeline(opened: Opener) -> Any:
            image = self._pipeline(opened, height, width, channels, crop)
            return image if within is None else image.crop(x0, y0, x1 - x0, y1 - y0)

        with closing(self.streamed(pipeline, rows)) as bands:
            for band, premultiplied in bands:
                planes = self._finish(band, channels, premultiplied, slack)
                yield np.clip(planes, 0, 1, out=planes) if clip else planes

    def streamed(self, pipeline: Any, rows: int) -> Generator[tuple[np.ndarray, bool], None, None]:
        """Bands [n, width, channels] of the libvips image that `pipeline` makes of the opened file (see `part`), and
        whether it is premultiplied. What the reader warns of ends it: it is how libraries tell of pixels made up."""
        vips = load_vips()
        try:
            with heard() as warnings, self._source() as opened:
                image = pipeline(opened)
                # After a resize alpha comes back premultiplied: only so do colours under transparency not bleed.
                premultiplied = bool(image.get_typeof("tiler-premultiplied"))
                with closing(bands_of(image, rows, self.kept.release if self.kept else None)) as bands:
                    for band in bands:
                        self._check_warnings(warnings)
                        yield band, premultiplied
                self._check_warnings(warnings)
        except (VipsError, vips.Error) as error:
            raise unreadable(self.path, self.kind, error) from None

    def _check_warnings(self, warnings: list[str]) -> None:
        for warning in warnings:
            if not is_harmless(warning):
                raise PictureError(f"{self.path}: damaged {self.kind.upper()} ({warning})")

    @contextmanager
    def _source(self) -> Iterator[Opener]:
        """The file, from beginning to end the one that was opened. Raises PictureChangedError where it is not: bands of
        two pictures must not be mixed."""
        self._check_unchanged()
        fresh = self._decoder
        with self.kept.opener(fresh, self._check_warnings) if self.kept else fresh() as opened:
            yield opened
        self._check_unchanged()

    @contextmanager
    def _decoder(self) -> Iterator[Opener]:
        with opener(self.path, self.kind, self.page, self.scale) as opened:
            yield opened
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        if stamp_of(self.path) != self.stamp:
            raise PictureChangedError(f"{self.path}: has changed since it was opened")

    def part(self, opened: Opener, crop: Crop | None = None) -> tuple[Any, Any | None]:
        """The libvips images, upright, of the colours and of alpha (None where there is none) of the picture, or of a
        part of it; stretched where it is to be, else as the file holds them."""
        image = _upright(opened)
        y0, x0, y1, x1 = crop or (0, 0, self.height, self.width)
        if (y1 - y0, x1 - x0) != self.file_size:
            image = image.crop(self.origin[1] + x0, self.origin[0] + y0, x1 - x0, y1 - y0)
        pixels, alpha = self.meaning.split(image)
        return pixels if self.spread is None else self.spread.applied(pixels), alpha

    def _raw(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Bands of the file's own colour values [n, width, colours] and of alpha [n, width]."""

        def joined(opened: Opener) -> Any:
            pixels, alpha = self.part(opened)
            if pixels.format not in ("uchar", "ushort", "float"):
                pixels = pixels.cast("float")
            return pixels if alpha is None else pixels.bandjoin(alpha.cast(pixels.format))

        with closing(self.streamed(joined, _CHECK_PIXELS // self.width)) as bands:
            for band, _ in bands:
                colours = band[..., : self.meaning.colours]
                yield colours, band[..., -1] if self.has_alpha else None

    def _pipeline(self, opened: Opener, height: int, width: int, channels: str, crop: Crop | None) -> Any:
        pixels, alpha = self.part(opened, crop)
        same_size = (height, width) == (pixels.height, pixels.width)
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
            backdrop = list(self.backdrop) if pixels.bands == 3 else [float(np.dot(colour.LUMA, self.backdrop))]
            return resize(joined.flatten(background=backdrop, max_alpha=1.0), height, width)
        image = resize(joined.premultiply(max_alpha=1.0), height, width).copy()
        image.set_type(load_vips().GValue.gint_type, "tiler-premultiplied", 1)
        return image

    def _finish(self, band: np.ndarray, channels: str, premultiplied: bool, slack: float) -> np.ndarray:
        """From interleaved rows of libvips' own type to what `bands` promises, but for what is beyond 0..1."""
        planes = band.transpose(2, 0, 1).astype(np.float32)
        if band.dtype == np.uint16:
            planes /= np.float32(colour.PEAK)
        else:
            check_floats(self.path, planes, slack)
        if channels == "rgba":
            planes = _as_rgba(planes, premultiplied)
        elif channels == "rgb" and len(planes) == 1:
            planes = np.repeat(planes, 3, axis=0)
        elif channels == "grey" and len(planes) == 3:
            planes = np.tensordot(np.array(colour.LUMA, np.float32), planes, axes=1)[None]
        return planes


def stamp_of(path: Path) -> tuple[int, ...]:
    """Tells a file from others that come under its name, without reading them."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    if stat.S_ISDIR(found.st_mode):
        return mosaic.stamp(path)
    return found.st_mtime_ns, found.st_size, found.st_ino


def orientation_of(image: Any) -> int:
    """EXIF's, 1 to 8."""
    value = image.get("orientation") if image.get_typeof("orientation") else 1
    return value if 1 <= value <= 8 else 1


def _upright(opened: Opener) -> Any:
    image = opened("sequential")
    orientation = orientation_of(image)
    if orientation == 1:
        return image
    # Only a left-right flip can be made while rows come from the top down.
    if orientation > 2:
        image = opened("random")
    return image.autorot()


def _as_rgba(planes: np.ndarray, premultiplied: bool) -> np.ndarray:
    if len(planes) in (1, 3):
        planes = np.concatenate([planes, np.ones_like(planes[:1])])
    pixels, alpha = planes[:-1], planes[-1:]
    if premultiplied:
        # Not clipped before: colour and alpha overshoot together, only their ratio is right.
        pixels = pixels / np.maximum(alpha, 1 / colour.PEAK)
    return np.concatenate([pixels if len(pixels) == 3 else np.repeat(pixels, 3, axis=0), alpha])
