"""All commands, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from tiler.cli import (
    demo,
    doctor,
    dream,
    export,
    grow,
    info,
    labels,
    learn,
    plan,
    proof,
    queue,
    render,
    resume,
    retouch,
    sheet,
    studio,
    verify,
    watch,
)
from tiler.cli.echo import clean, say
from tiler.errors import TilerError
from tiler.version import __version__

_SHOWN = 300  # characters of each end of a message that a value has made very long


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="tiler")
def cli() -> None:
    """Neural style transfer at poster size.

    \b
    tiler demo                                    the mission in one command, on real pictures
    tiler render MAP PHOTO -o POSTER              the map rendered in the photo's look
    tiler render MAP PHOTO -o POSTER --long-edge 16384
    tiler plan MAP PHOTO --long-edge 16384        what that would take: memory, disk, hours
    tiler sheet MAP PHOTO --vary content-weight=0.05,0.2,0.8 -o SHEET.png     previews side by side
    tiler studio FOLDER                           a page to try pictures and options, with previews
    tiler queue add FOLDER MAP PHOTO              a poster that waits for its turn; tiler queue run FOLDER
    tiler proof MAP PHOTO --long-edge 16384 --at 0.4,0.6 -o PROOF.png         a spot of it, as large as there
    tiler labels MAP PHOTO -o LABELS.png          which parts of the two are alike, to render each like its own
    tiler info POSTER.zarr                        what a job is and how far it came
    tiler export POSTER.zarr -o POSTER.tif        its poster, or what there is of it yet, in another format
    tiler resume POSTER.zarr                      go on with it where it stopped
    tiler watch POSTER.zarr                       a page that shows it, also while it is rendered
    tiler retouch POSTER.zarr --mask MASK --set content-weight=1 -o NEW.png   a part of it again, with other options
    tiler verify POSTER.zarr                      whether all of it can be read
    tiler dream PHOTO -o DREAM.png                what the network sees in a picture, amplified
    tiler learn PHOTO... -o LAND.safetensors      what the land of pictures is like
    tiler grow LAND.safetensors -o WORLD.png --size 16384x16384               such land, of any size
    tiler doctor                                  what this machine is, and whether all parts work on it

    Shell completion: eval "$(_TILER_COMPLETE=bash_source tiler)", likewise zsh_source and fish_source.
    """


COMMANDS = (
    render.render, resume.resume, plan.plan, info.info, verify.verify, export.export, dream.dream, demo.demo,
    labels.labels, doctor.doctor, sheet.sheet, proof.proof, retouch.retouch, studio.studio, watch.watch, queue.queue,
    learn.learn, grow.grow,
)  # fmt: skip
for command in COMMANDS:
    cli.add_command(command)


def run() -> None:
    """Run what the command line says: errors that a user can mend become one line and an exit code."""
    _check_folder()
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        say("tiler: stopped", err=True)
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _refuse(error.format_message(), error.exit_code)
    except TilerError as error:
        _refuse(str(error), error.exit_code)
    except OSError as error:
        if error.filename is None:
            raise
        _refuse(f"{error.filename}: {error.strerror}", 2)


def _check_folder() -> None:
    """Nothing can be done where not even relative names mean anything: workers would not start."""
    try:
        os.getcwd()
    except OSError:
        _refuse("the current folder does not exist any more; go to another", 2)


def _refuse(message: str, exit_code: int) -> NoReturn:
    """Print one line and exit."""
    shown = clean(message)
    if len(shown) > 2 * _SHOWN:
        shown = f"{shown[:_SHOWN]} ... {shown[-_SHOWN:]}"
    say(f"tiler: {shown}", err=True)
    sys.exit(exit_code)
