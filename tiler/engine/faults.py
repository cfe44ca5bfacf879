"""What failed on a worker: letting go of what an error holds, and telling what kind of trouble it is. torch is imported
where it is needed, which is on workers: they have it already, and who schedules does without."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator

_NO_MEMORY = ("can't allocate memory", "ALLOC_FAILED", "out of memory")


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and whatever it was raised from or while."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [other for other in (one.__cause__, one.__context__) if other is not None]


def let_go(error: BaseException) -> None:
    """Free what the error's frames hold, which may be all tensors of a tile, for as long as somebody keeps the error.

    Frames that are still running keep theirs.
    """
    for one in list(chain(error)):
        traceback.clear_frames(one.__traceback__)
    import torch

    gc.collect()
    if torch.cuda.is_initialized() and not device_lost(error):
        torch.cuda.empty_cache()


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocator failed. torch has an exception of its own for it on CUDA only."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _NO_MEMORY)


def device_lost(error: BaseException) -> bool:
    """Whether the GPU's context is beyond repair, so that only another process can go on: after an illegal access, a
    failed launch or a failing card every later call fails too. The device itself is asked."""
    import torch

    if not torch.cuda.is_initialized() or out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError as again:
        return not out_of_memory(again)
    return False
