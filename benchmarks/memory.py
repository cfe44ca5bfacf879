"""Memory against size: `python benchmarks/memory.py [--sizes 1024 4096] [--large 20000] [--output FILE]`.

Renders the demo's pictures at several sizes with the same tile and few steps, and reports the peak of the largest
process and of all processes together. `vs_first`: over the first size's. planned: the peak that the render's own plan
says. --state: where the state of the tiles lives; only in the store is it no matter how large the poster is. --tiny: a
backbone whose steps cost next to nothing, and next to no memory, so that whatever else grows shows.

--large N: an N x N picture of noise and gradients goes through the whole pipeline to a BigTIFF, with steps on the
coarsest levels only: all input, levels, compositing and output. Needs about 12 bytes of disk per pixel.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

import _report
import _sample
from _inputs import tiny_backbone

from tiler.cli import demo
from tiler.geometry import level_sizes
from tiler.pictures.stream import load_vips

COLUMNS = (
    "size", "tile", "state", "backbone", "steps", "sum_mb", "planned_mb", "largest_mb", "sum_vs_first",
    "largest_vs_first", "disk_mb", "seconds", "mpx_s",
)  # fmt: skip
PACKAGES = ("torch", "zarr", "distributed", "numpy", "pyvips")
COARSE = 1024


def large_picture(path: Path, side: int) -> None:
    """A picture that neither compresses away nor fits into memory at a glance: gradients under grain."""
    vips = load_vips()
    ramps = vips.Image.xyz(side, side) * (255 / side)
    grain = vips.Image.gaussnoise(side, side, sigma=12, mean=0, seed=1)
    third = (ramps[0] + ramps[1]) / 2
    image = ramps.bandjoin(third) + grain
    image.cast("uchar").copy(interpretation="srgb").tiffsave(
        str(path), tile=True, compression="deflate", predictor="horizontal", bigtiff=True
    )


def measure(
    folder: Path, content: Path, poster: str, size: int, steps: list[int], options: argparse.Namespace
) -> _report.Row:
    """One row. steps: per level."""
    said = ",".join(map(str, steps))
    arguments = ["--long-edge", str(size), "--tile", str(options.tile), "--steps", said, "--state", options.state]
    if options.tiny:
        arguments += ["--weights", str(folder / "tiny.safetensors")]
    watched = [folder / Path(poster).with_suffix(".zarr")]
    found = _sample.run(
        ["render", str(content), str(folder / "style.png"), "-o", str(folder / poster), *arguments, "--log-json"],
        watched,
    )
    [plan] = [event for event in found.events if event["event"] == "plan"]
    asked = {"size": size, "tile": options.tile, "steps": said, "state": options.state}
    peaks = {"sum_mb": found.sum_bytes / 1e6, "planned_mb": plan["memory_bytes"] / 1e6}
    peaks |= {"largest_mb": found.largest_bytes / 1e6}
    rest = {"disk_mb": found.disk_bytes / 1e6, "seconds": found.seconds, "processes": found.by_process}
    return {**asked, "backbone": "tiny" if options.tiny else "real", **peaks, **rest}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1024, 4096], help="long edges in pixels")
    parser.add_argument("--large", type=int, help="side of a picture without steps on its fine levels")
    parser.add_argument("--tile", type=int, default=512, help="largest core in pixels")
    parser.add_argument("--state", default="auto", choices=("auto", "device", "store"))
    parser.add_argument("--tiny", action="store_true", help="a tiny random backbone")
    parser.add_argument("--output", type=Path, help="write the rows as JSON to this file")
    parser.add_argument("--folder", help="where the files lie meanwhile; default: that of temporary files")
    return parser.parse_args(arguments)


def main() -> None:
    """Run, print the table, write the JSON."""
    options, rows = parse(), []
    where = _report.environment("cpu", PACKAGES)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        tiny_backbone(folder / "tiny.safetensors")
        demo.cut(demo.STYLE_FILE, demo.STYLE_CORNER, folder / "style.png", demo.STYLE_EDGE)
        demo.cut(demo.CONTENT_FILE, demo.CONTENT_CORNER, folder / "content.png", demo.CONTENT_EDGE)
        for size in options.sizes:
            count = len(level_sizes(size, size, 128))
            steps = [2] * (count - 1) + [1]
            rows.append(measure(folder, folder / "content.png", f"{size}.png", size, steps, options))
            for column in ("sum", "largest"):
                rows[-1][f"{column}_vs_first"] = rows[-1][f"{column}_mb"] / rows[0][f"{column}_mb"]
            print(f"{size} px done", file=sys.stderr)
        if options.large:
            large_picture(folder / "large.tif", options.large)
            sizes = level_sizes(options.large, options.large, 128)
            steps = [2 if max(size) <= COARSE else 0 for size in sizes]
            row = measure(folder, folder / "large.tif", "poster.tif", options.large, steps, options)
            rows.append({**row, "mpx_s": options.large**2 / 1e6 / row["seconds"]})
    _report.publish(rows, COLUMNS, where, options.output)


if __name__ == "__main__":
    main()
