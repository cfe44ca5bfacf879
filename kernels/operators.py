"""How the operations are made known to torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def operator(name: str, mutates: Sequence[str] = ()) -> Callable[[Callable[..., Any]], Any]:
    """What torch.library.custom_op does, without its wrapper, which imports torch._dynamo at the first call: a second
    in each process that torch.compile isn't used in."""

    def register(function: Callable[..., Any]) -> Any:
        qualified = f"tiler_kernels::{name}"
        torch.library.define(qualified, torch.library.infer_schema(function, mutates_args=mutates))
        torch.library.impl(qualified, "CompositeExplicitAutograd")(function)
        return getattr(torch.ops.tiler_kernels, name)

    return register
