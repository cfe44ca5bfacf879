"""What workers run. Every task reads from the store, calls a pure function, writes to the store, and may be repeated.

Tasks take small arguments and return small dicts; pixels and statistics travel through the store only.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from tiler.engine import faults, optimize, place
from tiler.engine.blend import noise, repeated, upscale
from tiler.engine.schedule import reporter
from tiler.engine.store import MEASURED, PATCHED, POSTER
from tiler.engine.workplace import Address, Workplace, workplace
from tiler.errors import DeviceLostError, NotFiniteError, TileTooLargeError
from tiler.geometry import Rect, Tile, TileGrid
from tiler.style.colour import keep_chroma, recolour
from tiler.style.grams import GramSums, measure_pixels
from tiler.style.guides import Areas


def seed(address: Address, level: int, index: int) -> dict[str, Any]:
    """State 0 of a tile."""
    here = workplace(address)
    tile, size = here.job.grid(level).tile(index), here.job.levels[level]
    pixels = repeated(tile.blend, (size.height, size.width), lambda part: torch.from_numpy(_start(here, level, part)))
    here.check_run()
    here.store.write_patch(level, 0, tile, pixels.numpy())
    here.store.mark(here.store.state_path(level), PATCHED, 0, index)
    return {"tile": index}


def _start(here: Workplace, level: int, part: Rect) -> np.ndarray:
    """What a part of a level starts from: the finished level before, enlarged; on the coarsest what --init says."""
    store, job, size = here.store, here.job, here.job.levels[level]
    if level > 0:
        before = _enlarged(here, level, part, partial(store.read_image, level - 1))
        kept = 1 if job.keep_detail else here.protected(level, part)
        if kept is None:
            return before
        coarse = _enlarged(here, level, part, partial(store.read_picture, f"levels/{level}/coarse"))
        content = store.read_picture(f"levels/{level}/content", part)
        return np.clip(before + kept * (here.optimised(content) - here.optimised(coarse)), 0, 1)
    if job.init == "picture":
        return here.optimised(store.read_picture("init", part))
    noisy = job.init == "noise"
    start = (
        noise(part, size.width, job.seed).numpy()
        if noisy
        else here.optimised(store.read_picture("levels/0/content", part))
    )
    # In the style's colours. The content's regions keep the order of their colours, sea bluest and desert palest, and
    # the optimiser need not guess which is which; noise that varies as the style does ends with half the style loss.
    regions, guides = here.level_guides(0, part)
    return recolour(start, [here.colours[r] for r in regions], guides)


def _enlarged(here: Workplace, level: int, part: Rect, read: Callable[[Rect], np.ndarray]) -> np.ndarray:
    """A part of a level, from an image of the size of the level before."""
    size, before, grid = here.job.levels[level], here.job.levels[level - 1], here.job.grid(level)
    small = before.height, before.width
    return upscale(
        part,
        (size.height, size.width),
        small,
        lambda rect: repeated(rect, small, lambda inside: torch.from_numpy(read(inside))),
        (grid.wrap_y, grid.wrap_x),
    ).numpy()


def measure_style(address: Address, level: int, style: int, index: int) -> dict[str, Any]:
    """Gram sums of one tile of a style picture."""
    here = workplace(address)
    tile, path = here.job.style_grid(level, style).tile(index), f"styles/{level}/{style}"
    pixels = here.store.read_picture(f"{path}/picture", tile.read)
    guides = here.style_guides(level, style, tile.read)
    _measure(here, path, 0, index, pixels, guides, here.job.layers, tile.core.relative_to(tile.read))
    return {"tile": index}


def measure_tile(address: Address, level: int, state: int, index: int) -> dict[str, Any]:
    """Gram sums of one tile of a level's state."""
    here = workplace(address)
    tile, path = here.job.grid(level).tile(index), here.store.state_path(level)
    box = here.job.measure_box(tile)
    with _tile_must_fit(box):
        pixels, guides = here.state(level, state, box, "pixels"), here.level_guides(level, box)
        _measure(here, path, state, index, pixels, guides, here.job.style_layers, tile.core.relative_to(box))
    return {"tile": index}


