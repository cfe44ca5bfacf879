"""The command line: one file a command; each translates, delegates and prints."""

from tiler.cli.echo import open_streams
from tiler.cli.stop import Stoppable


def main() -> None:
    """Entry point of the process. What takes long to import comes when signals are already heard."""
    open_streams()
    with Stoppable():
        from tiler.cli.commands import run

        run()
