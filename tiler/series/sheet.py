"""One or two options over some values: a grid of previews."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tiler.engine.host import cores
from tiler.engine.schedule import Pool
from tiler.jobs import Progress, Request
from tiler.output.contact import Table, check_sheet, write_sheet
from tiler.pictures.replace import new_file, scratch, settled
from tiler.rendering import render
from tiler.request.config import RenderConfig
from tiler.request.places import pictures_of
from tiler.request.varying import Varied, varied

# Of a preview, in pixels.
EDGE = 256
# What a render tells of its own course, which is short.
_OWN = ("plan", "start", "level", "level done", "step", "tile", "write")


def sheet(config: RenderConfig, vary: Sequence[str], output: str, progress: Progress | None = None) -> None:
    """Render `config` with every combination of values, and write them side by side to `output`: .png, .jpg, .webp or
    .html.

    vary: one or two texts NAME=VALUE,VALUE..., the second across. The size in `config` is that of each preview; its own
    output, tiles and store are of no interest. progress: see `render`; told of each preview by a note, and of what
    befalls it. Raises TilerError, for whatever is wrong with any preview before anything is rendered.
    """
    tell = progress or (lambda event: None)
    many = varied(vary)
    config = replace(config, tiles=None, store=None, output="preview.png", bits=8, cog=False, compression=None)
    cells, table = cells_of(config, many), table_of(config, many)
    for cell in cells:
        size = Request.of(cell).asked.job.cut.shown
        check_sheet(output, table, size.height, size.width, pictures_of(cell))
    threads = config.threads or max(1, cores() // (config.workers or 1))
    final, made = settled(output), []
    with scratch(final) as folder, Pool(config.scheduler, config.workers or 1, threads) as pool:
        for number, cell in enumerate(cells):
            tell({"event": "note", "text": f"preview {number + 1} of {len(cells)}: {table.caption(number)}"})
            # All at one place: levels that two of them have in common are rendered once.
            heard = partial(_told, tell, first=number == 0)
            render(replace(cell, output=str(folder / "preview.png")), heard, pool=pool)
            made.append((folder / "preview.png").rename(folder / f"{number}.png"))
        with new_file(output) as temporary:
            write_sheet(temporary, final.suffix.lower(), table, made)


def _told(tell: Progress, event: dict[str, Any], first: bool) -> None:
    """Of a preview: what goes wrong, and what is to be said of the pictures, once."""
    if event["event"] not in _OWN and (first or event["event"] != "note"):
        tell(event)


def cells_of(config: RenderConfig, many: Sequence[Varied]) -> list[RenderConfig]:
    """`config` with every combination of values, the last option's values following each other. Raises ConfigError."""
    return [_cell(config, many, numbers) for numbers in _numbers(many)]


def table_of(config: RenderConfig, many: Sequence[Varied]) -> Table:
    """What is said of these."""
    return Table(_title(config), *_named(many))


def _numbers(many: Sequence[Varied]) -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(len(one.values)) for one in many)))


def _cell(config: RenderConfig, many: Sequence[Varied], numbers: tuple[int, ...]) -> RenderConfig:
    for one, number in zip(many, numbers, strict=True):
        config = one.on(config, number)
    return config


def _named(many: Sequence[Varied]) -> tuple[tuple[str, tuple[str, ...]], tuple[str, tuple[str, ...]] | None]:
    rows, *columns = ((one.title, one.texts) for one in many)
    return rows, columns[0] if columns else None


def _title(config: RenderConfig) -> str:
    names = [Path(name).name for name in (config.content, *config.styles) if name]
    return " + ".join(names)
