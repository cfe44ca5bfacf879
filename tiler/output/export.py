"""From a level in the store to a file: the one path that pixels take, for `render` at its end and for `tiler export`.

Pixels come in bands from top to bottom and pass through stages; the file gets its name only when it is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from tiler import pictures
from tiler.engine.plain import typed
from tiler.engine.store import RenderStore
from tiler.errors import ConfigError, LevelMovedError, OutputError, StoreError
from tiler.geometry import Rect
from tiler.output.overlay import check_overlay, overlay_notes, overlay_stage
from tiler.output.view import View
from tiler.request import identity
from tiler.request.asked import Asked
from tiler.request.config import FILE, RenderConfig
from tiler.request.places import check_places, pictures_of
from tiler.request.resolve import store_url
from tiler.version import __version__

# stage(band [C, rows, width] in 0..1, its first row) -> band of the same rows and width; C may change.
Stage = Callable[[np.ndarray, int], np.ndarray]

_ATTEMPTS = 5


@dataclass(frozen=True)
class Exported:
    """outputs: what was written. level: 0 = coarsest. steps: optimiser steps of that level that the files show.
    remarks: what the user should know of them."""

    outputs: tuple[str, ...]
    level: int
    height: int
    width: int
    steps: int
    remarks: tuple[str, ...]


def export(url: str | os.PathLike[str], output: str | None, level: int | None = None, **options: Any) -> Exported:
    """Write a level of the job in the store at `url` to `output`, at any time, also while the job is being rendered.

    level: 0 = coarsest; default: the finest that is finished. An unfinished level is shown as all its tiles last had
    it. options: fields of RenderConfig that say how the file is written, each with its own default, but for dpi: by
    default every level has the size on paper that the poster was given. Raises TilerError; an existing file stays as
    it was then.
    """
    other = sorted({*options} - {item.name for item in fields(RenderConfig) if item.metadata["group"] == FILE})
    if other:
        raise ConfigError(f"{other[0]}: says nothing of how a file is written; allowed: fields of RenderConfig that do")
    store = RenderStore.open(os.fspath(url), writable=False)
    job = identity.load_job(store)
    stored = identity.load_config(store)
    plain = {item.name: item.default for item in fields(RenderConfig) if item.metadata["group"] == FILE}
    wanted = replace(stored, **{**plain, "output": output, **options})
    overlay = opened_overlay(wanted)
    check_places(wanted, store.url, pictures_of(identity.load_config(store, "asked")))
    for attempt in range(_ATTEMPTS):
        view = View.of(store, job, level)
        dpi = stored.dpi and max(1.0, stored.dpi * job.cut.levels[view.level].width / job.cut.last.width)
        try:
            return write_view(view, replace(wanted, dpi=options.get("dpi", dpi)), overlay)
        except LevelMovedError:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("not reached")


def place(content: pictures.Picture) -> dict[str, Any]:
    """What a store keeps of where the content lies on the map: plain JSON values."""
    return {"size": [content.height, content.width], "georef": content.georef and asdict(content.georef)}


def georef_of(config: RenderConfig, layout: pictures.Picture, height: int, width: int) -> pictures.Georef | None:
    """Where the poster will lie: where its content lies, if it has one."""
    lies = layout.georef if config.content else None
    return lies and lies.scaled((layout.height, layout.width), (height, width))


def opened_overlay(config: RenderConfig) -> pictures.Picture | None:
    """What is to lie on the poster. Raises PictureError."""
    return None if config.overlay is None else pictures.open_picture(config.overlay)


def check_written(asked: Asked) -> str:
    """The address of the store. Raises TilerError where what is asked for could not be written, or would replace what
    is read or written besides."""
    config, layout, last, shown = asked.config, asked.sources.layout, asked.job.cut.last, asked.job.cut.shown
    check_files(config, shown.height, shown.width, asked.overlay, georef_of(config, layout, last.height, last.width))
    url = store_url(config)
    check_places(config, url, asked.sources.opened)
    return url


def check_files(
    config: RenderConfig,
    height: int,
    width: int,
    overlay: pictures.Picture | None,
    georef: pictures.Georef | None = None,
) -> None:
    """Raise OutputError if a poster of this size, lying there, could not be written where and as `config` says."""
    if config.output is not None:
        pictures.check_output(config.output, height, width, 3, config.bits, config.compression, config.cog)
        pictures.check_sidecars(config.output, georef)
    elif config.bits != 8 or config.compression or config.cog:
        raise OutputError(f"{config.tiles}: bits, compression and cog are for the poster's file; tiles have 8 bits")
    if config.tiles is not None:
        pictures.check_xyz(config.tiles)
    check_overlay(config, height, width, overlay)


def remarks(
    config: RenderConfig, height: int, width: int, overlay: pictures.Picture | None, has_alpha: bool
) -> list[str]:
    """What the user should know of the files of this size that `config` asks for."""
    found = overlay_notes(overlay, height, width)
    if has_alpha and config.output is not None and not pictures.check_output(config.output).alpha:
        found.append(f"{config.output}: this format holds no transparency; the poster is shown on white")
    return found


def write_view(view: View, config: RenderConfig, overlay: pictures.Picture | None) -> Exported:
    """Write what a view shows, where and as `config` says. overlay: the picture that it names, as it was when it was
    checked; PictureChangedError is raised where the file is another by now."""
    size, georef, metadata = (view.height, view.width), georef_of_view(view), _metadata(view)
    check_files(config, *size, overlay, georef)
    if config.output is not None:
        pictures.write_picture(
            config.output,
            *size,
            _pixels(view, overlay, pictures.check_output(config.output).alpha),
            bits=config.bits,
            dpi=config.dpi,
            georef=georef,
            metadata=metadata,
            compression=config.compression,
            quality=config.jpeg_quality,
            cog=config.cog,
        )
    if config.tiles is not None:
        pictures.write_xyz(
            config.tiles,
            *size,
            _pixels(view, overlay, True),
            georef=georef,
            metadata=metadata,
            quality=config.jpeg_quality,
        )
    outputs = tuple(path for path in (config.output, config.tiles) if path is not None)
    return Exported(outputs, view.level, *size, view.steps, tuple(remarks(config, *size, overlay, has_alpha(view))))


def staged(bands: Iterable[np.ndarray], stages: Sequence[Stage]) -> Iterator[np.ndarray]:
    """Every band through every stage."""
    y = 0
    for band in bands:
        rows = band.shape[1]
        for stage in stages:
            band = stage(band, y)
        yield band
        y += rows


def has_alpha(view: View) -> bool:
    return view.store.has_picture(_alpha_path(view))


def _pixels(view: View, overlay: pictures.Picture | None, keeps_alpha: bool) -> Iterator[np.ndarray]:
    """A level's pixels on their way out: what is done to them, in this order."""
    stages: list[Stage] = []
    if has_alpha(view):
        stages.append(_alpha_stage(view, keeps_alpha))
    if overlay is not None:
        stages.append(overlay_stage(overlay, view.height, view.width, view.band_height))
    return staged(view.bands(), stages)


