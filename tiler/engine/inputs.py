"""What the tiles of a level see in every round and do not change: the content's features, what of it is to be kept, and
where the regions are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tiler.engine.optimize import Inputs, content_features
from tiler.engine.workplace import Planes, Workplace
from tiler.geometry import Rect, Tile
from tiler.style.colour import recolour
from tiler.style.guides import Guides
from tiler.style.losses import lines_of


@dataclass(frozen=True)
class Raw:
    """As the store has it, over a tile's read area: content [3, h, w], None where nobody asks for it; the regions that
    lie there, and where; how much of the content is to be kept [1, h, w]."""

    content: np.ndarray | None
    planes: Planes
    protected: np.ndarray | None


class LevelInputs:
    """Those of a level's tiles. As many as `limit` bytes hold are kept, and none is evicted: tiles come in cycles, and
    the last would push out the first."""

    def __init__(self, here: Workplace, level: int, limit: float) -> None:
        self._here, self._level, self._left = here, level, limit
        self._kept: dict[int, Inputs] = {}
        self._regions: dict[tuple[int, Rect], tuple[int, ...]] = {}  # that lie in a part of a tile

    def read(self, tile: Tile) -> Raw | None:
        """None where they are kept."""
        return None if tile.index in self._kept else self._read(tile)

    def read_guides(self, tile: Tile, box: Rect) -> Planes | None:
        """Of a part of a tile's read area; None where they are kept."""
        if tile.index in self._kept and (tile.index, box) in self._regions:
            return None
        return self._here.level_guides(self._level, box)

    def guides(self, tile: Tile, box: Rect, planes: Planes | None) -> Guides:
        """Those of `box`, on the computing thread: cut out of the tile's own where these are kept. planes: what
        `read_guides` gave."""
        where, layers = (tile.index, box), self._here.job.terms.style_layers
        if planes is None:
            return self._kept[tile.index].guides.within(self._regions[where], box.relative_to(tile.read))
        self._regions[where] = planes[0]
        return self._here.guides(*planes, layers)

    def _read(self, tile: Tile) -> Raw:
        here, level = self._here, self._level
        path = f"levels/{level}/content"
        content = here.optimised(here.picture(level, path, tile.read)) if here.job.terms.sees_content else None
        return Raw(content, here.level_guides(level, tile.read), here.protected(level, tile.read))

    def of(self, tile: Tile, raw: Raw | None, precision: str) -> Inputs:
        """On the computing thread. raw: what `read` gave."""
        kept = self._kept.get(tile.index)
        if kept and precision == self._here.job.device.precision:
            return kept
        found = self._made(raw or self._read(tile), precision)
        if not kept and precision == self._here.job.device.precision and found.held_bytes <= self._left:
            self._left -= found.held_bytes
            self._kept[tile.index] = found
        return found

    def _made(self, raw: Raw, precision: str) -> Inputs:
        here, job = self._here, self._here.job
        layers = job.terms.compared
        content: dict[str, torch.Tensor] = {}
        if raw.content is not None and layers:
            content = content_features(here.backbones[precision], here.tensor(raw.content), layers)
        regions, planes = raw.planes
        where, kept = (None if one is None else here.tensor(one) for one in (planes, raw.protected))
        objective = here.objective(self._level).within(regions)
        weights = objective.content_weights(where, kept)
        usual = {} if where is None else {"all": objective.usual(where)}
        return Inputs(content, weights, Guides.of(regions, where, job.terms.style_layers), self._lines(raw), usual)

    def _lines(self, raw: Raw) -> dict[str, torch.Tensor]:
        here, (regions, planes) = self._here, raw.planes
        if raw.content is None or not here.job.terms.lines:
            return {}
        recoloured = recolour(raw.content, [here.content_colours[region] for region in regions], planes)
        return {"all": lines_of(here.tensor(raw.content), here.tensor(recoloured))}
