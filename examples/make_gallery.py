"""Render the gallery: every example at one size, its pictures as JPEG beside the commands that made them.

python examples/make_gallery.py                    # all, 512 px, some minutes each on two cores
python examples/make_gallery.py --only 01 --only 09 --long-edge 1024
python examples/make_gallery.py --long-edge 2048 --jobs 4 --seconds 240 -- --device cuda --workers 1

The page is written anew after every example, from all posters that are there.
"""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import click
import numpy as np
from PIL import Image

HERE = Path(__file__).parent
# On the page: the poster's width, height of what it was made from, and sides of what is shown of it at 100 %.
WIDE, TALL, DETAIL = 1024, 240, (640, 480)
LARGEST_BYTES = 400_000
# What an example's folder holds besides its poster that the page shows, in this order before the poster.
SHOWN = ("content", "style", "style-1", "style-2", "first", "labels", "ocean", "forest", "desert", "snow", "without")
_PATIENCE = 5.0  # seconds until who was asked to stop is stopped


def scripts() -> list[Path]:
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def show(picture: Image.Image, to: Path, wide: int = WIDE, tall: int = TALL) -> None:
    """A JPEG no larger than `wide` x `tall` pixels and LARGEST_BYTES."""
    image = picture.convert("RGB")
    image.thumbnail((wide, tall), Image.Resampling.LANCZOS)
    for quality in (85, 75, 60, 40):
        image.save(to, quality=quality, optimize=True)
        if to.stat().st_size <= LARGEST_BYTES:
            return