def _measure(
    here: Workplace,
    path: str,
    state: int,
    index: int,
    pixels: np.ndarray,
    guides: tuple[tuple[int, ...], np.ndarray | None],
    layers: tuple[str, ...],
    core: Rect,
) -> None:
    def sums(precision: str) -> GramSums:
        here.shaped(pixels.shape)
        backbone = here.backbone_in(precision)
        return measure_pixels(backbone, here.tensor(pixels), layers, core, here.guides(*guides, layers))

    if guides[0]:
        regions, found = guides[0], _finite(here, path, index, sums)
    else:  # a tile of a style may hold nothing of what counts
        regions, found = (0,), {layer: np.zeros((1, c, c)) for layer, c in here.job.channels if layer in layers}
    here.check_run()
    here.store.write_grams(path, state % 2, index, found, regions)
    here.store.mark(path, MEASURED, state, index)


def _finite(here: Workplace, path: str, index: int, sums: Callable[[str], GramSums]) -> dict[str, np.ndarray]:
    """The statistics in the job's precision, or where that overflows in a longer one."""
    for precision in here.precisions:
        found = _arrays(here.compute(sums, precision))
        wrong = [layer for layer, value in found.items() if not np.isfinite(value).all()]
        if not wrong:
            return found
    raise NotFiniteError(
        f"{path}, tile {index}: the statistics of {wrong[0]} are not finite in {precision}; are the weights right?"
    )


def _arrays(sums: GramSums) -> dict[str, np.ndarray]:
    return {layer: value.cpu().numpy() for layer, value in sums.sums.items()}


def add_up_guides(address: Address, path: str, layers: tuple[str, ...]) -> dict[str, Any]:
    """How much of the whole picture each of the guides at `path` has."""
    here = workplace(address)
    bands = (here.tensor(band) for band in here.store.picture_bands(path))
    found = asdict(here.compute(Areas.summed, bands, layers))
    here.check_run()
    here.store.write_areas(path, found)
    return {}


def add_up_style(address: Address, level: int, style: int) -> dict[str, Any]:
    """The normalised Grams of a style at a level's scale."""
    job = workplace(address).job
    guides = job.style_guides_path(level, style)
    _add_up(address, f"styles/{level}/{style}", 0, job.style_grid(level, style), guides, job.layers)
    return {}


def add_up_level(address: Address, level: int, state: int) -> dict[str, Any]:
    """The normalised Grams of a whole level at `state`, of each region."""
    here = workplace(address)
    job, path = here.job, here.store.state_path(level)
    _add_up(address, path, state % 2, job.grid(level), job.guides_path(level), job.style_layers)
    return {}


def _add_up(
    address: Address, path: str, slot: int, grid: TileGrid, guides: str | None, layers: tuple[str, ...]
) -> None:
    """All tiles' sums over all weights, added in tile order in float64: the same bytes whoever measured what."""
    here = workplace(address)
    areas = here.areas(guides, layers, grid.height, grid.width)
    for layer in layers:
        # A region that a coarse level is too small for has sums of 0 and a weight of 0.
        weights = np.array([weight or 1.0 for weight in areas.weights[layer]])[:, None, None]
        parts = (here.store.read_grams(path, slot, index, layer) for index in range(len(grid)))
        total = sum(part.astype(np.float64) for part in parts)
        here.check_run()
        here.store.write_total(path, slot, layer, np.asarray(total) / weights)


@dataclass(frozen=True)
class _Relaxed:
    """What one round made of a tile. pixels [3, h, w] and moments [6, h, w] over its blend area. seconds: of
    the device's time; stepping: of these, in steps, and not in what they need."""

    pixels: np.ndarray
    moments: np.ndarray
    grams: dict[str, np.ndarray]
    regions: tuple[int, ...]
    losses: optimize.TileLosses
    seconds: float
    stepping: float

    def not_finite(self) -> str:
        """What of it is not finite; empty if all is."""
        losses = (*self.losses.style.values(), self.losses.content, self.losses.tv)
        parts = {"loss": np.array(losses), "pixels": self.pixels, "moments": self.moments}
        return ", ".join(name for name, values in parts.items() if not np.isfinite(values).all())


