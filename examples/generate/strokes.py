"""Pictures made of strokes: a map drawn by hand in ink, and a painting of bold brush strokes."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from generate.maps import blur, hillshade
from generate.noise import fractal, smoothstep
from generate.palette import NAMES
from generate.terrain import Terrain

_INK = (58, 40, 28)


def ink_map(land: Terrain, seed: int = 1) -> np.ndarray:
    """[H, W, 3] uint8: parchment, a washed coast with lines along it, hatched mountains, small trees, rivers."""
    height, width = land.height.shape
    size, rng = max(height, width), np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / size
    paper = np.array((233, 214, 172), np.float32) * (1 + 0.09 * fractal(x, y, seed, 5, 7))[..., None]
    sea = blur((land.height <= 0).astype(np.float32), size / 90)
    wash = np.where(land.height <= 0, 0.45 + 0.55 * smoothstep(1.0, 0.45, sea), 0)[..., None]
    paper = paper * (1 - wash * (1 - np.array((0.56, 0.72, 0.76), np.float32)))
    warm = np.where(land.height > 0, smoothstep(0, 0.45, sea), 0)[..., None]
    paper = paper * (1 - 0.5 * warm * (1 - np.array((0.86, 0.66, 0.42), np.float32)))
    for level, strength in ((0.5, 1.0), (0.72, 0.65), (0.88, 0.45), (0.97, 0.3)):  # lines at growing distance
        line = np.exp(-(((sea - level) / (np.hypot(*np.gradient(sea)) + 1e-4) / (size / 700)) ** 2)) * strength
        paper = paper * (1 - line[..., None]) + np.array(_INK) * line[..., None]
    river = np.clip(land.flow * 1.4, 0, 0.9)[..., None]
    paper = paper * (1 - river) + np.array((62, 88, 104)) * river
    picture = Image.fromarray(np.clip(paper, 0, 255).astype(np.uint8))
    picture = picture.resize((width * 2, height * 2), Image.Resampling.BICUBIC)
    _signs(ImageDraw.Draw(picture), land, size / 26, rng)
    return np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))


def _signs(pen: ImageDraw.ImageDraw, land: Terrain, step: float, rng: np.random.Generator) -> None:
    """Peaks and trees on a jittered lattice, from north to south so that nearer ones cover farther ones."""
    height, width = land.labels.shape
    thick = max(1, round(step / 11))
    for row in np.arange(step / 2, height, step * 0.7):
        for column in np.arange(step / 2, width, step):
            cx, cy = column + rng.uniform(-0.35, 0.35) * step, row + rng.uniform(-0.25, 0.25) * step
            if not (0 <= cx < width and 0 <= cy < height):
                continue
            name = NAMES[land.labels[int(cy), int(cx)]]
            x, y, s = cx * 2, cy * 2, step * rng.uniform(0.75, 1.25)
            if name in ("rock", "snow"):
                _peak(pen, x, y, s * (1.0 + 0.8 * land.height[int(cy), int(cx)]), thick)
            elif name == "forest" and rng.random() < 0.8:
                for dx in (-0.5, 0.3):
                    a, r = x + dx * s, s * 0.36
                    pen.line([a, y, a, y + s * 0.6], fill=_INK, width=thick)
                    pen.ellipse([a - r, y - r, a + r, y + r], fill=(172, 170, 112), outline=_INK, width=thick)
                    pen.arc([a - r * 0.6, y - r * 0.6, a + r * 0.6, y + r * 0.6], -40, 100, fill=_INK, width=thick)
            elif name == "desert" and rng.random() < 0.35:
                pen.arc([x - s, y - s * 0.3, x + s, y + s * 0.7], 200, 340, fill=_INK, width=thick)
            elif name == "town":
                pen.rectangle([x - s * 0.3, y - s * 0.3, x + s * 0.3, y + s * 0.3], fill=(156, 52, 38), outline=_INK)


def _peak(pen: ImageDraw.ImageDraw, x: float, y: float, s: float, thick: int) -> None:
    left, top, right = (x - s, y + s * 0.5), (x, y - s), (x + s, y + s * 0.5)
    pen.polygon([left, top, right], fill=(226, 205, 160))
    pen.polygon([top, (x + s * 0.15, y + s * 0.5), right], fill=(196, 164, 118))
    pen.line([left, top, right], fill=_INK, width=thick + 1, joint="curve")
    for k in np.linspace(0.2, 0.85, 5):
        start = (x + s * k, y - s + 1.5 * s * k)
        pen.line([start, (start[0] - s * 0.22, start[1] + s * 0.35 * (1.2 - k))], fill=_INK, width=thick)


def painting(width: int, height: int, seed: int = 1) -> np.ndarray:
    """[H, W, 3] uint8: a night of swirling strokes over hills, from broad brushes to fine ones."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
    scene, angle = _night(x, y, seed)
    canvas = Image.fromarray(blur_colours(scene, height / 40))
    pen = ImageDraw.Draw(canvas)
    for brush, many in ((0.034, 1400), (0.021, 2600), (0.012, 2800)):
        for _ in range(many):
            column, row = rng.integers(width), rng.integers(height)
            colour = scene[row, column] + rng.normal(0, 12, 3) + rng.normal(0, 14)
            _stroke(pen, angle, (column, row), brush * height, colour, rng)
    image = np.asarray(canvas).astype(np.float32)
    relief = hillshade(blur(image.mean(2) / 255, 0.8), 0.14 * 512 / max(height, width))[..., None]
    return np.clip(image * (0.4 + 0.6 * relief), 0, 255).astype(np.uint8)


