"""`tiler grow`."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import click

from tiler.cli.loading import loading
from tiler.cli.options import PLACE, GroupedCommand, config_options
from tiler.cli.progress import make_progress
from tiler.cli.stop import when_stopped

_OPTIONS = (
    "dpi", "bits", "compression", "jpeg_quality", "cog", "wrap", "seed", "labels", "workers", "device", "scheduler",
)  # fmt: skip


@click.command(cls=GroupedCommand)
@click.argument("land", type=PLACE)
@click.option(
    "-o", "--output", type=PLACE, metavar="FILE", required=True, help="Where it goes: .png .tif .jpg .zarr ..."
)
@click.option("--size", metavar="WxH", help="In pixels. [1024x1024, or that of --labels]")
@click.option("--offset", metavar="X,Y", help="Where on the seed's endless plane it begins. [0,0]")
@click.option("--only", metavar="NAME", help="One land of those that it knows.")
@click.option("--label", multiple=True, metavar="'#RRGGBB=NAME'", help="Which land a colour of --labels stands for.")
@click.option("--blend", type=float, metavar="PX", help="Over how much one land passes into the next. [64]")
@click.option("--walk", type=int, metavar="FRAMES", help="So many frames side by side, from the seed to another.")
@click.option("--to-seed", type=int, metavar="N", help="Where the walk ends. [seed + 1]")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--log-json", is_flag=True, help="Print one JSON object per event on standard output.")
@partial(config_options, names=_OPTIONS)
def grow(land: str, output: str, quiet: bool, log_json: bool, **given: Any) -> None:
    """Make new land of any size from LAND, which `tiler learn` has written.

    tiler grow LAND.safetensors -o WORLD.png --size 16384x16384

    The same place of the same seed is the same pixels in every picture of it. With --labels each land grows where the
    label picture says.
    """
    with loading():
        from tiler.growing.grow import grow as make
        from tiler.growing.growth import Growth

    growth = Growth(land, output, **{name: value for name, value in given.items() if value not in (None, ())})
    when_stopped()
    began = time.monotonic()
    with make_progress(quiet, log_json) as progress:
        done = make(growth, progress)
        progress({"event": "done", "output": done.output, "seconds": time.monotonic() - began})
