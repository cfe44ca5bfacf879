"""Terrain drawn as people draw maps: shaded relief, hexagons, blocks, a grey map of heights."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from generate.noise import fractal, smoothstep
from generate.palette import NAMES, rgb
from generate.terrain import Terrain

_LAND = {
    "beach": "#e8d9a8",
    "grass": "#9cbf62",
    "forest": "#4c8444",
    "desert": "#e2c078",
    "rock": "#94877a",
    "snow": "#f6f9fc",
    "town": "#b4685c",
    "river": "#4d94c6",
    "shallows": "#6fbcdc",
    "ocean": "#2a5f9e",
}
_FLAT = np.array([rgb(_LAND[name]) for name in NAMES], np.float32)


def hillshade(height: np.ndarray, strength: float = 1.0, wrap: bool = False) -> np.ndarray:
    """[H, W], 1 on flat ground: light from the north-west on `height`, whatever the picture's size."""
    scale = max(height.shape) * 0.055 * strength
    padded = np.pad(height, ((1, 1), (0, 0)), "edge")
    padded = np.pad(padded, ((0, 0), (1, 1)), "wrap" if wrap else "edge")
    dy, dx = (padded[2:, 1:-1] - padded[:-2, 1:-1]) * scale / 2, (padded[1:-1, 2:] - padded[1:-1, :-2]) * scale / 2
    light = (0.7 + 0.5 * dx + 0.5 * dy) / np.sqrt(1 + dx * dx + dy * dy) / 0.7
    return np.clip(light, 0.45, 1.45).astype(np.float32)


def _soften(labels: np.ndarray, names: tuple[str, ...], radius: float, wrap: bool) -> np.ndarray:
    """[H, W, 3] colours of the land only, blended over `radius` pixels so that climates pass into each other."""
    land = np.isin(labels, [NAMES.index(name) for name in names])
    share = np.zeros(labels.shape, np.float32)
    total = np.zeros((*labels.shape, 3), np.float32)
    for name in names:
        weight = blur((labels == NAMES.index(name)).astype(np.float32), radius, wrap)
        share, total = share + weight, total + weight[..., None] * _FLAT[NAMES.index(name)]
    return np.where(land[..., None], total / np.maximum(share, 1e-6)[..., None], _FLAT[labels])


def blur(image: np.ndarray, radius: float, wrap: bool = False) -> np.ndarray:
    """Three box filters along each axis: nearly a Gaussian of that radius in pixels."""
    half = max(0, round(radius / 2))
    for axis in (0, 1) * 3:
        pad = [(half + 1, half) if a == axis else (0, 0) for a in range(2)]
        sums = np.cumsum(np.pad(image, pad, "wrap" if wrap and axis else "edge"), axis, dtype=np.float64)
        n = image.shape[axis]
        ahead = np.take(sums, range(2 * half + 1, 2 * half + 1 + n), axis)
        image = ((ahead - np.take(sums, range(n), axis)) / (2 * half + 1)).astype(np.float32)
    return image


def draw_relief(land: Terrain) -> np.ndarray:
    """[H, W, 3] uint8: colours of the climates under hill shading, deep and shallow sea, rivers, towns."""
    size, wrap = max(land.height.shape), land.wrap
    colour = _soften(land.labels, ("beach", "grass", "forest", "desert", "rock", "snow"), size / 160, wrap)
    shade = hillshade(land.height, wrap=wrap) * (1 + 0.12 * np.clip(land.height, 0, 1))
    sea = land.height <= 0
    depth = smoothstep(0, 0.55, np.sqrt(np.clip(-land.height, 0, None)))[..., None]
    near, far = (np.array(rgb(c), np.float32) for c in ("#8fd0e4", "#21508f"))
    colour = np.where(sea[..., None], near * (1 - depth) + far * depth, colour)
    shade = np.where(sea, 0.9 + 0.1 * hillshade(land.height, 0.5, wrap), shade)
    water = np.clip(land.flow * 1.5, 0, 1)[..., None] * (land.labels == NAMES.index("river"))[..., None]
    shade = np.where(water[..., 0] > 0, 1, shade)
    colour = colour * (1 - water) + _FLAT[NAMES.index("river")] * water
    y, x = np.mgrid[0 : sea.shape[0], 0 : sea.shape[1]].astype(np.float32) / size
    trees = fractal(x, y, 77, 128 if wrap else 90, 2, period=1 if wrap else None)
    shade = shade * np.where(land.labels == NAMES.index("forest"), 1 + 0.35 * trees, 1)
    return np.clip(colour * shade[..., None], 0, 255).astype(np.uint8)


def draw_heights(land: Terrain) -> np.ndarray:
    """[H, W, 3] uint8, grey: black is the deepest sea, white the highest peak."""
    low, high = land.height.min(), land.height.max()
    grey = np.where(land.height > 0, 0.3 + 0.7 * land.height / high, 0.3 - 0.3 * land.height / min(low, -1e-6))
    return np.repeat((np.clip(grey, 0, 1) * 255).astype(np.uint8)[..., None], 3, 2)


