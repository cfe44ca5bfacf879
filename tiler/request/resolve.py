"""From what the user said to what will be done: every derived value is decided here, once, before the first task."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tiler.engine.cut import Cut
from tiler.engine.job import Device, Job, Look, Network, Styles
from tiler.engine.machine import ANY, Machine
from tiler.engine.place import absolute
from tiler.errors import ConfigError
from tiler.geometry import Level, level_sizes
from tiler.pictures import Picture
from tiler.request import ground, schedules, sizes
from tiler.request.config import RenderConfig
from tiler.request.placing import LARGEST_TILE, aligned, checked, placed
from tiler.style.layers import LAYERS, check_layers, deepest, gradient_halo, stride_of
from tiler.style.terms import Dream, Terms
from tiler.style.trunk import Trunk, trunk_of

RATE_PER_LEVEL = 2**-0.5
FEATHER, FAST_HALO, STEPS_PER_ROUND = 16, 48, 2
# Numbers of one layer's features that a 32-bit index tells apart.
INDEXABLE = 2**31

Record = TypeVar("Record")


def poster_size(config: RenderConfig, content: Picture) -> tuple[int, int]:
    """(height, width) that the configuration asks for. Raises ConfigError."""
    said = (config.long_edge, config.size, config.scale, config.print, config.dpi)
    return sizes.poster_size((content.height, content.width), *said)


def settle_size(config: RenderConfig, content: Picture) -> RenderConfig:
    """The same configuration with the poster's size in pixels, however it was said. Raises ConfigError."""
    height, width = poster_size(config, content)
    dpi = sizes.PRINT_DPI if config.dpi is None and config.print is not None else config.dpi
    return replace(config, long_edge=None, scale=None, print=None, size=f"{width}x{height}", dpi=dpi)


def fitted(config: RenderConfig, content: Picture) -> Picture:
    """The content, or the middle part of it that has the poster's shape.

    Raises ConfigError where that would cut off edges that are to meet.
    """
    height, width = poster_size(config, content)
    y0, x0, y1, x1 = sizes.content_crop((content.height, content.width), (height, width))
    for axis, cut in (("y", y1 - y0 < content.height), ("x", x1 - x0 < content.width)):
        if cut and axis in config.wrap:
            raise ConfigError(
                f"wrap = {config.wrap}: {width} x {height} px would crop the content along {axis}; allowed: the "
                f"content's shape, {content.width}:{content.height}"
            )
    return content.cropped((y0, x0, y1, x1))


def store_url(config: RenderConfig) -> str:
    """Where the job's state lives: unless the user says, named after the poster, and never the poster itself. Absolute,
    since workers may have another current folder."""
    poster = Path(config.target)
    beside = poster.with_suffix(".job.zarr" if poster.suffix.lower() == ".zarr" else ".zarr")
    return absolute(config.store or str(beside))


def resolve_config(
    config: RenderConfig,
    content: Picture,
    styles: list[Picture],
    machine: Machine = ANY,
    trunk: Trunk | None = None,
) -> tuple[RenderConfig, Job]:
    """The configuration with every None replaced, and the job that it means on this machine: `meant`, then `placed`."""
    return placed(*meant(settle_size(config, content), content, styles, trunk), machine)


def meant(
    config: RenderConfig, content: Picture, styles: list[Picture], trunk: Trunk | None = None
) -> tuple[RenderConfig, Job]:
    """What does not depend on the machine: the configuration with ground scales as numbers, and the job, in the largest
    tiles, as some machine would have it.

    config: after `settle_size`. styles: the pictures of `config.regions.sources`. trunk: of `config.weights`, where
    that has been read. Raises ConfigError when values do not fit each other or the pictures.
    """
    config = ground.settle_ground(config, content, styles)
    terms = _terms(config)
    trunk = trunk or trunk_of(config.weights)
    _check_channel(config, trunk.channels)
    size = sizes.unrounded(poster_size(config, content), (content.height, content.width))
    cut = _cut(config, size, terms)
    job = Job(
        id=uuid.uuid4().hex,
        terms=terms,
        styles=_styles(config, cut, styles, ground.style_scales(config, content, styles)),
        network=Network(config.weights, trunk.sha256, _used(trunk.channels, terms), config.pooling),
        look=taken(Look, config, init=config.init if config.init in ("content", "noise") else "picture"),
        cut=cut,
        device=Device("cpu", "fp32" if config.precision == "auto" else config.precision, config.threads or 1),
    )
    _check_tiles(checked(job), trunk.channels)
    return config, job


