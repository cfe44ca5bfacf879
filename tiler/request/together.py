"""Whether options fit each other: what one allows where another has some value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiler.errors import ConfigError
from tiler.request.sizes import SIZES

if TYPE_CHECKING:
    from tiler.request.config import RenderConfig


def check_together(config: RenderConfig) -> None:
    """Raise ConfigError naming the first that do not, and what is allowed."""
    _check_files(config)
    _check_terms(config)
    _check_transfer(config)
    _check_styles(config)
    _check_shares(config)


def _check_files(config: RenderConfig) -> None:
    if config.content is None and config.regions.guided:
        raise ConfigError("regions lie on a content; without one, allowed: styles for the whole poster")
    if config.content is None and (config.content_gsd or config.style_gsd):
        raise ConfigError("content_gsd and style_gsd compare the styles with a content; without one, allowed: none")
    if config.at is not None:
        for name in ("tiles", "overlay"):
            if getattr(config, name) is not None:
                raise ConfigError(f"{name} = {getattr(config, name)}: is of a whole poster; with at, allowed: none")
    if config.output is None and config.tiles is None:
        raise ConfigError("output and tiles are missing; at least one is needed")
    given = [name for name in SIZES if getattr(config, name) is not None]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} are given; allowed: one of {', '.join(SIZES)}")


def _check_terms(config: RenderConfig) -> None:
    if config.style_weight == config.content_weight == config.tv_weight == config.dream_weight == 0:
        raise ConfigError("style_weight, content_weight and tv_weight are all 0; at least one must be above 0")
    if config.jitter and (config.content_weight or config.regions.guided or config.optimizer == "lbfgs"):
        raise ConfigError(
            f"jitter = {config.jitter} moves the grid that regions and content features lie on; allowed: with "
            "content_weight 0, without regions, with adam"
        )
    if config.calm and not tells_calm(config):
        raise ConfigError(
            f"calm = {config.calm:g} tells calm from busy in a content; without one, with jitter or transfer color, "
            "allowed: 0"
        )
    if config.protect is not None and not config.content_weight:
        raise ConfigError(f"protect = {config.protect} raises the content's weight, which is 0; allowed: above 0")
    if config.lines and config.content is None:
        raise ConfigError(f"lines = {config.lines:g} keeps a content's edges; without a content, allowed: 0")
    for name in ("style_layers", "content_layers"):
        layers = getattr(config, name)
        if len(set(layers)) < len(layers):
            raise ConfigError(f"{name} = {list(layers)}; allowed: each layer once")
    if config.wrap != "none" and config.optimizer == "lbfgs":
        raise ConfigError("optimizer = lbfgs needs tiles without neighbours; with wrap, allowed: adam")
    if not config.style_layers:
        raise ConfigError("style_layers is empty; allowed: one or more layers such as relu4_1")
    if config.content_weight > 0 and not config.content_layers:
        raise ConfigError("content_layers is empty but content_weight is above 0")


def tells_calm(config: RenderConfig) -> bool:
    """Whether a picture says where it is calm, and stays where it is."""
    return config.content is not None and config.transfer == "style" and not config.jitter


# What has a meaning only where something is minimised, or a picture is begun with.
_OF_STEPS = ("init", "color", "keep_detail", "protect", "lines", "dream_weight", "jitter", "optimizer", "at")


def _check_transfer(config: RenderConfig) -> None:
    if config.transfer == "style":
        return
    if config.content is None:
        raise ConfigError("transfer = color gives a content other colours; allowed: with a content")
    for name in _OF_STEPS:
        value, plain = getattr(config, name), getattr(type(config), name)
        if value != plain:
            said = "none" if plain is None else plain
            raise ConfigError(f"{name} = {value}: with transfer color, which takes no steps, allowed: {said}")
    if config.steps is not None and any(config.steps):
        raise ConfigError(f"steps = {list(config.steps)}: with transfer color, which takes none, allowed: 0")
    if config.levels not in (None, 1):
        raise ConfigError(f"levels = {config.levels}: with transfer color, which is done at once, allowed: 1")


def _check_styles(config: RenderConfig) -> None:
    regions, layers = config.regions, len(config.style_layers)
    count = len(regions.sources)
    ground = config.style_gsd
    if (ground or config.content_gsd) and config.style_scale != type(config).style_scale:
        raise ConfigError("style_scale and a ground scale are given; content_gsd and style_gsd decide the scale")
    if ground is not None and len(ground) not in (1, count):
        raise ConfigError(f"style_gsd = {list(ground)}; allowed: one, or one per style ({count})")
    if len(config.style_scale) not in (1, count):
        raise ConfigError(f"style_scale = {list(config.style_scale)}; allowed: one, or one per style ({count})")
    blend, by_layer = config.style_blend_weights, config.style_layer_weights
    if blend is not None and len(blend) != count:
        raise ConfigError(f"style_blend_weights = {list(blend)}; allowed: one per style ({count}), not all 0")
    if by_layer and (len(by_layer) != count or any(len(one) != layers for one in by_layer)):
        found = " and ".join(",".join(f"{value:g}" for value in one) for one in by_layer)
        each = f"of {layers} numbers, one per style layer"
        raise ConfigError(f"style_layer_weights = {found}; allowed: {count} lists, one per style, {each}")


def _check_shares(config: RenderConfig) -> None:
    """Of each region's styles."""
    regions, layers = config.regions, len(config.style_layers)
    blend, by_layer = config.style_blend_weights, config.style_layer_weights
    for region, name in enumerate(regions.names):
        styles = [i for i, source in enumerate(regions.sources) if source.region == region]
        where = f" of region '{name}'" if regions.guided else ""
        if blend is not None and not any(blend[i] for i in styles):
            raise ConfigError(f"style_blend_weights = {list(blend)}; allowed: one per style{where}, not all 0")
        for layer in range(layers if by_layer else 0):
            if not any(by_layer[i][layer] * (blend[i] if blend else 1) for i in styles):
                raise ConfigError(
                    f"style_layer_weights are all 0 at {config.style_layers[layer]}{where}; allowed: one above 0"
                )
