"""Rows of a TIFF that libvips cannot read, or would read wrongly: codecs of tifffile and imagecodecs, a few segments
(tiles or strips) at a time, with palette, no-data value, mask and associated alpha resolved."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import PictureError
from tiler.pictures.meaning import LAB
from tiler.pictures.stream import first_line, heard
from tiler.pictures.tiffpage import PALETTE, Page, at

# One segment must be decoded whole; a header of a few bytes can claim one of any size.
_MOST_BYTES, _BATCH_BYTES, _BATCH_SEGMENTS = 2**29, 2**24, 2**10
_ROWS_PIXELS = 2**20
_JPEG, _LERC, _LERC_PACKED = (6, 7, 33007), 34887, {1: "deflate", 2: "zstd"}
_LERC_PARAMETERS = 50674
_CODECS_OF_WHOLE_IMAGES = (33003, 33004, 33005, 34712, 34887, 34933, 34934, 22610, 50001, 34927, 50002, 52546)


def dtype_of(page: Page) -> np.dtype[Any]:
    """The type that `rows_of` gives: 8 or 16 bits where the file has no more, else float32."""
    if page.is_float or page.signed or page.bits > 16 or page.meaning.space == LAB:
        return np.dtype(np.float32)
    return np.dtype(np.uint8 if page.bits <= 8 else np.uint16)


def rows_of(path: Path, page: Page) -> Iterator[np.ndarray]:
    """Bands [channels, n, width] from top to bottom, colours first, then alpha where there is some. Unsigned integers
    are spread over 8 or 16 bits (over 0..1 from 32 bits); signed ones and floats come as they are; Lab as L 0..100.

    Raises PictureError for what is damaged, for segments too large to be decoded, and for what a codec warns of.
    """
    import tifffile

    try:
        with heard("tifffile") as warnings, tifffile.TiffFile(path) as tif, ThreadPoolExecutor(4) as pool:
            shown = _Segments(path, at(tif, page.chain), page.nodata, pool)
            mask = None if page.mask is None else _Segments(path, tif.pages[page.mask], None, pool)
            covers = None if mask is None else _exactly(mask.bands())
            convert = _Converter(page, shown.page)
            del warnings[:]  # of the header: `read_page` has told them
            for band in shown.bands():
                rows = max(1, _ROWS_PIXELS // band.shape[2])
                for top in range(0, band.shape[1], rows):
                    part = band[:, top : top + rows]
                    cover = None if covers is None else _next_rows(covers, part.shape[1])
                    converted = convert(part, cover)
                    if warnings:
                        raise PictureError(f"{path}: damaged TIFF ({warnings[0]})")
                    yield converted
    except PictureError:
        raise
    except Exception as error:
        # Damage shows in tifffile and in the codecs as errors of many types.
        raise PictureError(f"{path}: damaged TIFF ({first_line(error)})") from None


class _Segments:
    """A page's tiles or strips, decoded."""

    def __init__(self, path: Path, page: Any, nodata: float | None, pool: ThreadPoolExecutor) -> None:
        self.path, self.page, self._pool = path, page, pool
        self._lock = threading.Lock()
        # tifffile reads a tag's value from the file when it is first asked for: not while threads read there.
        self._lerc = page.tags.valueof(_LERC_PARAMETERS, default=())
        self._tables, self._offsets, self._counts = page.jpegtables, page.dataoffsets, page.databytecounts
        self._fill = nodata or 0
        self._planes = page.samplesperpixel if page.planarconfig == 2 else 1
        self._samples = page.samplesperpixel // self._planes
        self._height, self._width = int(page.imagelength), int(page.imagewidth)
        if page.is_tiled:
            self._tall, self._wide = int(page.tilelength), int(page.tilewidth)
        else:
            self._tall, self._wide = min(int(page.rowsperstrip), self._height), self._width
        self._across = -(-self._width // self._wide)
        self._down = -(-self._height // self._tall)
        each = self._tall * self._wide * self._samples * page.dtype.itemsize
        row = each * self._across * self._planes
        if max(each, row) > _MOST_BYTES:
            raise PictureError(
                f"{path}: its tiles or strips hold {max(each, row) / 1e6:.0f} MB a row; up to {_MOST_BYTES / 1e6:.0f} "
                "MB are allowed; save it with smaller ones"
            )
        wanted = self._across * self._down * self._planes
        listed = min(len(page.dataoffsets), len(page.databytecounts))
        if listed < wanted:
            raise PictureError(f"{path}: damaged TIFF ({listed} of {wanted} tiles or strips)")
        each_row = self._across * self._planes
        self._batch = max(1, min(_BATCH_BYTES // row, _BATCH_SEGMENTS // each_row))

    def bands(self) -> Iterator[np.ndarray]:
        """[samples, rows, width] in the file's own type."""
        for top in range(0, self._down, self._batch):
            down = range(top, min(top + self._batch, self._down))
            rows = min(down.stop * self._tall, self._height) - top * self._tall
            band = np.full((self._planes * self._samples, rows, self._width), self._fill, self.page.dtype)
            all_places = ((p, y, x) for p in range(self._planes) for y in down for x in range(self._across))
            places = [place for place in all_places if self._counts[self._index(place)]]  # others were left out
            for (plane, y, x), segment in zip(places, self._pool.map(self._decode, places), strict=True):
                y0, x0 = (y - top) * self._tall, x * self._wide
                part = segment[: rows - y0, : self._width - x0].transpose(2, 0, 1)
                into = band[plane * self._samples : (plane + 1) * self._samples]
                into[:, y0 : y0 + part.shape[1], x0 : x0 + part.shape[2]] = part
            yield band

    def _index(self, place: tuple[int, int, int]) -> int:
        plane, y, x = place
        return (plane * self._down + y) * self._across + x

    def _decode(self, place: tuple[int, int, int]) -> np.ndarray:
        """[rows, columns, samples]."""
        index = self._index(place)
        offset, count = self._offsets[index], self._counts[index]
        with self._lock:
            self.page.parent.filehandle.seek(offset)
            data = self.page.parent.filehandle.read(count)
        if len(data) < count:
            raise ValueError("the file ends early")
        page = self.page
        if page.compression in _CODECS_OF_WHOLE_IMAGES:
            return self._decode_image(data, place[1])
        if page.compression in _JPEG:
            _check_jpeg(data, self._tall, self._wide)
        found, _, shape = page.decode(data, index, jpegtables=self._tables)
        return np.asarray(found).reshape(shape)[0]

    def _decode_image(self, data: bytes, y: int) -> np.ndarray:
        """By a codec that carries its own size: it must be the one that is known, before anything is decoded."""
        import tifffile

        page = self.page
        codec = tifffile.TIFF.DECOMPRESSORS[page.compression]
        rows = self._tall if page.is_tiled else min(self._tall, self._height - y * self._tall)
        out = np.zeros((rows, self._wide, *([self._samples] if self._samples > 1 else [])), page.dtype)
        if page.compression == _LERC:
            data = _unpacked_lerc(self._lerc, data, out.nbytes)
        options = {"hasalpha": True} if page.compression in (50001, 34927) and self._samples == 4 else {}
        return np.asarray(codec(data, out=out, **options)).reshape(rows, self._wide, self._samples)


def _unpacked_lerc(parameters: Any, data: bytes, pixels_bytes: int) -> bytes:
    """LERC may itself lie packed in another codec; its own bytes are little more than the pixels'."""
    import imagecodecs

    packed, limit = parameters[1] if len(parameters) > 1 else 0, 2 * pixels_bytes + 2**16
    if packed == 1:
        return zlib.decompressobj().decompress(data, limit)
    return bytes(imagecodecs.zstd_decode(data, out=limit)) if packed == 2 else data


def _check_jpeg(data: bytes, tall: int, wide: int) -> None:
    """A JPEG inside says its own size, and would be decoded at that."""
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (5, 7))
            if height > tall + 16 or width > wide + 16:
                raise ValueError(f"a JPEG of {height} x {width} in a tile or strip of {tall} x {wide}")
            return
        at += 2 + length


class _Converter:
    """From the file's samples to the channels that `rows_of` promises."""

    def __init__(self, page: Page, tags: Any) -> None:
        self._page, self._dtype = page, dtype_of(page)
        self._peak = 1.0 if self._dtype.kind == "f" else float(np.iinfo(self._dtype).max)
        self._colours = 1 if tags.photometric == PALETTE else page.meaning.colours
        self._palette = None if tags.photometric != PALETTE else (np.asarray(tags.colormap) >> 8).astype(np.uint8)
        self._inverted = tags.photometric == 0
        self._offset_lab = tags.photometric == 9

    def __call__(self, samples: np.ndarray, cover: np.ndarray | None) -> np.ndarray:
        page = self._page
        found = samples[: self._colours]
        invalid = self._invalid(found)
        colours = self._spread(found)
        if self._inverted:
            colours = (self._peak - colours).astype(self._dtype)
        if page.meaning.alpha is None:
            return colours
        alpha = np.full(colours.shape[1:], self._peak, self._dtype)
        if page.alpha is not None:
            alpha = self._opacity(samples[page.alpha])
            if page.associated:
                colours = self._unpremultiplied(colours, alpha)
        if invalid is not None:
            alpha = np.where(invalid, 0, alpha)
            colours = np.where(invalid, 0, colours)
        if cover is not None:
            alpha = np.where(cover, alpha, 0)
        return np.concatenate([colours, alpha[None]]).astype(self._dtype, copy=False)

    def _invalid(self, found: np.ndarray) -> np.ndarray | None:
        value = self._page.nodata
        if value is None:
            return None
        wrong = np.zeros(found.shape, bool) if np.isnan(value) else found == np.asarray(value).astype(found.dtype)
        return np.asarray(wrong.all(0) | self._no_number(found))

    @staticmethod
    def _no_number(found: np.ndarray) -> Any:
        with np.errstate(over="ignore"):  # of what becomes infinite in the type that is handed on
            return ~np.isfinite(found.astype(np.float32)).all(0) if found.dtype.kind == "f" else False

    def _spread(self, found: np.ndarray) -> np.ndarray:
        if self._palette is not None:
            return self._palette[:, found[0]]
        if self._page.meaning.space == LAB:
            return self._lab(found)
        return self._spread_integers(found)

    def _spread_integers(self, found: np.ndarray) -> np.ndarray:
        if found.dtype.kind not in "ub":
            with np.errstate(over="ignore"):
                return found.astype(self._dtype)
        most = 2**self._page.bits - 1
        if self._peak == most and found.dtype == self._dtype:
            return found
        whole = found.astype(np.float64) * (self._peak / most)
        return (whole if self._peak == 1 else np.rint(whole)).astype(self._dtype)

    def _opacity(self, found: np.ndarray) -> np.ndarray:
        """Of signed integers all that is more than nothing is opaque: their largest is 255 to some, and 32767."""
        return np.asarray((found > 0).astype(self._dtype) if found.dtype.kind == "i" else self._spread_integers(found))

    def _unpremultiplied(self, colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        straight = colours.astype(np.float64) * (self._peak / np.maximum(alpha.astype(np.float64), 1e-9))
        straight = np.where(alpha > 0, np.minimum(straight, self._peak), 0)
        if self._dtype.kind == "u":
            return np.asarray(np.rint(straight).astype(self._dtype))
        # What is glow or rounding at an edge is none where a pixel is opaque, and somebody else's to see there.
        return np.where(alpha < self._peak, straight, colours).astype(self._dtype)

    def _lab(self, found: np.ndarray) -> np.ndarray:
        """L in 0..100, a and b in their own units. CIELab holds them signed, ICCLab from 128 on."""
        if found.dtype.kind == "f":
            return found.astype(np.float32)
        wide = found.dtype.itemsize == 2
        light = found[:1].astype(np.float32) * np.float32(
            100 / ((65280 if self._offset_lab else 65535) if wide else 255)
        )
        if self._offset_lab:
            opponents = found[1:].astype(np.float32) / (256 if wide else 1) - 128
        else:
            opponents = found[1:].view(np.int16 if wide else np.int8).astype(np.float32) / (256 if wide else 1)
        return np.concatenate([light, opponents])


def _exactly(bands: Iterator[np.ndarray]) -> list[Any]:
    """A mask's bands and what is left of the last, for `_next_rows`."""
    return [bands, None]


def _next_rows(covers: list[Any], rows: int) -> np.ndarray:
    """The next rows of a mask, whatever its bands: True where there is a pixel."""
    taken, left = [], covers[1]
    while rows:
        if left is None or not left.shape[1]:
            left = next(covers[0])
        taken.append(left[0, :rows] > 0)
        rows -= taken[-1].shape[0]
        left = left[:, taken[-1].shape[0] :]
    covers[1] = left
    return np.concatenate(taken)
