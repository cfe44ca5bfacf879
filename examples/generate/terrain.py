"""A made-up land: height, climate, rivers, towns, and what grows where. The same land at every size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from generate.noise import fractal, smoothstep
from generate.palette import NAMES
from generate.rivers import drain, trace

GRID = 288  # cells along the longer side where water is routed and towns are sought, whatever the picture's size


@dataclass(frozen=True)
class Biome:
    """sea: share of the map under water. warmth: temperature at the sea, 0 freezing to 1 hot. wetness: added to the
    moisture. relief: height of the mountains. polar: colder towards the upper and lower edge."""

    sea: float
    warmth: float
    wetness: float
    relief: float
    polar: float


BIOMES = {
    "temperate": Biome(0.44, 0.55, 0.08, 1.0, 0.25),
    "arctic": Biome(0.42, 0.33, 0.0, 1.1, 0.2),
    "desert": Biome(0.34, 0.9, -0.26, 0.8, 0.15),
    "world": Biome(0.62, 0.8, 0.02, 0.8, 1.0),
}


@dataclass(frozen=True)
class Terrain:
    """height: [H, W], 0 is the sea's level, about -1..1. moisture, temperature: [H, W], 0..1. labels: [H, W], indices
    into palette.NAMES. wrap: the right edge continues at the left. flow: [H, W], 0 or the width of the river, 0..1."""

    height: np.ndarray
    moisture: np.ndarray
    temperature: np.ndarray
    flow: np.ndarray
    labels: np.ndarray
    wrap: bool


def _relief(rows: int, columns: int, seed: int, biome: Biome, period: float | None) -> np.ndarray:
    """Height [rows, columns] before the sea's level is known: broad continents, and ridges where they are high."""
    unit = period / columns if period else 1 / rows
    x = ((np.arange(columns) + 0.5) * unit)[None, :]
    y = ((np.arange(rows) + 0.5) / rows)[:, None]
    bend = [0.07 * fractal(x, y, seed + k, 2, 4, period=period) for k in (1, 2)]
    x, y = x + bend[0], y + bend[1]
    land = fractal(x, y, seed + 3, 1.5, 9, 0.52, period=period)
    belts = smoothstep(-0.15, 0.35, fractal(x, y, seed + 4, 2, 3, period=period))
    ridges = fractal(x, y, seed + 5, 3, 8, 0.5, ridged=True, period=period)
    return land + biome.relief * 0.75 * belts * (ridges - 0.12) * smoothstep(-0.25, 0.3, land)


def _climate(height: np.ndarray, seed: int, biome: Biome, period: float | None) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = height.shape
    unit = period / columns if period else 1 / rows
    x = ((np.arange(columns) + 0.5) * unit)[None, :]
    y = ((np.arange(rows) + 0.5) / rows)[:, None]
    moisture = 0.5 + biome.wetness + 0.75 * fractal(x, y, seed + 6, 2.5, 6, period=period)
    latitude = np.abs(2 * y - 1)
    if period:  # rain at the equator and at 50 degrees, deserts at 25, as on the earth
        moisture = moisture + 0.28 * np.cos(3.4 * np.pi * latitude)
    else:
        latitude = 1.4 * y[::-1] - 0.2
    temperature = biome.warmth - biome.polar * latitude**2 + 0.12 * fractal(x, y, seed + 7, 3, 5, period=period)
    return np.clip(moisture, 0, 1), np.clip(temperature - 0.55 * np.clip(height, 0, None), 0, 1)


def _draw_rivers(paths: list[list[int]], flow: np.ndarray, size: tuple[int, int], wrap: bool) -> np.ndarray:
    """[H, W] in 0..1: rivers as smooth lines, wider downstream."""
    (rows, columns), (height, width) = flow.shape, size
    picture = Image.new("L", (width, height))
    pen = ImageDraw.Draw(picture)
    for path in reversed(paths):
        at = np.array([divmod(cell, columns) for cell in path], float)
        if wrap:  # take the short way over the edge
            at[:, 1] = np.unwrap(at[:, 1], period=columns)
        for _ in range(2):  # Chaikin's corner cutting
            cut = [0.75 * at[:-1] + 0.25 * at[1:], 0.25 * at[:-1] + 0.75 * at[1:]]
            at = np.concatenate([at[:1], np.stack(cut, 1).reshape(-1, 2), at[-1:]])
        flows = np.interp(np.linspace(0, 1, len(at)), np.linspace(0, 1, len(path)), flow.ravel()[path])
        widths = np.clip(np.sqrt(flows / flow.size) * 16, 1.5, 6) * max(height, width) / 1000
        points = (at[:, ::-1] + 0.5) * (width / columns, height / rows)
        for shift in (-width, 0, width) if wrap else (0,):
            for a, b, thick in zip(points[:-1], points[1:], widths, strict=False):
                ends = [a[0] + shift, a[1], b[0] + shift, b[1]]
                pen.line(ends, fill=min(255, int(110 * thick * 1000 / max(size))), width=max(1, round(thick)))
    return np.asarray(picture, np.float32) / 255


