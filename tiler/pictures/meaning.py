"""What each channel of a picture means: colour, opacity, or neither. Said once, when a file is opened; every reader
goes by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tiler.pictures.colour import PixelsError

GREY, RGB, CMYK, LAB = "grey", "rgb", "cmyk", "lab"
COLOURS = {GREY: 1, RGB: 3, CMYK: 4, LAB: 3}


@dataclass(frozen=True)
class Meaning:
    """space: what the first channels are, one of COLOURS. alpha: the channel that is opacity, or None; it is straight
    (not multiplied into the colours) as the readers hand it on. notes: what the file holds that is not shown."""

    space: str
    alpha: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def colours(self) -> int:
        return COLOURS[self.space]

    def split(self, image: Any) -> tuple[Any, Any | None]:
        """(colour channels, alpha channel or None) of a libvips image, in its own type."""
        pixels = image if image.bands == self.colours else image.extract_band(0, n=self.colours)
        return pixels, None if self.alpha is None else image.extract_band(self.alpha)


def meaning_of(image: Any) -> Meaning:
    """Of a libvips image from a format that has one meaning for each number of channels (all but TIFF). PixelsError
    where there is none."""
    if image.interpretation == "cmyk":
        if image.bands == 4:
            return Meaning(CMYK)
    elif image.bands in (1, 2):
        return Meaning(GREY, 1 if image.bands == 2 else None)
    elif image.bands in (3, 4):
        return Meaning(RGB, 3 if image.bands == 4 else None)
    raise PixelsError(f"has {image.bands} channels; grey, RGB or CMYK, with or without alpha, are allowed")


def extra_samples(space: str, kinds: tuple[int, ...], grey_as_rgb: bool) -> tuple[int | None, tuple[str, ...]]:
    """(the alpha channel's index, notes) for a TIFF's channels beyond its colours, by the values of ExtraSamples.

    Only what the file calls alpha is alpha: infrared, a second radar band or a spot ink is no opacity.
    """
    first = COLOURS[space]
    alpha = next((first + i for i, kind in enumerate(kinds) if kind in (1, 2)), None)
    left = [first + i + 1 for i in range(len(kinds)) if first + i != alpha]
    notes = []
    if grey_as_rgb:
        notes.append("does not say what its channels are; the first three are taken as red, green and blue")
    if left:
        which = f"channel {left[0]} is" if len(left) == 1 else f"channels {', '.join(map(str, left))} are"
        notes.append(f"{which} neither colour nor alpha (unspecified) and left out")
    return alpha, tuple(notes)
