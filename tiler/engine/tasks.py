"""What workers run. Every task reads from the store, calls a pure function, writes to the store, and may be repeated.

Tasks take small arguments and return small dicts; pixels and statistics travel through the store only.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch

from tiler.engine import optimize
from tiler.engine.blend import composite, noise, upscale
from tiler.engine.job import Job
from tiler.engine.schedule import report
from tiler.engine.store import MEASURED, PATCHED, RenderStore
from tiler.errors import StoreError, TileTooLargeError
from tiler.geometry import Rect, Tile, TileGrid
from tiler.style.backbone import Backbone
from tiler.style.colour import ColourMoments, colour_match, recolour
from tiler.style.grams import StyleTarget, level_cells, measure_pixels
from tiler.style.losses import Objective
from tiler.style.weights import load_weights

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}
PIXELS, MOMENTS = slice(0, 3), slice(3, 9)
CONTENT_CACHE_BYTES = 2**29


@dataclass(frozen=True)
class Address:
    """Where a task finds its job. id guards against a store that was replaced while a worker lived on."""

    url: str
    id: str


class Workplace:
    """What a worker keeps between tasks: the open store, the job and the backbone on its device."""

    def __init__(self, address: Address) -> None:
        self.store = RenderStore.open(address.url)
        self.job = Job.from_dict(self.store.attributes["job"])
        if self.job.id != address.id:
            raise StoreError(f"store {address.url}: holds job {self.job.id}, expected {address.id}")
        torch.set_num_threads(self.job.threads)
        # TF32 keeps ten bits of what fp32 promises.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self._objectives: dict[int, Objective] = {}
        self._content: dict[tuple[int, int], dict[str, torch.Tensor]] = {}
        convs = load_weights(self.job.weights)
        self.backbone = Backbone(convs, self.job.layers, self.job.pooling, DTYPES[self.job.precision], self.job.device)
        self.dtype = getattr(torch, self.job.state_dtype)

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

    def content_features(self, level: int, tile: Tile) -> dict[str, torch.Tensor]:
        """The content's features over a tile's read area. They are the same in every round of a level, so as many as a
        fixed number of bytes holds are kept. None is evicted: tiles come in cycles, and the last would push out the
        first.
        """
        key = level, tile.index
        if key in self._content:
            return self._content[key]
        pixels = self.tensor(self.store.read_picture(f"levels/{level}/content", tile.read))
        found = optimize.content_features(self.backbone, pixels, self.objective(level).content_layers)
        self._content = {known: kept for known, kept in self._content.items() if known[0] == level}
        held = sum(one.nbytes for kept in (found, *self._content.values()) for one in kept.values())
        if held <= CONTENT_CACHE_BYTES:
            self._content[key] = found
        return found

    def state(self, level: int, state: int, rect: Rect, kinds: slice) -> np.ndarray:
        """[kinds, h, w] of a level's state, blended over `rect`."""
        return composite(
            self.job.grid(level),
            rect,
            lambda tile, part: self.store.read_patch(level, state % 2, tile, part, kinds),
        )


@lru_cache(maxsize=1)
def workplace(address: Address) -> Workplace:
    return Workplace(address)


def seed(address: Address, level: int, index: int) -> dict[str, Any]:
    """State 0 of a tile: the finished level before, enlarged; on the coarsest level what --init says."""
    here = workplace(address)
    store, job = here.store, here.job
    tile, size = job.grid(level).tile(index), job.levels[level]
    if level > 0:
        before = job.levels[level - 1]
        pixels = upscale(
            tile.blend,
            (size.height, size.width),
            (before.height, before.width),
            lambda rect: store.read_image(level - 1, rect),
        )
    elif job.init == "noise":
        pixels = noise(tile.blend, size.width, job.seed)
    elif job.init == "picture":
        pixels = store.read_picture("init", tile.blend)
    else:
        # The content in the style's colours: regions keep the order of their colours, sea bluest and desert palest,
        # and the optimiser need not guess which is which.
        pixels = recolour(store.read_picture("levels/0/content", tile.blend), here.colours)
    store.write_patch(level, 0, tile, pixels)
    store.mark(store.state_path(level), PATCHED, 0, index)
    return {"tile": index}


def measure_style(address: Address, level: int, style: int, index: int) -> dict[str, Any]:
    """Gram sums of one tile of a style picture."""
    here = workplace(address)
    tile, path = here.job.style_grid(level, style).tile(index), f"styles/{level}/{style}"
    pixels = here.tensor(here.store.read_picture(f"{path}/picture", tile.read))
    _write_measure(here, path, 0, index, pixels, here.job.layers, tile.core.relative_to(tile.read))
    return {"tile": index}


def measure_tile(address: Address, level: int, state: int, index: int) -> dict[str, Any]:
    """Gram sums of one tile of a level's state."""
    here = workplace(address)
    tile = here.job.grid(level).tile(index)
    box = here.job.measure_box(level, tile)
    pixels = here.tensor(here.state(level, state, box, PIXELS))
    _write_measure(
        here, here.store.state_path(level), state, index, pixels, here.job.style_layers, tile.core.relative_to(box)
    )
    return {"tile": index}


def _write_measure(
    here: Workplace, path: str, state: int, index: int, pixels: torch.Tensor, layers: tuple[str, ...], core: Rect
) -> None:
    sums = measure_pixels(here.backbone, pixels, layers, core).sums
    here.store.write_grams(path, state % 2, index, {layer: value.cpu().numpy() for layer, value in sums.items()})
    here.store.mark(path, MEASURED, state, index)