def _alpha_stage(view: View, keeps_alpha: bool) -> Stage:
    """The content's transparency as a fourth channel, or the poster on white.

    See `with_alpha`.
    """

    def stage(band: np.ndarray, y: int) -> np.ndarray:
        rect = Rect(y, 0, y + band.shape[1], view.width).shifted(view.box.y0, view.box.x0)
        found = with_alpha(view, band, rect)
        return found if keeps_alpha else found[:3] * found[3:] + (1 - found[3:])

    return stage


def with_alpha(view: View, pixels: np.ndarray, rect: Rect) -> np.ndarray:
    """A part of a level [3, h, w] with the content's transparency there, [4, h, w].

    What was rendered is the content on white, so the white is taken out again: soft edges would have a pale fringe."""
    alpha = view.store.read_picture(_alpha_path(view), rect)
    own = np.clip((pixels - (1 - alpha)) / np.maximum(alpha, 1 / 65535), 0, 1)
    colours = np.where(alpha > 0, own, pixels).astype(pixels.dtype)
    return np.concatenate([colours, alpha.astype(pixels.dtype)])


def _alpha_path(view: View) -> str:
    return f"levels/{view.level}/alpha"


def georef_of_view(view: View) -> pictures.Georef | None:
    """Where what a view shows lies; None where that is not known. Raises StoreError."""
    found = identity.table(view.store.attributes, "place")
    if not found.get("georef"):
        return None
    try:
        georef = typed(found["georef"], pictures.Georef, "place.georef")
        size = typed(found.get("size"), tuple[int, int], "place.size")
    except ValueError as error:
        raise StoreError(f"store {view.store.url}: cannot be read: {error}") from None
    whole = view.job.cut.levels[view.level]
    return georef.scaled(size, (whole.height, whole.width)).cropped(view.box.y0, view.box.x0)


def _metadata(view: View) -> dict[str, str]:
    settings = identity.settings(identity.load_config(view.store))
    return {"Software": f"tiler {__version__}", "Description": json.dumps(settings)}
