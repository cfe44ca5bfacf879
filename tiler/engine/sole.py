"""One render at a time has a cluster: another's tasks would take from its workers what they hold for the first.

A lease of Dask's, which is renewed as long as its holder lives. Beside it stands who that is, and as which of the
scheduler's clients: where that one has gone, its lease is about to end, and is waited for.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from time import monotonic
from typing import Any

from distributed import Client, Semaphore, Variable

from tiler.engine.holder import identity, named
from tiler.errors import SchedulerInUseError

_NAME = "tiler-render"
# A lease ends 30 to 40 s after its holder, unless the scheduler is configured otherwise.
_LOOK_SECONDS, _EXPIRY_SECONDS = 1, 60


@contextlib.contextmanager
def sole_render(client: Client, scheduler: str) -> Iterator[None]:
    """Have the cluster at the address `scheduler` for this process, until the block ends or the process does. Raises
    SchedulerInUseError, naming who has it."""
    turn, holder = Semaphore(1, _NAME, client.scheduler, client.loop), Variable(_NAME, client)
    deadline = monotonic() + _EXPIRY_SECONDS
    while not turn.acquire(_LOOK_SECONDS):
        who = _read(holder)
        if monotonic() > deadline or _is_there(client, who):
            raise SchedulerInUseError(
                f"--scheduler {scheduler}: in use by {named(who)}; it works at one render at a time, wait until that "
                "ends, or stop it"
            )
    try:
        holder.set(json.dumps(identity(client=client.id)))
        yield
    finally:
        turn.refresh_leases = False
        with contextlib.suppress(Exception):  # it expires anyway
            turn.release()


def _read(holder: Variable) -> str:
    """What the last who had it has said of itself; nothing where that is still to come."""
    try:
        return str(holder.get(timeout=_LOOK_SECONDS))
    except TimeoutError:
        return ""


def _is_there(client: Client, who: str) -> bool:
    """Whether the scheduler knows it, and not as one that has gone."""
    try:
        events: Any = client.get_events(json.loads(who)["client"])
    except (ValueError, KeyError, TypeError):
        return False
    return bool(events) and events[-1][1].get("action") != "remove-client"
