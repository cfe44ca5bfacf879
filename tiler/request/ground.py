"""Ground scale: how large styles must be for forests and dunes to have their true size on the poster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tiler.engine.job import Job
from tiler.errors import ConfigError, PictureError
from tiler.pictures import Picture, metres_per_pixel
from tiler.request import sizes
from tiler.request.config import RenderConfig

# A smaller style has next to nothing to measure in the deeper layers: four cells of relu5_1 along its longer side.
LEAST_STYLE = 64


def settle_ground(config: RenderConfig, content: Picture, styles: Sequence[Picture]) -> RenderConfig:
    """The same configuration with ground scales as numbers, one per style. What is not said is read from the pictures'
    georeference. Raises ConfigError where there is none to be read."""
    if config.content_gsd is None and config.style_gsd is None:
        return config
    ours = sizes.parse_gsd(config.content_gsd or sizes.AUTO) or _read(content, "content_gsd")
    theirs = config.style_gsd or tuple(_read(style, "style_gsd") for style in styles)
    theirs = theirs * len(styles) if len(theirs) == 1 else theirs
    return replace(config, content_gsd=repr(ours), style_gsd=theirs)


def style_scales(config: RenderConfig, content: Picture, styles: Sequence[Picture]) -> list[float]:
    """The longer side of every style over the longer side of the poster, at any level: as asked for, or so that both
    show as many metres a pixel. config: after `settle_ground`."""
    if config.style_gsd is None:
        scales = config.style_scale
        return list(scales if len(scales) > 1 else scales * len(styles))
    across = _content_gsd(config) * _edge(content)
    return [gsd * _edge(style) / across for gsd, style in zip(config.style_gsd, styles, strict=True)]


def notes(config: RenderConfig, job: Job, content: Picture, styles: Sequence[Picture]) -> list[str]:
    """A line for every style whose true size cannot be reached, or is too small to be learnt from."""
    found, edge = [], max(job.cut.last.height, job.cut.last.width)
    across = _content_gsd(config) * _edge(content) if config.style_gsd else 0.0
    for gsd, style, (height, width) in zip(config.style_gsd or (), styles, job.styles.sizes[-1], strict=False):
        times = gsd * edge / across
        if times > 1.01:
            found.append(
                f"{style.path}: its pixels show {gsd:.4g} m, the poster's {across / edge:.4g} m; styles are never "
                f"enlarged, so its features are {times:.3g} times too small (true size: up to {int(across / gsd)} px)"
            )
        elif max(height, width) < LEAST_STYLE:
            found.append(
                f"{style.path}: at its true size it has only {width} x {height} px beside the poster's {edge}; "
                "better: a style picture that shows more ground, or a larger poster"
            )
    return found


def _read(picture: Picture, option: str) -> float:
    try:
        return metres_per_pixel(picture)
    except PictureError as error:
        raise ConfigError(f"{option} = auto: {error}; allowed: metres per pixel") from None


def _content_gsd(config: RenderConfig) -> float:
    return sizes.parse_gsd(config.content_gsd or sizes.AUTO) or 1.0


def _edge(picture: Picture) -> int:
    return max(picture.height, picture.width)
