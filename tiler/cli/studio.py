"""`tiler studio`."""

from __future__ import annotations

import click

from tiler.cli.loading import loading
from tiler.cli.options import PLACE
from tiler.cli.watch import HOST, PORT, check_installed, serve


@click.command()
@click.argument("folder", type=PLACE, default=".")
@HOST
@PORT
def studio(folder: str, host: str, port: int) -> None:
    """A page to choose pictures, move options and see a preview of the poster at once.

    FOLDER (the current one by default) holds the pictures; nothing outside of it is shown or written. Each change is
    rendered again, coarse levels first, and the render before is cancelled.
    """
    with loading():
        check_installed()
        from tiler.studio.answers import application
        from tiler.studio.folder import Folder
        from tiler.studio.previews import Previewer
        from tiler.studio.studio import Studio

        held = Folder(folder)
    with Previewer(held) as previewer:
        serve(application("studio.html", Studio(held, previewer).routes()), host, port)