def add_up_style(address: Address, level: int, style: int) -> dict[str, Any]:
    """The normalised Grams of a style at a level's scale."""
    job = workplace(address).job
    _add_up(address, f"styles/{level}/{style}", 0, job.style_grid(level, style), job.layers)
    return {}


def add_up_level(address: Address, level: int, state: int) -> dict[str, Any]:
    """The normalised Grams of a whole level at `state`."""
    here = workplace(address)
    _add_up(address, here.store.state_path(level), state % 2, here.job.grid(level), here.job.style_layers)
    return {}


def _add_up(address: Address, path: str, slot: int, grid: TileGrid, layers: tuple[str, ...]) -> None:
    """All tiles' sums over all cells, added in tile order in float64: the same bytes whoever measured what."""
    store = workplace(address).store
    for layer in layers:
        total = sum(store.read_grams(path, slot, index, layer).astype(np.float64) for index in range(len(grid)))
        store.write_total(path, slot, layer, np.asarray(total) / level_cells(layer, grid.height, grid.width))


def relax_tile(address: Address, level: int, state: int, start: int, steps: int, index: int) -> dict[str, Any]:
    """One round on one tile: state -> state + 1."""
    began = time.perf_counter()
    here = workplace(address)
    tile = here.job.grid(level).tile(index)
    with _tile_must_fit(tile):
        problem = _problem(here, level, state, tile)

    def on_step(step: int, losses: optimize.TileLosses) -> None:
        report({"event": "step", "level": level, "round": state, "tile": index, "step": step, **_losses(losses)})

    with _tile_must_fit(tile):
        if here.job.uses_lbfgs(level):
            after, sums, losses = optimize.relax_lbfgs(problem, steps, on_step)
        else:
            moments = here.tensor(here.state(level, state, tile.blend, MOMENTS))
            size = here.job.levels[level]
            rates = [optimize.step_rate(step, size.steps, size.peak_rate) for step in range(start, start + steps)]
            after, sums, losses = optimize.relax(problem, moments[:3], moments[3:], start, rates, on_step)
    _write_state(here, level, state + 1, tile, after)
    if not here.job.measures_every_round(level):
        found = {layer: value.cpu().numpy() for layer, value in sums.sums.items()}
        here.store.write_grams(here.store.state_path(level), (state + 1) % 2, index, found)
    here.store.write_losses(level, state + 1, index, losses.content, losses.tv)
    here.store.mark(here.store.state_path(level), PATCHED, state + 1, index)
    return {"tile": index, "steps": steps, "seconds": time.perf_counter() - began, **_losses(losses)}


@contextlib.contextmanager
def _tile_must_fit(tile: Tile) -> Iterator[None]:
    """Tell an allocator's failure from other errors. torch has an exception of its own for it on CUDA only."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        signs = ("can't allocate memory", "ALLOC_FAILED", "out of memory")
        out_of_memory = isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)
        if not out_of_memory:
            raise
        raise TileTooLargeError(f"a tile of {tile.read.height} x {tile.read.width} pixels does not fit") from None


def _problem(here: Workplace, level: int, state: int, tile: Tile) -> optimize.TileProblem:
    path, slot = here.store.state_path(level), state % 2
    objective, core = here.objective(level), tile.core.relative_to(tile.read)
    total, reported = {}, {}
    for layer in here.job.style_layers:
        total[layer] = here.tensor(here.store.read_total(path, slot, layer))
        cells = level_cells(layer, tile.core.height, tile.core.width)
        reported[layer] = here.tensor(here.store.read_grams(path, slot, tile.index, layer)) / cells
    return optimize.TileProblem(
        here.backbone,
        objective,
        here.tensor(here.state(level, state, tile.read, PIXELS)),
        here.content_features(level, tile),
        core,
        tile.blend.relative_to(tile.read),
        total,
        reported,
    )


def _write_state(here: Workplace, level: int, state: int, tile: Tile, after: optimize.TileState) -> None:
    patch = torch.cat([after.pixels, after.first, after.second]).cpu().numpy()
    here.store.write_patch(level, state % 2, tile, patch)


def _losses(losses: optimize.TileLosses) -> dict[str, Any]:
    return {"style": float(np.mean(list(losses.style.values()))), "content": losses.content, "tv": losses.tv}


def grade(address: Address, level: int, state: int) -> dict[str, Any]:
    """The level's losses, from its whole statistics: style is the mean relative Gram error of the layers. Except for
    style in exact mode, they are those that the last update started from."""
    here = workplace(address)
    layers, path = here.job.style_layers, here.store.state_path(level)
    grams = {layer: here.tensor(here.store.read_total(path, state % 2, layer)) for layer in layers}
    errors, _ = here.objective(level).style_terms(grams)
    content, tv = here.store.read_losses(level, state)
    style = float(np.mean(list(errors.values())))
    loss = here.job.style_weight * style + content + tv
    return {"loss": loss, "style": style, "content": content, "tv": tv, "layers": errors}


def finish_tile(address: Address, level: int, state: int, index: int) -> dict[str, Any]:
    """Composite a tile's core of the level's last state into the level's image."""
    here = workplace(address)
    tile = here.job.grid(level).tile(index)
    here.store.write_image(level, tile.core, here.state(level, state, tile.core, PIXELS))
    return {"tile": index}
