"""How well a proof foretells its spot of the poster, and what it takes: posters of a few pairs, and proofs beside them.

    python benchmarks/proof.py --judge judge.py --long-edge 4096 --out table.md

The pairs are those of quality.py. `--judge` is a program outside this project that prints one JSON object for
`preview A B` and `diff A B`. For each spot: how far the proof is from the poster there, and from the nearest of all
other spots of the poster; the seconds of both, and by plan at 16384 px. Each render and proof is a process of its own,
and no proof takes over levels of its poster.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from quality import _judge, pairs

SPOTS = ("0.4,0.6", "0.75,0.3")
LARGE = 16384


def _timed(*words: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tiler", *words], check=True)
    return time.perf_counter() - began


def _planned(*words: str) -> float:
    command = [sys.executable, "-m", "tiler", "plan", "--json", f"--long-edge={LARGE}", *words]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["seconds"])


def _box(at: str, edge: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    x0, y0 = (
        min(max(0, round(float(share) * side - edge / 2)), side - edge)
        for share, side in zip(at.split(","), size, strict=True)
    )
    return x0, y0, x0 + edge, y0 + edge


def _elsewhere(judge: str, poster: Image.Image, proof: Path, box: tuple[int, int, int, int], other: Path) -> float:
    """The least distance of the proof to a spot that has nothing of its own."""
    edge, found = box[2] - box[0], []
    for y0 in range(0, poster.height - edge + 1, edge):
        for x0 in range(0, poster.width - edge + 1, edge):
            if abs(x0 - box[0]) >= edge or abs(y0 - box[1]) >= edge:
                poster.crop((x0, y0, x0 + edge, y0 + edge)).save(other)
                found.append(_judge(judge, "preview", other, proof)["preview"])
    return min(found)


def _rows(name: str, pair: tuple[Path, Path], folder: Path, arguments: argparse.Namespace) -> list[str]:
    poster, crop, proof, edge = folder / "poster.png", folder / "crop.png", folder / "proof.png", arguments.edge
    words = [*map(str, pair), *arguments.options]
    sized = [*words, f"--long-edge={arguments.long_edge}", "--force-new", "--quiet"]
    whole = _timed("render", *sized, "-o", str(poster))
    shown, lines = Image.open(poster), []
    for at in SPOTS:
        spot = (f"--at={at}", f"--edge={edge}")
        seconds, box = _timed("proof", *sized, *spot, "-o", str(proof)), _box(at, edge, shown.size)
        shown.crop(box).save(crop)
        close, far = _judge(arguments.judge, "preview", crop, proof), _judge(arguments.judge, "diff", crop, proof)
        nearest = _elsewhere(arguments.judge, shown, proof, box, folder / "other.png")
        share = _planned(*words, *spot) / _planned(*words)
        cells = [f"{close['preview']:.3f}", f"{nearest:.3f}", f"{far['psnr']:.1f}", f"{whole:.0f}", f"{seconds:.0f}"]
        lines.append(f"| {name} | {at} | " + " | ".join([*cells, f"{share * 100:.1f} %"]) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", required=True, help="path of the judging program")
    parser.add_argument("--long-edge", type=int, default=4096)
    parser.add_argument("--edge", type=int, default=768)
    parser.add_argument("--pair", help="only this one")
    parser.add_argument("--out", help="append the table to this file")
    arguments, arguments.options = parser.parse_known_args()
    lines = [
        f"{arguments.long_edge} px, spots of {arguments.edge} px {' '.join(arguments.options)}",
        "",
        f"| pair | at | preview | nearest other | PSNR | poster s | proof s | of its time at {LARGE} px |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, pair in pairs(Path(folder), arguments.long_edge).items():
            if arguments.pair in (None, name):
                lines += _rows(name, pair, Path(folder), arguments)
                print(lines[-1], flush=True)
    print("\n".join(lines))
    if arguments.out:
        with open(arguments.out, "a") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
