"""TIFF: tiled, with the levels of a pyramid, Big where it must be; and what libvips cannot write into it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tiler.pictures.georef import ExtraTag

# Classic TIFF counts its bytes in 32 bits, and is what every program opens. A pyramid adds a third, and
# compression of noise a few percent.
_BIG_BYTES = int(2**32 / 1.4)
_TILE = 256


def save_tiff(image: Any, path: Path, compression: str, tags: Sequence[ExtraTag], scratch_path: Path) -> None:
    """Writes a sequential libvips image to `path`; `scratch_path` may be used on the way.

    libvips writes neither foreign tags nor, in its wheels, Zstandard: then its file is copied tile by tile.
    """
    zstd = compression == "zstd"
    copied = zstd or bool(tags)
    options: dict[str, Any] = {} if compression == "none" else {"predictor": "horizontal"}
    if zstd:
        options["level"] = 1
    image.tiffsave(
        os.fspath(scratch_path if copied else path),
        tile=True,
        tile_width=_TILE,
        tile_height=_TILE,
        pyramid=True,
        compression="deflate" if zstd else compression,
        resunit="inch",
        bigtiff=needs_big(image.height, image.width, image.bands, 2 if image.format == "ushort" else 1),
        **options,
    )
    if copied:
        copy_tiff(scratch_path, path, tags, _unzip_and_zstd() if zstd else None)
        scratch_path.unlink()


def needs_big(height: int, width: int, channels: int, bytes_each: int) -> bool:
    """Whether the file could pass classic TIFF's limit."""
    return height * width * channels * bytes_each > _BIG_BYTES


def copy_tiff(source: Path, target: Path, tags: Sequence[ExtraTag], recode: Callable[[bytes], bytes] | None) -> None:
    """Copies a tiled TIFF with its pyramid, adding `tags` to the first page.

    Tiles are copied as they are, or through `recode`, from zlib's bytes to Zstandard's: the predictor is
    applied before the codec, so it need not be undone.
    """
    import tifffile

    with tifffile.TiffFile(source) as tif, tifffile.TiffWriter(target, bigtiff=tif.is_bigtiff) as writer:
        for number, page in enumerate(tif.pages):
            assert isinstance(page, tifffile.TiffPage)
            first = number == 0
            lzw = page.compression == tifffile.COMPRESSION.LZW
            writer.write(
                _segments(tif, page, recode),
                shape=page.shape,
                dtype=page.dtype,
                photometric="rgb",
                extrasamples=page.extrasamples,
                tile=(page.tilelength, page.tilewidth),
                compression="zstd" if recode else "zlib" if lzw else page.compression,
                predictor=page.predictor if page.predictor != 1 else None,
                subfiletype=page.subfiletype,
                description=page.description if first and page.description else None,
                resolution=page.resolution,
                resolutionunit="inch",
                iccprofile=page.iccprofile,
                extratags=tags if first else (),
                metadata=None,
                software=False,
            )
    if lzw:
        _call_it_lzw(target)


def _call_it_lzw(path: Path) -> None:
    """tifffile refuses to pass on bytes of a codec that it does not have, so they came in under another name."""
    import tifffile

    with tifffile.TiffFile(path, mode="r+b") as tif:
        for page in tif.pages:
            assert isinstance(page, tifffile.TiffPage)
            page.tags["Compression"].overwrite(int(tifffile.COMPRESSION.LZW))


def _segments(tif: Any, page: Any, recode: Callable[[bytes], bytes] | None) -> Iterator[bytes]:
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        tif.filehandle.seek(offset)
        data = tif.filehandle.read(count)
        yield recode(data) if recode else data


def _unzip_and_zstd() -> Callable[[bytes], bytes]:
    encode = _zstd().encode
    return lambda data: bytes(encode(zlib.decompress(data)))


def _zstd() -> Any:
    # Zarr, which the store needs, brings this package: no dependency of its own.
    from numcodecs.zstd import Zstd  # type: ignore[import-untyped]

    return Zstd(level=9)
