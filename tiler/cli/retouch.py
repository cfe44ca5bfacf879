"""`tiler retouch`."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from tiler.cli.loading import loading
from tiler.cli.options import PLACE, RUN_OPTIONS, GroupedCommand, config_options
from tiler.cli.progress import make_progress
from tiler.cli.stop import when_stopped


@click.command(cls=GroupedCommand)
@click.argument("store", type=PLACE)
@click.option(
    "--mask",
    type=PLACE,
    required=True,
    metavar="FILE",
    help="Picture of the poster's shape, white where it may change.",
)
@click.option(
    "--set", "said", multiple=True, metavar="NAME=VALUE",
    help="Another value of an option of the look or the work, there; may be given several times.",
)  # fmt: skip
@click.option("-o", "--output", type=PLACE, required=True, metavar="POSTER", help="Where the new poster goes.")
@click.option("--feather", type=int, metavar="PX", help="Pixels beyond the mask over which new passes into old. [48]")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--log-json", is_flag=True, help="Print one JSON object per event on standard output.")
@partial(config_options, names=RUN_OPTIONS)
def retouch(
    store: str,
    mask: str,
    said: tuple[str, ...],
    output: str,
    feather: int | None,
    quiet: bool,
    log_json: bool,
    **given: Any,
) -> None:
    """Render a part of the finished poster in STORE again, with other options; the rest stays, byte for byte.

    tiler retouch poster.zarr --mask sea.png --set content-weight=1 -o new.png

    STORE and its poster are only read; the new poster has a store of its own beside it, and can be retouched again.
    """
    with loading():
        from tiler.request.changing import changes
        from tiler.series.retouch import FEATHER
        from tiler.series.retouch import retouch as change

    found, where = changes(said), {name: value for name, value in given.items() if value is not None}
    when_stopped("start over with the same command")
    with make_progress(quiet, log_json) as progress:
        result = change(store, mask, output, found, FEATHER if feather is None else feather, None, progress, **where)
        progress({"event": "done", "output": result.output, "store": result.store, "seconds": result.seconds})
