"""`tiler learn`."""

from __future__ import annotations

from typing import Any

import click

from tiler.cli.echo import say
from tiler.cli.loading import loading
from tiler.cli.options import PLACE, GroupedCommand
from tiler.cli.progress import duration, make_progress
from tiler.cli.stop import when_stopped


@click.command(cls=GroupedCommand)
@click.argument("photos", type=PLACE, nargs=-1, metavar="PHOTO...")
@click.option("-o", "--output", type=PLACE, metavar="LAND", required=True, help="Where it goes: .safetensors")
@click.option("--minutes", type=float, metavar="M", help="Of training, in all. [15]")
@click.option("--steps", type=int, metavar="N", help="How many in all, in place of minutes.")
@click.option("--architecture", metavar="spatial|dcgan", help="spatial: land of any size; dcgan: scenes. [spatial]")
@click.option("--channels", type=int, metavar="N", help="Of the finest features. [16; dcgan 128]")
@click.option("--patch", type=int, metavar="PX", help="Side of what is compared. [128; dcgan 64]")
@click.option("--batch", type=int, metavar="N", help="Patches a step. [4; dcgan 32]")
@click.option("--seed", type=int, metavar="N", help="Of all that is drawn. [0]")
@click.option("--device", metavar="auto|cpu|cuda", help="Where it is computed. [auto]")
@click.option("--threads", type=int, metavar="N", help="CPU threads; default: all cores.")
@click.option("--checkpoint-seconds", type=float, metavar="S", help="Between two checkpoints. [60]")
@click.option("--force-new", is_flag=True, help="Start over, whatever training is there.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--log-json", is_flag=True, help="Print one JSON object per event on standard output.")
def learn(photos: tuple[str, ...], output: str, force_new: bool, quiet: bool, log_json: bool, **given: Any) -> None:
    """Learn from a few pictures what their land is like; `tiler grow` makes it anew, of any size.

    tiler learn PHOTO... -o LAND.safetensors

    Each PHOTO is a kind of land, called like its file. The same command again goes on where an earlier run stopped, or
    to more minutes. State and a sample are kept in a folder beside it (LAND.training).
    """
    with loading():
        from tiler.growing.learn import Lesson
        from tiler.growing.learn import learn as train

    lesson = Lesson(photos, output, **{name: value for name, value in given.items() if value is not None})
    when_stopped("go on with the same command")
    with make_progress(quiet, log_json) as progress:
        done = train(lesson, progress, force_new)
    if not quiet and not log_json:
        kept = f"; as it was after {done.kept_at}, nearest to the photos" if done.kept_at else ""
        say(f"{done.output}: after {done.steps} steps, {duration(done.seconds)} of training{kept}", err=True)
