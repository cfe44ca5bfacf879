"""`tiler info`."""

from __future__ import annotations

import click

from tiler.cli.echo import say, say_json
from tiler.cli.homes import where_states_live
from tiler.cli.loading import loading
from tiler.cli.options import PLACE
from tiler.cli.progress import duration


@click.command()
@click.argument("store", type=PLACE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(store: str, as_json: bool) -> None:
    """What the job in STORE is, how far it came and what it cost."""
    with loading():
        from tiler.output.info import describe

    facts = describe(store)
    if as_json:
        say_json(facts)
        return
    say(f"{facts['content'] or 'a texture'} in the style of {', '.join(facts['styles'])}, to {facts['output']}")
    say(f"{facts['width']} x {facts['height']} px, mode {facts['mode']}, {facts['precision']} on {facts['device']}")
    if facts["look"]:
        say("look: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts["look"].items()))
    for level in facts["levels"]:
        where = f"level {level['level']}: {level['width']} x {level['height']} px, {level['tiles']} tile(s)"
        if level["state"] == "done":
            style = "" if level["style"] is None else f", style loss {level['style']:.4f}"
            say(f"  {where}: done in {duration(level['seconds'])}{style}")
        else:
            say(f"  {where}: {level['state']}, {level['steps_done']} of {level['steps']} steps")
    homes = [(one["level"], one["home"], one["why"]) for one in facts["levels"] if one["home"]]
    for line in where_states_live(facts["device"], homes):
        say(line)
    pitch = facts["tile_pitch"]
    say(f"tile lines of the poster every {pitch[0]} rows and {pitch[1]} columns")
    machine = "".join(f", {key} {value}" for key, value in facts["machine"].items())
    say(f"the same to the last bit wherever these are the same: {facts['threads']} thread(s) a worker{machine}")
    say(f"time spent {duration(facts['seconds'])}, made with version {facts['version']}")
