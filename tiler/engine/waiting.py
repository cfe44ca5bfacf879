"""How the threads of one process wait for each other: a moment awake, then asleep. Before torch is loaded."""

from __future__ import annotations

from collections.abc import Mapping

_CHOSEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_TURNS = 5000


def patience(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for processes that use torch on a CPU; none where somebody has chosen already.

    Where two threads have two cores to themselves, whoever is done first waits for microseconds, and had better stay
    awake. On a machine that has other work the one that is waited for may not be running, kept from it by the one that
    waits: GNU's OpenMP stays awake for milliseconds, and a step of 512 px took 3.3 s there, 0.94 with threads that
    sleep at once, and 1.0 so. With nothing else to do: 0.48, 0.50 and 0.49 s; at 128 px 43, 57 and 43 ms.
    """
    return {} if any(name in environment for name in _CHOSEN) else {"GOMP_SPINCOUNT": str(_TURNS)}
