"""Sizes as people say them: pixels, multiples of the content, centimetres and inches of paper, ISO names.

Texts give the width first, as people write it; everything else here is (height, width).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tiler.errors import ConfigError

Size = tuple[int, int]
Crop = tuple[int, int, int, int]

# The options that say a size, each in another way.
SIZES = ("long_edge", "size", "scale", "print")
AUTO = "auto"
# Two pictures of one shape differ by a pixel or so when they were scaled; this is a share of the longer side.
_SHAPE_TOLERANCE = 0.01
DEFAULT_EDGE, PRINT_DPI, LONGEST_SIDE = 1024, 300.0, 2**20
_MM = {"mm": 1.0, "cm": 10.0, "in": 25.4, "inch": 25.4, '"': 25.4}
# Width and height of A0, B0 and C0 in mm (ISO 216 and 269); each further size is half of the one before, rounded down.
_ISO = {"a": (841, 1189), "b": (1000, 1414), "c": (917, 1297)}
_LENGTH = r"(\d+(?:\.\d+)?)\s*(mm|cm|inch|in|\")?"
_PAPER = re.compile(rf"\s*{_LENGTH}\s*(?:[x×*]\s*{_LENGTH})?\s*", re.IGNORECASE)


def parse_size(text: str) -> Size:
    """ "1600x1200" -> (1200, 1600). Raises ValueError that says what is allowed."""
    match = re.fullmatch(r"\s*(\d{1,7})\s*[x×*]\s*(\d{1,7})\s*", text, re.IGNORECASE)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not (1 <= width <= LONGEST_SIDE and 1 <= height <= LONGEST_SIDE):
        raise ValueError(f"WIDTHxHEIGHT in pixels such as 4096x3072, 1 to {LONGEST_SIDE} each")
    return height, width


def parse_scale(text: str) -> float:
    """ "4x" or "1.5" -> that number. Raises ValueError that says what is allowed."""
    match = re.fullmatch(r"\s*(\d{1,7}(?:\.\d{1,9})?)\s*[x×]?\s*", text, re.IGNORECASE)
    scale = float(match[1]) if match else 0.0
    if scale <= 0:
        raise ValueError("a multiple of the content's size such as 4x or 1.5x")
    return scale


def parse_stretch(text: str) -> tuple[float, float]:
    """ "2,98" -> those percentiles. Raises ValueError that says what is allowed."""
    match = re.fullmatch(r"\s*(\d{1,3}(?:\.\d{1,6})?)\s*,\s*(\d{1,3}(?:\.\d{1,6})?)\s*", text)
    low, high = (float(match[1]), float(match[2])) if match else (1.0, 0.0)
    if not low < high <= 100:
        raise ValueError("two percentiles from 0 to 100, the lower first, such as 2,98")
    return low, high


def parse_at(text: str) -> tuple[float, float]:
    """ "0.4,0.6" -> (0.4, 0.6): across and down, in shares. Raises ValueError that says what is allowed."""
    match = re.fullmatch(r"\s*(\d(?:\.\d{1,9})?)\s*,\s*(\d(?:\.\d{1,9})?)\s*", text)
    x, y = (float(match[1]), float(match[2])) if match else (2.0, 2.0)
    if max(x, y) > 1:
        raise ValueError("two shares of the poster's width and height, 0 to 1 each, such as 0.4,0.6")
    return x, y


def parse_print(text: str) -> tuple[float, float | None, bool]:
    """ "90x60cm" -> (width, height, False) in mm; "90cm" -> (long side, None, False); "A2" -> (420, 594, True): whether
    the sheet may be turned. Raises ValueError that says what is allowed."""
    words = "WIDTHxHEIGHT with a unit (90x60cm, 36x24in, 900x600mm), a long side (90cm), or A0 to A10, B0 to B10, C0..."
    if iso := re.fullmatch(r"\s*([abc])(\d|10)\s*", text, re.IGNORECASE):
        width, height = _ISO[iso[1].lower()]
        for _ in range(int(iso[2])):
            width, height = height // 2, width
        return float(width), float(height), True
    match = _PAPER.fullmatch(text)
    unit = (match[4] or match[2]) if match else None
    if match is None or unit is None:
        raise ValueError(words)
    sides = [float(n) * _MM[(u or unit).lower()] for n, u in ((match[1], match[2]), (match[3], match[4])) if n]
    if min(sides) <= 0 or max(sides) > 1e6:
        raise ValueError(f"{words}, above 0 and up to 1 km")
    return sides[0], sides[1] if len(sides) > 1 else None, False


def parse_gsd(text: str) -> float | None:
    """ "500" -> 500.0 metres per pixel; "auto" -> None. Raises ValueError that says what is allowed."""
    if text.lower() == AUTO:
        return None
    try:
        metres = float(text)
    except ValueError:
        metres = 0.0
    if not 1e-3 <= metres <= 1e6:
        raise ValueError("metres per pixel, 0.001 to 1000000, or auto")
    return metres


def spelled(parse: Callable[[str], object]) -> Callable[[object], str]:
    """A check for a config field: what was given as a text without blanks, if `parse` understands it."""

    def check(value: object) -> str:
        text = "".join(str(value).split())
        parse(text)
        return text

    return check


def poster_size(
    content: Size,
    long_edge: int | None = None,
    size: str | None = None,
    scale: str | None = None,
    print: str | None = None,
    dpi: float | None = None,
) -> Size:
    """(height, width) of a poster of `content`, from at most one of long_edge (default 1024), size, scale and print.

    dpi: of print. The content's shape is kept but for size and for print with two sides, which it is cropped to (see
    `content_crop`). Raises ConfigError when a side would be too long.
    """
    height, width = content
    if size is not None:
        return parse_size(size)
    if print is not None:
        wide, high, turns = parse_print(print)
        per_mm = (PRINT_DPI if dpi is None else dpi) / 25.4
        if high is None:
            found = _scaled(content, wide * per_mm / max(content))
        else:
            wide, high = (high, wide) if turns and (width > height) != (wide > high) else (wide, high)
            found = max(1, round(high * per_mm)), max(1, round(wide * per_mm))
    elif scale is not None:
        found = _scaled(content, parse_scale(scale))
    else:
        exact = _with_edge(content, long_edge or DEFAULT_EDGE)
        found = round(exact[0]), round(exact[1])
    if max(found) > LONGEST_SIDE:
        what = f"scale = {scale}" if print is None else f"print = {print}"
        raise ConfigError(f"{what} makes {found[1]} x {found[0]} px; allowed: up to {LONGEST_SIDE} a side")
    return found


def unrounded(poster: Size, shape: Size) -> tuple[float, float]:
    """The size of a poster of this shape, (height, width) of a content, before it was rounded to pixels: half of it is
    half of every other one's, so that a preview's levels are among those of its poster. The poster's own size where it
    has another shape."""
    height, width = _with_edge(shape, max(poster))
    return (height, width) if (round(height), round(width)) == poster else poster


def content_crop(content: Size, poster: Size) -> Crop:
    """(y0, x0, y1, x1): the middle of the content that has the poster's shape, as large as can be.

    All of it where the shapes agree to a pixel of the poster, which is what rounding a size makes of them.
    """
    (height, width), (tall, wide) = content, poster
    if abs(tall - height * wide / width) <= 1 or abs(wide - width * tall / height) <= 1:
        return 0, 0, height, width
    rows = min(height, max(1, round(width * tall / wide)))
    cols = min(width, max(1, round(height * wide / tall)))
    y0, x0 = (height - rows) // 2, (width - cols) // 2
    return y0, x0, y0 + rows, x0 + cols


def _scaled(size: Size, by: float) -> Size:
    return max(1, round(size[0] * by)), max(1, round(size[1] * by))


def _with_edge(size: Size, edge: int) -> tuple[float, float]:
    """The same shape with this longer side."""
    height, width = (max(1.0, side * edge / max(size)) for side in size)
    return height, width


def same_shape(size: Size, other: Size) -> bool:
    """Whether two pictures, (height, width), have one shape, however many pixels each."""
    (height, width), longer = other, max(other)
    scale = longer / max(size)
    return max(abs(size[0] * scale - height), abs(size[1] * scale - width)) <= max(1, _SHAPE_TOLERANCE * longer)
