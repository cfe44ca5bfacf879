"""`tiler verify`."""

from __future__ import annotations

import shlex

import click


@click.command()
@click.argument("store")
def verify(store: str) -> None:
    """Read all that STORE should hold. Exit code 0: all is there and right; 1: what is damaged is listed."""
    from tiler.verify import verify as find_faults

    faults = find_faults(store)
    for fault in faults:
        click.echo(fault)
    if faults:
        click.echo(f"{len(faults)} fault(s); to compute them again: tiler resume {shlex.quote(store)}", err=True)
        raise SystemExit(1)
    click.echo("all that is in the store can be read")
