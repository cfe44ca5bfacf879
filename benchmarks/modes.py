"""Fast mode against exact mode: style loss, time and seams of the same poster in the same number of steps.

    python benchmarks/modes.py --judge judge.py                   # 512 px, 16 tiles of 128 px
    python benchmarks/modes.py --judge judge.py --quick           # 256 px, 16 tiles of 64 px

Renders the demo's pictures untiled, in exact mode, and in fast mode with several numbers of steps a round. Coarser
levels are one tile in every run, so only the finest level differs; its losses and seconds come from the store. Seams:
energy across the tile lines over that of the lines near by (`judge.py seam`), tiled over untiled on the same lines.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before benchmarks/kernels.py, which hides the package

from tiler.cli import demo
from tiler.output import info


def _render(folder: Path, name: str, edge: int, options: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tiler", "render", "content.png", "style.png", "-o", f"{name}.png", "--quiet"]
    subprocess.run([*command, f"--long-edge={edge}", *options], cwd=folder, check=True)
    return info.describe(str(folder / f"{name}.zarr"))["levels"][-1]


def _seam(judge: str, poster: Path, pitch: int) -> float:
    command = [sys.executable, judge, "seam", str(poster), "--pitch", str(pitch)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return (found["vertical"]["mean"] + found["horizontal"]["mean"]) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", required=True, help="path of the judging program")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--steps", type=int, default=40, help="steps of the finest level")
    parser.add_argument("--keep", help="folder to keep the posters in")
    arguments = parser.parse_args()
    edge, tile = (256, 64) if arguments.quick else (512, 128)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.keep or temporary)
        folder.mkdir(exist_ok=True)
        # Square, so that 4 x 4 tiles cover it.
        for name, file, corner in (
            ("content", demo.CONTENT_FILE, demo.CONTENT_CORNER),
            ("style", demo.STYLE_FILE, demo.STYLE_CORNER),
        ):
            demo.cut(file, corner, folder / f"{name}.png", 1024, degrees=(demo.DEGREES[0], demo.DEGREES[0]))
        coarse = [f"--steps=60,40,{arguments.steps}", "--levels=3"]
        runs = {
            "untiled": ["--tile=4096"],
            "exact": ["--mode=exact", f"--tile={tile}"],
            **{f"fast, {n} a round": [f"--steps-per-round={n}", f"--tile={tile}"] for n in (1, 2, 5, 10)},
        }
        reports = {}
        print(f"| {edge} px, tiles of {tile} px | style loss | over exact | seconds | over exact | seam over untiled |")
        print("|---|---|---|---|---|---|")
        for name, options in runs.items():
            slug = name.replace(", ", "-").replace(" ", "-")
            report = reports[name] = _render(folder, slug, edge, [*coarse, *options])
            seam = _seam(arguments.judge, folder / f"{slug}.png", tile)
            flat = reports["untiled"].setdefault("seam", seam)
            base = reports.get("exact", report)
            print(
                f"| {name} | {report['style']:.4f} | {report['style'] / base['style']:.3f} | {report['seconds']:.0f} "
                f"| {report['seconds'] / base['seconds']:.2f} | {seam / flat:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
