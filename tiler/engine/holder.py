"""Who writes to a store, as its lock or lease says."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from typing import Any

from tiler.errors import StoreInUseError


def identity(**more: Any) -> dict[str, Any]:
    """Of this process, for whoever finds the store in use."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": since, **more}


def in_use(url: str, holder: str) -> StoreInUseError:
    """holder: see `named`."""
    return StoreInUseError(f"store {url}: in use by {named(holder)}; wait until it ends, or stop it")


def named(holder: str) -> str:
    """Who it is. holder: our record, or filelock's own, which is a process and a host in two lines."""
    name = "another process"
    with contextlib.suppress(ValueError, KeyError, TypeError):
        if holder.startswith("{"):
            who = json.loads(holder)
            name = f"process {int(who['pid'])} on {str(who['host'])[:80]} since {str(who['since'])[:40]}"
        else:
            pid, host, *_ = holder.splitlines()
            name = f"process {int(pid)} on {host[:80]}"
    return name
