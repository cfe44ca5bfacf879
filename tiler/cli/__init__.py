"""The command line: one file a command; each translates, delegates and prints."""

import os

from tiler.cli.echo import open_streams
from tiler.cli.stop import Stoppable
from tiler.engine.waiting import patience


def main() -> None:
    """Entry point of the process. What takes long to import comes when signals are already heard."""
    open_streams()
    os.environ.update(patience(os.environ))
    with Stoppable():
        from tiler.cli.commands import run

        run()