def taken(record: Callable[..., Record], config: RenderConfig, **decided: Any) -> Record:
    """A record of the job, its fields as the configuration has them by the same names, but for what is decided here: an
    option that is passed on as it is needs no more than its field."""
    names = [item.name for item in fields(record) if item.name not in decided]  # type: ignore[arg-type]
    return record(**decided, **{name: getattr(config, name) for name in names})


def _terms(config: RenderConfig) -> Terms:
    dream = None
    if config.dream_weight:
        dream = Dream(config.dream_layer, config.dream_channel, config.dream_weight)
    strength = config.protect_strength if config.protect else 0.0
    for name, layers in (("style_layers", config.style_layers), ("content_layers", config.content_layers)):
        check_layers(layers, name)
    check_layers((dream.layer,) if dream else (), "dream_layer")
    return taken(Terms, config, protect_strength=strength, dream=dream)


def _used(channels: Mapping[str, int], terms: Terms) -> tuple[tuple[str, int], ...]:
    return tuple((layer, count) for layer, count in channels.items() if layer in terms.layers)


def _styles(config: RenderConfig, cut: Cut, styles: list[Picture], scales: list[float]) -> Styles:
    regions, calm = config.regions, bool(config.calm_share)
    by_source = zip(regions.sources, styles, strict=True)
    found = Styles(
        sizes=tuple(tuple(map(partial(_style_size, level), styles, scales)) for level in cut.levels),
        shares=config.style_shares,
        layer_weights=config.style_layer_weights or ((1.0,) * len(config.style_layers),) * len(styles),
        owners=tuple(source.region for source in regions.sources),
        masked=tuple(calm or source.mask is not None or style.in_part for source, style in by_source),
        regions=regions.names,
        guided=calm or regions.guided,
    )
    return _in_halves(found) if calm else found


def _in_halves(styles: Styles) -> Styles:
    """What is not calm in each region, then what is, each a region with the region's styles."""
    count = len(styles.regions)
    return replace(
        styles,
        sizes=tuple(sizes * 2 for sizes in styles.sizes),
        shares=styles.shares * 2,
        layer_weights=styles.layer_weights * 2,
        owners=(*styles.owners, *(owner + count for owner in styles.owners)),
        masked=styles.masked * 2,
        regions=(*styles.regions, *(f"{name}, calm" for name in styles.regions)),
    )


def _cut(config: RenderConfig, size: tuple[float, float], terms: Terms) -> Cut:
    """In the largest tiles. size: (height, width) of the poster, not rounded yet."""
    exact, align = config.mode == "exact", stride_of(deepest(terms.layers))
    far = gradient_halo(terms.layers) if exact or terms.dream else FAST_HALO
    near = 0 if exact else FEATHER
    levels = tuple(_levels(config, size, align))
    return taken(
        Cut,
        config,
        levels=levels,
        align=align,
        tile=aligned(config.tile or max(LARGEST_TILE.values()), align),
        feather=near if config.feather is None else config.feather,
        halo=far if config.halo is None else config.halo,
        steps_per_round=config.steps_per_round or STEPS_PER_ROUND,
        crop=_crop(config, levels[-1]),
        touched=None,
    )


