"""`tiler doctor`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tiler.cli.echo import say, say_json
from tiler.cli.homes import where_states_live
from tiler.cli.loading import loading
from tiler.cli.stop import when_stopped
from tiler.planning.words import size

if TYPE_CHECKING:
    from tiler.planning.doctor import Findings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(as_json: bool) -> None:
    """What this machine is, what a render would use of it and why, and whether all parts of it work.

    Takes some ten seconds; the exit code is 1 where a part does not work. To be sent along with a report of a fault.
    """
    with loading():
        from tiler.planning.doctor import examine

    when_stopped()
    found = examine()
    if as_json:
        say_json(found.to_dict())
    else:
        for line in _lines(found):
            say(line)
    if not found.well:
        sys.exit(1)


def _lines(found: Findings) -> Iterator[str]:
    yield ", ".join(f"{name} {version}" for name, version in found.versions.items() if version != "none")
    yield from _extras(found)
    host, gpus = found.machine["host"], found.machine["gpus"]
    memory = f"{size(host['free_bytes'])} of {size(host['total_bytes'])} of memory free"
    yield f"machine: {host['name']}, {host['cores']} core(s), {memory}"
    if gpus:
        free = f"{size(gpus['free_bytes'])} of {size(gpus['total_bytes'])} free"
        yield f"GPU:     {gpus['count']} x {gpus['name']}, {free}"
    else:
        yield "GPU:     none that torch finds"
    yield from _chosen(found)
    yield from _reads(found)
    for check in found.checks:
        how = f"FAILED  {check.error}" if check.error else check.said
        yield f"{check.name:<12}{check.seconds:6.1f} s  {how}"


def _extras(found: Findings) -> Iterator[str]:
    missing = [name for name, version in found.extras.items() if version == "none"]
    if missing:
        yield f"not installed: {', '.join(missing)}; to have them: pip install 'tiler-render[{','.join(missing)}]'"


def _reads(found: Findings) -> Iterator[str]:
    read = [name for name, why in found.reads.items() if not why]
    if read:
        yield f"reads, beside PNG, JPEG, TIFF, WebP, GIF, BMP, PPM and map tiles: {', '.join(read)}"
    for name, why in found.reads.items():
        if why:
            yield f"does not read {name}: {why}"


def _chosen(found: Findings) -> Iterator[str]:
    one = found.chosen
    faster = "is faster there" if one["device"] in found.machine["bf16"] else "is no faster there"
    yield f"a poster of {one['edge']} px is computed on {one['device']} in {one['precision']}, since bf16 {faster};"
    who = f"{one['workers']} worker(s) of {one['threads']} thread(s)"
    yield f"  by {who}, kernels in {one['kernels']}, tiles up to {one['tile']} px"
    if one["why_not_triton"]:
        yield one["why_not_triton"]
    yield from where_states_live(
        one["device"], [(each["level"] + 1, each["home"], each["why"]) for each in one["homes"]]
    )