def relax_tile(address: Address, level: int, state: int, start: int, steps: int, index: int) -> dict[str, Any]:
    """One round on one tile: state -> state + 1."""
    began = time.perf_counter()
    here = workplace(address)
    store, tile, send = here.store, here.job.grid(level).tile(index), reporter()

    def on_step(step: int, losses: optimize.TileLosses) -> None:
        send({"event": "step", "level": level, "round": state, "tile": index, "step": step, **_losses(losses)})

    with _tile_must_fit(tile.read):  # errors keep their frames until the pool lets go of them
        given = _read_tile(here, level, state, tile)
        after = _relax_finite(here, level, tile, given, start, steps, on_step)
    path, slot = store.state_path(level), (state + 1) % 2
    here.check_run()
    # Were this cut short, the state before last, should the last turn out to be damaged, would seem to be whole.
    store.unmark(path, slot, index)
    store.write_patch(level, slot, tile, after.pixels, after.moments)
    if not here.job.measures_every_round(level):
        store.write_grams(path, slot, index, after.grams, after.regions)
    store.write_losses(level, state + 1, index, after.losses.content, after.losses.tv)
    store.mark(path, PATCHED, state + 1, index)
    _tell_kernels(here)
    seconds = time.perf_counter() - began
    spent = {"seconds": seconds, "computing": after.seconds, "stepping": after.stepping}
    return {"tile": index, "steps": steps, **spent, **_losses(after.losses)}


def _tell_kernels(here: Workplace) -> None:
    """Where Triton has failed since this worker was asked what it is, somebody should know."""
    kernels, why = here.fallen_kernels()
    if why:
        where = socket.gethostname()
        text = f"worker {where}: Triton fails, {kernels} takes its place from here on: {why}"
        reporter()({"event": "kernels", "kernels": kernels, "text": text})


@contextlib.contextmanager
def _tile_must_fit(rect: Rect) -> Iterator[None]:
    """Tell an allocator's failure, and a GPU that is lost, from other errors."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if faults.device_lost(error):
            why = place.first_line(error)
            raise DeviceLostError(f"worker {socket.gethostname()}: its GPU is lost to it: {why}") from None
        if not faults.out_of_memory(error):
            raise
        raise TileTooLargeError(
            f"a tile of {rect.height} x {rect.width} pixels does not fit into the memory that is free; the store keeps "
            "what is done; free some, or take fewer --workers"
        ) from None


@dataclass(frozen=True)
class _Given:
    """What one round of a tile starts from. pixels and content: [3, h, w] over its read area; moments: [6, h, w] over
    its blend area; regions: those in its read area, guides: where, [R, h, w]; total, reported: the level's Grams of
    these regions, and this tile's Gram sums in them. protected: what of the content is to be kept, [1, h, w]."""

    pixels: np.ndarray
    moments: np.ndarray
    content: np.ndarray | None
    regions: tuple[int, ...]
    guides: np.ndarray | None
    total: dict[str, np.ndarray]
    reported: dict[str, np.ndarray]
    protected: np.ndarray | None


def _read_tile(here: Workplace, level: int, state: int, tile: Tile) -> _Given:
    store, path, slot = here.store, here.store.state_path(level), state % 2
    regions, guides = here.level_guides(level, tile.read)
    layers = here.job.style_layers
    return _Given(
        here.state(level, state, tile.read, "pixels"),
        here.state(level, state, tile.blend, "moments"),
        here.read_content(level, tile),
        regions,
        guides,
        {layer: store.read_total(path, slot, layer)[list(regions)] for layer in layers},
        {layer: store.read_grams(path, slot, tile.index, layer, regions) for layer in layers},
        here.protected(level, tile.read),
    )


OnStep = Callable[[int, optimize.TileLosses], None]


