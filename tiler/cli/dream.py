"""`tiler dream`."""

from __future__ import annotations

from typing import Any

import click

from tiler.cli.echo import say
from tiler.cli.loading import loading
from tiler.cli.options import GroupedCommand, build_config, config_options
from tiler.cli.progress import make_progress
from tiler.cli.render import run
from tiler.cli.stop import when_stopped

# What a dream asks for where the command line is silent. The picture is its own style: its statistics weigh nothing,
# but they give the energy in whose units the dream is measured.
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
@click.option(
    "--layer", metavar="L", default="relu4_3", show_default=True, help="relu1_1 (strokes) to relu5_4 (beasts)."
)
@click.option("--channel", type=int, metavar="N", help="Amplify only this channel of the layer.")
@click.option(
    "--octaves", type=int, metavar="N", help=f"Sizes to dream at, each double the last. [{DEFAULTS['levels']}]"
)
@click.option("--zoom", type=click.IntRange(1), metavar="FRAMES", help="Fly into the dream: so many frames.")
@click.option("--zoom-factor", type=click.FloatRange(1, 2, min_open=True), default=1.05, show_default=True, metavar="X")
@click.option("--force-new", is_flag=True, help="Start over, whatever job the store holds.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--log-json", is_flag=True, help="Print one JSON object per event on standard output.")
@config_options
def dream(
    image: str,
    layer: str,
    channel: int | None,
    octaves: int | None,
    zoom: int | None,
    zoom_factor: float,
    force_new: bool,
    quiet: bool,
    log_json: bool,
    **given: Any,
) -> None:
    """DeepDream at poster size: amplify in IMAGE what a layer of the network sees there.

    Runs on the same engine as `tiler render`, in tiles, and takes its options; --steps are those of each octave, and
    --learning-rate is how strongly the dream sets in.
    """
    said = {key: value for key, value in given.items() if value not in (None, (), [])}
    asked = {"dream_layer": layer, "dream_channel": channel, "style_layers": (layer,)}
    wanted = {**DEFAULTS, **asked, **({"levels": octaves} if octaves else {}), **said}
    config = build_config({**wanted, "content": image, "styles": (image,)}, None)
    if zoom is None:
        run(config, force_new, quiet, log_json)
        return
    with loading():
        from tiler.series.zoom import zoom_in

    when_stopped("go on with the same command")
    with make_progress(quiet, log_json) as progress:
        zoom_in(config, zoom, zoom_factor, progress, force_new)
    if not quiet and not log_json:
        say(f"as a video: ffmpeg -i {config.output}/frame-%04d.png -pix_fmt yuv420p {config.output}.mp4", err=True)
