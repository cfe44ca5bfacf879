"""Rows made by Python as a libvips image that streams: the way in for what libvips cannot read itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tiler.pictures.stream import Feeder, load_vips, stored_png

# Bytes of a sample, and the PNG pixel (channels, bits) that carries them unchanged.
_CARRIERS = {1: (1, 8), 2: (1, 16), 4: (4, 8)}


@contextmanager
def streaming(
    bands: Callable[[], Iterator[np.ndarray]], channels: int, height: int, width: int, dtype: np.dtype[Any]
) -> Iterator[Callable[[str], Any]]:
    """Yields a function (access) -> libvips image of `bands()`, which gives [channels, n, width] of `dtype` (uint8,
    uint16 or float32), `height` rows in all. Whatever `bands` raises comes out at the end of the context, in place of
    what libvips made of it."""
    feeders: list[Feeder] = []

    def opened(access: str) -> Any:
        vips = load_vips()
        read_end, write_end = os.pipe()
        feeders.append(Feeder(_side_by_side(bands(), height, width * channels, dtype), write_end))
        try:
            source = vips.Source.new_from_descriptor(read_end)
        finally:
            os.close(read_end)  # libvips has one of its own
        whole = vips.Image.pngload_source(source, access=access, fail_on="warning", unlimited=True)
        planes = [whole.crop(c * width, 0, width, height) for c in range(channels)]
        if dtype.kind == "f":
            planes = [plane.copy(format="float", bands=1) for plane in planes]
        return planes[0].bandjoin(planes[1:]) if channels > 1 else planes[0]

    try:
        yield opened
    except Exception:
        _raise(_closed(feeders))
        raise
    except BaseException:
        _closed(feeders)
        raise
    _raise(_closed(feeders))


def _closed(feeders: list[Feeder]) -> list[BaseException]:
    for feeder in feeders:
        feeder.close()
    return [feeder.error for feeder in feeders if feeder.error is not None]


def _raise(errors: list[BaseException]) -> None:
    if errors:
        raise errors[0] from None


def _side_by_side(bands: Iterator[np.ndarray], height: int, width: int, dtype: np.dtype[Any]) -> Iterator[bytes]:
    """A PNG of all channels beside each other, so that any number of them and any type goes through."""
    carried, bits = _CARRIERS[dtype.itemsize]
    lines = (np.ascontiguousarray(band.transpose(1, 0, 2)).reshape(band.shape[1], -1) for band in bands)
    # What PNG takes for a pixel's bytes; 16 bits are the only ones that it turns around.
    return stored_png((line.view(np.uint8) if bits == 8 else line for line in lines), height, width, carried, bits)
