"""`tiler queue`: a folder of job files and stores, shown, steered and worked through."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tiler.cli.echo import say, say_json
from tiler.cli.loading import loading
from tiler.cli.options import PLACE, RUN_OPTIONS, GroupedCommand, build_config, config_options
from tiler.cli.progress import Progress, duration, make_progress
from tiler.cli.render import AUTO_REGIONS, found_regions
from tiler.cli.stop import when_stopped
from tiler.errors import ConfigError, OutputError, StoreError
from tiler.planning.words import size
from tiler.request.config import RenderConfig
from tiler.request.jobfile import read_job_file

if TYPE_CHECKING:
    from tiler.planning.plan import Plan
    from tiler.queue.job import QueuedJob
    from tiler.queue.queue import Queue

_JOB_OPTIONS = [item.name for item in fields(RenderConfig) if item.name not in (*RUN_OPTIONS, "store")]
_ENDS = (".png",)  # of a poster that nobody named
_FOLDER = click.argument("folder", type=PLACE)
_NAMES = click.argument("names", nargs=-1, required=True, metavar="NAME...")
_PRICE = click.option(
    "--price-per-hour", type=click.FloatRange(0), metavar="X", help="Of the machine; says what it will cost."
)


@click.group()
def queue() -> None:
    """Posters that wait for their turn, in a folder of job files and stores.

    \b
    tiler queue add FOLDER MAP PHOTO --long-edge 16384      put one at the end; takes the options of tiler render
    tiler queue plan FOLDER                                 memory, disk, hours, and money with --price-per-hour
    tiler queue run FOLDER                                  render one after the other
    tiler queue list FOLDER                                 how far they are
    tiler queue move FOLDER NAME first                      another order
    tiler queue pause FOLDER NAME                           and stop, resume, remove; also while it is rendered

    Whoever has the folder has the queue: each command works from any shell, and from other machines that share it.
    A job file that lies in the folder is a job.
    """


def _opened(folder: str, new: bool = False) -> Queue:
    """new: the folder may be one that is not there yet."""
    with loading():
        from tiler.queue.queue import Queue

    if not new and not os.path.lexists(folder):
        raise StoreError(f"queue {folder}: there is no such folder; tiler queue add makes one")
    return Queue(folder)


@queue.command(cls=GroupedCommand)
@_FOLDER
@click.argument("pictures", nargs=-1, metavar="[CONTENT] STYLE...")
@click.option("-o", "--output", type=PLACE, metavar="POSTER", help="Where the poster goes. [FOLDER/NAME.png]")
@click.option("--job", "job_file", type=PLACE, metavar="FILE.toml", help="Options from a file; the command line wins.")
@click.option("--name", metavar="NAME", help="What it is called in the queue; default: as its poster or content.")
@AUTO_REGIONS
@partial(config_options, names=_JOB_OPTIONS)
def add(
    folder: str,
    pictures: tuple[str, ...],
    job_file: str | None,
    name: str | None,
    auto_regions: int | None,
    **given: Any,
) -> None:
    """Put a poster at the end of the queue in FOLDER.

    It is looked at as tiler render would, and then waits for tiler queue run. Its place is FOLDER/NAME.toml and
    FOLDER/NAME.zarr. A poster outside FOLDER needs a name where nothing is yet.
    """
    line, notes = _opened(folder, new=True), list[str]()
    said = read_job_file(job_file) if job_file is not None else {}
    like = ""  # what its name is made from, where that is left to us
    if not (given["output"] or given["tiles"] or said.get("output") or said.get("tiles")):
        first = pictures[0] if pictures else said.get("content") or "poster"
        if name is None:
            like = Path(first).stem
            name = line.free_name(like, _ENDS)
        given["output"] = _poster(line, name)
        if os.path.lexists(given["output"]):
            raise OutputError(f"{given['output']}: is there already; choose another --name, or say -o to replace it")
    config = build_config(given, job_file, pictures, notes)
    with _made(line.folder):
        if auto_regions is not None:
            config = found_regions(config, auto_regions, notes)
        when_stopped()
        job = _added(line, config, name, like)
    for note in notes:
        say(note, err=True)
    say(f"{job.name}: waits in {line.folder}, for {job.output}")


def _poster(line: Queue, name: str) -> str:
    return str(line.folder / (name + _ENDS[0]))


def _added(line: Queue, config: RenderConfig, name: str | None, like: str) -> QueuedJob:
    """like: what another name is made from where somebody takes this one at the same moment; "" where there is none."""
    while True:
        try:
            return line.add(config, name)
        except (ConfigError, OutputError):
            free = line.free_name(like, _ENDS) if like else name
            if free == name or free is None:
                raise
            name, config = free, replace(config, output=_poster(line, free))


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder is there in the block, and gone after an error if it was made for that."""
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if new:
            with contextlib.suppress(OSError):  # something has come into it
                folder.rmdir()
        raise


