"""`tiler info`."""

from __future__ import annotations

import json

import click

from tiler.cli.progress import duration


@click.command()
@click.argument("store")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(store: str, as_json: bool) -> None:
    """What the job in STORE is, how far it came and what it cost."""
    from tiler.report import describe

    facts = describe(store)
    if as_json:
        click.echo(json.dumps(facts))
        return
    click.echo(f"{facts['content'] or 'a texture'} in the style of {', '.join(facts['styles'])}, to {facts['output']}")
    click.echo(
        f"{facts['width']} x {facts['height']} px, mode {facts['mode']}, {facts['precision']} on {facts['device']}"
    )
    for level in facts["levels"]:
        where = f"level {level['level']}: {level['width']} x {level['height']} px, {level['tiles']} tile(s)"
        if level["state"] == "done":
            style = "" if level["style"] is None else f", style loss {level['style']:.4f}"
            click.echo(f"  {where}: done in {duration(level['seconds'])}{style}")
        else:
            click.echo(f"  {where}: {level['state']}, {level['steps_done']} of {level['steps']} steps")
    pitch = facts["tile_pitch"]
    click.echo(f"tile lines of the poster every {pitch[0]} rows and {pitch[1]} columns")
    click.echo(f"time spent {duration(facts['seconds'])}, made with version {facts['version']}")
