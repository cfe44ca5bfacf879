"""Guides from the masks and label pictures that the user gave, at any size, in bands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tiler import pictures
from tiler.errors import ConfigError
from tiler.request import sizes
from tiler.request.config import RenderConfig
from tiler.request.regions import REST

Opened = Mapping[str, pictures.Picture]
_CHECK_EDGE, _CHECK_ROWS, _DARK = 256, 256, 0.01


def opened_by(config: RenderConfig, files: Iterable[str], keep_in: Path | None = None) -> dict[str, pictures.Picture]:
    """The pictures as the render sees them, by file name: content, start and styles stretched where asked for. keep_in:
    a folder for their pixels, so that each is decoded once however often it is read; an overlay is read at the end."""
    files = list(files)
    opened = {file: pictures.open_picture(file) for file in files}
    if keep_in is not None:
        again = [file for file in opened if file != config.overlay or files.count(file) > 1]
        opened.update({file: opened[file].kept_in(keep_in) for file in again})
    if config.stretch is not None:
        for file in _shown(config) & {*opened}:
            opened[file] = opened[file].stretched(*sizes.parse_stretch(config.stretch))
    for picture in opened.values():
        picture.refuse_signed()
    return opened


def check_pixels(config: RenderConfig, opened: Opened) -> list[str]:
    """Decode every picture once (see `Picture.check`). Returns notes on those whose colours are seen."""
    notes = {file: picture.check() for file, picture in opened.items()}
    return [note for file in opened if file in _shown(config) for note in notes[file]]


def _shown(config: RenderConfig) -> set[str]:
    return {config.content or "", config.init, *(source.picture for source in config.regions.sources)}


def picture_notes(config: RenderConfig, opened: Opened, styles: Sequence[pictures.Picture]) -> Iterator[str]:
    """What the user should know of how each picture is read."""
    for picture in opened.values():
        yield from picture.notes
        if picture.spread is not None:
            low, high = picture.spread.low, picture.spread.high
            yield f"{picture.path}: its values {low:.5g} to {high:.5g} are spread over the whole range (--stretch)"
    for path in dict.fromkeys(style.path for style in styles if style.in_part):
        yield f"{path}: its transparent parts do not count as style"


def guide_bands(
    config: RenderConfig, content: pictures.Picture, opened: Opened, height: int, width: int, rows: int
) -> Iterator[np.ndarray]:
    """Bands [R, n, width] float32 in 0..1 that sum to 1: how much of each pixel of `content` (the part of the file that
    is rendered) belongs to each region. opened: pictures by file name.

    Masks lie on top of the labels and share what more than one of them covers; what is left is the default's.
    """
    regions, edge = config.regions, config.region_edge / 100 * max(height, width)

    def part_of(file: str) -> pictures.Picture:
        return opened[file].cropped_like(content)

    masks = [pictures.mask_bands(part_of(file), height, width, rows, edge) for _, file in regions.masks]
    labels: Iterator[np.ndarray | None] = (None for _ in range(0, height, rows))
    if regions.labels:
        assert config.labels
        palette = [colour for colour, _ in regions.labels]
        labels = pictures.label_bands(part_of(config.labels), palette, height, width, rows, edge)
    for top, below, *above in zip(range(0, height, rows), labels, *masks, strict=True):
        band = np.zeros((len(regions.names), min(rows, height - top), width), np.float32)
        for (region, _), mask in zip(regions.masks, above, strict=True):
            np.maximum(band[region], mask[0], out=band[region])
        covered = band.sum(0)
        band /= np.maximum(covered, 1)
        left = 1 - np.minimum(covered, 1)
        if below is None:
            band[regions.names.index(REST)] += left
        else:
            for (_, region), label in zip(regions.labels, below, strict=True):
                band[region] += left * label
        yield band


def check_guides(config: RenderConfig, content: pictures.Picture, opened: Opened) -> None:
    """Raise ConfigError for a mask or label picture of another shape than what it belongs to, and for one that says
    that a region is nowhere. content: the part of the file that is rendered. opened: pictures by file name."""
    regions = config.regions
    for option, file in [("mask", file) for _, file in regions.masks] + [("labels", config.labels)] * bool(
        regions.labels
    ):
        _check_shape(f"{option} {file}", opened[str(file)], opened[str(config.content)], "content")
    for source in regions.sources:
        if source.mask is not None:
            _check_shape(f"style_mask {source.mask}", opened[source.mask], opened[source.picture], source.picture)
            _check_not_black(f"style_mask {source.mask}", opened[source.mask], "the style picture counts")
    for source in regions.sources:
        style = opened[source.picture]
        if source.mask is not None and style.has_alpha:
            style = pictures.as_style(style)
            part = pictures.part_bands(style, opened[source.mask], *style.small(_CHECK_EDGE), _CHECK_ROWS)
            if not any(band.max() > 0 for band in part):
                raise ConfigError(
                    f"style_mask {source.mask}: is white only where {style.path} is transparent; allowed: white where "
                    "the style picture counts"
                )
    if config.protect is not None:
        found = opened[config.protect]
        _check_shape(f"protect {config.protect}", found, opened[str(config.content)], "content")
        _check_not_black(f"protect {config.protect}", found.cropped_like(content), "the content is to be kept")
    for name, file in regions.masks:
        _check_bright(f"mask {file}", opened[file].cropped_like(content), f"the content is {regions.names[name]}")
    if regions.guided:
        _check_regions(config, content, opened)


def _check_regions(config: RenderConfig, content: pictures.Picture, opened: Opened) -> None:
    height, width = content.small(_CHECK_EDGE)
    bands = guide_bands(config, content, opened, height, width, _CHECK_ROWS)
    areas = sum(np.rint(band * 65535).sum((1, 2)) for band in bands)
    for name, area in zip(config.regions.names, np.asarray(areas), strict=True):
        if not area and name != REST:
            raise ConfigError(
                f"region '{name}' covers no pixel; allowed: a mask or label that covers some of the content"
            )


def _check_not_black(what: str, mask: pictures.Picture, where: str) -> None:
    if _check_bright(what, mask, where) == 0:
        raise ConfigError(f"{what}: is black all over; allowed: white where {where}")


def _check_bright(what: str, mask: pictures.Picture, where: str) -> float:
    """A mask's brightest value. Raises ConfigError where it is nearly black: ones, in a picture of 8 bits."""
    whitest = _whitest(mask)
    if 0 < whitest < _DARK:
        raise ConfigError(f"{what}: its brightest value is {whitest:.2%} of white; allowed: white where {where}")
    return whitest


def _whitest(mask: pictures.Picture) -> float:
    """A mask's brightest value: small, where that tells enough."""
    found = 0.0
    for height, width in (mask.small(_CHECK_EDGE), (mask.height, mask.width)):
        bands = pictures.mask_bands(mask, height, width, _CHECK_ROWS)
        found = max(float(band.max()) for band in bands)
        if found >= _DARK:
            break
    return found


def _check_shape(what: str, mask: pictures.Picture, of: pictures.Picture, name: str) -> None:
    if not sizes.same_shape((mask.height, mask.width), (of.height, of.width)):
        raise ConfigError(
            f"{what}: {mask.width} x {mask.height} pixels; allowed: the shape of the {name} ({of.width} x {of.height})"
        )