def _common(labels: np.ndarray, cells: np.ndarray, count: int) -> np.ndarray:
    """[count] the label that most pixels of each cell have; a river or a town wins from a fifth of the cell on."""
    votes = np.bincount(cells.ravel() * len(NAMES) + labels.ravel(), minlength=count * len(NAMES))
    votes = votes.reshape(count, len(NAMES)).astype(float)
    for name in ("river", "town"):
        votes[:, NAMES.index(name)] *= 3
    return votes.argmax(1)


def _hexagons(height: int, width: int, across: int) -> tuple[np.ndarray, np.ndarray]:
    """([H, W] index of the hexagon each pixel lies in, [N, 2] their centres x, y); `across` in a row, pointed top."""
    step = width / across
    rise = step * np.sqrt(3) / 2
    rows = int(height / rise) + 3
    centres = np.array([(c * step + (r % 2) * step / 2, r * rise) for r in range(rows) for c in range(across + 2)])
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    best, index = np.full((height, width), np.inf, np.float32), np.zeros((height, width), int)
    base = np.round(y / rise).astype(int)
    for r in (base - 1, base, base + 1):
        r = np.clip(r, 0, rows - 1)
        c = np.clip(np.round((x - (r % 2) * step / 2) / step), 0, across + 1).astype(int)
        away = (x - c * step - (r % 2) * step / 2) ** 2 + (y - r * rise) ** 2
        nearer = away < best
        best, index = np.where(nearer, away, best), np.where(nearer, r * (across + 2) + c, index)
    return index, centres


def draw_hexagons(land: Terrain, across: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """([H, W, 3] uint8 map, [H, W] labels) of hexagons, each of one label, with a symbol for woods and mountains."""
    cells, centres = _hexagons(*land.labels.shape, across)
    kinds = _common(land.labels, cells, len(centres))
    step = land.labels.shape[1] / across
    sums = np.bincount(cells.ravel(), land.height.ravel(), len(centres))
    mean = sums / np.maximum(np.bincount(cells.ravel(), minlength=len(centres)), 1)
    tint = np.clip(1 + 0.5 * mean + np.random.default_rng(3).normal(0, 0.025, len(centres)), 0.55, 1.25)
    picture = Image.fromarray(np.clip(_FLAT[kinds] * tint[:, None], 0, 255).astype(np.uint8)[cells])
    pen = ImageDraw.Draw(picture)
    angles = np.deg2rad(np.arange(30, 391, 60))
    ring = np.stack([np.cos(angles), np.sin(angles)], 1) * step / np.sqrt(3)
    for (x, y), kind in zip(centres, kinds, strict=True):
        pen.line([tuple(p) for p in ring + np.array((x, y))], fill=(52, 60, 56), width=max(1, round(step / 22)))
        _symbol(pen, NAMES[kind], x, y, step)
    return np.asarray(picture), kinds[cells]


def _symbol(pen: ImageDraw.ImageDraw, name: str, x: float, y: float, step: float) -> None:
    s = step * 0.26
    if name in ("rock", "snow"):
        pen.polygon([(x - s, y + s * 0.8), (x, y - s), (x + s, y + s * 0.8)], fill=(104, 94, 86))
        pen.polygon([(x - s * 0.4, y - s * 0.28), (x, y - s), (x + s * 0.4, y - s * 0.28)], fill=(250, 250, 250))
    elif name == "forest":
        for dx, dy in ((-0.7, 0.2), (0.7, 0.2), (0, -0.4)):
            a, b = x + dx * s, y + dy * s
            pen.polygon([(a - s * 0.45, b + s * 0.6), (a, b - s * 0.6), (a + s * 0.45, b + s * 0.6)], fill=(36, 78, 44))
    elif name == "town":
        pen.rectangle([x - s * 0.7, y - s * 0.1, x + s * 0.7, y + s * 0.7], fill=(240, 226, 200))
        pen.polygon([(x - s, y - s * 0.1), (x, y - s * 0.9), (x + s, y - s * 0.1)], fill=(160, 40, 36))


def draw_blocks(land: Terrain, across: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """([H, W, 3] uint8 map, [H, W] labels) of square blocks in steps of height, lit from the north-west."""
    height, width = land.labels.shape
    across = min(across, width)
    rows = max(1, round(height * across / width))
    r, c = np.arange(height) * rows // height, np.arange(width) * across // width
    cells = r[:, None] * across + c[None, :]
    kinds = _common(land.labels, cells, rows * across).reshape(rows, across)
    level = np.bincount(cells.ravel(), land.height.ravel()) / np.bincount(cells.ravel())
    level = np.round(np.clip(level, 0, None) * 14).reshape(rows, across)
    grain = np.random.default_rng(4).normal(1, 0.03, level.shape)
    colour = _FLAT[kinds] * (grain * (0.9 + 0.03 * level))[..., None]
    picture = colour[r][:, c]
    edge = max(1, width // across // 6)
    for axis, index in ((0, r), (1, c)):
        starts = np.flatnonzero(np.diff(index)) + 1
        before = np.diff(level, axis=axis)[..., None]
        light = np.clip(1 + 0.22 * np.sign(before), 0.7, 1.3)
        for k, start in enumerate(starts):
            band = [slice(start, start + edge), slice(None)][:: 1 if axis == 0 else -1]
            factor = light[k][c] if axis == 0 else light[:, k][r]
            picture[tuple(band)] *= factor[None] if axis == 0 else factor[:, None]
    return np.clip(picture, 0, 255).astype(np.uint8), kinds[r][:, c]
