"""`tiler watch`."""

from __future__ import annotations

import time
from importlib.util import find_spec

import click

from tiler.cli.echo import say
from tiler.cli.loading import loading
from tiler.cli.options import PLACE
from tiler.cli.stop import when_stopped
from tiler.errors import InstallError

HOST = click.option(
    "--host",
    default="127.0.0.1",
    metavar="ADDRESS",
    help="Where it listens; the default is this machine alone. [127.0.0.1]",
)
PORT = click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="0, the default, takes a free one."
)


@click.command()
@click.argument("store", type=PLACE)
@HOST
@PORT
@click.option(
    "--keep", type=PLACE, metavar="POSTER",
    help="Let the page stop the render, and write what there is of it to this file.",
)  # fmt: skip
def watch(store: str, host: str, port: int, keep: str | None) -> None:
    """A page that shows the job in STORE as a deep zoom, level by level and tile by tile as they finish.

    It reads and never writes, but with --keep: a render that goes on is not disturbed, and STORE may be another
    machine's shared folder or a bucket.
    """
    with loading():
        check_installed()
        from tiler.studio.answers import Hands, application
        from tiler.studio.steering import Steered
        from tiler.studio.watching import Watch, routes

        found, steering = Watch(store), None if keep is None else Steered(store, keep)
        app = application("watch.html", routes(lambda request: found, Hands(), steering=steering))
    serve(app, host, port)


def check_installed() -> None:
    """Raise InstallError where the packages of the extra are not there."""
    for name in ("starlette", "uvicorn"):
        if find_spec(name) is None:
            raise InstallError(f"{name} is not installed; pip install 'tiler-render[studio]'")


def serve(app: object, host: str, port: int) -> None:
    """Until a signal ends it."""
    from tiler.studio.serve import is_loopback, served

    with served(app, host, port) as address:  # type: ignore[arg-type]
        if not is_loopback(host):
            say(f"others in the network can read what is sent: http, and not https, on {host}", err=True)
        say(f"open {address}")
        say("stop with Ctrl-C")
        when_stopped()
        while True:
            time.sleep(3600)
