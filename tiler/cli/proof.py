"""`tiler proof`."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

import click

from tiler.cli.options import PLACE, GroupedCommand, build_config, config_options
from tiler.cli.render import AUTO_REGIONS, found_regions, run
from tiler.errors import ConfigError
from tiler.request.config import RenderConfig

# What belongs to a whole poster.
_OPTIONS = [item.name for item in fields(RenderConfig) if item.name not in ("tiles", "overlay")]


@click.command(cls=GroupedCommand)
@click.argument("pictures", nargs=-1, metavar="[CONTENT] STYLE...")
@click.option("-o", "--output", type=PLACE, metavar="PROOF", help="Where it goes: .png .tif .jpg .webp ...")
@click.option("--job", "job_file", type=PLACE, metavar="FILE.toml", help="Options from a file; the command line wins.")
@click.option("--force-new", is_flag=True, help="Start over, whatever job the store holds.")
@AUTO_REGIONS
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--log-json", is_flag=True, help="Print one JSON object per event on standard output.")
@partial(config_options, names=_OPTIONS)
def proof(
    pictures: tuple[str, ...],
    job_file: str | None,
    force_new: bool,
    auto_regions: int | None,
    quiet: bool,
    log_json: bool,
    **given: Any,
) -> None:
    """A spot of a poster, exactly as large as there, in a small part of the poster's time.

    tiler proof MAP PHOTO --long-edge 16384 --at 0.4,0.6 --edge 768 -o proof.png

    Small levels are rendered as they are for the poster; of larger ones only the tiles that the spot needs, and some
    others from which the poster's statistics are estimated. State is kept in a folder beside it (PROOF.zarr): the same
    command goes on where it stopped, and a proof of another spot takes over the small levels.
    """
    notes: list[str] = []
    config = build_config(given, job_file, pictures, notes)
    if config.at is None:
        raise ConfigError(
            "at = None; allowed: --at X,Y, the middle of the spot in shares of the poster, such as 0.5,0.5"
        )
    if auto_regions is not None:
        config = found_regions(config, auto_regions, notes)
    run(config, force_new, quiet, log_json, notes)
