"""Do coasts stay where they are? `python benchmarks/coast.py --long-edge 1024 --lines 0 --lines 50 [--keep out]`

A generated land, drawn as a map, is rendered as NASA's Blue Marble of Africa with `--auto-regions 2`, once for each
weight of `--lines`. Whether a pixel looks like sea or like land is told by which of both colours it is nearer to, as
they are around it (means within a few dozen pixels, by the land's own labels; then the median of 3 x 3 pixels), since a
lake is not as dark as an ocean. `within`: the share of the true coast's pixels that have an edge of such a sea within
so many pixels; a picture of noise would have one everywhere, so `told` is the share of pixels two to three from the
coast, on either side, that look like what they are (of noise: 0.5). The first row is the map itself. Nothing is
protected (`--protect`).
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

WITHIN, TOLD = (1, 2, 3), (2, 3)
_AROUND = 12.0  # the deviation of the window that means are taken in, pixels


def looks_like_sea(poster: np.ndarray, sea: np.ndarray) -> np.ndarray:
    """[h, w] bool, of a poster [h, w, 3]. sea: [h, w] bool, where it is."""
    pixels = poster.astype(np.float64)

    def around(weight: np.ndarray) -> np.ndarray:
        count = ndimage.gaussian_filter(weight.astype(float), _AROUND) + 1e-9
        sums = [ndimage.gaussian_filter(pixels[..., one] * weight, _AROUND) for one in range(3)]
        return np.stack(sums, -1) / count[..., None]

    wet, dry = around(sea), around(~sea)
    return ndimage.median_filter(((pixels - (wet + dry) / 2) * (wet - dry)).sum(-1) > 0, 3)


def edge(inside: np.ndarray) -> np.ndarray:
    """Pixels of it that touch what is outside."""
    return inside & ~ndimage.binary_erosion(inside, border_value=1)


def figures(picture: Image.Image, sea: np.ndarray) -> list[float]:
    """Shares within 1, 2 and 3 pixels, and what is told."""
    like = looks_like_sea(np.asarray(picture.convert("RGB")), sea)
    far = ndimage.distance_transform_edt(~edge(like))[edge(sea)]
    wet, dry = ((depth > TOLD[0]) & (depth <= TOLD[1]) for depth in map(ndimage.distance_transform_edt, (sea, ~sea)))
    return [*((far <= one).mean() for one in WITHIN), (like[wet].mean() + (~like[dry]).mean()) / 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long-edge", type=int, default=1024)
    parser.add_argument("--lines", type=float, action="append", default=[])
    parser.add_argument("--climate", default="temperate")
    parser.add_argument("--regions", type=int, default=2, help="that are found; 1: none")
    parser.add_argument("--keep", help="folder to keep the pictures in")
    arguments = parser.parse_args()
    print("| lines | " + " | ".join(f"within {one} px" for one in WITHIN) + " | told |")
    print("|---|" + "---|" * (len(WITHIN) + 1), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.keep or temporary)
        folder.mkdir(exist_ok=True, parents=True)
        draw(folder)
        content, style = (str(folder / f"{name}.png") for name in (arguments.climate, "photo"))
        report("the map", Path(content), folder / f"{arguments.climate}-sea.png")
        for lines in arguments.lines or [0.0, 50.0]:
            output = folder / f"lines-{lines:g}.png"
            config = RenderConfig(content, (style,), str(output), long_edge=arguments.long_edge, lines=lines)
            if arguments.regions > 1:
                config, _ = with_regions(config, arguments.regions)
            render(config, force_new=True)
            report(f"{lines:g}", output, folder / f"{arguments.climate}-sea.png")


def report(name: str, picture: Path, mask: Path) -> None:
    with Image.open(picture) as image, Image.open(mask) as labels:
        sea = np.asarray(labels.resize(image.size, Image.Resampling.BOX)) > 127
        print(f"| {name} | " + " | ".join(f"{one:.3f}" for one in figures(image, sea)) + " |", flush=True)


if __name__ == "__main__":
    main()