def blur_colours(image: np.ndarray, radius: float) -> np.ndarray:
    return np.stack([blur(image[..., k].astype(np.float32), radius) for k in range(3)], -1).astype(np.uint8)


def _night(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """([H, W, 3] colours 0..255, [H, W] direction of the strokes in radians)."""
    wind = fractal(x, y, seed, 1.6, 3)
    angle = 0.9 * wind
    sky = np.array((34, 66, 140), np.float32) + np.array((44, 62, 52)) * fractal(x, y * 3, seed + 1, 2, 4)[..., None]
    image = sky
    for cx, cy, r, tint in (
        (1.12, 0.18, 0.10, (250, 206, 74)),
        (0.3, 0.22, 0.07, (246, 226, 140)),
        (0.62, 0.38, 0.085, (236, 236, 200)),
        (0.85, 0.5, 0.04, (250, 214, 110)),
        (0.1, 0.5, 0.045, (248, 220, 120)),
    ):
        away = np.hypot(x - cx, y - cy) + 1e-6
        around = np.arctan2(y - cy, x - cx) + np.pi / 2
        pull = np.exp(-((away / (2.4 * r)) ** 2))
        angle = angle * (1 - pull) + around * pull
        rings = 0.72 + 0.28 * np.cos(away / r * 7)
        glow = (np.exp(-((away / (1.5 * r)) ** 2)) * rings + 0.6 * np.exp(-((away / (0.5 * r)) ** 2)))[..., None]
        image = image * (1 - np.clip(glow, 0, 1)) + np.array(tint, np.float32) * np.clip(glow, 0, 1)
    for base, swing, tint in ((0.7, 0.05, (28, 74, 92)), (0.8, 0.06, (36, 82, 58)), (0.9, 0.04, (112, 104, 40))):
        line = base + swing * np.sin(5 * x + 20 * base) + 0.03 * fractal(x, y, seed + 3, 3, 2)
        hill = (y > line)[..., None]
        shade = (
            1
            + 0.5 * fractal(x * 2, y * 5, seed + 4, 3, 3)[..., None]
            + 0.5 * np.exp(-(y - line) * 30)[..., None] * hill
        )
        image = np.where(hill, np.array(tint, np.float32) * shade, image)
        angle = np.where(hill[..., 0], np.arctan(5 * swing * np.cos(5 * x + 20 * base)) + 0.3 * wind, angle)
    return np.clip(image, 0, 255), angle


def _stroke(
    pen: ImageDraw.ImageDraw,
    angle: np.ndarray,
    start: tuple[int, int],
    brush: float,
    colour: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """A curved stroke along the field, with a lighter streak of bristle on it."""
    (x, y), points = start, [start]
    for _ in range(5):
        row, column = (int(np.clip(v, 0, n - 1)) for v, n in zip((y, x), angle.shape, strict=True))
        x, y = x + np.cos(angle[row, column]) * brush, y + np.sin(angle[row, column]) * brush
        points.append((x, y))
    for width, light, move in ((brush, 1.0, 0.0), (brush * 0.3, rng.uniform(0.75, 1.35), brush * 0.2)):
        fill = tuple(int(v) for v in np.clip(colour * light, 0, 255))
        line = [(px, py + move) for px, py in points]
        pen.line(line, fill=fill, width=max(1, round(width)), joint="curve")