def _towns(labels: np.ndarray, flow: np.ndarray, seed: int, wanted: int) -> np.ndarray:
    """[N, 2] cells (row, column) in the plains, near water, far from each other."""
    plain = labels == NAMES.index("grass")
    water = np.isin(labels, [NAMES.index("shallows"), NAMES.index("ocean")]) | (flow > flow.size * 0.004)
    near = sum(np.roll(water, (dy, dx), (0, 1)) for dy in range(-3, 4) for dx in range(-3, 4)) > 0
    cells = np.argwhere(plain & near)
    cells = cells[np.random.default_rng(seed).permutation(len(cells))]
    chosen: list[np.ndarray] = []
    for cell in cells:
        if len(chosen) < wanted and all(np.hypot(*(cell - other)) > GRID / 9 for other in chosen):
            chosen.append(cell)
    return np.array(chosen, int).reshape(-1, 2)


def classify(height: np.ndarray, moisture: np.ndarray, temperature: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """[H, W] indices into NAMES; towns are placed later."""
    labels = np.full(height.shape, NAMES.index("grass"))
    for name, where in (
        ("forest", moisture > 0.54),
        ("desert", (moisture < 0.34) & (temperature > 0.3)),
        ("rock", height > 0.38),
        ("snow", temperature < 0.17 + 0.06 * moisture),
        ("beach", (height < 0.012) & (temperature > 0.25)),
        ("river", flow > 0),
        ("shallows", height <= 0),
        ("ocean", height < -0.1),
    ):
        labels[where] = NAMES.index(name)
    return labels


def terrain(width: int, height: int, biome: str = "temperate", seed: int = 1) -> Terrain:
    """The land of this seed, `width` x `height` pixels. The biome `world` continues over its right edge."""
    kind = BIOMES[biome]
    period = 2.0 if biome == "world" else None
    scale = GRID / max(width, height)
    coarse = max(8, round(height * scale)), max(8, round(width * scale))
    low = _relief(*coarse, seed, kind, period)
    level = np.quantile(low, kind.sea)
    low -= level
    wet, warm = _climate(low, seed, kind, period)
    drainage = drain(low, 0.15 + wet * (warm > 0.1), wrap=period is not None)
    paths = trace(drainage, low, least=low.size * 0.0035)
    high = _relief(height, width, seed, kind, period) - level
    lake = Image.fromarray((drainage.filled - low).astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    high = np.where((np.asarray(lake) > 0.035) & (high > 0), -0.03, high)
    moisture, temperature = _climate(high, seed, kind, period)
    flow = _draw_rivers(paths, drainage.flow, (height, width), period is not None) * (high > 0)
    labels = classify(high, moisture, temperature, flow)
    _place_towns(labels, _towns(classify(low, wet, warm, low * 0), drainage.flow, seed, 9), coarse, seed)
    return Terrain(high, moisture, temperature, flow, labels, period is not None)


def _place_towns(labels: np.ndarray, cells: np.ndarray, grid: tuple[int, int], seed: int) -> None:
    """Write irregular patches into `labels`, on land only."""
    height, width = labels.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(height, width)
    rough = 1 + 0.5 * fractal(x, y, seed + 8, 40, 3)
    for row, column in cells:
        away = np.hypot(y - (row + 0.5) / max(grid), x - (column + 0.5) / max(grid))
        inside = (away * rough < 0.011) & ~np.isin(labels, [NAMES.index(n) for n in ("ocean", "shallows", "river")])
        labels[inside] = NAMES.index("town")
