"""`tiler dream`."""

from __future__ import annotations

import shlex
from typing import Any

import click

from tiler.cli.echo import say
from tiler.cli.loading import loading
from tiler.cli.options import GroupedCommand, build_config, config_options
from tiler.cli.progress import make_progress
from tiler.cli.render import run
from tiler.cli.stop import when_stopped
from tiler.errors import ConfigError

# What a dream asks for where the command line is silent. The picture is its own style: its statistics weigh nothing,
# but they give the energy in whose units the dream is measured.
LAYER, ZOOM_FACTOR = "relu4_3", 1.05
DEFAULTS = {
    "style_weight": 0.0,
    "content_weight": 0.0,
    "calm": 0.0,
    "chroma_weight": 0.0,
    "light_weight": 0.0,
    "dream_weight": 1.0,
    "jitter": 16,
    "keep_detail": True,
    "levels": 4,
    "steps": (20,),
    "learning_rate": 0.01,
}


@click.command(cls=GroupedCommand)
@click.argument("image", metavar="IMAGE")
@click.option("-o", "--output", metavar="OUT", required=True, help="The picture; with --zoom a folder for the frames.")
@click.option("--layer", metavar="L", help=f"relu1_1 (strokes) to relu5_4 (beasts). [{LAYER}]")
@click.option("--channel", type=int, metavar="N", help="Amplify only this channel of the layer.")
@click.option(
    "--octaves", type=int, metavar="N", help=f"Sizes to dream at, each double the last. [{DEFAULTS['levels']}]"
)
@click.option("--zoom", type=click.IntRange(1), metavar="FRAMES", help="Fly into the dream: so many frames.")
@click.option("--zoom-factor", type=float, metavar="X", help=f"Of each frame to the next, to 2. [{ZOOM_FACTOR}]")
@click.option("--force-new", is_flag=True, help="Start over, whatever job the store holds.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--log-json", is_flag=True, help="Print one JSON object per event on standard output.")
@config_options
def dream(
    image: str,
    layer: str | None,
    channel: int | None,
    octaves: int | None,
    zoom: int | None,
    zoom_factor: float | None,
    force_new: bool,
    quiet: bool,
    log_json: bool,
    **given: Any,
) -> None:
    """DeepDream at poster size: amplify in IMAGE what a layer of the network sees there.

    Runs on the same engine as `tiler render`, in tiles, and takes its options; --steps are those of each octave, and
    --learning-rate is how strongly the dream sets in.
    """
    if octaves is not None and octaves < 1:
        raise ConfigError(f"--octaves {octaves}; allowed: 1 or more")
    said = {key: value for key, value in given.items() if value not in (None, (), [])}
    for name, word, value in (("dream_layer", "layer", layer), ("dream_channel", "channel", channel),
                              ("levels", "octaves", octaves)):  # fmt: skip
        if value is not None and said.setdefault(name, value) != value:
            raise ConfigError(f"--{word} {value}: is --{name.replace('_', '-')} {said[name]} as well; say one of them")
    said.setdefault("dream_layer", LAYER)
    wanted = {**DEFAULTS, "style_layers": (said["dream_layer"],), **said}
    config = build_config({**wanted, "content": image, "styles": (image,)}, None)
    if zoom is None:
        if zoom_factor is not None:
            raise ConfigError(f"--zoom-factor {zoom_factor}: is of a flight; allowed: with --zoom FRAMES")
        run(config, force_new, quiet, log_json)
        return
    with loading():
        from tiler.series.zoom import zoom_in

    when_stopped("go on with the same command")
    with make_progress(quiet, log_json) as progress:
        zoom_in(config, zoom, ZOOM_FACTOR if zoom_factor is None else zoom_factor, progress, force_new)
    if not quiet and not log_json:
        frames, video = (shlex.quote(f"{config.target}{end}") for end in ("/frame-%04d.png", ".mp4"))
        # of odd sides, which the format has not, the last row or column is left out
        even = "-vf 'crop=trunc(iw/2)*2:trunc(ih/2)*2' -pix_fmt yuv420p"
        say(f"as a video: ffmpeg -i {frames} {even} {video}", err=True)
