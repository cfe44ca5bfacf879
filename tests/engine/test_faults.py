"""What a task that failed leaves behind: nothing of a tile's, for as long as its error is kept."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tiler.engine import faults
from tiler.engine.fitting import must_fit
from tiler.engine.worker import attempt
from tiler.errors import DeviceLostError, TileTooLargeError
from tiler.geometry import Rect

RECT = Rect(0, 0, 32, 32)
held: list[weakref.ref[torch.Tensor]] = []
one_thread = ThreadPoolExecutor(1)


def _compute(message: str) -> None:
    """As on the computing thread of a worker."""
    tile = torch.zeros(1000)
    held.append(weakref.ref(tile))
    raise RuntimeError(message)


def _fails(message: str = "DefaultCPUAllocator: can't allocate memory") -> dict[str, object]:
    tile = torch.zeros(1000)
    held.append(weakref.ref(tile))
    with must_fit(RECT):
        one_thread.submit(_compute, message).result()
    return {}


def test_an_error_that_is_kept_keeps_no_tensors() -> None:
    held.clear()
    gc.disable()
    try:
        error = attempt(_fails, [], "topic")
        assert isinstance(error, TileTooLargeError)
        assert len(held) == 2
        assert [one() for one in held] == [None, None]
    finally:
        gc.enable()


def test_an_error_that_is_raised_keeps_no_tensors_either() -> None:
    held.clear()
    with pytest.raises(RuntimeError, match="something else") as error:
        attempt(_fails, ["something else"], "topic")
    assert [one() for one in held] == [None, None]
    assert "something else" in str(error.value)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_is_short_of_memory(error: Exception, is_memory: bool) -> None:
    assert faults.out_of_memory(error) == is_memory


def _answers() -> None:
    pass


def _is_lost() -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize(("synchronize", "kind"), [(_answers, RuntimeError), (_is_lost, DeviceLostError)])
def test_a_gpu_is_lost_where_it_says_so_itself(
    monkeypatch: pytest.MonkeyPatch, synchronize: Callable[[], None], kind: type[Exception]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", _answers)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    with pytest.raises(RuntimeError if kind is RuntimeError else kind, match="unspecified launch failure") as error:
        _fails("CUDA error: unspecified launch failure")
    assert type(error.value) is kind
    with pytest.raises(TileTooLargeError):
        _fails("CUDA out of memory")


def test_the_cache_is_emptied_once_the_tensors_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    held.clear()
    seen: list[list[object]] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", _answers)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: seen.append([one() for one in held]))
    assert isinstance(attempt(_fails, [], "topic"), TileTooLargeError)
    assert seen == [[None, None]]