@queue.command(name="list")
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_jobs(folder: str, as_json: bool) -> None:
    """All jobs in their order: state, how far, time left, poster."""
    jobs = _opened(folder).jobs()
    if as_json:
        say_json({"jobs": [job.to_dict() for job in jobs]})
        return
    for number, job in enumerate(jobs, 1):
        say(f"{number:>3}  {_line(job)}")
    if not jobs:
        say(f"{folder}: no jobs")


def _line(job: QueuedJob) -> str:
    left = "" if job.seconds_left is None else f", about {duration(job.seconds_left)} left"
    far = "" if job.state == "refused" else f", {100 * job.share:.0f} %{left}"
    reason = f": {job.reason}" if job.reason else ""
    return f"{job.name}  {job.state}{far}  {job.output}{reason}"


@queue.command()
@_FOLDER
@click.argument("names", nargs=-1, metavar="[NAME...]")
@_PRICE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(folder: str, names: tuple[str, ...], price_per_hour: float | None, as_json: bool) -> None:
    """What the jobs that are not done will take on this machine: memory, disk, hours and money.

    Times a few steps of each; tiler queue list knows the time left from then on.
    """
    line = _opened(folder)
    when_stopped()
    jobs = [line.job(name) for name in names] or [
        job for job in line.jobs() if job.state not in ("done", "refused", "stopped")
    ]
    planned = []
    for job in jobs:
        found = line.plan(job.name)
        planned.append((job, found, (found.seconds or 0.0) * (1 - job.share)))
        if not as_json:
            say(f"{job.name}  {_taken(found)}, {_cost(planned[-1][2], price_per_hour)}")
            if found.refusal:
                say(f"{job.name}  as things are now it would be refused: {found.refusal}")
    seconds = sum(left for _, _, left in planned)
    if as_json:
        rows = [{"name": job.name, "seconds_left": left, "plan": one.to_dict()} for job, one, left in planned]
        money = None if price_per_hour is None else seconds / 3600 * price_per_hour
        say_json({"jobs": rows, "seconds_left": seconds, "money": money})
    else:
        disk = sum(one.store_bytes + one.output_bytes for _, one, _ in planned)
        say(f"all of them, one after the other: {size(disk)} of disk, {_cost(seconds, price_per_hour)}")


def _taken(found: Plan) -> str:
    gpu = f", {size(found.gpu_bytes)} on each GPU" if found.gpu_bytes else ""
    disk = f"{size(found.store_bytes + found.output_bytes)} of disk"
    return f"{found.width} x {found.height} px, {size(found.memory_bytes)} of memory{gpu}, {disk}"


def _cost(seconds: float, price: float | None) -> str:
    money = "" if price is None else f", {seconds / 3600 * price:.2f} at {price:g} an hour"
    return f"about {duration(seconds)}{money}"


@queue.command()
@_FOLDER
@click.argument("name")
@click.argument("where", type=click.Choice(["up", "down", "first", "last"]))
def move(folder: str, name: str, where: str) -> None:
    """Change the order in which jobs are rendered."""
    _opened(folder).move(name, where)


