"""What workers run. Every task may be repeated: it gives the same again, or says that what it needs is gone.

Tasks take small arguments and return small dicts, but for what passes from worker to worker: sums, and strips of
patches at the lines between blocks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from tiler.engine import finite
from tiler.engine.address import Address, Block
from tiler.engine.contents import COLOURS
from tiler.engine.holding import Holding, Strips, Sums, added, held, hold
from tiler.engine.seeding import before
from tiler.engine.state import spread
from tiler.engine.turn import Round
from tiler.engine.wide import wide
from tiler.engine.worker import reporter
from tiler.engine.workplace import Workplace, workplace
from tiler.geometry import Tile, TileGrid
from tiler.geometry.blocks import Node, joined, summed
from tiler.style.guides import Areas
from tiler.style.roughness import roughness_sums
from tiler.style.terms import ROUGHNESS

# Of a round: its first update and how many there are.
Rounds = Sequence[tuple[int, int]]

# Pictures -------------------------------------------------------------------------------------------------------------


def add_up_guides(address: Address, path: str, layers: tuple[str, ...]) -> dict[str, Any]:
    """How much of the whole picture each of the guides at `path` has."""
    here = workplace(address)
    bands = (here.tensor(band) for band in here.store.picture_bands(path))
    found = asdict(here.compute(Areas.summed, bands, layers))
    here.check_run()
    here.store.write_areas(path, found)
    return {}


def measure_style(address: Address, level: int, style: int, node: Node) -> dict[Node, Sums]:
    """Sums [1, C or C + 1, C] of some tiles of a style picture, by layer, in float64."""
    here = workplace(address)
    grid = here.job.style_grid(level, style)
    return {node: summed(node, grid, lambda index: _style_tile(here, level, style, index), added)}


def _style_tile(here: Workplace, level: int, style: int, index: int) -> Sums:
    tile, path, layers = here.job.style_grid(level, style).tile(index), f"styles/{level}/{style}", here.job.terms.layers
    planes = here.style_guides(level, style, tile.read)
    if not planes[0]:  # nothing of what counts
        return {name: torch.zeros((1, *shape), dtype=torch.float64) for name, shape in here.job.measured.items()}
    pixels = here.store.read_picture(f"{path}/picture", tile.read)

    def sums() -> Sums:
        here.shaped(pixels.shape)
        core, guides = tile.core.relative_to(tile.read), here.guides(*planes, layers)
        what = f"{path}, tile {index}"
        tensor = here.tensor(pixels)
        found = finite.measured(here.backbones, tensor, layers, core, guides, here.job.terms.means, what)
        counted = None if planes[1] is None else here.tensor(planes[1])
        rough = roughness_sums(tensor, core, counted).cpu()
        return {**{layer: wide(value).cpu() for layer, value in found.sums.items()}, ROUGHNESS: rough}

    return here.compute(sums)


def add_up_style(address: Address, level: int, style: int, parts: Sequence[Mapping[Node, Sums]]) -> dict[str, Any]:
    """The normalised sums of a style at a level's scale, from the sums of all its tiles."""
    here = workplace(address)
    job, grid, path = here.job, here.job.style_grid(level, style), f"styles/{level}/{style}"
    areas = here.areas(job.style_guides_path(level, style), job.terms.layers, grid.height, grid.width)
    pixels = areas.shares[0] * grid.height * grid.width
    areas = replace(areas, weights={**areas.weights, ROUGHNESS: (pixels,)})
    total = _normalised(_joined(grid, parts), areas)
    here.check_run()
    kind = np.dtype(job.device.state_dtype)
    here.store.write_totals(path, {layer: value.numpy().astype(kind) for layer, value in total.items()})
    return {}


