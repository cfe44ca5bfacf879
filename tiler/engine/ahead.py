"""Reading and writing beside computing."""

from __future__ import annotations

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
) -> None:
    """keep(item, work(item, read(item))) for all, in order, while the next is read and the last is kept: never more
    than three items at a time. Raises what any of them raises, once nothing is going on any more."""
    if not items:
        return
    with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as keeping:
        kept: Future[None] | None = None
        next_given: Future[Given] | None = reading.submit(read, items[0])
        for item, after in zip(items, [*items[1:], None], strict=True):
            assert next_given is not None
            given = next_given.result()
            next_given = None if after is None else reading.submit(read, after)
            made = work(item, given)
            if kept is not None:
                kept.result()
            kept = keeping.submit(keep, item, made)
        if kept is not None:
            kept.result()
