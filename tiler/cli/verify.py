"""`tiler verify`."""

from __future__ import annotations

import click

from tiler.cli.echo import say
from tiler.cli.loading import loading
from tiler.cli.options import PLACE


@click.command()
@click.argument("store", type=PLACE)
def verify(store: str) -> None:
    """Read all that STORE should hold. Exit code 0: all is there and right; 1: what is damaged is listed."""
    with loading():
        from tiler.output.verify import remedy
        from tiler.output.verify import verify as find_faults

    faults = find_faults(store)
    for fault in faults:
        say(fault)
    if faults:
        say(f"{len(faults)} fault(s); {remedy(store)}", err=True)
        raise SystemExit(1)
    say("all that is in the store can be read")
