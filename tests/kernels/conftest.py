"""One thread for these tests: their tensors are small, and threads that wait for each other cost more than they do.
Memory that nobody has written to holds NaN, so that it does not pass for zeros."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(not torch.cuda.is_available())
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
