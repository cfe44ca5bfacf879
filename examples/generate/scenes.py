"""Drawn scenes to take a style from, or to give one to: a volcanic island, a city from above, clouds."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from generate.maps import blur, hillshade
from generate.noise import fractal, smoothstep
from generate.palette import rgb


def _mix(colours: tuple[str, ...], at: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    """[H, W, 3]: the colours at their places, blended between."""
    table = np.array([rgb(colour) for colour in colours], np.float32)
    return np.stack([np.interp(x, at, table[:, k]) for k in range(3)], -1)


def _axes(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    unit = 1 / max(height, width)
    return (np.arange(width) * unit)[None, :] - width * unit / 2, (np.arange(height) * unit)[
        :, None
    ] - height * unit / 2


def volcanic_island(width: int, height: int, seed: int = 1) -> np.ndarray:
    """[H, W, 3] uint8: a dark cone with gullies and lava, green flanks, a reef and the deep sea around."""
    x, y = _axes(height, width)
    x, y = (v + 0.03 * fractal(x, y, seed + k, 4, 4) for k, v in ((1, x), (2, y)))
    away, angle = np.hypot(x, y), np.arctan2(y, x)
    rough = fractal(x, y, seed + 3, 5, 8, 0.55)
    gullies = fractal(np.cos(angle) * 3 + away, np.sin(angle) * 3 + away, seed + 4, 2.2, 5, ridged=True)
    land = 0.36 - away + 0.09 * rough
    cone = np.clip(land, 0, None) ** 1.3 * 2.6 + 0.22 * gullies * smoothstep(0.02, 0.2, land) * smoothstep(
        0.03, 0.1, away
    )
    crater = smoothstep(0.055, 0.03, away + 0.008 * rough)
    cone = cone - 0.2 * crater
    shade = hillshade(cone, 2.2)
    green = fractal(x, y, seed + 5, 9, 6)
    colour = _mix(
        ("#c9b48a", "#4f7a35", "#2c5a28", "#4a4a2c", "#6b4a38", "#3a302e", "#1f1b1d"),
        (0.0, 0.03, 0.22, 0.42, 0.55, 0.7, 0.95),
        cone * 1.05 + 0.09 * green,
    )
    flows = smoothstep(0.62, 0.8, fractal(np.cos(angle) * 2, np.sin(angle) * 2, seed + 6, 2, 4, ridged=True))
    flows = flows * smoothstep(0.3, 0.12, away) * (away > 0.03)
    colour = colour * (1 - 0.85 * flows[..., None]) + np.array(rgb("#2a2024"), np.float32) * 0.85 * flows[..., None]
    colour += np.array(rgb("#ff5a1e"), np.float32) * (crater * smoothstep(0.1, 0.5, rough + 0.3))[..., None] * 0.9
    sea = _mix(("#0b2a55", "#0f4a7c", "#1f8fae", "#6fd3c8", "#e8f6ee"), (-0.22, -0.1, -0.04, -0.012, 0.0), land)
    sea *= (1 + 0.1 * fractal(x, y, seed + 7, 24, 5))[..., None]
    return np.clip(np.where((land > 0)[..., None], colour * shade[..., None], sea), 0, 255).astype(np.uint8)


def clouds(width: int, height: int, seed: int = 1) -> np.ndarray:
    """[H, W, 3] uint8: cumulus over blue, lit from the north-west."""
    x, y = _axes(height, width)
    x, y = (v + 0.05 * fractal(x, y, seed + k, 3, 4) for k, v in ((1, x), (2, y)))
    body = fractal(x, y, seed + 3, 3, 8, 0.55)
    cover = smoothstep(-0.12, 0.35, body)[..., None]
    light = hillshade(blur(body, max(height, width) / 150), 1.6)[..., None]
    sky = _mix(("#23558f", "#79a9d8"), (-0.4, 0.4), y + 0 * x)
    return np.clip(sky * (1 - cover) + 238 * light * cover, 0, 255).astype(np.uint8)


def _split(box: tuple[float, ...], least: float, rng: np.random.Generator) -> list[tuple[float, ...]]:
    """Cut a rectangle in two until its parts are as small as `least`."""
    x0, y0, x1, y1 = box
    if max(x1 - x0, y1 - y0) < least * rng.uniform(1.2, 2.2):
        return [box]
    at = rng.uniform(0.38, 0.62)
    if x1 - x0 > y1 - y0:
        cut = x0 + at * (x1 - x0)
        parts = (x0, y0, cut, y1), (cut, y0, x1, y1)
    else:
        cut = y0 + at * (y1 - y0)
        parts = (x0, y0, x1, cut), (x0, cut, x1, y1)
    return [small for part in parts for small in _split(part, least, rng)]


_ROOFS = ("#b5553c", "#a8452f", "#c77a55", "#8f8a85", "#c9c2b5", "#7d8790", "#b09a80", "#d8d3c8", "#8a5a48")


def city(width: int, height: int, seed: int = 1) -> np.ndarray:
    """[H, W, 3] uint8: roofs with their shadows, streets, parks and a river, seen from above."""
    rng = np.random.default_rng(seed)
    size = max(width, height) * 2  # drawn at twice the size, for smooth edges
    picture = Image.new("RGB", (size, size), "#8e8b86")
    pen = ImageDraw.Draw(picture)
    turn = 0.18
    rotate = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])

    def shape(box: tuple[float, ...], move: float = 0) -> list[tuple[float, float]]:
        x0, y0, x1, y1 = box
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) @ rotate + move
        return [tuple(corner) for corner in corners * size]

    for block in _split((-0.35, -0.15, 1.2, 1.35), 0.17, rng):
        x0, y0, x1, y1 = block
        block = (x0 + 0.006, y0 + 0.006, x1 - 0.006, y1 - 0.006)
        park = rng.random() < 0.16
        pen.polygon(shape(block), fill="#5f7d43" if park else "#a39c8e")
        if park:
            _trees(pen, block, shape, size, rng, 60)
        else:
            _houses(pen, block, shape, rng)
            _trees(pen, block, shape, size, rng, 5)
    t = np.linspace(-0.1, 1.1, 60)
    course = np.stack([t, 0.62 + 0.10 * np.sin(5 * t) - 0.25 * t], 1) * size
    for thick, colour in ((0.075, "#b8ad98"), (0.06, "#3f6a7d")):
        pen.line([tuple(p) for p in course], fill=colour, width=int(thick * size), joint="curve")
    for at in (0.2, 0.55, 0.85):
        a = np.array([at, 0.62 + 0.10 * np.sin(5 * at) - 0.25 * at]) * size
        across = np.array([0.18, 1.0]) * 0.05 * size
        pen.line([tuple(a - across), tuple(a + across)], fill="#c4bdb0", width=int(0.012 * size))
    picture = picture.crop((0, 0, width * 2, height * 2)).resize((width, height), Image.Resampling.LANCZOS)
    grain = rng.normal(0, 5, (height, width, 1))
    return np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)


def _houses(pen: ImageDraw.ImageDraw, block: tuple[float, ...], shape, rng: np.random.Generator) -> None:
    for x0, y0, x1, y1 in _split(block, 0.042, rng):
        lot = (x0 + 0.002, y0 + 0.002, x1 - 0.002, y1 - 0.002)
        if rng.random() < 0.1:
            pen.polygon(shape(lot), fill="#6f8a4e")
            continue
        tall = rng.uniform(0.005, 0.014)
        pen.polygon(shape(lot, tall), fill="#4a4748")
        base = np.array(rgb(rng.choice(_ROOFS)), float) * rng.uniform(0.85, 1.12)
        x0, y0, x1, y1 = lot
        wide = x1 - x0 > y1 - y0
        ridge = (y0 + y1) / 2 if wide else (x0 + x1) / 2
        halves = ((x0, y0, x1, ridge), (x0, ridge, x1, y1)) if wide else ((x0, y0, ridge, y1), (ridge, y0, x1, y1))
        for half, light in zip(halves, (1.12, 0.82), strict=True):
            pen.polygon(shape(half), fill=tuple(int(v) for v in np.clip(base * light, 0, 255)))


def _trees(pen, block: tuple[float, ...], shape, size: int, rng: np.random.Generator, count: int) -> None:
    x0, y0, x1, y1 = block
    for _ in range(count):
        x, y, r = rng.uniform(x0, x1), rng.uniform(y0, y1), rng.uniform(0.006, 0.012) * size
        cx, cy = shape((x, y, x, y))[0]
        for dx, scale, colour in ((0.4, 1.0, "#2c3a26"), (0.0, 1.0, "#3f6332"), (-0.25, 0.55, "#6a8f4a")):
            a, b, s = cx + dx * r, cy + dx * r, r * scale
            pen.ellipse([a - s, b - s, a + s, b + s], fill=colour)
