"""Names of where the state of a level's tiles may live; `tiler.engine.state` is what they mean."""

from __future__ import annotations

from dataclasses import dataclass

from tiler.engine.plain import typed
from tiler.engine.store import RenderStore
from tiler.errors import StoreError

DEVICE, HOST, STORE = HOMES = ("device", "host", "store")
# Of what tiles see in every round, where the state is in the store and memory is short.
INPUTS_BYTES = 2**27


@dataclass(frozen=True)
class Home:
    """Of a level's state: one of HOMES, and in a few words why."""

    where: str
    why: str


def homes_of(store: RenderStore) -> tuple[Home, ...]:
    """Of each level, as the store tells of its last run; nothing where no run has told. Raises StoreError."""
    try:
        found: tuple[Home, ...] = typed(store.attributes.get("homes", []), tuple[Home, ...], "homes")
        strange = next((one.where for one in found if one.where not in HOMES), None)
        if strange is not None:
            raise ValueError(f"homes: {strange[:40]!r} is none")
    except ValueError as error:
        raise StoreError(f"store {store.url}: {error}") from None
    return found


def from_here(home: str, device: str) -> list[str]:
    """A home, and those with more room that come after it. On a CPU the device's memory is the host's."""
    homes = HOMES if device == "cuda" else (DEVICE, STORE) if home == DEVICE else (HOST, STORE)
    return list(homes[homes.index(home) :])
