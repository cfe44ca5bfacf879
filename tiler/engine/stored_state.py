"""The working state of levels in a job's store: patches, statistics, losses, and marks that say what is complete."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tiler.engine import layout
from tiler.engine.arrays import Arrays
from tiler.engine.contents import IMAGE, INPUTS, POSTER, state_path
from tiler.errors import DamageError
from tiler.geometry import Rect, TileGrid

if TYPE_CHECKING:  # who tells what a store holds needs none
    import torch


class StoredState(Arrays):
    _cut: str

    def state_path(self, level: int) -> str:
        """Where the tiles of this job's cut keep their state."""
        return state_path(level, self._cut)

    def create_state(
        self,
        level: int,
        grid: TileGrid,
        sums: Mapping[str, tuple[int, int]],
        dtype: str,
        moment_dtype: str,
        regions: int = 1,
    ) -> None:
        """Room for two states of a level's tiles. sums: shape of a layer's sums of one region. moment_dtype: bfloat16
        or a numpy name. A level that was begun, and of which no state is whole any more, loses them all."""
        path = self.state_path(level)
        if self.has(f"{path}/marks") and self.latest(path, grid) is None and self.states(path).max() >= 0:
            self._drop(path)
        for name, array in layout.state(grid, sums, dtype, moment_dtype, regions).items():
            self._create(f"{path}/{name}", array)

    def write_patch(
        self, level: int, slot: int, tile: int, pixels: torch.Tensor, moments: torch.Tensor | None = None
    ) -> None:
        """pixels: [3, h, w] over the tile's blend area; moments: [6, h, w], first and second; None: all 0."""
        moments = pixels.new_zeros((6, *pixels.shape[1:])) if moments is None else moments
        for name, patch in {"pixels": pixels, "moments": moments}.items():
            array = self._array(f"{self.state_path(level)}/{name}")
            numbers = _bfloat16_bits(patch) if array.dtype == np.uint16 else patch.cpu().numpy()
            # Whole chunks: part of one would be merged into what is there, which may be damaged.
            missing = [(0, whole - size) for whole, size in zip(array.shape[2:], patch.shape, strict=True)]
            array[slot, tile] = np.pad(numbers, missing)

    def read_patch(self, level: int, slot: int, tile: int, part: Rect, kind: str) -> torch.Tensor:
        """[3, h, w] "pixels" or [6, h, w] "moments" of a part of the tile's blend area, in the patch's own pixels."""
        import torch

        found = self._values(f"{self.state_path(level)}/{kind}", (slot, tile, slice(None), *part.slices))
        if found.dtype == np.uint16:
            return torch.from_numpy(found.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(found)

    # Statistics and marks -----------------------------------------------------------------------------------------

    def write_grams(
        self, path: str, slot: int, tile: int, sums: Mapping[str, np.ndarray], regions: Sequence[int] = (0,)
    ) -> None:
        """sums[layer]: [len(regions), C or C + 1, C]. regions: those that the tile holds; the others' sums are 0."""
        held = self._array(f"{path}/regions")
        held[slot, tile] = np.isin(range(held.shape[2]), regions)
        for layer, values in sums.items():
            for region, value in zip(regions, values, strict=True):
                self._array(f"{path}/grams/{layer}")[slot, tile, region] = value

    def read_regions(self, path: str, slot: int, tile: int) -> tuple[int, ...]:
        """Those that the tile holds."""
        held = self._values(f"{path}/regions", (slot, tile))
        return tuple(np.flatnonzero(held).tolist())

    def read_grams(
        self, path: str, slot: int, tile: int, layer: str, regions: Sequence[int] | None = None
    ) -> np.ndarray:
        """[len(regions), C or C + 1, C]; None: of every region."""
        held, path = self._values(f"{path}/regions", (slot, tile)), f"{path}/grams/{layer}"
        array = self._array(path)
        nothing = np.zeros(array.shape[3:], array.dtype)
        wanted = range(len(held)) if regions is None else regions
        return np.stack([self._values(path, (slot, tile, r)) if held[r] else nothing for r in wanted])

    def write_totals(self, path: str, totals: Mapping[str, np.ndarray]) -> None:
        """Normalised sums [R, C or C + 1, C] of a style at a level's scale, by layer."""
        sums, regions = {layer: total.shape[1:] for layer, total in totals.items()}, len(next(iter(totals.values())))
        for name, array in layout.totals(sums, _dtype(totals), regions).items():
            self._create(f"{path}/{name}", array)
        for layer, total in totals.items():
            self._array(f"{path}/totals/{layer}")[...] = total
        self._array(f"{path}/totals/{next(iter(totals))}").attrs["complete"] = True

    def has_totals(self, path: str, layers: Sequence[str]) -> bool:
        """Whether they were written to the end."""
        return bool(self._attributes(f"{path}/totals/{layers[0]}").get("complete"))

    def read_total(self, path: str, layer: str) -> np.ndarray:
        """[R, C or C + 1, C]."""
        return self._values(f"{path}/totals/{layer}", (slice(None),))

    def mark(self, path: str, slot: int, state: int, tile: int) -> None:
        """Say that a tile's part of `state` is complete; call it after the data is written."""
        self._array(f"{path}/marks")[slot, tile] = state

    def unmark(self, path: str, slot: int, tile: int) -> None:
        """Say that a tile's part of what a slot holds is not complete."""
        self._array(f"{path}/marks")[slot, tile] = -1

    def read_marks(self, path: str) -> np.ndarray:
        """[2 slots, tiles] int: all marks, as they are."""
        found = np.full(self._array(f"{path}/marks").shape, -1, np.int32)
        for slot, row in enumerate(found):
            tiles = self._marked_tiles(path, slot)
            if tiles:
                row[tiles] = self._values(f"{path}/marks", (slot, tiles), strict=False)
        return found

    def _marked_tiles(self, path: str, slot: int) -> list[int]:
        """Those that a slot has a mark of. Each is a chunk, and where there are none nothing is read."""
        tiles = self._array(f"{path}/marks").shape[1]
        names = self._names(f"{path}/marks/c/{slot}")
        return sorted(int(name) for name in names if name.isdecimal() and len(name) < 10 and int(name) < tiles)

    def states(self, path: str) -> np.ndarray:
        """[2 slots, tiles] int: the state of each tile that a slot holds, -1 for none. A mark that cannot be read is
        none."""
        try:
            return self.read_marks(path)
        except DamageError:
            found = np.full(self._array(f"{path}/marks").shape, -1, np.int32)
            for slot in range(len(found)):
                for tile in self._marked_tiles(path, slot):
                    with contextlib.suppress(DamageError):
                        found[slot, tile] = self._values(f"{path}/marks", (slot, tile), strict=False)
            return found

    def latest(self, path: str, grid: TileGrid | None = None) -> tuple[int, int] | None:
        """(state, slot) of the newest state that the store holds of every tile, or of all that the grid lists: the last
        whole checkpoint."""
        held = self.states(path)
        if grid is not None:
            held = held[:, [tile.index for tile in grid]]
        whole = [(int(row[0]), slot) for slot, row in enumerate(held) if (row == row[0]).all()]
        return max((one for one in whole if one[0] >= 0), default=None)

    def write_loss(self, level: int, slot: int, tile: int, content: float, tv: float) -> None:
        self._array(f"{self.state_path(level)}/losses")[slot, tile] = (content, tv)

    def read_loss(self, level: int, slot: int, tile: int) -> np.ndarray:
        """[content, tv] of one tile."""
        return self._values(f"{self.state_path(level)}/losses", (slot, tile))

    def read_losses(self, level: int, slot: int) -> np.ndarray:
        """[tiles, 2] of content and tv: of all tiles, as a whole checkpoint has them."""
        return self._values(f"{self.state_path(level)}/losses", (slot,))

    def forget(self, path: str, index: tuple[int, ...]) -> None:
        """Take back what says that a damaged part is complete, so that it is computed again: what DamageError names.

        Of a tile's state that is its mark.
        """
        parent, _, name = path.rpartition("/")
        holder = parent.removesuffix("/grams").removesuffix("/totals")
        if name in (IMAGE, POSTER):
            self._attributes(parent).pop("report", None)
            for each in (IMAGE, POSTER):  # made together, and perhaps not of the tiles that there are now
                self._drop(f"{parent}/{each}")
        elif parent == "levels" or name in ("alpha", "picture", "init", *INPUTS):
            self._drop(path)
        elif not index:
            self._drop(holder)
        elif len(index) > 1:
            self.unmark(holder, index[0], index[1])


def _dtype(totals: Mapping[str, np.ndarray]) -> str:
    return next(iter(totals.values())).dtype.name


def _bfloat16_bits(values: torch.Tensor) -> np.ndarray:
    """Rounded to nearest, ties to even; numpy has no such type."""
    import torch

    return values.to(torch.bfloat16).cpu().view(torch.int16).numpy().view(np.uint16)
