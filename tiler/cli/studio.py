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
@click.option(
    "--scheduler", "schedulers", multiple=True, metavar="tcp://HOST:PORT",
    help="A running Dask cluster that renders posters, one at a time; may be given several times. Default: this "
    "machine.",
)  # fmt: skip
def studio(folder: str, host: str, port: int, schedulers: tuple[str, ...]) -> None:
    """A page to choose pictures, move options, see a preview at once, and render posters.

    FOLDER (the current one by default) holds the pictures; nothing outside of it is shown or written. Each change is
    rendered again, coarse levels first, and the render before is cancelled. Posters wait in FOLDER/posters, which
    `tiler queue` shows and steers as well, and another studio goes on with.
    """
    with loading():
        check_installed()
        from tiler.studio.answers import application
        from tiler.studio.bench import Bench
        from tiler.studio.folder import Folder
        from tiler.studio.posters import Posters
        from tiler.studio.studio import Studio

        held = Folder(folder)
    second = Bench(held.said, stay=False, name="retouches")
    with second, Bench(held.said) as bench, Posters(held, schedulers) as posters:
        serve(application("studio.html", Studio(held, posters, bench, second).routes()), host, port)
