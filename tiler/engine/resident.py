"""A block's state in the memory of the device that computes, or in the host's, which is then pinned and copied from
and to."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from tiler.engine.home import HOST
from tiler.engine.state import Kept, spread
from tiler.errors import StateLostError
from tiler.geometry import Rect, Tile


@dataclass(eq=False)
class _Room:
    """Where a tile's patch lies. over: whether it belongs to the state no more; holds: who needs it all the same."""

    pixels: torch.Tensor
    moments: torch.Tensor
    over: bool = False
    holds: int = 0


class _Rooms:
    """Of one size, for patches of at most `area` pixels: memory that comes and goes leaves holes, so a room is used
    again."""

    def __init__(self, area: int, dtypes: tuple[torch.dtype, torch.dtype], where: Mapping[str, Any]) -> None:
        self._area, self._dtypes, self._where = area, dtypes, where
        self._free: list[_Room] = []
        self._leaving = 0  # over, and held
        self._changed = threading.Condition()

    def take(self) -> _Room:
        """A free one; else one that will be free before long; only else a new one."""
        with self._changed:
            self._changed.wait_for(lambda: self._free or not self._leaving)
            if self._free:
                found = self._free.pop()
                found.over = False
                return found
        pixels, moments = (
            torch.empty(count * self._area, dtype=dtype, **self._where)
            for count, dtype in zip((3, 6), self._dtypes, strict=True)
        )
        return _Room(pixels, moments)

    def end(self, room: _Room) -> None:
        """Its patch is over."""
        with self._changed:
            room.over = True
            if room.holds:
                self._leaving += 1
            else:
                self._free.append(room)

    def hold(self, room: _Room) -> None:
        with self._changed:
            room.holds += 1

    def let_go(self, room: _Room) -> None:
        with self._changed:
            room.holds -= 1
            if room.over and not room.holds:
                self._leaving -= 1
                self._free.append(room)
                self._changed.notify_all()


class Hold:
    """A tile's part of a state, which stays as it is until it is let go."""

    def __init__(self, rooms: _Rooms, room: _Room, kept: Kept) -> None:
        self.kept, self._rooms = kept, rooms
        self._room: _Room | None = room
        rooms.hold(room)

    def let_go(self) -> None:
        """Also again."""
        room, self._room = self._room, None
        if room is not None:
            self._rooms.let_go(room)


class Resident:
    """Of a block's tiles. sees: by tile, whose patches among them it reads in a round.

    Of a state that is followed by the next, a patch is kept until all tiles that see it have theirs of the next: not
    twice the block, but its tiles and about a row of them. Raises StateLostError for what is not here: this process
    took the place of another, or has gone on.
    """

    def __init__(
        self,
        device: torch.device,
        home: str,
        dtype: torch.dtype,
        moment_dtype: torch.dtype,
        tiles: Sequence[Tile],
        sees: Mapping[int, Sequence[int]],
    ) -> None:
        self._device, self._dtype = device, dtype
        self._pinned = home == HOST and device.type == "cuda"
        where: dict[str, Any] = {"device": "cpu", "pin_memory": True} if self._pinned else {"device": device}
        self._rooms = _Rooms(max((tile.blend.area for tile in tiles), default=0), (dtype, moment_dtype), where)
        self._sees = sees
        self._seen_by: dict[int, list[int]] = {tile: [] for tile in sees}
        for tile, seen in sees.items():
            for one in seen:
                self._seen_by[one].append(tile)
        # By state and tile.
        self._found: dict[tuple[int, int], tuple[Kept, _Room]] = {}
        self._leaving = threading.Lock()

    def present(self, state: int) -> set[int]:
        return {tile for there, tile in self._found if there == state}

    def newest(self, tiles: Sequence[int]) -> int:
        """A tile whose part is gone has one of the next."""
        found = dict.fromkeys(tiles, -1)
        for state, tile in self._found:
            found[tile] = max(found.get(tile, -1), state)
        return min(found[tile] for tile in tiles)

    def require(self, state: int, tiles: Sequence[int] | None = None) -> None:
        """Each tile's is asked for by its number (see `kept`)."""

    def _there(self, state: int, tile: Tile) -> tuple[Kept, _Room]:
        found = self._found.get((state, tile.index))
        if found is None:
            raise StateLostError(f"tile {tile.index}: its state {state} is not here")
        return found

    def kept(self, state: int, tile: Tile) -> Kept:
        """What was put."""
        return self._there(state, tile)[0]

    def hold(self, state: int, tiles: Sequence[Tile]) -> list[Hold]:
        """What was put of these, however far the state goes on meanwhile. All have to be let go."""
        with self._leaving:
            return [Hold(self._rooms, room, kept) for kept, room in [self._there(state, tile) for tile in tiles]]

    def put(self, state: int, tile: Tile, kept: Kept) -> None:
        _, height, width = kept.pixels.shape
        _, room = self._found.pop((state, tile.index), (None, None))
        room = room or self._rooms.take()
        pixels, moments = (
            flat[: count * height * width].view(count, height, width)
            for count, flat in ((3, room.pixels), (6, room.moments))
        )
        try:
            pixels.copy_(kept.pixels, non_blocking=True)
            moments.zero_() if kept.moments is None else moments.copy_(kept.moments, non_blocking=True)
        except BaseException:
            self._rooms.end(room)
            raise
        self._found[state, tile.index] = replace(kept, pixels=pixels, moments=moments), room
        for seen in self._sees[tile.index]:
            self._leave(state, seen)

    def _leave(self, state: int, index: int) -> None:
        """A tile's patch of the state before, where all that see it have this one."""
        if (state - 1, index) in self._found and all((state, one) in self._found for one in self._seen_by[index]):
            with self._leaving:
                _, room = self._found.pop((state - 1, index))
                self._rooms.end(room)

    def settle(self) -> None:
        if self._pinned:
            torch.cuda.current_stream(self._device).synchronize()

    def put_grams(self, state: int, tile: Tile, grams: Mapping[str, torch.Tensor], regions: tuple[int, ...]) -> None:
        kept, room = self._there(state, tile)
        self._found[state, tile.index] = replace(kept, grams=grams, regions=regions), room

    def read(self, state: int, tile: Tile, part: Rect, kind: str) -> torch.Tensor:
        found: torch.Tensor = getattr(self.kept(state, tile), kind)
        return found[(slice(None), *part.slices)].to(self._device, self._dtype, non_blocking=True)

    def grams(self, state: int, tile: Tile, layer: str, regions: Sequence[int]) -> torch.Tensor:
        found = self.kept(state, tile)
        if layer not in found.grams:
            raise StateLostError(f"tile {tile.index}: the statistics of its state {state} are not here")
        return spread(found.grams[layer], found.regions, regions)

    def losses(self, state: int, tile: Tile) -> tuple[float, float]:
        return self.kept(state, tile).losses