def _steering(name: str, help: str) -> None:
    @queue.command(name=name, help=help)
    @_FOLDER
    @_NAMES
    def steer(folder: str, names: tuple[str, ...]) -> None:
        act: Callable[[str], None] = getattr(_opened(folder), name)
        when_stopped()
        for one in names:
            act(one)


_steering("pause", "Have jobs wait for resume, and whoever runs the queue with them; what is rendered breaks off.")
_steering("stop", "End jobs where they are; tiler export FOLDER/NAME.zarr shows what there is, resume goes on.")
_steering("resume", "Have jobs that are paused, stopped or failed wait for their turn again.")
_steering("remove", "Delete jobs and their stores, not their posters; what is rendered is stopped first.")


@queue.command(cls=GroupedCommand)
@_FOLDER
@click.option(
    "--scheduler", "schedulers", multiple=True, metavar="tcp://HOST:PORT",
    help="A running Dask cluster, with a job at a time; may be given several times. Default: this machine.",
)  # fmt: skip
@click.option("--wait", is_flag=True, help="Go on for ever: wait for jobs that are added later.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--log-json", is_flag=True, help="Print one JSON object per event on standard output.")
@partial(config_options, names=[name for name in RUN_OPTIONS if name != "scheduler"])
def run(folder: str, schedulers: tuple[str, ...], wait: bool, quiet: bool, log_json: bool, **said: Any) -> None:
    """Render what waits in FOLDER, one job after the other, until all are done.

    It may be killed at any moment, as may the machine: the same command goes on. Several may work on one folder, one
    on each machine. Exit code 1: a job failed, or could not be rendered here.
    """
    line = _opened(folder)
    when_stopped("go on with the same command")
    with make_progress(quiet, log_json) as printer:
        progress = printer if log_json else _for_people(printer, len(schedulers) < 2)
        jobs = line.run(schedulers, progress, wait, **said)
    left = [job for job in jobs if job.state in ("failed", "refused", "waiting")]
    if quiet:
        for job in left:
            say(f"{job.name}: {job.state}: {job.reason}", err=True)
    if not jobs:
        say(f"{folder}: no jobs", err=True)
    if left:
        sys.exit(1)


_WORDS = {
    "queue begun": "begins", "queue done": "done", "queue failed": "failed", "queue refused": "refused",
    "queue broke": "broke off and is tried again", "queue held": "held", "queue not here": "cannot be rendered here",
    "queue wait": "waiting for it, since it is", "queue note": "not rendered",
}  # fmt: skip


def _for_people(printer: Progress, alone: bool) -> Progress:
    """alone: one job is rendered at a time, so its own lines can be told from others'."""

    def progress(event: dict[str, Any]) -> None:
        words = _WORDS.get(event["event"])
        if words is not None:
            text = f" ({event['text']})" if event["event"] == "queue begun" and event["text"] else ""
            more = f": {event['text']}" if event["text"] and not text else ""
            printer({"event": "note", "text": f"{event['job']}: {words}{text}{more}"})
        elif alone:
            printer(event)
        elif event["event"] == "note":
            printer({**event, "text": f"{event['job']}: {event['text']}"})

    return progress


@queue.command(cls=GroupedCommand, hidden=True)
@_FOLDER
@click.argument("name")
@click.option("--within", type=PLACE, metavar="DIR")
@partial(config_options, names=RUN_OPTIONS)
def take(folder: str, name: str, within: str | None, **given: Any) -> None:
    """Render one job, for a runner, and end with it: standard input ends then."""
    threading.Thread(target=_follow, daemon=True).start()
    with loading():
        from tiler.queue.turn import take as take_job

    said = {key: value for key, value in given.items() if value is not None}
    when_stopped()
    with make_progress(quiet=False, log_json=True) as progress:
        ending = take_job(folder, name, said, progress, within=within)
        progress({"event": "ended", "how": ending.how, "reason": ending.reason})


def _follow() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
