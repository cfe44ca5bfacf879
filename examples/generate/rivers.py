"""Where water runs: depressions are filled, every cell gets one way down, and flow adds up along the ways.

Filling and the ways are Barnes, Lehman & Mulla, "Priority-Flood" (2014).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

SINK = -1  # what a cell of the sea or at the map's edge drains to


@dataclass(frozen=True)
class Drainage:
    """filled: [H, W] height of the water's surface, `height` itself where no water stands. receiver: [H*W] index of the
    next cell downstream, or SINK. flow: [H, W] rain gathered upstream."""

    filled: np.ndarray
    receiver: np.ndarray
    flow: np.ndarray


def _neighbours(cell: int, rows: int, columns: int, wrap: bool) -> list[int]:
    row, column = divmod(cell, columns)
    found = []
    for r in range(max(0, row - 1), min(rows, row + 2)):
        for c in (column - 1, column, column + 1):
            if wrap or 0 <= c < columns:
                found.append(r * columns + c % columns)
    return found


def drain(height: np.ndarray, rain: np.ndarray, wrap: bool) -> Drainage:
    """Route `rain` [H, W] (0 or more) over `height` [H, W], sea level 0. With `wrap` the map continues in x."""
    rows, columns = height.shape
    filled, order = height.astype(float).ravel().tolist(), []
    receiver = [SINK] * len(filled)
    edge = np.zeros(height.shape, bool)
    edge[[0, -1]] = True
    if not wrap:
        edge[:, [0, -1]] = True
    seen = (edge | (height <= 0)).ravel().tolist()
    queue = [(filled[cell], cell) for cell in np.flatnonzero(seen).tolist()]
    heapq.heapify(queue)
    while queue:
        level, cell = heapq.heappop(queue)
        order.append(cell)
        for other in _neighbours(cell, rows, columns, wrap):
            if not seen[other]:
                seen[other], receiver[other] = True, cell
                filled[other] = max(filled[other], level)
                heapq.heappush(queue, (filled[other], other))
    flow = rain.astype(float).ravel().tolist()
    for cell in reversed(order):
        if receiver[cell] != SINK:
            flow[receiver[cell]] += flow[cell]
    return Drainage(np.array(filled).reshape(rows, columns), np.array(receiver), np.array(flow).reshape(rows, columns))


def trace(drainage: Drainage, height: np.ndarray, least: float, shortest: int = 6) -> list[list[int]]:
    """Rivers as lists of cells from source to the sea, the map's edge or a larger river, longest first.

    A cell belongs to a river where `least` rain or more comes together and the land is above the sea.
    """
    wet = (drainage.flow >= least).ravel() & (height > 0).ravel()
    receiver = drainage.receiver
    fed = np.zeros(wet.size, bool)
    fed[receiver[wet & (receiver != SINK)]] = True
    paths = []
    for source in np.flatnonzero(wet & ~fed).tolist():
        path = [source]
        while receiver[path[-1]] != SINK and wet[path[-1]]:
            path.append(int(receiver[path[-1]]))
        paths.append(path)
    taken: set[int] = set()
    rivers = []
    for path in sorted(paths, key=len, reverse=True):
        own = next((i for i, cell in enumerate(path) if cell in taken), len(path) - 1) + 1
        if own >= shortest:
            rivers.append(path[:own])
        taken.update(path[:own])
    return rivers
