"""`tiler resume`."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from tiler.cli.loading import loading
from tiler.cli.options import PLACE, RUN_OPTIONS, GroupedCommand, config_options
from tiler.cli.render import run


@click.command(cls=GroupedCommand)
@click.argument("store", type=PLACE)
@click.option("-o", "--output", type=PLACE, metavar="POSTER", help="Another place for the poster.")
@click.option(
    "--inputs",
    type=PLACE,
    multiple=True,
    metavar="DIR",
    help="Where to look for pictures, masks and weights that are not where they were; may be given several times.",
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--log-json", is_flag=True, help="Print one JSON object per event on standard output.")
@partial(config_options, names=("tiles", *RUN_OPTIONS))
def resume(store: str, output: str | None, inputs: tuple[str, ...], quiet: bool, log_json: bool, **given: Any) -> None:
    """Go on with the render in STORE where it stopped, from any folder.

    The pictures must be where they were, or lie beside the store as they did, and be the same. A poster's name that
    comes from the store is written to where nothing is, beside the store, or over what the same store wrote; else name
    it with -o.
    """
    with loading():
        from tiler.request.resume import stored_config

    notes: list[str] = []
    config = stored_config(store, inputs, notes, output=output, **given)
    run(config, False, quiet, log_json, notes, replace_finished=False)
