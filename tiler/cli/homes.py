"""Where the levels' state lives, in a line for each home."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence


def where_states_live(device: str, homes: Sequence[tuple[int, str, str]]) -> Iterator[str]:
    """homes: (level, home, why) of each. Of levels in a row with one home the last says why: it is the largest."""
    places = {
        "device": "in the GPU's memory" if device == "cuda" else "in memory",
        "host": "in the host's memory",
        "store": "in the store",
    }
    for home, found in itertools.groupby(homes, key=lambda one: one[1]):
        levels = list(found)
        (first, *_), (last, _, why) = levels[0], levels[-1]
        which = f"level {last}" if first == last else f"levels {first} to {last}"
        yield f"state:  {which} {places[home]}: {why}"
