"""Gradient noise (Perlin, "Improving Noise", 2002) summed over octaves, the same at every resolution."""

from __future__ import annotations

import numpy as np

_TABLE = 256


def _gradient_noise(x: np.ndarray, y: np.ndarray, seed: tuple[int, ...], columns: int) -> np.ndarray:
    """About -0.7..0.7 at lattice coordinates x, y; repeats after `columns` in x."""
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, (_TABLE, columns)).astype(np.float32)
    gx, gy = np.cos(angle), np.sin(angle)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)

    def corner(dx: int, dy: int) -> np.ndarray:
        at = (y0 + dy) % _TABLE, (x0 + dx) % columns
        return gx[at] * (fx - dx) + gy[at] * (fy - dy)

    u, v = (t**3 * (t * (t * 6 - 15) + 10) for t in (fx, fy))
    top = corner(0, 0) * (1 - u) + corner(1, 0) * u
    bottom = corner(0, 1) * (1 - u) + corner(1, 1) * u
    return top * (1 - v) + bottom * v


def fractal(
    x: np.ndarray,
    y: np.ndarray,
    seed: int,
    frequency: float,
    octaves: int = 6,
    gain: float = 0.5,
    ridged: bool = False,
    period: float | None = None,
) -> np.ndarray:
    """Noise at x, y (any units), `frequency` lattice cells per unit in the coarsest octave.

    About -1..1, or 0..1 with sharp crests if `ridged`. With `period`, repeats after that many units in x; frequency
    times period must be a whole number.
    """
    total, weight, norm = np.zeros(np.broadcast_shapes(x.shape, y.shape), np.float32), 1.0, 0.0
    for octave in range(octaves):
        cells = frequency * 2**octave
        columns = round(cells * period) if period else _TABLE
        value = _gradient_noise(x * cells, y * cells, (seed, octave), columns) * 1.6
        total += weight * (np.clip(1 - 2 * np.abs(value), 0, 1) ** 2 if ridged else value)
        norm, weight = norm + weight, weight * gain
    return total / norm


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
