"""Functions by their names, for who has them called elsewhere: torch, and whatever else they need, is loaded there."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class RemoteFunction:
    """A module's function. The module is loaded where this is called."""

    module: str
    __name__: str

    def __call__(self, *arguments: Any, dask_worker: Any = None) -> Any:
        """dask_worker: what Dask gives to functions that it runs on every worker, passed on to those that take it."""
        function = getattr(import_module(self.module), self.__name__)
        if "dask_worker" in inspect.signature(function).parameters:
            return function(*arguments, dask_worker=dask_worker)
        return function(*arguments)


class Remote:
    """A module, of whose functions each is a `RemoteFunction`."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> RemoteFunction:
        if name.startswith("_"):
            raise AttributeError(name)
        return RemoteFunction(self._module, name)
