"""Numbers that are a function of where they lie and of a seed: what a generator makes a plane from, wherever it begins.

A plane is counted in cells, 16 px each; a scale says how many nodes lie along a cell. All numbers have a mean of 0 and
a variance of 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tiler.geometry import Rect

# Of Philox 4x32 with 10 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
_ROUNDS, _FACTORS, _WEYL = 10, (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_AT_ONCE = 8  # numbers of 16 bits from each counter


def philox(counter: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], key: tuple[int, int]) -> np.ndarray:
    """[4, ...] uint32: the block that each counter (four words of 32 bits) has under a key (two)."""
    words = [np.asarray(word).astype(np.uint64) & _LOW for word in counter]
    first, second = key
    for _ in range(_ROUNDS):
        even, odd = words[0] * np.uint64(_FACTORS[0]), words[2] * np.uint64(_FACTORS[1])
        shift = np.uint64(32)
        words = [
            (odd >> shift) ^ words[1] ^ np.uint64(first),
            odd & _LOW,
            (even >> shift) ^ words[3] ^ np.uint64(second),
            even & _LOW,
        ]
        first, second = (first + _WEYL[0]) & 0xFFFFFFFF, (second + _WEYL[1]) & 0xFFFFFFFF
    return np.stack(np.broadcast_arrays(*words)).astype(np.uint32)


def uniform(values: np.ndarray) -> np.ndarray:
    """float32 of mean 0 and variance 1, from uint16."""
    return ((values.astype(np.float32) + np.float32(0.5)) / np.float32(2**15) - 1) * np.float32(np.sqrt(3))


class Noise(Protocol):
    """Streams of numbers, each independent of the others."""

    def nodes(self, stream: int, box: Rect, channels: int, scale: int) -> np.ndarray:
        """[channels, h, w] of the nodes in a box that is counted in nodes, `scale` of which lie along each cell."""

    def slow(self, stream: int, cells: Rect, channels: int, spacing: int) -> np.ndarray:
        """[channels, h, w] at the cells of a box, passing from node to node, some `spacing` cells apart."""


@dataclass(frozen=True)
class Plane:
    """The endless plane of a seed (0 to 2^63). period: (rows, columns) of cells after which it repeats, None: never."""

    seed: int
    period: tuple[int | None, int | None] = (None, None)

    def nodes(self, stream: int, box: Rect, channels: int, scale: int) -> np.ndarray:
        rows, columns = (
            _folded(low, high, None if period is None else period * scale)
            for low, high, period in ((box.y0, box.y1, self.period[0]), (box.x0, box.x1, self.period[1]))
        )
        return self.at(stream, rows, columns, channels)

    def at(self, stream: int, rows: np.ndarray, columns: np.ndarray, channels: int) -> np.ndarray:
        """[channels, h, w] of the nodes at these rows and columns."""
        first = columns * channels
        values = (first[:, None] + np.arange(channels)).ravel()
        blocks, back = np.unique(values // _AT_ONCE, return_inverse=True)
        words = philox(
            (blocks[None], rows[:, None], np.array([[stream]]), np.array([[0]])),
            (self.seed & 0xFFFFFFFF, self.seed >> 32),
        )
        halves = np.stack([words & 0xFFFF, words >> 16], -1).astype(np.uint16)  # [4, h, blocks, 2]
        numbers = halves.transpose(1, 2, 0, 3).reshape(len(rows), len(blocks), _AT_ONCE)
        found = numbers[:, back, values % _AT_ONCE].reshape(len(rows), len(columns), channels)
        return uniform(found.transpose(2, 0, 1))

    def slow(self, stream: int, cells: Rect, channels: int, spacing: int) -> np.ndarray:
        rows, columns = (
            _Between.of(low, high, spacing, period)
            for low, high, period in (
                (cells.y0, cells.y1, self.period[0]),
                (cells.x0, cells.x1, self.period[1]),
            )
        )
        nodes = self.at(stream, rows.nodes, columns.nodes, channels)
        across = nodes[:, :, columns.before] * columns.near + nodes[:, :, columns.before + 1] * columns.far
        found: np.ndarray = across[:, rows.before] * rows.near[:, None] + across[:, rows.before + 1] * rows.far[:, None]
        return found


@dataclass(frozen=True)
class Path:
    """A place on the straight way from one plane to another. share: 0 at its beginning, 1 at its end."""

    start: Plane
    end: Plane
    share: float

    def nodes(self, stream: int, box: Rect, channels: int, scale: int) -> np.ndarray:
        return self._mixed(*(plane.nodes(stream, box, channels, scale) for plane in (self.start, self.end)))

    def slow(self, stream: int, cells: Rect, channels: int, spacing: int) -> np.ndarray:
        return self._mixed(*(plane.slow(stream, cells, channels, spacing) for plane in (self.start, self.end)))

    def _mixed(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        shares = np.array([1 - self.share, self.share]) / np.hypot(1 - self.share, self.share)
        found: np.ndarray = np.float32(shares[0]) * start + np.float32(shares[1]) * end
        return found


class Drawn:
    """Numbers of nowhere in particular, new ones each time, of the same distribution as a plane's: to learn from."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def nodes(self, stream: int, box: Rect, channels: int, scale: int) -> np.ndarray:
        return uniform(self._rng.integers(0, 2**16, (channels, box.height, box.width), np.uint16))

    def slow(self, stream: int, cells: Rect, channels: int, spacing: int) -> np.ndarray:
        seed, y, x = (int(self._rng.integers(0, 2**20)) for _ in range(3))
        return Plane(seed).slow(stream, cells.shifted(y, x), channels, spacing)


@dataclass(frozen=True)
class _Between:
    """Along one axis: the nodes around some cells; for each cell, which of them lies before it, and the weights of that
    one and the next, whose squares sum to 1, so that the variance is the same between nodes as upon them."""

    nodes: np.ndarray
    before: np.ndarray
    near: np.ndarray
    far: np.ndarray

    @classmethod
    def of(cls, low: int, high: int, spacing: int, period: int | None) -> _Between:
        # `count` nodes on `length` cells: exact numbers, so that a cell has the same wherever the box begins.
        count, length = (1, spacing) if period is None else (max(1, round(period / spacing)), period)
        before, rest = np.divmod(np.arange(low, high) * count, length)
        share = rest / length
        norm = np.hypot(1 - share, share)
        near, far = ((one / norm).astype(np.float32) for one in (1 - share, share))
        nodes = _folded(before[0], before[-1] + 2, None if period is None else count)
        return cls(nodes, before - before[0], near, far)


def _folded(low: int, high: int, period: int | None) -> np.ndarray:
    nodes = np.arange(low, high)
    return nodes if period is None else nodes % period
