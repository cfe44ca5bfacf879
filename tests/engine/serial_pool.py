"""A pool without workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


class SerialPool:
    """Runs tasks here and now, in the order given or backwards: the engine's results may not depend on either."""

    workers = 1

    def __init__(self, backwards: bool = False) -> None:
        self._backwards = backwards

    def on_report(self, handler: Callable[[dict[str, Any]], None]) -> None:
        pass

    def run(self, function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        for one in list(arguments)[:: -1 if self._backwards else 1]:
            yield function(*one)
