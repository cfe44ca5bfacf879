"""`tiler sheet`."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

import click

from tiler.cli.echo import say
from tiler.cli.loading import loading
from tiler.cli.options import PLACE, GroupedCommand, build_config, config_options
from tiler.cli.progress import make_progress
from tiler.cli.render import AUTO_REGIONS, regions_meanwhile
from tiler.cli.stop import when_stopped
from tiler.errors import ConfigError
from tiler.request.config import FILE, RenderConfig
from tiler.request.sizes import SIZES

# A preview is no file of its own.
_OPTIONS = [item.name for item in fields(RenderConfig) if item.metadata["group"] != FILE and item.name != "store"]


@click.command(cls=GroupedCommand)
@click.argument("pictures", nargs=-1, metavar="[CONTENT] STYLE...")
@click.option("-o", "--output", type=PLACE, required=True, metavar="SHEET", help="Where it goes: .png .jpg .webp .html")
@click.option(
    "--vary", multiple=True, required=True, metavar="NAME=VALUE,...",
    help="An option and its values, one preview each; twice: all combinations, the second across.",
)  # fmt: skip
@click.option("--job", "job_file", type=PLACE, metavar="FILE.toml", help="Options from a file; the command line wins.")
@AUTO_REGIONS
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--log-json", is_flag=True, help="Print one JSON object per event on standard output.")
@partial(config_options, names=_OPTIONS)
def sheet(
    pictures: tuple[str, ...],
    output: str,
    vary: tuple[str, ...],
    job_file: str | None,
    auto_regions: int | None,
    quiet: bool,
    log_json: bool,
    **given: Any,
) -> None:
    """One or two options over some values: a grid of previews, 256 px each unless a size is said.

    tiler sheet MAP PHOTO --vary content-weight=0.05,0.2,0.8 --vary style-scale=0.5,1,2 -o sheet.png
    """
    with loading():
        from tiler.request.varying import varied
        from tiler.series.sheet import EDGE
        from tiler.series.sheet import sheet as make_sheet

    for one in varied(vary):
        if given.get(one.name) is not None:
            raise ConfigError(f"{one.name} = {given[one.name]}: --vary says its values; leave one of the two out")
    if all(given[name] is None for name in SIZES if name in given):
        given["long_edge"] = EDGE
    notes: list[str] = []
    config = build_config({**given, "output": "preview.png"}, job_file, pictures, notes)
    when_stopped()
    with regions_meanwhile(config, auto_regions) as config, make_progress(quiet, log_json) as progress:
        for note in notes:
            progress({"event": "note", "text": note})
        make_sheet(config, vary, output, progress)
    if not (quiet or log_json):
        say(f"{output}: written")
