"""Where the state of a level's tiles lives while it is optimised: in memory (`resident`), or in the store.

No home lets a round overwrite what it reads, and each rounds where the store does: the same bytes come out of all of
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch

from tiler.engine.store import RenderStore
from tiler.errors import StateLostError
from tiler.geometry import Rect, Tile


@dataclass(frozen=True)
class Kept:
    """What a round leaves of a tile. pixels [3, h, w] and moments [6, h, w] over its blend area; None: all 0. grams
    [R, C or C + 1, C] by layer: sums over its core in its `regions`; empty where they are not known. losses: (content,
    tv) of its core."""

    pixels: torch.Tensor
    moments: torch.Tensor | None = None
    grams: Mapping[str, torch.Tensor] = field(default_factory=dict)
    regions: tuple[int, ...] = ()
    losses: tuple[float, float] = (0.0, 0.0)

    def copied(self) -> Kept:
        """In the host's memory, whatever becomes of this one."""
        assert self.moments is not None
        return replace(self, pixels=self.pixels.to("cpu", copy=True), moments=self.moments.to("cpu", copy=True))


class LevelState(Protocol):
    """The tiles of a block in their newest two states. Reads come in the state's type, on the device that computes."""

    def present(self, state: int) -> set[int]:
        """The tiles whose part of a state is there already, and need not be put again."""

    def newest(self, tiles: Sequence[int]) -> int:
        """The newest state that all of these have, or in memory have left behind; -1: none."""

    def require(self, state: int, tiles: Sequence[int] | None = None) -> None:
        """Raise StateLostError where a state has been written over since, of some tiles or any of the level: a task
        that is repeated late would take another for it."""

    def put(self, state: int, tile: Tile, kept: Kept) -> None:
        """Keep a tile's part of a state; what nobody has to read any more of those before it may go."""

    def put_grams(self, state: int, tile: Tile, grams: Mapping[str, torch.Tensor], regions: tuple[int, ...]) -> None:
        """Keep what was measured of a state that is there."""

    def settle(self) -> None:
        """Wait until all that was put is where others than the device may read it."""

    def read(self, state: int, tile: Tile, part: Rect, kind: str) -> torch.Tensor:
        """ "pixels" [3, h, w] or "moments" [6, h, w] of `part`, in the patch's own pixels."""

    def grams(self, state: int, tile: Tile, layer: str, regions: Sequence[int]) -> torch.Tensor:
        """[len(regions), C or C + 1, C]; 0 of those that the tile does not hold."""

    def losses(self, state: int, tile: Tile) -> tuple[float, float]:
        """As they were put."""


def spread(sums: torch.Tensor, regions: Sequence[int], wanted: Sequence[int]) -> torch.Tensor:
    """Sums [R, C or C + 1, C] of `regions` as those of the `wanted` ones."""
    if tuple(regions) == tuple(wanted):
        return sums
    nothing = torch.zeros_like(sums[0]) if len(sums) else sums.new_zeros(sums.shape[1:])
    known = dict(zip(regions, sums, strict=True))
    return torch.stack([known.get(region, nothing) for region in wanted])


class Stored:
    """In the store, where every round is a checkpoint. tiles: of the level; base: state k lies in the slot
    (k + base) % 2. check: raises where a task may not write (any more)."""

    def __init__(
        self,
        store: RenderStore,
        level: int,
        tiles: Sequence[int],
        base: int,
        device: torch.device,
        dtype: torch.dtype,
        check: Callable[[], None],
    ) -> None:
        self._store, self._level, self._base, self._path = store, level, base, store.state_path(level)
        self._tiles, self._device, self._dtype, self._check = list(tiles), device, dtype, check

    def _slot(self, state: int) -> int:
        return (state + self._base) % 2

    def present(self, state: int) -> set[int]:
        marked = self._store.states(self._path)[self._slot(state)] == state
        return {int(index) for index in np.flatnonzero(marked)}

    def newest(self, tiles: Sequence[int]) -> int:
        found = self._store.states(self._path)[:, list(tiles)]
        return max(int(row[0]) if (row == row[0]).all() else -1 for row in found)

    def require(self, state: int, tiles: Sequence[int] | None = None) -> None:
        states = self._store.states(self._path)
        fresh = state == 0 and states.max() <= 0  # while it is being seeded
        asked = states[self._slot(state), self._tiles if tiles is None else list(tiles)]
        if not fresh and not (asked == state).all():
            raise StateLostError(f"level {self._level + 1}: its state {state} has been written over")

    def put(self, state: int, tile: Tile, kept: Kept) -> None:
        write_kept(self._store, self._level, self._slot(state), state, tile, kept, self._check)

    def settle(self) -> None:
        """What was put is there."""

    def put_grams(self, state: int, tile: Tile, grams: Mapping[str, torch.Tensor], regions: tuple[int, ...]) -> None:
        self._check()
        numbers = {layer: value.cpu().numpy() for layer, value in grams.items()}
        self._store.write_grams(self._path, self._slot(state), tile.index, numbers, regions)

    def read(self, state: int, tile: Tile, part: Rect, kind: str) -> torch.Tensor:
        found = self._store.read_patch(self._level, self._slot(state), tile.index, part, kind)
        return found.to(self._device, self._dtype)

    def grams(self, state: int, tile: Tile, layer: str, regions: Sequence[int]) -> torch.Tensor:
        found = self._store.read_grams(self._path, self._slot(state), tile.index, layer, regions)
        return torch.from_numpy(found).to(self._device)

    def losses(self, state: int, tile: Tile) -> tuple[float, float]:
        content, tv = self._store.read_loss(self._level, self._slot(state), tile.index)
        return float(content), float(tv)


def write_kept(
    store: RenderStore, level: int, slot: int, state: int, tile: Tile, kept: Kept, check: Callable[[], None]
) -> None:
    """A tile's part of a state into a slot of the store, marked once it is whole. check: raises where a task may not
    write (any more), which may happen in between."""
    path = store.state_path(level)
    check()
    # Were this cut short, the state that the slot held, should the last turn out to be damaged, would seem to be whole.
    store.unmark(path, slot, tile.index)
    store.write_patch(level, slot, tile.index, kept.pixels, kept.moments)
    if kept.grams:
        numbers = {layer: value.cpu().numpy() for layer, value in kept.grams.items()}
        store.write_grams(path, slot, tile.index, numbers, kept.regions)
    store.write_loss(level, slot, tile.index, *kept.losses)
    check()
    store.mark(path, slot, state, tile.index)
