"""`tiler resume`."""

from __future__ import annotations

from dataclasses import replace

import click

from tiler.cli.render import run


@click.command()
@click.argument("store")
@click.option("-o", "--output", metavar="POSTER", help="Another place for the poster.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--log-json", is_flag=True, help="Print one JSON object per event on standard output.")
def resume(store: str, output: str | None, quiet: bool, log_json: bool) -> None:
    """Go on with the render in STORE where it stopped, from any folder.

    The pictures must be where they were, and the same.
    """
    from tiler.render import stored_config

    config = stored_config(store)
    run(replace(config, output=output) if output else config, False, quiet, log_json)