def measure_rest(address: Address, level: int, node: Node) -> dict[Node, Sums]:
    """Sums of some of a level's tiles that stay as they were, by layer, in float64."""
    here = workplace(address)
    grid = here.job.cut.rest(level)
    assert grid is not None
    return {node: summed(node, grid, lambda index: _rest_tile(here, level, grid.tile(index)), added)}


def _rest_tile(here: Workplace, level: int, tile: Tile) -> Sums:
    job, box = here.job, here.job.measure_box(tile)
    planes, regions = here.level_guides(level, box), range(len(here.job.styles.regions))
    pixels, _ = before(here, level, box)

    def sums() -> Sums:
        here.shaped(pixels.shape)
        layers, core, what = job.terms.style_layers, tile.core.relative_to(box), f"level {level + 1}, tile {tile.index}"
        guides = here.guides(*planes, layers)
        found = finite.measured(here.backbones, pixels, layers, core, guides, job.terms.means, what)
        return {layer: wide(spread(value, planes[0], regions)).cpu() for layer, value in found.sums.items()}

    return here.compute(sums)


def add_up_rest(address: Address, level: int, parts: Sequence[Mapping[Node, Sums]]) -> dict[str, Any]:
    """Keep the sum of all that `measure_rest` found."""
    here = workplace(address)
    grid = here.job.cut.rest(level)
    assert grid is not None
    total = _joined(grid, parts)
    here.check_run()
    here.store.write_totals(f"levels/{level}/rest", {layer: value.numpy() for layer, value in total.items()})
    return {}


def _joined(grid: TileGrid, parts: Sequence[Mapping[Node, Sums]]) -> Sums:
    return joined(grid, {node: sums for part in parts for node, sums in part.items()}, added)


def _normalised(sums: Sums, areas: Areas) -> Sums:
    """A region that a coarse level is too small for has sums of 0 and a weight of 0."""
    return {
        layer: value / value.new_tensor([weight or 1.0 for weight in areas.weights[layer]])[:, None, None]
        for layer, value in sums.items()
    }


def match_colours(address: Address) -> dict[str, Any]:
    """The map from the content's colours to its styles' [3, 4] of each region, as lists, from the coarsest level's
    pictures."""
    here = workplace(address)
    return {COLOURS: [one.tolist() for one in here.compute(here.match_content)]}


# The blocks of a level ------------------------------------------------------------------------------------------------


def begin(address: Address, block: Block, state: int, slot: int | None) -> dict[str, Any]:
    """Take a block, in a state that the store has in a slot, or seeded. Returns what passes to the others; strips: what
    each of them sees of this block."""
    here = workplace(address)
    holding = hold(here, block)
    if slot is None:
        holding.seed()
    else:
        holding.restore(slot, state)
    return {**_passed(here, holding, block, state), "strips": holding.strips(state)}


def _passed(here: Workplace, holding: Holding, block: Block, state: int) -> dict[str, Any]:
    """sums: the block's part of the level's statistics, where tiles report them; losses: of its tiles."""
    found: dict[str, Any] = {"state": state, "losses": holding.losses(state)}
    if state and not here.job.cut.measures_every_round(block.level) and not block.alone:
        found["sums"] = _on_cpu(holding.sums(state))
    return found


def _on_cpu(sums: Mapping[Node, Sums]) -> dict[Node, Sums]:
    return {node: {layer: value.cpu() for layer, value in one.items()} for node, one in sums.items()}


def measure(
    address: Address, block: Block, state: int, strips: Sequence[Strips], after: Any = None
) -> dict[Node, Sums]:
    """Sums of a block's tiles. strips: what the other blocks sent of `state`; after: what leads to that state."""
    holding = held(workplace(address), block)
    holding.receive(state, strips)
    holding.measure(state)
    return _on_cpu(holding.sums(state))


