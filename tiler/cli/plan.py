"""`tiler plan`."""

from __future__ import annotations

from typing import Any

import click

from tiler.cli.echo import say, say_json
from tiler.cli.homes import where_states_live
from tiler.cli.loading import loading
from tiler.cli.options import PLACE, GroupedCommand, build_config, config_options
from tiler.cli.progress import duration
from tiler.cli.render import AUTO_REGIONS, regions_meanwhile
from tiler.cli.stop import when_stopped
from tiler.planning.words import size


@click.command(cls=GroupedCommand)
@click.argument("pictures", nargs=-1, metavar="[CONTENT] [STYLE...]")
@click.option("-o", "--output", type=PLACE, metavar="POSTER", help="Where it would go. [poster.png]")
@click.option("--job", "job_file", type=PLACE, metavar="FILE.toml", help="Options from a file; the command line wins.")
@AUTO_REGIONS
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_options
def plan(
    pictures: tuple[str, ...], job_file: str | None, auto_regions: int | None, as_json: bool, **given: Any
) -> None:
    """What `tiler render` with the same arguments would take: memory, disk, steps and hours.

    Times a few steps on this machine and writes nothing. Without a STYLE, one like the content is assumed.
    """
    if not (given["output"] or given["tiles"] or job_file):
        given["output"] = "poster.png"
    notes: list[str] = []
    config = build_config(given, job_file, pictures, notes, assume_style=True)
    with loading():
        from tiler.planning.measured import plan
        from tiler.planning.room import free_disk
        from tiler.request.resolve import store_url

    when_stopped()

    with regions_meanwhile(config, auto_regions) as guided:
        planned = plan(guided, notes)
    for note in notes:
        say(note, err=True)
    if as_json:
        say_json(planned.to_dict())
        return
    how = f"mode {planned.mode}, {planned.precision} on {planned.device}, {planned.workers} worker(s)"
    say(f"{planned.width} x {planned.height} px, {how}, tiles up to {planned.tile} px")
    if planned.part:
        say(planned.part)
    for level in planned.levels:
        say(
            f"  level {level.level + 1}: {level.width} x {level.height} px, {level.tiles} tile(s), {level.steps} steps"
            f" in {level.rounds} round(s), {duration(level.seconds or 0)}"
        )
    for line in where_states_live(planned.device, [(one.level + 1, one.home, one.why) for one in planned.levels]):
        say(line)
    url = store_url(config)
    free = free_disk(url)
    say(f"memory: {size(planned.memory_bytes)} for all processes at their peak")
    if planned.gpu_bytes:
        say(f"GPU:    {size(planned.gpu_bytes)} on each at its peak")
    pixels = f", decoded pictures of {size(planned.pictures_bytes)} with it" if planned.pictures_bytes else ""
    spare = f" and {size(planned.spare_bytes)} more while it is written" if planned.spare_bytes else ""
    say(
        f"disk:   {size(planned.store_bytes)} for the state at its peak{pixels}, {size(planned.kept_bytes)} of it to "
        f"stay, and {size(planned.output_bytes)} for the poster{spare}"
        + ("" if free is None else f"; {size(free)} are free")
    )
    say(f"steps:  {planned.steps}, {planned.tile_steps} counted by tiles")
    others = [f"{name}: {duration(seconds)}" for name, seconds in planned.qualities.items() if name != config.quality]
    by_quality = f"; --quality {', '.join(others)}" if others else ""
    say(f"time:   about {duration(planned.seconds or 0)}{by_quality}")
    if planned.refusal:
        say(f"as things are now, tiler render would refuse it: {planned.refusal}")
