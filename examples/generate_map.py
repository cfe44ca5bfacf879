"""Make a map and its label image: python examples/generate_map.py terrain --biome arctic --size 1024x768 -o map.png"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from generate import maps
from generate.palette import colour_labels, write_palette
from generate.terrain import BIOMES, Terrain, terrain
from PIL import Image

KINDS = ("terrain", "hexagons", "blocks", "heights")


def draw(kind: str, land: Terrain) -> tuple[np.ndarray, np.ndarray]:
    """([H, W, 3] uint8 map of that kind, [H, W] its labels)."""
    if kind == "hexagons":
        return maps.draw_hexagons(land)
    if kind == "blocks":
        return maps.draw_blocks(land)
    return (maps.draw_heights if kind == "heights" else maps.draw_relief)(land), land.labels


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--biome", choices=tuple(BIOMES), default="temperate", help="`world` continues over its edge")
    parser.add_argument("--size", default="1024x768", metavar="WxH", help="pixels [1024x768]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", required=True, metavar="MAP.png")
    parser.add_argument("--labels", metavar="LABELS.png", help="also write flat label colours")
    parser.add_argument("--palette", metavar="PALETTE.txt", help="also write each label's colour and name")
    given = parser.parse_args(argv)
    try:
        width, height = (int(word) for word in given.size.split("x"))
    except ValueError:
        parser.error(f"--size {given.size}; allowed: WIDTHxHEIGHT, such as 1024x768")
    if not (min(width, height) >= 16 and max(width, height) <= 8192):
        parser.error(f"--size {given.size}; allowed: 16 to 8192 pixels a side")
    if given.seed < 0:
        parser.error(f"--seed {given.seed}; allowed: 0 or more")
    for path in filter(None, (given.output, given.labels)):
        if Path(path).suffix.lower() not in Image.registered_extensions():
            parser.error(f"{path}: the name says no kind of picture; allowed: such as .png")
    picture, labels = draw(given.kind, terrain(width, height, given.biome, given.seed))
    try:
        for path in filter(None, (given.output, given.labels, given.palette)):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(given.output)
        if given.labels:
            Image.fromarray(colour_labels(labels)).save(given.labels)
        if given.palette:
            write_palette(given.palette)
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