def _crop(config: RenderConfig, last: Level) -> tuple[int, int, int, int] | None:
    """The square that is asked for, moved to where the poster has all of it; a side that the poster has not is cut."""
    if config.at is None:
        return None
    sides = min(config.edge, last.height), min(config.edge, last.width)
    (x, y), whole = sizes.parse_at(config.at), (last.height, last.width)
    y0, x0 = (
        min(max(0, round(at * size - side / 2)), size - side)
        for at, size, side in zip((y, x), whole, sides, strict=True)
    )
    return y0, x0, y0 + sides[0], x0 + sides[1]


def notes(config: RenderConfig, job: Job, content: Picture, styles: list[Picture]) -> list[str]:
    """A line for every wish that is met in part only."""
    found, wanted, last = [], poster_size(config, content), job.cut.last
    if (content.height, content.width) != content.file_size:
        tall, wide = content.file_size
        part = f"cropped to the middle {content.width} x {content.height} px of {wide} x {tall}"
        found.append(f"{content.path}: {part}, to have the poster's shape")
    if (last.height, last.width) != wanted:
        found.append(
            f"wrap {config.wrap}: {last.width} x {last.height} px instead of {wanted[1]} x {wanted[0]}, since edges "
            f"that meet need a multiple of {job.cut.align}"
        )
    return [*found, *ground.notes(config, job, content, styles)]


def _check_channel(config: RenderConfig, channels: Mapping[str, int]) -> None:
    last, channel = channels.get(config.dream_layer, 0) - 1, config.dream_channel
    if config.dream_weight and channel is not None and channel > last:
        raise ConfigError(f"dream_channel = {channel}; allowed: 0 to {last} at {config.dream_layer}, or none for all")


def _levels(config: RenderConfig, size: tuple[float, float], align: int) -> list[Level]:
    # Feature cells would not meet over an edge that wraps if the last ones were cut off.
    multiples = align if "y" in config.wrap else 1, align if "x" in config.wrap else 1
    colours = config.transfer == "color"
    sizes = level_sizes(*size, min(config.min_edge, round(max(size))), 1 if colours else config.levels, multiples)
    if colours:
        steps = [0]
    elif config.steps is None:
        steps = [schedules.steps_of(config.quality, *hw) for hw in sizes]
    elif len(config.steps) == 1:
        steps = list(config.steps) * len(sizes)
    elif len(config.steps) == len(sizes):
        steps = list(config.steps)
    else:
        edges = ", ".join(str(max(hw)) for hw in sizes)
        raise ConfigError(
            f"steps has {len(config.steps)} numbers; allowed: 1, or {len(sizes)} (levels of {edges} pixels)"
        )
    return [
        Level(i, *hw, steps[i], max(config.learning_rate * RATE_PER_LEVEL**i, config.learning_rate / 4))
        for i, hw in enumerate(sizes)
    ]


def _style_size(level: Level, style: Picture, size: float) -> tuple[int, int]:
    """The style keeps its size relative to the poster until its own pixels run out: enlarging it would teach the
    poster the blur of interpolation."""
    edge = max(level.height, level.width) * size
    scale = min(1.0, edge / max(style.height, style.width))
    return max(1, round(style.height * scale)), max(1, round(style.width * scale))


def _check_tiles(job: Job, channels: Mapping[str, int]) -> None:
    """Convolutions and kernels tell the numbers of a layer apart by 32 bits."""
    used = [layer for layer in channels if LAYERS.index(layer) <= LAYERS.index(deepest(job.terms.layers))]
    most = math.ceil(INDEXABLE / max(channels[layer] / stride_of(layer) ** 2 for layer in used)) - 1
    reads = [math.prod(job.cut.grid(level.index).read_shape) for level in job.cut.levels if level.steps]
    if max(reads, default=0) > most:
        side = math.isqrt(most)
        core = aligned(side - 2 * (job.cut.halo + job.cut.feather), job.cut.align)
        raise ConfigError(
            f"tile = {job.cut.tile}: reads {max(reads) / 1e6:.0f} million pixels at once, halo and feather included; "
            f"allowed: up to {side} x {side}, as --tile {core} does"
        )