def detail(picture: Image.Image) -> Image.Image:
    """Where most meets: of windows of DETAIL pixels, the one whose colours differ most in squares of 16."""
    wide, high = (min(side, most) for side, most in zip(picture.size, DETAIL, strict=True))
    small = np.asarray(picture.convert("RGB").reduce(16) if min(picture.size) > 16 else picture.convert("RGB"), float)

    def places(side: int, window: int) -> Iterator[int]:
        yield from range(0, side - window + 1, max(1, window // 4))

    def variety(at: tuple[int, int]) -> float:
        part = small[at[1] // 16 : (at[1] + high) // 16, at[0] // 16 : (at[0] + wide) // 16]
        return float(part.var((0, 1)).sum()) if part.size else 0.0

    x, y = max(((x, y) for y in places(picture.height, high) for x in places(picture.width, wide)), key=variety)
    return picture.crop((x, y, x + wide, y + high))


def section(script: Path, folder: Path, gallery: Path, command: str) -> str:
    """The page's part for one example; its pictures are written into `gallery`."""
    text = (ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or "").replace("\n", " ")
    title = script.stem[3:].replace("_", " ")
    names = [name for name in SHOWN if (folder / f"{name}.png").exists()]
    poster = "rolled" if (folder / "rolled.png").exists() else "poster"
    links = []

    def link(name: str, said: str) -> None:
        links.append(f"![{title}: {said}]({script.stem}-{name}.jpg)")

    for name in names:
        with Image.open(folder / f"{name}.png") as image:
            show(image, gallery / f"{script.stem}-{name}.jpg")
        link(name, name)
    with Image.open(folder / f"{poster}.png") as image:
        show(image, gallery / f"{script.stem}-{poster}.jpg", tall=WIDE)
        link(poster, poster)
        if image.width > WIDE:
            show(detail(image), gallery / f"{script.stem}-detail.jpg", *DETAIL)
            link("detail", "a part at 100 %")
    parts = [" ".join(links[: len(names)]), *links[len(names) :]]
    return f"## {title.capitalize()}\n\n{text}\n\n" + "\n\n".join(filter(None, parts)) + f"\n\n```sh\n{command}\n```\n"


def write_page(gallery: Path, work: Path, rendered_on: str) -> None:
    """README.md of all examples whose posters lie in `work`."""
    parts = [
        "# Gallery\n\nWhat the scripts in `examples/` make. Each picture is the output of the command under it"
        f"{rendered_on and f', rendered on {rendered_on}'}, made small, and a part of\nit at 100 %; `--long-edge 8192` "
        "makes one for a wall. The lands, scenes and drawings are made by\n`examples/generate/`; satellite pictures "
        "are NASA's Blue Marble.\nBefore: `pip install -c constraints.txt -e '.[examples]'`. All of this page: "
        "`python examples/make_gallery.py --long-edge 2048`.\n"
        "Posters beside those of two other programs, without their names: [which would you hang on the\n"
        "wall?](../../benchmarks/results/duel/index.html)\n"
        "A poster of 16384 px, land from a small network, and what these pictures lack: [larger](larger.md).\n"
    ]
    for script in scripts():
        folder = work / script.stem
        if (folder / "poster.png").exists():
            command = f"python examples/{script.name} --long-edge {long_edge_of(folder)}"
            parts.append(section(script, folder, gallery, command))
    if len(parts) == 1:
        raise click.ClickException(f"{work}: no example's poster is there, and so there is no page to write")
    (gallery / "README.md").write_text("\n".join(parts), encoding="utf-8")


def long_edge_of(folder: Path) -> int:
    with Image.open(folder / "poster.png") as poster:
        return max(poster.size)


def rendered(command: Sequence[str], ends: float) -> str:
    """Run it, until `ends` of time.monotonic at most. Returns what became of it, one line."""
    began = time.monotonic()
    if began >= ends:
        return "no time left"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said, _ = process.communicate(timeout=None if ends == float("inf") else ends - began)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            return f"stopped after {time.monotonic() - began:.1f} s"
    if process.returncode:
        return f"failed after {time.monotonic() - began:.1f} s: {' / '.join(said.strip().splitlines()[-3:])}"
    return f"{time.monotonic() - began:.1f} s"


@click.command(help=__doc__)
@click.option("--long-edge", default=512, show_default=True)
@click.option("--only", multiple=True, metavar="NN", help="Render these only; the others' pictures are taken as found.")
@click.option("--page-only", is_flag=True, help="Render nothing.")
@click.option("--work", default="examples/output", show_default=True, help="Where the posters are kept.")
@click.option(
    "--gallery", type=click.Path(file_okay=False), default=str(HERE / "gallery"), help="Where the page is written."
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Examples at a time, each with workers of its own.",
)
@click.option("--seconds", type=float, help="For all; what is not finished then is stopped.")
@click.option("--rendered-on", default="", metavar="TEXT", help="What the page says of the machine.")
@click.argument("options", nargs=-1, metavar="[-- OPTIONS OF TILER RENDER]")
def main(
    long_edge: int,
    only: tuple[str, ...],
    page_only: bool,
    work: str,
    gallery: str,
    jobs: int,
    seconds: float | None,
    rendered_on: str,
    options: tuple[str, ...],
) -> None:
    ends = time.monotonic() + seconds if seconds else float("inf")
    for name in {*only} - {script.name[:2] for script in scripts()}:
        raise click.BadParameter(f"{name}; allowed: {', '.join(script.name[:2] for script in scripts())}")
    Path(gallery).mkdir(parents=True, exist_ok=True)
    wanted = [] if page_only else [script for script in scripts() if not only or script.name[:2] in only]
    with ThreadPoolExecutor(jobs) as pool:
        going = {}
        for script in wanted:
            folder = Path(work) / script.stem
            command = [sys.executable, str(script), "--long-edge", str(long_edge), "--output", str(folder), *options]
            going[pool.submit(rendered, command, ends)] = command
        for done in as_completed(going):
            click.echo(f"{done.result()}: {shlex.join(going[done][1:])}")
            write_page(Path(gallery), Path(work), rendered_on)
    write_page(Path(gallery), Path(work), rendered_on)


if __name__ == "__main__":
    main()
