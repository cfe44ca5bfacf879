"""Compare `tiler plan` with what happens: `python benchmarks/plan.py [--sizes 256 512 1024] [--output FILE]`.

For each size the plan is made in one process, and the demo's pictures are rendered by the command line in another while
the memory of all its processes (proportional set sizes, so that shared pages count once) and the store's folder are
sampled. Ratios are planned over real. Tiles are small, so that there are several even of a small poster.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

import _report
import _sample

from tiler.cli import demo

COLUMNS = (
    "size", "tile", "steps", "plan_memory_mb", "memory_mb", "memory_ratio", "plan_disk_mb", "disk_mb", "disk_ratio",
    "plan_file_mb", "file_mb", "file_ratio", "plan_s", "seconds", "seconds_ratio", "probe_s",
)  # fmt: skip
PACKAGES = ("torch", "zarr", "distributed", "numpy")


def compare(folder: Path, size: int, tile: int, more: list[str]) -> _report.Row:
    """One row: planned, real and their ratio of memory, store, file and seconds."""
    poster = folder / f"{size}.png"
    pictures = [str(folder / "content.png"), str(folder / "style.png")]
    arguments = [*pictures, "-o", str(poster), "--long-edge", str(size), "--tile", str(tile), *more]
    command = [sys.executable, "-m", "tiler", "plan", *arguments, "--json"]
    found: list[subprocess.CompletedProcess[str]] = []
    probing = _report.once(lambda: found.append(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)))
    plan = json.loads(found[0].stdout)
    real = _sample.run(["render", *arguments, "--quiet"], [poster.with_suffix(".zarr")])
    row: _report.Row = {"size": size, "tile": tile, "steps": plan["tile_steps"], "probe_s": probing}
    pairs = {
        "memory": (plan["memory_bytes"] / 1e6, real.sum_bytes / 1e6),
        "disk": (plan["store_bytes"] / 1e6, real.disk_bytes / 1e6),
        "file": (plan["output_bytes"] / 1e6, poster.stat().st_size / 1e6),
    }
    for name, (planned, happened) in pairs.items():
        row |= {f"plan_{name}_mb": planned, f"{name}_mb": happened, f"{name}_ratio": planned / happened}
    row |= {"plan_s": plan["seconds"], "seconds": real.seconds, "seconds_ratio": plan["seconds"] / real.seconds}
    return row


def parse(arguments: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Command line; what is not known here goes to `tiler`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024], help="long edges in pixels")
    parser.add_argument("--tile", type=int, default=256, help="largest core in pixels; less for the small sizes")
    parser.add_argument("--output", type=Path, help="write the rows as JSON to this file")
    return parser.parse_known_args(arguments)


def main() -> None:
    """Run, print the table, write the JSON."""
    options, more = parse()
    where, rows = _report.environment("cpu", PACKAGES), []
    with tempfile.TemporaryDirectory() as name:
        folder, largest = Path(name), max(options.sizes)
        demo.cut(demo.CONTENT_FILE, demo.CONTENT_CORNER, folder / "content.png", max(demo.CONTENT_EDGE, largest))
        demo.cut(demo.STYLE_FILE, demo.STYLE_CORNER, folder / "style.png", demo.STYLE_EDGE)
        for size in options.sizes:
            rows.append(compare(folder, size, min(options.tile, size // 2), more))
            print(f"{size} px done", file=sys.stderr)
    _report.publish(rows, COLUMNS, where, options.output)


if __name__ == "__main__":
    main()
