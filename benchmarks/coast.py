"""Do coasts stay where they are? `python benchmarks/coast.py --long-edge 1024 --lines 0 --lines 50 [--keep out]`

A generated land, drawn as a map, is rendered as NASA's Blue Marble of Africa with `--auto-regions 2`, once for each
weight of `--lines`. Sea is told from land in the poster by colour alone (Fisher's discriminant, learned from the land's
own labels, then the median of 3 x 3 pixels); `within`: the share of the true coast's pixels that have such an edge
within so many pixels. Nothing is protected (`--protect`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before benchmarks/kernels.py, which hides the package

from found_regions import draw
from PIL import Image
from scipy import ndimage

from tiler.rendering import render
from tiler.request.config import RenderConfig
from tiler.request.proposing import with_regions

WITHIN = (1, 2, 3, 5)


def told_apart(poster: np.ndarray, sea: np.ndarray) -> np.ndarray:
    """[h, w] bool, where a poster [h, w, 3] looks like sea. sea: [h, w] bool, where it is."""
    pixels, inside = poster.reshape(-1, 3).astype(np.float64), sea.ravel()
    means = pixels[inside].mean(0), pixels[~inside].mean(0)
    spread = np.cov(pixels[inside].T) + np.cov(pixels[~inside].T) + 1e-6 * np.eye(3)
    axis = np.linalg.solve(spread, means[0] - means[1])
    found = (pixels @ axis > (means[0] + means[1]) @ axis / 2).reshape(sea.shape)
    return ndimage.median_filter(found, 3)


def edge(inside: np.ndarray) -> np.ndarray:
    """Pixels of it that touch what is outside."""
    return inside & ~ndimage.binary_erosion(inside, border_value=1)


def distances(poster: np.ndarray, sea: np.ndarray) -> np.ndarray:
    """Of each pixel of the true coast, to the nearest that looks like one."""
    seen = edge(told_apart(poster, sea))
    return ndimage.distance_transform_edt(~seen)[edge(sea)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long-edge", type=int, default=1024)
    parser.add_argument("--lines", type=float, action="append", default=[])
    parser.add_argument("--climate", default="temperate")
    parser.add_argument("--regions", type=int, default=2, help="that are found; 1: none")
    parser.add_argument("--keep", help="folder to keep the pictures in")
    arguments = parser.parse_args()
    print("| lines | " + " | ".join(f"within {one} px" for one in WITHIN) + " |", flush=True)
    print("|---|" + "---|" * len(WITHIN), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.keep or temporary)
        folder.mkdir(exist_ok=True, parents=True)
        draw(folder)
        content, style = (str(folder / f"{name}.png") for name in (arguments.climate, "photo"))
        for lines in arguments.lines or [0.0, 50.0]:
            output = str(folder / f"lines-{lines:g}.png")
            config = RenderConfig(content, (style,), output, long_edge=arguments.long_edge, lines=lines)
            if arguments.regions > 1:
                config, _ = with_regions(config, arguments.regions)
            render(config, force_new=True)
            with Image.open(output) as image, Image.open(folder / f"{arguments.climate}-sea.png") as mask:
                poster = np.asarray(image.convert("RGB"))
                sea = np.asarray(mask.resize(image.size, Image.Resampling.BOX)) > 127
            far = distances(poster, sea)
            print(f"| {lines:g} | " + " | ".join(f"{(far <= one).mean():.3f}" for one in WITHIN) + " |", flush=True)


if __name__ == "__main__":
    main()
