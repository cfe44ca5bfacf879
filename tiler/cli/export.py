"""`tiler export`."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from tiler.cli.echo import say
from tiler.cli.loading import loading
from tiler.cli.options import PLACE, GroupedCommand, config_options
from tiler.cli.stop import when_stopped
from tiler.errors import ConfigError
from tiler.request.config import FILE


@click.command(cls=GroupedCommand)
@click.argument("store", type=PLACE)
@click.option(
    "-o", "--output", type=PLACE, metavar="FILE", help="Where the picture goes: .png .tif .jpg .webp .dzi .zarr"
)
@click.option(
    "--level", type=int, metavar="K", help="0 is the coarsest, level 1 of a plan; default: the finest that is finished."
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
@partial(config_options, group=FILE)
def export(store: str, output: str | None, level: int | None, quiet: bool, **given: Any) -> None:
    """Write a level of the job in STORE to a file, at any time, also while the job is being rendered.

    A level that is not finished is shown as all its tiles last had it.
    """
    options = {name: value for name, value in given.items() if value is not None}
    if output is None and "tiles" not in options:
        raise ConfigError("-o FILE (or --tiles DIR) is missing: tiler export STORE -o FILE")
    with loading():
        from tiler.output.export import export as write

    when_stopped()

    done = write(store, output, level, **options)
    if not quiet:
        for remark in done.remarks:
            say(remark, err=True)
        shown = f"level {done.level}, {done.width} x {done.height} px after {done.steps} steps"
        say(f"{shown}: {', '.join(done.outputs)}", err=True)
