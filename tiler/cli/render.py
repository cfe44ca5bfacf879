"""`tiler render`."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from tiler.cli.echo import clean
from tiler.cli.loading import loading
from tiler.cli.options import PLACE, GroupedCommand, build_config, config_options, typed_words
from tiler.cli.progress import make_progress
from tiler.cli.stop import when_stopped
from tiler.request.config import RenderConfig

AUTO_REGIONS = click.option(
    "--auto-regions", type=int, metavar="N", help="Find N regions that CONTENT and STYLE have in common, 2 to 8."
)


@click.command(cls=GroupedCommand)
@click.argument("pictures", nargs=-1, metavar="[CONTENT] STYLE...")
@click.option("-o", "--output", type=PLACE, metavar="POSTER", help="Where the poster goes: .png .tif .jpg .webp ...")
@click.option("--job", "job_file", type=PLACE, metavar="FILE.toml", help="Options from a file; the command line wins.")
@click.option("--force-new", is_flag=True, help="Start over, whatever job the store holds.")
@AUTO_REGIONS
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--log-json", is_flag=True, help="Print one JSON object per event on standard output.")
@config_options
def render(
    pictures: tuple[str, ...],
    job_file: str | None,
    force_new: bool,
    auto_regions: int | None,
    quiet: bool,
    log_json: bool,
    **given: Any,
) -> None:
    """Render CONTENT in the look of STYLE (one picture or several).

    The same command again goes on where an earlier run stopped. State is kept in a folder beside the poster
    (POSTER.zarr), which is also an OME-Zarr image. With other options a finished job makes way, and levels that are the
    same are taken over: a preview is the beginning of its poster.

    With --content-weight 0 and --init noise (or a picture) nothing of a content would show: every picture is a STYLE
    then, and the poster is a texture.
    """
    notes: list[str] = []
    config = build_config(given, job_file, pictures, notes)
    if job_file is not None:
        from tiler.request.resume import check_replaced

        named = [name for name in ("output", "tiles") if given[name] is None]
        check_replaced(config, named, Path(job_file).absolute().parent, job_file)
    if auto_regions is not None:
        config = found_regions(config, auto_regions, notes)
    run(config, force_new, quiet, log_json, notes)


def found_regions(config: RenderConfig, count: int, notes: list[str], folder: Path | None = None) -> RenderConfig:
    """The configuration with regions that find themselves; `notes` gets a line on where they are. folder: for their
    files; default: that of the poster."""
    from tiler.jobs import Request
    from tiler.request.proposing import with_regions

    when_stopped("go on with the same command")
    Request.of(config)  # what is wrong is to be said before labels are written
    config, note = with_regions(config, count, folder)
    notes.append(note)
    return config


@contextlib.contextmanager
def regions_meanwhile(config: RenderConfig, count: int | None) -> Iterator[RenderConfig]:
    """The configuration, with regions that find themselves where `count` says how many. At the block's end their files
    are gone: for what is no poster."""
    if count is None:
        yield config
        return
    with tempfile.TemporaryDirectory(prefix="tiler-") as folder:
        yield found_regions(config, count, [], Path(folder))


def run(
    config: RenderConfig,
    force_new: bool,
    quiet: bool,
    log_json: bool,
    notes: Sequence[str] = (),
    replace_finished: bool = True,
) -> None:
    """Render with the progress that the flags ask for. notes: lines to begin with. replace_finished: see `render`."""
    with loading():  # dask, only once the options are right
        from tiler.rendering import render as render_poster

    def progress(event: dict[str, Any]) -> None:
        if event["event"] == "start":
            when_stopped(clean(f"go on with: tiler resume {shlex.join([event['store'], *typed_words(config)])}"))
        printer(event)

    when_stopped("go on with the same command")
    with make_progress(quiet, log_json) as printer:
        for note in notes:
            progress({"event": "note", "text": note})
        result = render_poster(config, progress, force_new, replace_finished)
        progress({"event": "done", "output": result.output, "store": result.store, "seconds": result.seconds})
