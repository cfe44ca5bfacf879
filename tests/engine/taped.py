"""What a GPU's recorder does, on a CPU: operations are noted with the memory that they read and write, and done again
there when replayed. As with a graph, nothing happens while it is recorded, Python is not run again, and what a number
was then it stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only


def place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self._own: set[int] = set()
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        assert function is not torch.ops.aten._local_scalar_dense.default, "a number is read in a recording"
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, torch.Tensor) and place(tensor) not in self._own:
                storage = tensor.untyped_storage()
                self._before.setdefault(place(tensor), (storage, storage.clone()))
        found = function(*args, **kwargs)
        outputs = [one for one in tree_leaves(found) if isinstance(one, torch.Tensor)]
        given = {place(one) for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        self._own |= {place(one) for one in outputs} - given
        # What lies in memory of its own is written there again; the others are views.
        made = tree_map_only(torch.Tensor, lambda one: None if place(one) in given else one, found)
        self.calls.append((function, args, kwargs, made))
        return found

    def undo(self) -> None:
        """Of what was there before, everything is as it was; of the rest nothing is known."""
        for storage, before in self._before.values():
            storage.copy_(before)
        for _, _, _, made in self.calls:
            for one in tree_leaves(made):
                if isinstance(one, torch.Tensor) and one.is_floating_point():
                    one.fill_(torch.nan)

    def replay(self) -> None:
        for function, args, kwargs, made in self.calls:
            again = function(*args, **kwargs)
            for one, other in zip(tree_leaves(made), tree_leaves(again), strict=True):
                if isinstance(one, torch.Tensor):
                    one.copy_(other)


class Tapes:
    """Records; counts recordings and replays."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]:
        tape = _Tape()
        with tape:
            run()
        tape.undo()
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            tape.replay()

        return replay
