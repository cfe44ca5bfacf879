"""VGG-19's layers by name, and how far they see."""

from __future__ import annotations

from collections.abc import Sequence

from tiler.errors import ConfigError

BLOCKS = (2, 2, 4, 4, 4)
NAMES = tuple(f"{block}_{i}" for block, n in enumerate(BLOCKS, 1) for i in range(1, n + 1))
LAYERS = tuple(f"relu{name}" for name in NAMES)


def check_layers(layers: Sequence[str], option: str) -> None:
    """Raise ConfigError when a layer is not one of VGG-19's ReLUs."""
    for layer in layers:
        if layer not in LAYERS:
            raise ConfigError(f"{option}: unknown layer '{layer}'; allowed: relu1_1 to relu5_4, such as relu4_1")


def block_of(layer: str) -> int:
    return int(layer[4])


def stride_of(layer: str) -> int:
    """Pixels per feature cell of a layer, along each axis."""
    return 2 ** (block_of(layer) - 1)


def deepest(layers: Sequence[str]) -> str:
    return max(layers, key=LAYERS.index)


def trunk_to(layer: str) -> list[str]:
    return list(LAYERS[: LAYERS.index(layer) + 1])


def _receptive_reach(layer: str, cell: int) -> int:
    """First pixel row that feature row `cell` depends on, in an image without borders (negative: above row 0)."""
    names = trunk_to(layer)
    for i in reversed(range(len(names))):
        cell -= 1
        if i and block_of(names[i]) != block_of(names[i - 1]):
            cell *= 2
    return cell


def statistics_halo(layers: Sequence[str]) -> int:
    """Pixels around a box (on multiples of the stride) that its feature cells depend on."""
    return max(-_receptive_reach(layer, 0) for layer in layers)


def gradient_halo(layers: Sequence[str]) -> int:
    """Pixels around a box that the gradient of its pixels depends on: out to the farthest cell that sees the box, and
    from there to the farthest pixel that this cell sees."""
    reach = 0
    for layer in layers:
        names = trunk_to(layer)
        cell = 0
        for i in range(len(names)):
            if i and block_of(names[i]) != block_of(names[i - 1]):
                cell = cell // 2
            cell -= 1
        reach = max(reach, -_receptive_reach(layer, cell))
    return reach
