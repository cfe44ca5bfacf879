"""What a worker keeps between tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import numpy as np
import torch

from tiler.engine import optimize
from tiler.engine.blend import composite, repeated
from tiler.engine.job import Job
from tiler.engine.store import RenderStore
from tiler.errors import StoreError
from tiler.geometry import Rect, Tile
from tiler.style.backbone import Backbone
from tiler.style.colour import ColourMoments, colour_match
from tiler.style.grams import StyleTarget
from tiler.style.losses import Objective
from tiler.style.weights import load_weights

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}
CONTENT_CACHE_BYTES = 2**27
Computed = TypeVar("Computed")


@dataclass(frozen=True)
class Address:
    """Where a task finds its job. id guards against a store that was replaced while a worker lived on."""

    url: str
    id: str


class Workplace:
    """The open store, the job and the backbone on its device.

    A worker runs two tasks at once, so that one reads or writes the store while the other computes. All of torch's work
    is done on one thread, hence one tile at a time.
    """

    def __init__(self, address: Address) -> None:
        self.store = RenderStore.open(address.url)
        self.job = Job.from_dict(self.store.attributes["job"])
        if self.job.id != address.id:
            raise StoreError(f"store {address.url}: holds job {self.job.id}, expected {address.id}")
        self._thread = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(self.job.threads,))
        # TF32 keeps ten bits of what fp32 promises.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self._objectives: dict[int, Objective] = {}
        self._content: dict[tuple[int, int], dict[str, torch.Tensor]] = {}
        convs = load_weights(self.job.weights)
        self.backbone = Backbone(convs, self.job.layers, self.job.pooling, DTYPES[self.job.precision], self.job.device)
        self.dtype = getattr(torch, self.job.state_dtype)

    def compute(self, function: Callable[..., Computed], *arguments: Any) -> Computed:
        """Call `function` where torch's work is done, and wait for it."""
        return self._thread.submit(function, *arguments).result()

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """A writable copy on the device, in the state's dtype."""
        return torch.tensor(array, dtype=self.dtype, device=self.job.device)

    @cached_property
    def colours(self) -> np.ndarray:
        """[3, 4] map from the content's colours to the styles', taken at the coarsest level."""
        content = ColourMoments.of(self.store.picture_bands("levels/0/content"))
        shares = self.job.style_shares
        styles = [ColourMoments.of(self.store.picture_bands(f"styles/0/{s}/picture")) for s in range(len(shares))]
        return colour_match(content, ColourMoments.blended(styles, shares))

    def objective(self, level: int) -> Objective:
        if level not in self._objectives:
            self._objectives = {level: self._objective(level)}
        return self._objectives[level]

    def _objective(self, level: int) -> Objective:
        job, shares = self.job, self.job.style_shares
        grams = [
            {layer: self.tensor(self.store.read_total(f"styles/{level}/{s}", 0, layer)) for layer in job.layers}
            for s in range(len(shares))
        ]
        size = job.levels[level]
        return Objective(
            StyleTarget.blended(grams, shares),
            job.style_layers,
            job.content_layers if job.content_weight else (),
            job.style_weight,
            job.content_weight,
            job.tv_weight,
            size.height,
            size.width,
        )

    def read_content(self, level: int, tile: Tile) -> np.ndarray | None:
        """The content over a tile's read area, or None where nobody will ask for it."""
        if (level, tile.index) in self._content or not self.job.content_weight:
            return None
        return self.picture(level, f"levels/{level}/content", tile.read)

    def picture(self, level: int, path: str, rect: Rect) -> np.ndarray:
        """[3, h, w] of a picture of a level's size; `rect` may reach beyond an edge that wraps."""
        size = self.job.levels[level]
        return repeated(rect, (size.height, size.width), lambda part: self.store.read_picture(path, part))

    def content_features(self, level: int, tile: Tile, content: np.ndarray | None) -> dict[str, torch.Tensor]:
        """The features of what `read_content` gave. They are the same in every round of a level, so as many as a fixed
        number of bytes holds are kept. None is evicted: tiles come in cycles, and the last would push out the first.
        """
        key = level, tile.index
        if key in self._content:
            return self._content[key]
        if content is None:
            return {}
        layers = self.objective(level).content_layers
        found = optimize.content_features(self.backbone, self.tensor(content), layers)
        self._content = {known: kept for known, kept in self._content.items() if known[0] == level}
        held = sum(one.nbytes for kept in (found, *self._content.values()) for one in kept.values())
        if held <= CONTENT_CACHE_BYTES:
            self._content[key] = found
        return found

    def state(self, level: int, state: int, rect: Rect, kind: str) -> np.ndarray:
        """[3, h, w] "pixels" or [6, h, w] "moments" of a level's state, blended over `rect`."""
        return composite(
            self.job.grid(level),
            rect,
            lambda tile, part: self.store.read_patch(level, state % 2, tile, part, kind),
        )


def workplace(address: Address) -> Workplace:
    """The worker's one workplace; another job's takes the place of the last."""
    with _ONE_AT_A_TIME:
        return _workplace(address)


_ONE_AT_A_TIME = threading.Lock()
_workplace = lru_cache(maxsize=1)(Workplace)
