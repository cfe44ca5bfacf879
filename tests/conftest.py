"""Shared settings. Machines that run tests are busy with other work, so no example has a deadline."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

CHANNELS = (4, 4, 6, 6, 8, 8, 8, 8, 10, 10, 10, 10, 10, 10, 10, 10)

# Tests run one per core, and none of their pictures is large enough for a second thread to pay.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Some machines ask Python to keep no bytecode. These tests start Python hundreds of times.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Renders that choose their threads themselves take one for each core, beside as many tests: who waits must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _in_memory(place: str = "/dev/shm", room: int = 4 << 30) -> bool:
    """Whether tests' folders can lie in memory, with programs in them; a busy disk is slow at thousands of files."""
    if not os.access(place, os.W_OK):
        return False
    there = os.statvfs(place)
    return there.f_bavail * there.f_frsize >= room and not there.f_flag & os.ST_NOEXEC


if hasattr(os, "statvfs") and _in_memory():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")

settings.register_profile("tiler", deadline=None, database=None)
settings.load_profile("tiler")


# Begun first, so that no process is at one of them when the others have nothing left to do.
LONG = tuple(
    f"tests/{name}"
    for name in (
        "kernels/test_triton.py", "test_lint.py", "cli/test_soak.py", "cli/test_signal_soak.py", "cli/test_failures.py",
        "cli/test_independence.py", "cli/test_resume.py", "cli/test_stop.py", "engine/test_going_back.py",
        "engine/test_ringed.py", "examples/test_examples.py", "cli/test_queue.py", "cli/test_strangers.py",
        "engine/test_proof.py", "docs/test_pages.py", "docs/test_notebooks.py",
    )
)  # fmt: skip


def pytest_collection_finish() -> None:
    """What is there now stays: modules and thousands of tests, which a search for garbage would go through."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


# How many tests need a GPU. Where TILER_ALL_TESTS is set these, and no others, may be skipped.
GPU_TESTS = 70
_skipped: list[tuple[str, bool]] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and "a GPU is here" not in str(report.longrepr):
        _skipped.append((report.nodeid, "gpu" in report.keywords))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped.append((report.nodeid, False))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if not os.environ.get("TILER_ALL_TESTS") or hasattr(session.config, "workerinput"):
        return
    others = sorted(name for name, needs_gpu in _skipped if not needs_gpu)
    with_gpu = len(_skipped) - len(others)
    if others or with_gpu not in (0, GPU_TESTS):
        print(f"\nskipped: {with_gpu} tests for a GPU, of {GPU_TESTS}; {len(others)} others: {', '.join(others)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A VGG-19 with few channels and random weights: right for geometry, useless for pictures."""
    import torch
    from safetensors.torch import save_file

    from tiler.style.weights import _torchvision_indices

    generator, state, before = torch.Generator().manual_seed(3), {}, 3
    for index, channels in zip(_torchvision_indices(), CHANNELS, strict=True):
        spread = (2 / (9 * before)) ** 0.5
        state[f"features.{index}.weight"] = torch.randn(channels, before, 3, 3, generator=generator) * spread
        state[f"features.{index}.bias"] = torch.rand(channels, generator=generator) * 0.1
        before = channels
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(state, path)
    return str(path)


@pytest.fixture(autouse=True)
def signals_heard() -> Iterator[None]:
    """The command line leaves signals as a process that is about to end wants them."""
    known = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in known.items():
        signal.signal(number, handler)
