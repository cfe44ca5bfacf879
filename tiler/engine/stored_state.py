"""The working state of levels in a job's store: patches, statistics, losses, and marks that say what is complete."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import numpy as np

from tiler.engine import layout
from tiler.engine.arrays import Arrays
from tiler.engine.contents import IMAGE, INPUTS, POSTER, state_path
from tiler.errors import DamageError
from tiler.geometry import Rect, Tile, TileGrid

PATCHED, MEASURED = 0, 1


class StoredState(Arrays):
    _cut: str

    def state_path(self, level: int) -> str:
        """Where the tiles of this job's cut keep their state."""
        return state_path(level, self._cut)

    def create_state(
        self,
        level: int,
        grid: TileGrid,
        channels: Mapping[str, int],
        dtype: str,
        moment_dtype: str,
        regions: int = 1,
    ) -> None:
        """Room for two states of a level's tiles and their statistics. moment_dtype: bfloat16 or a numpy name. A level
        that was begun, and of which no state is whole any more, loses them all."""
        path = self.state_path(level)
        if self.has(f"{path}/marks") and self.latest(path, PATCHED) < 0 < self.states(path, PATCHED).max():
            self._drop(path)
        for name, array in layout.state(grid, channels, dtype, moment_dtype, regions).items():
            self._create(f"{path}/{name}", array)

    def create_statistics(
        self, path: str, tiles: int, channels: Mapping[str, int], dtype: str, regions: int = 1
    ) -> None:
        """Room for Gram sums of `tiles` tiles under `path`, two slots; channels: per layer."""
        for name, array in layout.statistics(tiles, channels, dtype, regions).items():
            self._create(f"{path}/{name}", array)

    def write_patch(
        self, level: int, slot: int, tile: Tile, pixels: np.ndarray, moments: np.ndarray | None = None
    ) -> None:
        """pixels: [3, h, w] over the tile's blend area; moments: [6, h, w], first and second; None: all 0."""
        moments = np.zeros((6, *pixels.shape[1:]), pixels.dtype) if moments is None else moments
        for name, patch in {"pixels": pixels, "moments": moments}.items():
            array = self._array(f"{self.state_path(level)}/{name}")
            patch = _bfloat16_bits(patch) if array.dtype == np.uint16 else patch
            # Whole chunks: part of one would be merged into what is there, which may be damaged.
            missing = [(0, whole - size) for whole, size in zip(array.shape[2:], patch.shape, strict=True)]
            array[slot, tile.index] = np.pad(patch, missing)

    def read_patch(self, level: int, slot: int, tile: Tile, part: Rect, kind: str) -> np.ndarray:
        """[3, h, w] "pixels" or [6, h, w] "moments" of a part of the tile's blend area, in level pixels."""
        inner = part.relative_to(tile.blend)
        found = self._values(f"{self.state_path(level)}/{kind}", (slot, tile.index, slice(None), *inner.slices))
        return _from_bfloat16_bits(found) if found.dtype == np.uint16 else found

    # Statistics and marks -----------------------------------------------------------------------------------------

    def write_grams(
        self, path: str, slot: int, tile: int, sums: Mapping[str, np.ndarray], regions: Sequence[int] = (0,)
    ) -> None:
        """sums[layer]: [len(regions), C, C]. regions: those that the tile holds; the others' sums are 0."""
        held = self._array(f"{path}/regions")
        held[slot, tile] = np.isin(range(held.shape[2]), regions)
        for layer, values in sums.items():
            for region, value in zip(regions, values, strict=True):
                self._array(f"{path}/grams/{layer}")[slot, tile, region] = value

    def read_grams(
        self, path: str, slot: int, tile: int, layer: str, regions: Sequence[int] | None = None
    ) -> np.ndarray:
        """[len(regions), C, C]; None: of every region."""
        held, path = self._values(f"{path}/regions", (slot, tile)), f"{path}/grams/{layer}"
        array = self._array(path)
        nothing = np.zeros(array.shape[3:], array.dtype)
        wanted = range(len(held)) if regions is None else regions
        return np.stack([self._values(path, (slot, tile, r)) if held[r] else nothing for r in wanted])

    def write_total(self, path: str, slot: int, layer: str, total: np.ndarray) -> None:
        self._array(f"{path}/totals/{layer}")[slot] = total

    def read_total(self, path: str, slot: int, layer: str) -> np.ndarray:
        return self._values(f"{path}/totals/{layer}", (slot,))

    def mark(self, path: str, phase: int, state: int, tile: int) -> None:
        """Say that a tile's part of `state` is complete; call it after the data is written."""
        self._array(f"{path}/marks")[phase, state % 2, tile] = state

    def unmark(self, path: str, slot: int, tile: int) -> None:
        """Say that a slot holds nothing of a tile; call it before its data is overwritten."""
        self._array(f"{path}/marks")[:, slot, tile] = -1

    def read_marks(self, path: str, phase: int) -> np.ndarray:
        """[2 slots, tiles] int: all marks, as they are."""
        found = np.full(self._array(f"{path}/marks").shape[1:], -1, np.int32)
        for slot, row in enumerate(found):
            tiles = self._marked_tiles(path, phase, slot)
            if tiles:
                row[tiles] = self._values(f"{path}/marks", (phase, slot, tiles), strict=False)
        return found

    def _marked_tiles(self, path: str, phase: int, slot: int) -> list[int]:
        """Those that a slot has a mark of. Each is a chunk, and where there are none nothing is read."""
        tiles = self._array(f"{path}/marks").shape[2]
        names = self._names(f"{path}/marks/c/{phase}/{slot}")
        return sorted(int(name) for name in names if name.isdecimal() and len(name) < 10 and int(name) < tiles)

    def states(self, path: str, phase: int) -> np.ndarray:
        """[2 slots, tiles] int: the state of each tile that a slot holds, -1 for none. A mark that cannot be read is
        none."""
        try:
            return self.read_marks(path, phase)
        except DamageError:
            found = np.full(self._array(f"{path}/marks").shape[1:], -1, np.int32)
            for slot in range(len(found)):
                for tile in self._marked_tiles(path, phase, slot):
                    with contextlib.suppress(DamageError):
                        found[slot, tile] = self._values(f"{path}/marks", (phase, slot, tile), strict=False)
            return found

    def marked(self, path: str, phase: int, state: int) -> np.ndarray:
        """[tiles] bool: which tiles' parts of `state` are in the store."""
        return self.states(path, phase)[state % 2] == state

    def latest(self, path: str, phase: int) -> int:
        """The newest state that the store holds of every tile, -1 for none."""
        return max((int(row[0]) for row in self.states(path, phase) if (row == row[0]).all()), default=-1)

    def write_losses(self, level: int, state: int, tile: int, content: float, tv: float) -> None:
        self._array(f"{self.state_path(level)}/losses")[state % 2, tile] = (content, tv)

    def read_losses(self, level: int, state: int) -> tuple[float, float]:
        """(content, tv) of the whole level, summed in tile order."""
        tiles = self._array(f"{self.state_path(level)}/losses").shape[1]
        content, tv = np.sum([self.read_loss(level, state % 2, tile) for tile in range(tiles)], axis=0)
        return float(content), float(tv)

    def read_loss(self, level: int, slot: int, tile: int) -> np.ndarray:
        """[content, tv] of one tile."""
        return self._values(f"{self.state_path(level)}/losses", (slot, tile))

    def forget(self, path: str, index: tuple[int, ...]) -> None:
        """Take back what says that a damaged part is complete, so that it is computed again: what DamageError names.

        Of a tile's state that is its marks. Totals are added up anew at every start.
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
            self._forget_tile(holder, index[0], index[1], "/grams/" in path or name == "regions")

    def _forget_tile(self, path: str, slot: int, tile: int, only_measured: bool) -> None:
        patched, measured = (self.states(path, phase)[slot, tile] for phase in (PATCHED, MEASURED))
        if only_measured and patched == measured:
            self._array(f"{path}/marks")[MEASURED, slot, tile] = -1
        else:
            self.unmark(path, slot, tile)


def _bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """The upper half of each float32, rounded to nearest, ties to even; numpy has no such type."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16)


def _from_bfloat16_bits(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)
