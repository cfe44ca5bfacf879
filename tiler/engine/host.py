"""What of this machine a process of ours may take, within the limits that it runs under."""

from __future__ import annotations

import dask.system
import psutil
from distributed.system import MEMORY_LIMIT


def memory_bytes() -> int:
    """Memory that is free now, within the limits (cgroup, ulimit) of this process."""
    return int(min(psutil.virtual_memory().available, MEMORY_LIMIT))


def memory_there() -> int:
    """Memory that there is, free or not, within the same limits."""
    return int(min(psutil.virtual_memory().total, MEMORY_LIMIT))


def cores() -> int:
    """CPU cores that this process may keep busy, by its affinity and by its control group's quota."""
    return int(dask.system.CPU_COUNT)
