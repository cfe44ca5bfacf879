"""What each part is held to when a machine is examined, at the bound and beyond, and how a failure is told."""

from __future__ import annotations

import importlib.metadata
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiler import pictures
from tiler.planning import doctor, selftest
from tiler.planning.selftest import Check


def test_every_part_is_tried_whatever_becomes_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([1.0, 3.5, 10.0, 10.25, 20.0, 20.0])
    monkeypatch.setattr(selftest.time, "perf_counter", lambda: next(now))

    def fails(error: Exception) -> Any:
        def check() -> str:
            raise error

        return check

    checks = [("one", fails(OSError())), ("two", fails(KeyError("k" * 400 + "\nmore"))), ("three", lambda: "well")]
    assert selftest.carried_out(checks) == [
        Check("one", 2.5, "", "OSError: "),
        Check("two", 0.25, "", f"KeyError: {repr('k' * 400 + chr(10) + 'more')[:300]}"),
        Check("three", 0.0, "well", ""),
    ]
    now = iter([0.0, 0.0])
    [told] = selftest.carried_out([("four", fails(ValueError(f"{'x' * 301}\nsecond line")))])
    assert told.error == f"ValueError: {'x' * 300}"


@pytest.mark.parametrize(
    ("part", "precision", "bound", "said"),
    [
        ("kernels", "fp32", 1e-5, "1e-05"),
        ("kernels", "bf16", 2e-2, "2e-02"),
        ("backbone", "fp32", 1e-4, "1e-04"),
        ("backbone", "bf16", 5e-2, "5e-02"),
    ],
)
def test_what_rounding_explains(
    part: str, precision: str, bound: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    errors = iter([bound, bound * 1.001, math.nan])

    def measured(device: str, dtype: Any) -> float:
        asked.append((device, dtype))
        return next(errors)

    monkeypatch.setattr(selftest.accuracy, f"of_{part}", measured)
    monkeypatch.setattr(selftest, "kernels_on", lambda device: (f"those of {device}", ""))
    tried = getattr(selftest, f"_{part}")
    what = f"those of cpu, {precision} on cpu" if part == "kernels" else f"VGG-19, {precision} on cpu"
    assert tried("cpu", precision) == f"{what}: within {bound:.1e} of float64"
    for error in (f"{bound * 1.001:.1e}", "nan"):
        with pytest.raises(ValueError, match=f"is off by {error}; {said} would be rounding"):
            tried("cpu", precision)
    assert asked == [("cpu", selftest.DTYPES[precision])] * 3


def test_a_gpu_has_a_graph_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "settle_torch", lambda: None)
    for name in ("weights", "graph"):
        monkeypatch.setattr(selftest, f"_{name}", lambda name=name: name)
    for name in ("kernels", "backbone"):
        monkeypatch.setattr(selftest, f"_{name}", lambda *said, name=name: f"{name} {said}")
    told = selftest.on_worker("cuda", "bf16")
    assert [(one["name"], one["said"]) for one in told] == [
        ("weights", "weights"),
        ("kernels", "kernels ('cuda', 'bf16')"),
        ("backbone", "backbone ('cuda', 'bf16')"),
        ("CUDA graph", "graph"),
    ]
    assert [one["name"] for one in selftest.on_worker("cpu", "fp32")] == ["weights", "kernels", "backbone"]


@pytest.mark.parametrize(("suffix", "bound"), [(".png", 0.003), (".tif", 0.003), (".jpg", 0.03), (".webp", 0.03)])
def test_how_far_a_format_may_be_off(suffix: str, bound: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the mean of absolute differences: half of the numbers a little more, half as much less."""
    written: list[np.ndarray] = []
    monkeypatch.setattr(pictures, "write_picture", lambda path, height, width, bands: written.extend(bands))
    apart = np.where(np.arange(96) % 2, 1, -1)

    def read(path: Path) -> np.ndarray:
        assert path.suffix == suffix
        return written[-1].astype(float) + by * apart

    monkeypatch.setattr(pictures, "read_picture", read)
    by = bound * 0.99
    assert selftest._format(suffix)() == "written and read"
    by = bound * 1.01
    with pytest.raises(ValueError, match=f"is off by {by:.3f} in the mean; up to {bound} is its rounding"):
        selftest._format(suffix)()
    assert written[-1].shape == (3, 96, 96)
    assert written[-1][:, 24, 48].tolist() == [0.5, 0.25, 0.375]


def test_packages_are_told_by_their_versions() -> None:
    found = doctor._installed({"one": "numpy", "two": "no-such-package-here"})
    assert found == {"one": importlib.metadata.version("numpy"), "two": "none"}
    assert {"tiler", "python", "system", "torch", "numpy"} <= {*doctor._versions()}
    well, ill = Check("a", 1.0, "x"), Check("b", 1.0, "", "why")
    assert doctor.Findings({}, {}, {}, {}, [well]).to_dict()["well"]
    told = doctor.Findings({}, {}, {}, {}, [well, ill]).to_dict()
    assert (told["well"], told["checks"][1]["error"]) == (False, "why")
