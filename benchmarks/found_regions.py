"""Regions that find themselves, beside masks made by hand and none at all: is sea still told from land?

    python benchmarks/found_regions.py --judge judge.py --long-edge 512 [--keep out]

Three lands of three climates are drawn as maps, and rendered as NASA's Blue Marble of Africa: as a whole, with masks of
both pictures' seas (the map's own, the photo's by colour), and with `--auto-regions 2`. `--judge` is a program outside
this project that prints one JSON object for `layout POSTER MASK`, whose `right` is the share of pixels whose colour
alone tells sea from land. own / other: of the largest square within each region that was found, the relative Gram error
of layers that are not minimised, against that region's part of the photo, and against the other's; below 1 it is nearer
to its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before benchmarks/kernels.py, which hides the package
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

from generate import maps, palette
from generate.terrain import terrain
from quality import _judge
from regions import HELD_OUT, largest_square

from tiler import pictures
from tiler.cli import demo
from tiler.geometry import Rect
from tiler.rendering import render
from tiler.request.config import RenderConfig
from tiler.request.proposing import with_regions
from tiler.style.backbone import Backbone
from tiler.style.grams import measure_pixels
from tiler.style.weights import load_weights

LANDS = {"temperate": 3, "arctic": 6, "desert": 9}
EDGE = 1024
# Of the photo: what is bluer than it is red by so much, of 255.
BLUER = 12


def draw(folder: Path) -> None:
    """The photo, its sea, and each land's map and sea."""
    photo = folder / "photo.png"
    demo.cut(demo.STYLE_FILE, demo.STYLE_CORNER, photo, EDGE)
    pixels = np.asarray(Image.open(photo).convert("RGB")).astype(int)
    blue = pixels[..., 2] > pixels[..., 0] + BLUER
    _mask(blue, folder / "photo-sea.png")
    _mask(~blue, folder / "photo-land.png")
    for climate, seed in LANDS.items():
        land = terrain(EDGE, EDGE * 3 // 4, climate, seed=seed)
        Image.fromarray(maps.draw_relief(land)).save(folder / f"{climate}.png")
        sea = np.isin(land.labels, [palette.NAMES.index("ocean"), palette.NAMES.index("shallows")])
        _mask(sea, folder / f"{climate}-sea.png")


def _mask(inside: np.ndarray, path: Path) -> None:
    Image.fromarray(inside.astype(np.uint8) * 255).save(path)


def runs(folder: Path, climate: str) -> dict[str, dict[str, Any]]:
    """Options by what is said of the regions."""
    photo = str(folder / "photo.png")
    by_hand = {
        "region": (f"sea={photo}",), "mask": (f"sea={folder / f'{climate}-sea.png'}",),
        "style_mask": (f"sea={folder / 'photo-sea.png'}", f"rest={folder / 'photo-land.png'}"),
    }  # fmt: skip
    return {"none": {}, "by hand": by_hand, "found": {}}


def nearer(config: RenderConfig, photo: Path) -> list[float]:
    """Own over other, of each region that was found."""
    backbone = Backbone(load_weights("bundled"), HELD_OUT)
    poster = torch.from_numpy(pictures.read_picture(config.output))
    style = torch.from_numpy(pictures.read_picture(photo, *poster.shape[1:]))
    labels = _resized(config.labels or "", poster)
    boxes, own = [], []
    for text in config.style_mask:
        colour, _, mask = text.partition("=")
        boxes.append(largest_square((labels == tuple(bytes.fromhex(colour.removeprefix("#")))).all(-1)))
        own.append(largest_square(_resized(mask, poster)[..., 0] > 127))

    def grams(pixels: torch.Tensor, box: Rect) -> dict[str, torch.Tensor]:
        part = pixels[(slice(None), *box.slices)]
        return measure_pixels(backbone, part, HELD_OUT, Rect(0, 0, *part.shape[1:])).normalised()

    styles, ratios = [grams(style, box) for box in own], []
    for number, box in enumerate(boxes):
        mine = grams(poster, box)
        errors = [
            float(np.mean([(mine[k] - s[k]).square().sum() / s[k].square().sum() for k in HELD_OUT])) for s in styles
        ]
        ratios.append(errors[number] / min(error for other, error in enumerate(errors) if other != number))
    return ratios


def _resized(path: str, like: torch.Tensor) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((like.shape[2], like.shape[1]), Image.Resampling.NEAREST))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", required=True, help="path of the judging program")
    parser.add_argument("--long-edge", type=int, default=512)
    parser.add_argument("--keep", help="folder to keep the pictures in")
    arguments = parser.parse_args()
    print("| map | none | by hand | found | own / other |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.keep or temporary)
        folder.mkdir(exist_ok=True, parents=True)
        draw(folder)
        for climate in LANDS:
            cells = []
            for run, options in runs(folder, climate).items():
                poster = folder / f"{climate}-{run.replace(' ', '-')}.png"
                content, styles = str(folder / f"{climate}.png"), (str(folder / "photo.png"),)
                config = RenderConfig(
                    content=content, styles=styles, output=str(poster), long_edge=arguments.long_edge, **options
                )
                if run == "found":
                    config, _ = with_regions(config, 2)
                render(config, force_new=True)
                cells.append(f"{_judge(arguments.judge, 'layout', poster, folder / f'{climate}-sea.png')['right']:.3f}")
            ratios = nearer(config, folder / "photo.png")
            print(f"| {climate} | {' | '.join(cells)} | {', '.join(f'{one:.2f}' for one in ratios)} |", flush=True)


if __name__ == "__main__":
    main()
