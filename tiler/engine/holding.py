"""A worker's block: the tiles of a level that it holds, and what becomes of them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from tiler.engine import finite
from tiler.engine.address import Block
from tiler.engine.ahead import in_turn
from tiler.engine.behind import Behind
from tiler.engine.blend import composite
from tiler.engine.fitting import must_fit
from tiler.engine.home import INPUTS_BYTES, STORE
from tiler.engine.inputs import LevelInputs
from tiler.engine.resident import Resident
from tiler.engine.seeding import before, ground, kept_outside, start
from tiler.engine.state import Kept, LevelState, Stored
from tiler.engine.turn import Done, Round, Send, Turns
from tiler.engine.wide import wide
from tiler.engine.workplace import Planes, Workplace
from tiler.errors import StateLostError
from tiler.geometry import Rect, Tile
from tiler.geometry.blocks import Node, seen, summed
from tiler.geometry.sight import round_order, sights, within
from tiler.style.colour import keep_chroma

Sums = dict[str, torch.Tensor]
# (kind, tile): which part of the tile's patch, and its pixels or moments there.
Strips = dict[tuple[str, int], tuple[Rect, np.ndarray]]


class Holding:
    """A block's tiles. Every method gives the same when it is called again, as long as no later one was: a task may be
    repeated. Raises StateLostError for what is not here (any more)."""

    def __init__(self, here: Workplace, block: Block) -> None:
        self._here, self._block, self._grid = here, block, here.job.cut.grid(block.level)
        self._own = {index for node in block.nodes for index in node.tiles(self._grid)}
        border, rest = round_order(self._grid, self._own)
        self._numbers = [*border, *rest]
        self.tiles, self._shown_first = [self._grid.tile(index) for index in self._numbers], len(border)
        self._state = self._home()
        # By state: a task that is repeated late must not take them from one that runs.
        self._strips: dict[int, dict[tuple[str, int], tuple[Rect, torch.Tensor]]] = {}
        self._grounds: dict[Rect, torch.Tensor] = {}
        self._befores: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._total: tuple[int, Sums] = -1, {}
        limit = INPUTS_BYTES if block.home == STORE else float("inf")
        self._inputs = LevelInputs(here, block.level, limit)
        self._behind = Behind(here, block.level)

    def _home(self) -> LevelState:
        here, block, device = self._here, self._block, torch.device(self._here.job.device.kind)
        if block.home == STORE:
            tiles = [tile.index for tile in self._grid]
            return Stored(here.store, block.level, tiles, block.base, device, here.dtype, here.check_run)
        moments, sees = getattr(torch, here.job.moment_dtype), within(self._own, sights(self._grid))
        return Resident(device, block.home, here.dtype, moments, self.tiles, sees)

    # How it begins ------------------------------------------------------------------------------------------------

    def seed(self) -> None:
        """State 0."""
        self._state.require(0)
        there = self._state.present(0)
        for tile in self.tiles:
            if tile.index not in there:
                with must_fit(tile.blend):
                    pixels = self._here.compute(start, self._here, self._block.level, tile.blend)
                    self._state.put(0, tile, Kept(pixels))

    def restore(self, slot: int, state: int) -> None:
        """A checkpoint's state, from a slot of the store."""
        if self._block.home != STORE:
            for tile in self.tiles:
                self._state.put(state, tile, self._stored(slot, state, tile))

    def _stored(self, slot: int, state: int, tile: Tile) -> Kept:
        store, level, index = self._here.store, self._block.level, tile.index
        whole, path = tile.blend.relative_to(tile.blend), store.state_path(level)
        pixels, moments = (store.read_patch(level, slot, index, whole, kind) for kind in ("pixels", "moments"))
        content, tv = store.read_loss(level, slot, index)
        grams: Sums = {}
        regions: tuple[int, ...] = ()
        if state and not self._here.job.cut.measures_every_round(level):
            regions = store.read_regions(path, slot, index)
            found = {layer: store.read_grams(path, slot, index, layer, regions) for layer in self._layers}
            grams = {layer: torch.from_numpy(value).to(self._here.job.device.kind) for layer, value in found.items()}
        return Kept(pixels, moments, grams, regions, (float(content), float(tv)))

    # What passes between blocks -----------------------------------------------------------------------------------

    @cached_property
    def _shown(self) -> list[tuple[int, str, Tile, Rect]]:
        """What other blocks see of this one's patches: (their number, kind, tile, part). Nothing where all is in the
        store."""
        found = []
        for number, nodes in enumerate(self._block.shares):
            if number != self._block.number and self._block.home != STORE:
                others = [index for node in nodes for index in node.tiles(self._grid)]
                for kind, box in (("pixels", _read_area), ("moments", _blend_area)):
                    parts = seen(self._grid, others, self._own, box)
                    found += [(number, kind, self._grid.tile(index), part) for index, part in parts.items()]
        return found

    @property
    def border(self) -> list[Tile]:
        """The tiles that other blocks see: all, where they see them in the store."""
        return self.tiles if self._block.home == STORE else self.tiles[: self._shown_first]

    @property
    def interior(self) -> list[Tile]:
        """The others."""
        return self.tiles[len(self.border) :]

    def strips(self, state: int) -> dict[int, Strips]:
        """What the other blocks see of this one's patches, by their number."""
        found: dict[int, Strips] = {number: {} for number in range(len(self._block.shares))}
        for number, kind, tile, part in self._shown:
            # A copy: they are also sent late, when a later state may lie where they did.
            found[number][kind, tile.index] = part, self._state.read(state, tile, part, kind).cpu().numpy().copy()
        return found

    def receive(self, state: int, strips: Sequence[Strips]) -> None:
        """What other blocks have sent of a state, in place of what they had sent of the last but one."""
        device = self._here.job.device.kind
        found = {
            key: (part, torch.from_numpy(values).to(device)) for one in strips for key, (part, values) in one.items()
        }
        self._strips = {**{kept: strips for kept, strips in self._strips.items() if kept >= state - 1}, state: found}

    def sums(self, state: int) -> dict[Node, Sums]:
        """Sums [R, C or C + 1, C] over each of the block's nodes, by layer, in float64."""
        self._state.require(state, self._numbers)
        return {node: self._here.compute(self._summed, state, node) for node in self._block.nodes}

    def _summed(self, state: int, node: Node) -> Sums:
        regions = range(len(self._here.job.styles.regions))

        def of_tile(index: int) -> Sums:
            tile, weight = self._grid.tile(index), self._grid.weight(index)
            return {layer: weight * wide(self._state.grams(state, tile, layer, regions)) for layer in self._layers}

        return summed(node, self._grid, of_tile, added)

    def total(self, state: int, find: Callable[[], Sums]) -> Sums:
        """find(), once for each state: when its round is repeated, some of what led to it may be gone."""
        if self._total[0] != state:
            self._total = state, find()
        return self._total[1]

    # A round ------------------------------------------------------------------------------------------------------

    @property
    def _layers(self) -> tuple[str, ...]:
        return self._here.job.terms.style_layers

    def read(self, state: int, rect: Rect, kind: str) -> torch.Tensor:
        """[3, h, w] "pixels" or [6, h, w] "moments", blended over `rect`; a copy."""
        found = composite(self._grid, rect, partial(self._patch, state, kind))
        one_patch = len(list(itertools.islice(self._grid.overlapping(rect), 2))) == 1
        return found.clone() if one_patch else found  # which may be the state itself

    def _patch(self, state: int, kind: str, tile: Tile, part: Rect) -> torch.Tensor:
        """Of one tile, wherever it is. No function within `read` that knows itself: such a one would keep this holding,
        and the memory of its level, until somebody looks for cycles."""
        inner, sent = part.relative_to(tile.blend), self._strips.get(state, {})
        if tile.index not in self._grid:
            return self._beside(state, part, kind)
        if tile.index in self._own or self._block.home == STORE:
            return self._state.read(state, tile, inner, kind)
        if (kind, tile.index) not in sent:
            raise StateLostError(f"tile {tile.index} of another block: its {kind} were not sent")
        held, values = sent[kind, tile.index]
        return values[(slice(None), *inner.relative_to(held).slices)]

    def _beside(self, state: int, part: Rect, kind: str) -> torch.Tensor:
        """A patch of a tile that is not worked on: what it began with, and nothing that would fade its neighbours,
        which it shows as they are."""
        if kind == "moments":
            found = torch.zeros((6, part.height, part.width), dtype=self._here.dtype, device=self._here.job.device.kind)
        else:
            if part not in self._grounds:
                self._grounds[part] = ground(self._here, self._block.level, part)
            found = self._grounds[part].clone()
        for tile, there in self._grid.overlapping(part):
            if tile.index in self._grid:
                found[(slice(None), *there.relative_to(part).slices)] = self._patch(state, kind, tile, there)
        return found

    def _each(
        self,
        tiles: Sequence[Tile],
        look: Callable[[Tile], Any],
        read: Callable[[Tile, Any], Any],
        begin: Callable[[Tile, Any], Any],
        end: Callable[[Tile, Any], Any],
        keep: Callable[[Tile, Any], None],
    ) -> None:
        """keep(tile, end(tile, begin(tile, read(tile, look(tile))))) for all. What comes from and goes to the store
        does so while another tile is computed: all that is looked at, and the state where it lives there. What lies in
        memory is moved by the thread that computes, and a GPU has the next tiles to do before what came of one is
        waited for."""
        begun: deque[tuple[Tile, Any]] = deque()
        hands = self._here.hands

        def fitting(tile: Tile, call: Callable[[], Any]) -> Any:
            with must_fit(tile.read):
                return self._here.roomy(call)

        def whole(tile: Tile, given: Any) -> Any:
            return fitting(tile, lambda: end(tile, begin(tile, given)))

        def start(tile: Tile, seen: Any) -> None:
            begun.append((tile, fitting(tile, lambda: begin(tile, read(tile, seen)))))
            stop(self._here.ahead)

        def stop(left: int) -> None:
            while len(begun) > left:
                finish(*begun.popleft())

        def finish(tile: Tile, found: Any) -> None:
            fitting(tile, lambda: keep(tile, end(tile, found)))

        if self._block.home == STORE:
            in_turn(tiles, lambda tile: read(tile, look(tile)), partial(self._here.compute, whole), keep, hands)
        else:
            in_turn(tiles, look, partial(self._here.compute, start), lambda tile, done: None, hands)
            self._here.compute(stop, 0)

    def measure(self, state: int) -> None:
        """Sums of each tile's core, of a state whose tiles did not report theirs."""
        self._state.require(state)
        job, level, layers, means = self._here.job, self._block.level, self._layers, self._here.job.terms.means

        def look(tile: Tile) -> Planes | None:
            return self._inputs.read_guides(tile, job.measure_box(tile))

        def read(tile: Tile, planes: Planes | None) -> tuple[torch.Tensor, Planes | None]:
            return self.read(state, job.measure_box(tile), "pixels"), planes

        def work(tile: Tile, given: tuple[torch.Tensor, Any]) -> tuple[Sums, tuple[int, ...]]:
            (pixels, planes), box = given, job.measure_box(tile)
            self._here.shaped(pixels.shape)
            guides = self._inputs.guides(tile, box, planes)
            what = f"level {level + 1}, tile {tile.index}"
            core = tile.core.relative_to(box)
            return finite.measured(self._here.backbones, pixels, layers, core, guides, means, what).sums, guides.regions

        def keep(tile: Tile, found: tuple[Sums, tuple[int, ...]]) -> None:
            self._state.put_grams(state, tile, *found)

        self._each(self.tiles, look, read, work, lambda tile, found: found, keep)

    def relax(self, now: Round, tiles: Sequence[Tile], send: Send) -> None:
        """One round of some tiles: state -> state + 1."""
        self._state.require(now.state)
        there = self._state.present(now.state + 1)
        reports = not self._here.job.cut.measures_every_round(self._block.level)
        turns = Turns(
            self._here, self._block.level, self._inputs, self.read, partial(self._state.grams, now.state), send
        )

        def keep(tile: Tile, done: Done) -> None:
            kept = done.kept(reports)
            if self._here.job.cut.touched is not None:
                kept = replace(kept, pixels=kept_outside(kept.pixels, *self._before(tile)))
            self._state.put(now.state + 1, tile, kept)
            turns.tell(now, tile, done)

        waiting = [tile for tile in tiles if tile.index not in there]
        self._each(waiting, self._inputs.read, partial(turns.given, now), partial(turns.begin, now), turns.end, keep)
        self._state.settle()
        self._here.tell_kernels(send)

    def _before(self, tile: Tile) -> tuple[torch.Tensor, torch.Tensor]:
        """See `seeding.before`."""
        if tile.index not in self._befores:
            found = before(self._here, self._block.level, tile.blend)
            if self._block.home == STORE:
                return found
            self._befores[tile.index] = found
        return self._befores[tile.index]

    def newest(self) -> int:
        """The newest state that all tiles have here; -1: none."""
        return self._state.newest(self._numbers)

    def losses(self, state: int) -> dict[int, tuple[float, float]]:
        """(content, tv) of each tile's core."""
        self._state.require(state, self._numbers)
        return {tile.index: self._state.losses(state, tile) for tile in self.tiles}

    # How it ends --------------------------------------------------------------------------------------------------

    def checkpoint(self, state: int, slot: int) -> None:
        """Begin to write a state to a slot of the store, beside what follows."""
        assert isinstance(self._state, Resident)
        self._behind.begin(self._state, self.tiles, state, slot)

    def settle(self) -> None:
        """Wait for the last checkpoint to be written; raises what went wrong with it."""
        self._behind.settle()

    def rest(self) -> None:
        """Wait until no checkpoint is being written, however that ended."""
        self._behind.rest()

    def finish(self, state: int) -> None:
        """Blend the cores of the last state into the level's image."""
        self._state.require(state)
        here, level = self._here, self._block.level

        def read(tile: Tile) -> np.ndarray:
            return self.read(state, tile.core, "pixels").cpu().numpy()

        def keep(tile: Tile, pixels: np.ndarray) -> None:
            here.check_run()
            here.store.write_image(level, tile.core, pixels)
            if here.job.look.keeps_chroma:
                content = here.store.read_picture(f"levels/{level}/content", tile.core)
                here.store.write_image(level, tile.core, keep_chroma(pixels, content), here.job.look.images[-1])

        in_turn(self.tiles, read, lambda tile, pixels: pixels, keep, here.hands)


def _read_area(tile: Tile) -> Rect:
    return tile.read


def _blend_area(tile: Tile) -> Rect:
    return tile.blend


def added(one: Sums, other: Sums) -> Sums:
    """By layer."""
    return {layer: value + other[layer] for layer, value in one.items()}


def hold(here: Workplace, block: Block) -> Holding:
    """A new one; what this worker holds of other attempts is let go."""
    here.let_go(but=block.attempt)
    found = here.held[block.attempt, block.number] = Holding(here, block)
    return found


def held(here: Workplace, block: Block) -> Holding:
    """The one that `hold` made here. Raises StateLostError where it was made in another process."""
    found: Holding | None = here.held.get((block.attempt, block.number))
    if found is None:
        raise StateLostError(f"level {block.level + 1}, block {block.number + 1}: its state is not here")
    return found
