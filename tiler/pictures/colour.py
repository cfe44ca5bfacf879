"""From whatever a file holds to sRGB: one or three channels of 16-bit integers or of floats in 0..1.

8-bit pixels are widened to 16 bits (times 257, exact both ways), so that no later step rounds to 8.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

PEAK = 65535
# Rec. 709 weights on the coded values: what "luminance" means to people who edit photos.
LUMA = (0.2126, 0.7152, 0.0722)
_UNSIGNED = {"uchar": 257, "ushort": 1}
_INTENT = {"intent": "relative", "black_point_compensation": True}


class PixelsError(Exception):
    """The pixels are of a type or a number of channels that has no meaning as a colour."""


def check_pixels(image: Any) -> None:
    """PixelsError unless the numbers of `image` (libvips, from a header) can be colours."""
    if image.format not in ("uchar", "ushort", "uint", "float", "double"):
        kind = "complex" if "complex" in image.format else "signed integer"
        raise PixelsError(f"holds {kind} values; unsigned 8, 16 or 32-bit or float 0..1 are allowed")


def is_float(image: Any) -> bool:
    return image.format in ("float", "double")


def widen(image: Any) -> Any:
    """The same values as 16-bit integers, or as float where the file holds floats."""
    if is_float(image):
        return image.cast("float")
    if image.format == "uint":
        return (image / (2**32 - 1) * PEAK).rint().cast("ushort")
    factor = _UNSIGNED[image.format]
    return image if factor == 1 else (image.cast("ushort") * factor).cast("ushort")


def unit(image: Any) -> Any:
    """As float in 0..1, from either type that `widen` gives."""
    return image if is_float(image) else (image / PEAK).cast("float")


def luma(image: Any) -> Any:
    """One channel from three, of the same range."""
    return image.recomb([list(LUMA)])


def to_srgb(image: Any) -> Any:
    """Colour channels as sRGB (three channels) or sRGB-coded grey (one).

    An embedded ICC profile is obeyed (relative colorimetric with black point compensation); without one
    integers and floats are taken as sRGB already, CMYK as a common coated paper.
    """
    profile = _usable_profile(image)
    if image.interpretation == "cmyk":
        return _with_excess(_transform(_integers(image), embedded=profile is not None, input_profile="cmyk"), image)
    if image.interpretation == "lab":  # of D50, as ICC's connection space, where libvips' own is of D65
        return _from_lab(image.cast("float"))
    if profile is None or _is_srgb(profile):
        return widen(image)
    grey, whole = image.bands == 1, _integers(image)
    narrow = whole.format == "uchar"
    whole = whole.copy(interpretation=("b-w" if narrow else "grey16") if grey else ("srgb" if narrow else "rgb16"))
    by_table = grey or narrow or not profile.profile.is_matrix_shaper
    converted = _transform(whole, embedded=True) if by_table else _from_lab(_to_lab(whole))
    return _with_excess(converted.extract_band(1) if grey else converted, image)


def _integers(image: Any) -> Any:
    """Of 8 or 16 bits, which is what libvips gives to LittleCMS as they are."""
    if is_float(image):
        return (image * PEAK).rint().cast("ushort")
    return widen(image) if image.format == "uint" else image


def _with_excess(converted: Any, image: Any) -> Any:
    """What a transform of integers made of `image`; of floats as such, with what they are beyond 0..1, so that whoever
    looks at them still sees it, and NaN."""
    if not is_float(image):
        return converted
    excess = image - image.clamp(min=0.0, max=1.0)
    if excess.bands != converted.bands:
        first, *more = (excess.extract_band(band) for band in range(excess.bands))
        excess = sum(more, first)
    return unit(converted) + excess


def _transform(image: Any, **options: Any) -> Any:
    return image.icc_transform("srgb", depth=16, **_INTENT, **options)


def _to_lab(image: Any) -> Any:
    """Three colours of 16 bits as floats. From these LittleCMS computes what it would look up for 16 bits in a table of
    33 x 33 x 33, which is off by up to 5 % in dark, saturated colours."""
    return image.icc_import(embedded=True, pcs="lab", **_INTENT)


def _from_lab(image: Any) -> Any:
    return image.icc_export(output_profile="srgb", pcs="lab", depth=16, **_INTENT)


def guessed(image: Any, colours: int) -> list[str]:
    """What is assumed of a picture's colours, where it is not what most would. colours: channels that are none of
    alpha or others."""
    cmyk = image.interpretation == "cmyk"
    as_what = "read as printed on coated paper" if cmyk else "its values are taken as sRGB"
    if _usable_profile(image, colours) is not None or image.interpretation == "lab":
        return []
    if image.get_typeof("icc-profile-data"):
        return [f"its colour profile is damaged, or for other channels than it has, and not used; {as_what}"]
    return [f"is CMYK without a profile, {as_what}"] if cmyk else []


def _usable_profile(image: Any, colours: int | None = None) -> Any | None:
    """The embedded profile, or None where it is absent, damaged or made for another number of channels."""
    if not image.get_typeof("icc-profile-data"):
        return None
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.get("icc-profile-data")))
        space = profile.profile.xcolor_space.strip()
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None
    return profile if {"GRAY": 1, "RGB": 3, "CMYK": 4}.get(space) == (colours or image.bands) else None


def _is_srgb(profile: Any) -> bool:
    """Whether the profile changes no 8-bit colour by more than one step.

    Most files say "sRGB"; converting those would only add rounding, and pixels would not come back equal.
    """
    from PIL import Image, ImageCms

    steps = np.linspace(0, 255, 16).round().astype(np.uint8)
    if profile.profile.xcolor_space.strip() == "GRAY":
        before = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    else:
        before = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(64, 64, 3))
    try:
        after = ImageCms.profileToProfile(
            before,
            profile,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError:
        return False
    difference = np.asarray(after, np.int16) - np.asarray(before.convert("RGB"), np.int16)
    return bool(np.abs(difference).max() <= 1)
