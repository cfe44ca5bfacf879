"""Reading and writing beside computing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Given = TypeVar("Given")
Made = TypeVar("Made")


def in_turn(
    items: Sequence[Item],
    read: Callable[[Item], Given],
    work: Callable[[Item, Given], Made],
    keep: Callable[[Item, Made], None],
    hands: int = 1,
) -> None:
    """keep(item, work(item, read(item))) for all, worked on in order, while the next `hands` are read and the last as
    many are kept: never more items than twice that and one at a time. Raises what any of them raises, once nothing is
    going on any more."""
    with ThreadPoolExecutor(hands) as reading, ThreadPoolExecutor(hands) as keeping:
        waiting = deque(reading.submit(read, item) for item in items[:hands])
        kept: deque[Future[None]] = deque()
        for number, item in enumerate(items, hands):
            given = waiting.popleft().result()
            waiting.extend(reading.submit(read, later) for later in items[number : number + 1])
            made = work(item, given)
            if len(kept) == hands:
                kept.popleft().result()
            kept.append(keeping.submit(keep, item, made))
        for last in kept:
            last.result()
