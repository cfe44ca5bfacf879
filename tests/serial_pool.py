"""A pool without workers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from tiler.engine.worker import heard_by
from tiler.errors import TilerError


class Kept:
    """As `schedule.Promise`, of what is there already."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def part(self, name: Any) -> Kept:
        return self if isinstance(self.value, TilerError) else Kept(self.value[name])

    def done(self, seconds: float = 0.0) -> bool:
        return True

    def result(self) -> Any:
        if isinstance(self.value, TilerError):
            raise self.value
        return self.value


def _values(argument: Any) -> Any:
    if isinstance(argument, Kept):
        return argument.result()
    return [_values(one) for one in argument] if isinstance(argument, list) else argument


class SerialPool:
    """Runs tasks here and now. blocks: how many workers it seems to have."""

    def __init__(self, blocks: int = 1) -> None:
        self._handler: Callable[[dict[str, Any]], None] = lambda event: None
        self.addresses = [f"worker {number}" for number in range(blocks)]

    @property
    def workers(self) -> int:
        return len(self.addresses)

    def on_report(self, handler: Callable[[dict[str, Any]], None]) -> None:
        self._handler = handler

    def note(self, text: str) -> None:
        self._handler({"event": "note", "text": text})

    def gone(self, addresses: object) -> list[str]:
        return []

    def rest(self) -> None:
        pass

    def submit(self, function: Callable[..., Any], *arguments: Any, worker: str | None = None) -> Kept:
        try:
            with heard_by(self._handler):
                return Kept(function(*map(_values, arguments)))
        except TilerError as error:
            return Kept(error)


class StoppedError(Exception):
    pass


class Here(SerialPool):
    """With all else that is told to a pool. tiles: how many are relaxed before the render is stopped."""

    tiles = 10**9

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__()
        self._left = type(self).tiles

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def on_report(self, handler: Callable[[dict[str, Any]], None]) -> None:
        def heard(event: dict[str, Any]) -> None:
            handler(event)
            self._left -= event["event"] == "tile"
            if not self._left:
                raise StoppedError

        super().on_report(heard)

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Whatever else is told to a pool is about processes."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: None

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        return {"here": function(*arguments)}


def render_module() -> Any:
    """The package has a function of its name."""
    return importlib.import_module("tiler.rendering")
