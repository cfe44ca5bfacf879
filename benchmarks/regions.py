"""Four regions in four styles, with guides and without: which style is each region of the poster closest to?

    python benchmarks/regions.py --keep out                 # 384 px, a few minutes on 2 cores
    python benchmarks/regions.py --long-edge 1024

Draws a map of ocean, forest, desert and ice with its label picture, cuts a style for each from NASA's Blue Marble, and
renders twice: each region in its own style, and the whole map in all four blended. Then the largest square inside each
region is compared with each style by its relative Gram error, the mean of layers that were not minimised.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before benchmarks/kernels.py, which hides the package

from tiler import pictures
from tiler.cli import demo
from tiler.geometry import Rect
from tiler.rendering import render
from tiler.request.config import RenderConfig
from tiler.style.backbone import Backbone
from tiler.style.grams import measure_pixels
from tiler.style.weights import load_weights

HELD_OUT = ("relu1_2", "relu2_2", "relu3_4", "relu4_4")
# Colour on the map, and window of the world: (west, north) and (height, width) in degrees.
REGIONS = {
    "ocean": ((0x22, 0x44, 0xAA), (-172.0, -10.0), (15.0, 20.0)),
    "forest": ((0x2E, 0x8B, 0x3D), (-75.0, 1.0), (15.0, 20.0)),
    "desert": ((0xE0, 0xC0, 0x70), (2.0, 30.0), (15.0, 20.0)),
    "ice": ((0xF4, 0xF6, 0xFA), (-52.0, 78.0), (11.0, 14.67)),
}


def _field(shape: tuple[int, int], cells: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise in -1..1 with `cells` bumps along the height, and finer ones on top."""
    total = np.zeros(shape)
    for octave in range(5):
        n = cells * 2**octave
        coarse = rng.uniform(-1, 1, (n + 1, round(n * shape[1] / shape[0]) + 1)).astype(np.float32)
        total += np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC)) / 2**octave
    return total / np.abs(total).max()


def draw_map(folder: Path, height: int = 768, width: int = 1024, seed: int = 4) -> None:
    """content.png, a grey shaded relief whose colours say nothing of the regions, and labels.png."""
    rng = np.random.default_rng(seed)
    relief = _field((height, width), 4, rng)
    y, x = np.mgrid[0:height, 0:width] / height
    wobble = 0.28 * _field((height, width), 3, rng)
    sea = x + wobble < 0.45
    ice, desert = y + wobble < 0.36, y - wobble > 0.68
    index = np.where(sea, 0, np.where(ice, 3, np.where(desert, 2, 1)))
    palette = np.array([colour for colour, *_ in REGIONS.values()], np.uint8)
    labels = palette[index]
    slope = np.diff(relief, axis=1, prepend=relief[:, :1]) - np.diff(relief, axis=0, prepend=relief[:1])
    shade = np.where(sea, 1 - 0.06 * relief, np.clip(1 + 14 * slope, 0.6, 1.25))
    content = np.clip(150 * shade, 0, 255).astype(np.uint8)
    Image.fromarray(content).save(folder / "content.png")
    Image.fromarray(labels).save(folder / "labels.png")


def largest_square(inside: np.ndarray) -> Rect:
    """The largest square of True cells of [h, w]."""
    side = inside.astype(int)
    for y in range(1, side.shape[0]):
        for x in range(1, side.shape[1]):
            if side[y, x]:
                side[y, x] = 1 + min(side[y - 1, x], side[y, x - 1], side[y - 1, x - 1])
    y, x = np.unravel_index(side.argmax(), side.shape)
    n = int(side[y, x])
    return Rect(int(y) + 1 - n, int(x) + 1 - n, int(y) + 1, int(x) + 1)


def distances(folder: Path, poster: Path, edge: int) -> np.ndarray:
    """[region, style] relative Gram errors."""
    backbone = Backbone(load_weights("bundled"), HELD_OUT)
    image = pictures.read_picture(poster)
    labels = np.asarray(Image.open(folder / "labels.png").resize(image.shape[:0:-1], Image.Resampling.NEAREST))

    def grams(pixels: np.ndarray) -> dict[str, torch.Tensor]:
        whole = Rect(0, 0, *pixels.shape[1:])
        return measure_pixels(backbone, torch.from_numpy(pixels), HELD_OUT, whole).normalised()

    styles = []
    for name in REGIONS:
        picture = pictures.open_picture(folder / f"{name}.png")
        scale = min(1.0, edge / max(picture.height, picture.width))
        styles.append(grams(pictures.read_picture(folder / f"{name}.png", round(picture.height * scale))))
    rows = []
    for name, (colour, *_) in REGIONS.items():
        box = largest_square((labels == colour).all(-1))
        Image.open(poster).crop((box.x0, box.y0, box.x1, box.y1)).save(poster.with_name(f"{poster.stem}-{name}.png"))
        found = grams(image[(slice(None), *box.slices)])
        errors = [[(found[k] - s[k]).square().sum() / s[k].square().sum() for k in HELD_OUT] for s in styles]
        rows.append([float(np.mean(one)) for one in errors])
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long-edge", type=int, default=384)
    parser.add_argument("--keep", help="folder to keep the pictures in")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a number of RenderConfig's")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.keep or temporary)
        folder.mkdir(exist_ok=True, parents=True)
        draw_map(folder)
        for name, (_, corner, degrees) in REGIONS.items():
            demo.cut(demo.STYLE_FILE, corner, folder / f"{name}.png", 1024, degrees)
        more = {name: float(value) for name, value in (one.split("=") for one in arguments.set)}
        files = [str(folder / f"{name}.png") for name in REGIONS]
        label = [f"#{bytes(one[0]).hex()}={file}" for one, file in zip(REGIONS.values(), files, strict=True)]
        runs = {
            "guided": {"styles": (), "labels": str(folder / "labels.png"), "label": label},
            "unguided": {"styles": files},
        }
        for run, options in runs.items():
            poster = folder / f"{run}.png"
            common = {"content": str(folder / "content.png"), "output": str(poster), "long_edge": arguments.long_edge}
            result = render(RenderConfig(**{**common, **options, **more}), force_new=True)
            print(
                f"\n{run}, {result.height} x {result.width} px, {result.seconds:.0f} s; rows: regions, columns: styles"
            )
            print("| |" + "|".join(REGIONS) + "| own is closest |\n|" + "---|" * (len(REGIONS) + 2))
            for i, (name, row) in enumerate(zip(REGIONS, distances(folder, poster, arguments.long_edge), strict=True)):
                cells = " | ".join(f"{value:.3f}" for value in row)
                print(f"| {name} | {cells} | {'yes' if row.argmin() == i else 'no'} |", flush=True)


if __name__ == "__main__":
    main()