def add_up(address: Address, level: int, parts: Sequence[Mapping[Node, Sums]]) -> Sums:
    """A level's normalised sums [R, C or C + 1, C] by layer, rounded as its state is: the same bytes whoever measured
    what."""
    here = workplace(address)
    found = _joined(here.job.cut.grid(level), parts)
    if here.job.cut.rest(level) is not None:
        rest = here.rest(level)
        found = {layer: value + rest[layer].to(value.device) for layer, value in found.items()}
    total = _normalised(found, here.level_areas(level))
    return {layer: value.to(here.dtype) for layer, value in total.items()}


def relax_border(
    address: Address, block: Block, state: int, steps: tuple[int, int], total: Sums, strips: Sequence[Strips]
) -> dict[int, Strips]:
    """One round of the tiles that other blocks see. Returns what they see, which is on its way while the others are
    relaxed."""
    here = workplace(address)
    holding = held(here, block)
    holding.receive(state, strips)
    holding.relax(_round(here, state, steps, total), holding.border, reporter())
    return holding.strips(state + 1)


def relax_interior(
    address: Address, block: Block, state: int, steps: tuple[int, int], total: Sums, border: Any
) -> dict[str, Any]:
    """The same round of the other tiles, after the border. Returns what passes to the others."""
    here = workplace(address)
    holding = held(here, block)
    holding.relax(_round(here, state, steps, total), holding.interior, reporter())
    return _passed(here, holding, block, state + 1)


def _round(here: Workplace, state: int, steps: tuple[int, int], total: Sums) -> Round:
    return Round(state, *steps, {layer: value.to(here.job.device.kind) for layer, value in total.items()})


def advance(address: Address, block: Block, state: int, rounds: Rounds, seconds: float) -> dict[str, Any]:
    """Rounds of a block that is its whole level: as many of these as begin within so many seconds, one at least."""
    here, began = workplace(address), time.monotonic()
    holding = held(here, block)
    done = max(0, holding.newest() - state)  # when this is repeated
    for steps in rounds[done:]:
        total = _own_total(address, holding, block, state + done)
        holding.relax(_round(here, state + done, steps, total), holding.tiles, reporter())
        done += 1
        if time.monotonic() - began >= seconds:
            break
    return {"state": state + done, "losses": holding.losses(state + done)}


def _own_total(address: Address, holding: Holding, block: Block, state: int) -> Sums:
    """Of a block that is its whole level."""

    def find() -> Sums:
        if state == 0 or workplace(address).job.cut.measures_every_round(block.level):
            holding.measure(state)
        return add_up(address, block.level, [holding.sums(state)])

    return holding.total(state, find)


def checkpoint(address: Address, block: Block, state: int, slot: int, after: Any = None) -> dict[str, Any]:
    """Begin to write a state to a slot of the store, beside what follows. after: what leads to that state."""
    held(workplace(address), block).checkpoint(state, slot)
    return {}


def settle(address: Address, block: Block) -> dict[str, Any]:
    """Wait until the last checkpoint is written."""
    held(workplace(address), block).settle()
    return {}


def grade(address: Address, block: Block, state: int, total: Sums | None) -> dict[str, float]:
    """Relative errors of a level's layers. total: None where the block is the whole level."""
    here = workplace(address)
    if total is None:
        total = _own_total(address, held(here, block), block, state)

    def errors(total: Sums) -> dict[str, float]:
        on_device = {layer: value.to(here.job.device.kind) for layer, value in total.items()}
        found, _ = here.objective(block.level).style_terms(on_device)
        return {layer: float(error) for layer, error in found.items()}

    return here.compute(errors, total)


def finish(address: Address, block: Block, state: int, strips: Sequence[Strips]) -> dict[str, Any]:
    """Write the cores of the last state into the level's image."""
    holding = held(workplace(address), block)
    holding.receive(state, strips)
    holding.finish(state)
    return {}


def let_go(address: Address, block: Block) -> dict[str, Any]:
    """Free what a block takes."""
    here = workplace(address)
    here.held.pop((block.attempt, block.number), None)
    here.compute(here.make_room)
    return {}
