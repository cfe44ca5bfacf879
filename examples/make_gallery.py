"""Render the gallery: every example at one size, its pictures as JPEG beside the commands that made them.

python examples/make_gallery.py                    # all, 512 px, some minutes each on two cores
python examples/make_gallery.py --only 01 --only 09 --long-edge 1024
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import click
from PIL import Image

HERE = Path(__file__).parent
TALL = 300  # of the pictures on the page
LARGEST_BYTES = 150_000
# What an example's folder holds besides its poster that the page shows, in this order before the poster.
SHOWN = ("content", "style", "style-1", "style-2", "first", "labels", "ocean", "forest", "desert", "snow", "without")


def scripts() -> list[Path]:
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def show(picture: Path, to: Path, tall: int = TALL) -> None:
    """A JPEG no higher than `tall` pixels and no larger than LARGEST_BYTES."""
    with Image.open(picture) as image:
        image = image.convert("RGB")
        if image.height > tall:
            image = image.resize((round(image.width * tall / image.height), tall), Image.Resampling.LANCZOS)
    for quality in (90, 82, 74, 60, 40):
        image.save(to, quality=quality, optimize=True)
        if to.stat().st_size <= LARGEST_BYTES:
            return


def section(script: Path, folder: Path, gallery: Path, command: str) -> str:
    """The page's part for one example; its pictures are written into `gallery`."""
    text = (ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or "").replace("\n", " ")
    title = script.stem[3:].replace("_", " ")
    names = [name for name in SHOWN if (folder / f"{name}.png").exists()]
    poster = "rolled" if (folder / "rolled.png").exists() else "poster"
    links = []
    for name in (*names, poster):
        target = f"{script.stem}-{name}.jpg"
        show(folder / f"{name}.png", gallery / target, tall=384 if name == poster else TALL // 2)
        links.append(f"![{title}: {name}]({target})")
    return f"## {title.capitalize()}\n\n{text}\n\n{' '.join(links[:-1])}\n\n{links[-1]}\n\n```sh\n{command}\n```\n"


def write_page(gallery: Path, work: Path) -> None:
    """README.md of all examples whose posters lie in `work`."""
    parts = [
        "# Gallery\n\nWhat the scripts in `examples/` make. Each picture is the output of the command under it; "
        "`--long-edge 8192` makes the\nreal one. The lands, scenes and drawings are made by `examples/generate/`; "
        "satellite pictures are NASA's Blue Marble.\nBefore: `pip install -c constraints.txt -e '.[examples]'`. "
        "All of this page: `python examples/make_gallery.py`.\n"
        "Posters beside those of two other programs, without their names: [which would you hang on the\n"
        "wall?](../../benchmarks/results/duel/index.html)\n"
    ]
    for script in scripts():
        folder = work / script.stem
        if (folder / "poster.png").exists():
            command = f"python examples/{script.name} --long-edge {long_edge_of(folder)}"
            parts.append(section(script, folder, gallery, command))
    (gallery / "README.md").write_text("\n".join(parts), encoding="utf-8")


def long_edge_of(folder: Path) -> int:
    with Image.open(folder / "poster.png") as poster:
        return max(poster.size)


@click.command(help=__doc__)
@click.option("--long-edge", default=512, show_default=True)
@click.option("--only", multiple=True, metavar="NN", help="Render these only; the others' pictures are taken as found.")
@click.option("--work", default="examples/output", show_default=True, help="Where the posters are kept.")
@click.option("--gallery", default=str(HERE / "gallery"), help="Where the page is written.")
def main(long_edge: int, only: tuple[str, ...], work: str, gallery: str) -> None:
    for script in scripts():
        if not only or script.name[:2] in only:
            folder = Path(work) / script.stem
            command = [sys.executable, str(script), "--long-edge", str(long_edge), "--output", str(folder)]
            subprocess.run(command, check=True)
    Path(gallery).mkdir(parents=True, exist_ok=True)
    write_page(Path(gallery), Path(work))


if __name__ == "__main__":
    main()
