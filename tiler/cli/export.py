"""`tiler export`."""

from __future__ import annotations

import click


@click.command()
@click.argument("store")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where the picture goes: .png .tif .jpg .webp ...")
@click.option("--level", type=int, metavar="K", help="0 is the coarsest; default: the finest that is finished.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
def export(store: str, output: str, level: int | None, quiet: bool) -> None:
    """Write a level of the job in STORE to a file, at any time, also while the job is being rendered.

    A level that is not finished is shown as all its tiles last had it.
    """
    from tiler.export import export as write

    done = write(store, output, level)
    if not quiet:
        click.echo(
            f"level {done.level}, {done.width} x {done.height} px after {done.steps} steps: {done.output}", err=True
        )
