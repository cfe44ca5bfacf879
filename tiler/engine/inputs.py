"""What the tiles of a level see in every round and do not change: the content's features, what of it is to be kept, and
where the regions are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tiler.engine import optimize
from tiler.engine.workplace import Planes, Workplace
from tiler.geometry import Tile
from tiler.style.guides import Guides


@dataclass(frozen=True)
class Raw:
    """As the store has it, over a tile's read area: content [3, h, w], None where nobody asks for it; the regions that
    lie there, and where; how much of the content is to be kept [1, h, w]."""

    content: np.ndarray | None
    planes: Planes
    protected: np.ndarray | None


@dataclass(frozen=True)
class Inputs:
    """On the device: the content's features [C, h, w] by layer, how much they count in each cell, and the regions."""

    content: dict[str, torch.Tensor]
    content_weights: dict[str, torch.Tensor]
    guides: Guides

    @property
    def held_bytes(self) -> int:
        planes = () if self.guides.planes is None else self.guides.planes.values()
        return sum(one.nbytes for one in (*self.content.values(), *self.content_weights.values(), *planes))


class LevelInputs:
    """Those of a level's tiles. As many as `limit` bytes hold are kept, and none is evicted: tiles come in cycles, and
    the last would push out the first."""

    def __init__(self, here: Workplace, level: int, limit: float) -> None:
        self._here, self._level, self._left = here, level, limit
        self._kept: dict[int, Inputs] = {}

    def read(self, tile: Tile) -> Raw | None:
        """None where they are kept."""
        return None if tile.index in self._kept else self._read(tile)

    def _read(self, tile: Tile) -> Raw:
        here, level = self._here, self._level
        path = f"levels/{level}/content"
        content = here.optimised(here.picture(level, path, tile.read)) if here.job.content_weight else None
        return Raw(content, here.level_guides(level, tile.read), here.protected(level, tile.read))

    def of(self, tile: Tile, raw: Raw | None, precision: str) -> Inputs:
        """On the computing thread. raw: what `read` gave."""
        kept = self._kept.get(tile.index)
        if kept and precision == self._here.job.precision:
            return kept
        found = self._made(raw or self._read(tile), precision)
        if not kept and precision == self._here.job.precision and found.held_bytes <= self._left:
            self._left -= found.held_bytes
            self._kept[tile.index] = found
        return found

    def _made(self, raw: Raw, precision: str) -> Inputs:
        here, layers = self._here, self._here.objective(self._level).content_layers
        content: dict[str, torch.Tensor] = {}
        if raw.content is not None and layers:
            content = optimize.content_features(here.backbones[precision], here.tensor(raw.content), layers)
        return Inputs(content, here.content_weights(raw.protected), here.guides(*raw.planes, here.job.style_layers))
