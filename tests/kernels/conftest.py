"""One thread for these tests: their tensors are small, and threads that wait for each other cost more than they do.
Memory that nobody has written to holds NaN, so that it does not pass for zeros. fp32 is fp32, as whoever renders
settles it: by torch's own choice a GPU's convolutions keep ten bits of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(not torch.cuda.is_available())
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
