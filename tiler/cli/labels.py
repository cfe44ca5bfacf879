"""`tiler labels`."""

from __future__ import annotations

import click

from tiler.cli.echo import say
from tiler.cli.loading import loading
from tiler.cli.options import PLACE
from tiler.cli.stop import when_stopped


@click.command()
@click.argument("content", type=PLACE)
@click.argument("styles", type=PLACE, nargs=-1, metavar="STYLE...", required=True)
@click.option("-o", "--output", type=PLACE, metavar="LABELS.png", required=True, help="Where the label picture goes.")
@click.option("--regions", type=int, default=2, show_default=True, metavar="N", help="How many to find, 2 to 8.")
def labels(content: str, styles: tuple[str, ...], output: str, regions: int) -> None:
    """Find the regions of CONTENT that are like parts of STYLE, by colour and texture: sea with sea, land with land.

    Writes the label picture, a mask for each region's part of each style, and a job file that renders with them. All
    are proposals: paint over the label picture and the masks where they are wrong, then render.
    """
    with loading():
        from tiler.request.proposing import propose

    when_stopped()
    found = propose(content, styles, regions, output)
    say(f"{found.found} regions: {found.labels}; to render with them: tiler render --job {found.file} -o POSTER")