def _relax_finite(
    here: Workplace, level: int, tile: Tile, given: _Given, start: int, steps: int, on_step: OnStep
) -> _Relaxed:
    """A round whose outcome is not finite is done again in fp32, then with a tenth of the step. What is done depends on
    the state before alone, so a render that was interrupted does the same."""
    turns = [(precision, 1.0) for precision in here.precisions] + [(here.precisions[-1], 0.1)]
    send, seen = reporter(), ""
    where = f"level {level + 1}, tile {tile.index}, steps {start + 1} to {start + steps}"
    for precision, scale in turns:
        after = here.compute(_relax, here, level, tile, given, start, steps, on_step, precision, scale)
        seen = after.not_finite()
        if not seen:
            return after
        text = f"{where}: not finite in {precision} with {scale:g} of the step: {seen}"
        send({"event": "not finite", "level": level, "tile": tile.index, "text": text})
    raise NotFiniteError(f"{where}: not finite, even in {precision} with a tenth of the step: {seen}")


def _relax(
    here: Workplace,
    level: int,
    tile: Tile,
    given: _Given,
    start: int,
    steps: int,
    on_step: OnStep,
    precision: str,
    scale: float,
) -> _Relaxed:
    began = time.perf_counter()
    here.shaped(given.pixels.shape)
    problem = optimize.TileProblem(
        here.backbone_in(precision),
        here.objective(level),
        here.tensor(given.pixels),
        here.content_features(level, tile, given.content, precision),
        tile.core.relative_to(tile.read),
        tile.blend.relative_to(tile.read),
        {layer: here.tensor(value) for layer, value in given.total.items()},
        {layer: here.tensor(value) for layer, value in given.reported.items()},
        here.guides(given.regions, given.guides, here.job.style_layers),
        partial(here.job.shift, level),
        here.content_weights(given.protected),
    )
    ready = time.perf_counter()
    if here.job.uses_lbfgs(level):
        after, sums, losses = optimize.relax_lbfgs(problem, steps, on_step)
    else:
        moments, size = here.tensor(given.moments), here.job.levels[level]
        rates = [scale * optimize.step_rate(step, size.steps, size.peak_rate) for step in range(start, start + steps)]
        after, sums, losses = optimize.relax(problem, moments[:3], moments[3:], start, rates, on_step)
    stepping = time.perf_counter() - ready  # a GPU has ended too: every step's losses are numbers here
    moments = torch.cat([after.first, after.second])
    found = after.pixels.cpu().numpy(), moments.cpu().numpy(), _arrays(sums)
    return _Relaxed(*found, given.regions, losses, time.perf_counter() - began, stepping)


def _losses(losses: optimize.TileLosses) -> dict[str, Any]:
    return {"style": float(np.mean(list(losses.style.values()))), "content": losses.content, "tv": losses.tv}


def grade(address: Address, level: int, state: int) -> dict[str, Any]:
    """The level's losses, from its whole statistics: style is the mean relative Gram error of the layers. Except for
    style in exact mode, they are those that the last update started from."""
    here = workplace(address)
    layers, path = here.job.style_layers, here.store.state_path(level)
    totals = {layer: here.store.read_total(path, state % 2, layer) for layer in layers}

    def style_errors() -> dict[str, float]:
        errors, _ = here.objective(level).style_terms({layer: here.tensor(total) for layer, total in totals.items()})
        return {layer: float(error) for layer, error in errors.items()}

    errors = here.compute(style_errors)
    content, tv = here.store.read_losses(level, state)
    style = float(np.mean(list(errors.values())))
    loss = here.job.style_weight * style + content + tv
    return {"loss": loss, "style": style, "content": content, "tv": tv, "layers": errors}


def finish_tile(address: Address, level: int, state: int, index: int) -> dict[str, Any]:
    """Composite a tile's core of the level's last state into the level's image."""
    here = workplace(address)
    tile = here.job.grid(level).tile(index)
    pixels = here.state(level, state, tile.core, "pixels")
    here.check_run()
    here.store.write_image(level, tile.core, pixels)
    if here.job.keeps_chroma:
        content = here.store.read_picture(f"levels/{level}/content", tile.core)
        here.store.write_image(level, tile.core, keep_chroma(pixels, content), POSTER)
    return {"tile": index}
