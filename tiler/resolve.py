"""From what the user said to what will be done: every derived value is decided here, once, before the first task."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from tiler import ground, sizes
from tiler.config import RenderConfig
from tiler.engine.job import Job
from tiler.engine.place import absolute
from tiler.engine.schedule import cores, memory_bytes
from tiler.errors import ConfigError
from tiler.geometry import Level, level_sizes
from tiler.pictures import Picture
from tiler.style.backbone import best_precision, check_layers, deepest, gradient_halo, stride_of
from tiler.style.weights import load_weights

# Steps by the level's long edge, coarse to fine: coarse levels are cheap and decide the composition, fine levels
# only add the texture that the upscaled start lacks. See benchmarks/results/defaults.md.
DEFAULT_STEPS = ((128, 150), (256, 100), (512, 60), (1024, 40), (1 << 30, 20))
RATE_PER_LEVEL = 2**-0.5
FEATHER, FAST_HALO, STEPS_PER_ROUND = 16, 48, 2
LARGEST_TILE = 1024
# Peak memory of a step per pixel of the read area: activations kept for the backward pass and the working memory of
# the widest convolutions. Measured at 1024 px: 2540 in fp32, 1370 in bf16.
BYTES_PER_PIXEL = {"fp64": 5400, "fp32": 2700, "bf16": 1450, "fp16": 1450}
MEMORY_SHARE = 0.6


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


def visible_gpus(job: Job) -> list[str]:
    """Names of the GPUs that workers here share out among them, as CUDA_VISIBLE_DEVICES has them."""
    if job.device != "cuda":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]


def resolve_config(config: RenderConfig, content: Picture, styles: list[Picture]) -> tuple[RenderConfig, Job]:
    """The configuration with every None replaced, and the job that it means on this machine.

    styles: the pictures of `config.regions.sources`. Raises ConfigError when values do not fit each other or the
    pictures.
    """
    config = ground.settle_ground(settle_size(config, content), content, styles)
    scales = ground.style_scales(config, content, styles)
    size = poster_size(config, content)
    regions = config.regions
    check_layers(config.style_layers, "style_layers")
    check_layers(config.content_layers, "content_layers")
    dream = (config.dream_layer,) if config.dream_weight else ()
    check_layers(dream, "dream_layer")
    convs = load_weights(config.weights)
    channels = {f"relu{conv.name}": len(conv.bias) for conv in convs}
    _check_channel(config, channels)
    device = _device(config.device)
    gpus = torch.cuda.device_count() if device == "cuda" else 0
    workers = config.workers or max(1, gpus)
    threads = config.threads or max(1, cores() // workers)
    precision = best_precision(device) if config.precision == "auto" else config.precision
    layers = tuple(dict.fromkeys((*config.style_layers, *config.content_layers, *dream)))
    align = stride_of(deepest(layers))
    levels = _levels(config, size, align)
    exact = config.mode == "exact"
    halo = config.halo if config.halo is not None else gradient_halo(layers) if exact or dream else FAST_HALO
    feather = config.feather if config.feather is not None else 0 if exact else FEATHER
    tile = _tile(config, align, device, precision, workers, halo + feather, max(size))
    job = Job(
        id=uuid.uuid4().hex,
        levels=tuple(levels),
        style_sizes=tuple(tuple(map(partial(_style_size, level), styles, scales)) for level in levels),
        style_shares=tuple(config.style_blend_weights or (1.0,) * len(styles)),
        style_layer_weights=config.style_layer_weights or ((1.0,) * len(config.style_layers),) * len(styles),
        style_regions=tuple(source.region for source in regions.sources),
        style_masked=tuple(source.mask is not None for source in regions.sources),
        regions=regions.names,
        guided=regions.guided,
        style_layers=config.style_layers,
        content_layers=config.content_layers,
        style_weight=config.style_weight,
        content_weight=config.content_weight,
        protect_strength=config.protect_strength if config.protect else 0.0,
        tv_weight=config.tv_weight,
        dream_layer=config.dream_layer if config.dream_weight else None,
        dream_channel=config.dream_channel,
        dream_weight=config.dream_weight,
        jitter=config.jitter,
        keep_detail=config.keep_detail,
        init=config.init if config.init in ("content", "noise") else "picture",
        seed=config.seed,
        color=config.color,
        optimizer=config.optimizer,
        weights=config.weights,
        channels=tuple((layer, count) for layer, count in channels.items() if layer in layers),
        pooling=config.pooling,
        precision=precision,
        device=device,
        threads=threads,
        wrap=config.wrap,
        mode=config.mode,
        steps_per_round=config.steps_per_round or STEPS_PER_ROUND,
        tile=tile,
        feather=feather,
        halo=halo,
    )
    try:
        job.check()
    except ValueError as error:
        raise ConfigError(f"tile = {tile}: {error}") from None
    resolved = replace(
        config,
        steps=tuple(level.steps for level in levels),
        levels=len(levels),
        style_blend_weights=job.style_shares,
        precision=precision,
        device=device,
        workers=workers,
        threads=threads,
        steps_per_round=job.steps_per_round,
        tile=config.tile or tile,
        feather=feather,
        halo=halo,
    )
    return resolved, job


def notes(config: RenderConfig, job: Job, content: Picture, styles: list[Picture]) -> list[str]:
    """A line for every wish that is met in part only."""
    found, wanted, last = [], poster_size(config, content), job.levels[-1]
    if (content.height, content.width) != content.file_size:
        tall, wide = content.file_size
        part = f"cropped to the middle {content.width} x {content.height} px of {wide} x {tall}"
        found.append(f"{content.path}: {part}, to have the poster's shape")
    if (last.height, last.width) != wanted:
        found.append(
            f"wrap {job.wrap}: {last.width} x {last.height} px instead of {wanted[1]} x {wanted[0]}, since edges that "
            f"meet need a multiple of {job.align}"
        )
    return [*found, *ground.notes(config, job, content, styles)]


def _check_channel(config: RenderConfig, channels: Mapping[str, int]) -> None:
    last, channel = channels.get(config.dream_layer, 0) - 1, config.dream_channel
    if config.dream_weight and channel is not None and channel > last:
        raise ConfigError(f"dream_channel = {channel}; allowed: 0 to {last} at {config.dream_layer}, or none for all")


def _device(wanted: str) -> str:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device = cuda, but torch finds no CUDA GPU here; allowed: auto, cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def _levels(config: RenderConfig, size: tuple[int, int], align: int) -> list[Level]:
    # Feature cells would not meet over an edge that wraps if the last ones were cut off.
    multiples = align if "y" in config.wrap else 1, align if "x" in config.wrap else 1
    sizes = level_sizes(*size, min(config.min_edge, max(size)), config.levels, multiples)
    if config.steps is None:
        steps = [next(n for edge, n in DEFAULT_STEPS if max(hw) <= edge * 1.25) for hw in sizes]
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


def _tile(config: RenderConfig, align: int, device: str, precision: str, workers: int, margin: int, edge: int) -> int:
    """The largest tile core: as asked, or the largest power of two up to LARGEST_TILE that one worker can hold.

    The number of workers does not come in, since it must not change the picture; they must all fit, though.
    """
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else memory_bytes()
    per_device = -(-workers // torch.cuda.device_count()) if device == "cuda" else workers
    budget = free * MEMORY_SHARE
    if config.tile is not None:
        return max(align, config.tile // align * align)
    side = math.isqrt(int(budget / BYTES_PER_PIXEL[precision])) - 2 * margin
    tile = max(align, min(LARGEST_TILE, 2 ** int(math.log2(max(side, 64)))))
    need = (min(tile, edge) + 2 * margin) ** 2 * BYTES_PER_PIXEL[precision]
    if per_device > 1 and need * per_device > budget:
        most = max(1, int(budget / need))
        raise ConfigError(
            f"workers = {workers} need {need * workers / 1e9:.1f} GB for tiles of {tile} px, and "
            f"{free / 1e9:.1f} GB are free; allowed: up to {most}, or a smaller --tile"
        )
    return tile
