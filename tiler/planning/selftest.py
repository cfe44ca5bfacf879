"""Whether the parts that posters depend on do here what they do elsewhere, each tried on something small."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tiler import pictures
from tiler.engine.graphs import Recorder
from tiler.engine.measuring import settle_torch
from tiler.engine.store import RenderStore
from tiler.geometry import Rect
from tiler.style import accuracy
from tiler.style.backbone import DTYPES, kernels_on
from tiler.style.weights import load_weights

# Relative errors that rounding explains, with room: of one operation, and of the thirteen layers of a backbone.
_OF_ONE = {"fp32": 1e-5, "bf16": 2e-2}
_OF_ALL = {"fp32": 1e-4, "bf16": 5e-2}
_SIDE = 96
# Lossless, and how far the others may be off in the mean.
_FORMATS = {".png": 0.003, ".tif": 0.003, ".jpg": 0.03, ".webp": 0.03}


@dataclass(frozen=True)
class Check:
    """said: what was found; error: why it is wrong, empty where it is right."""

    name: str
    seconds: float
    said: str
    error: str = ""


def carried_out(checks: Sequence[tuple[str, Callable[[], str]]]) -> list[Check]:
    """Each in turn, whatever becomes of the others."""
    found = []
    for name, check in checks:
        began, said, error = time.perf_counter(), "", ""
        try:
            said = check()
        except Exception as failure:  # libraries, drivers and compilers each raise their own kind
            error = f"{type(failure).__name__}: {(str(failure).splitlines() or [''])[0][:300]}"
        found.append(Check(name, time.perf_counter() - began, said, error))
    return found


def on_worker(device: str, precision: str) -> list[dict[str, Any]]:
    """Of what a worker does: weights, kernels and the backbone in `precision` on `device`; a CUDA graph on a GPU."""
    settle_torch()
    checks: list[tuple[str, Callable[[], str]]] = [
        ("weights", _weights),
        ("kernels", lambda: _kernels(device, precision)),
        ("backbone", lambda: _backbone(device, precision)),
    ]
    if device == "cuda":
        checks.append(("CUDA graph", _graph))
    return [vars(check) for check in carried_out(checks)]


def here() -> list[Check]:
    """Of what the process does that asks for a render: pictures and the store."""
    return carried_out([("store", _store), *((f"{suffix} file", _format(suffix)) for suffix in _FORMATS)])


def _weights() -> str:
    return f"{len(load_weights('bundled'))} layers, checksum as it should be"


def _judged(error: float, bound: float, what: str) -> str:
    if not error <= bound:
        raise ValueError(f"{what} is off by {error:.1e}; {bound:.0e} would be rounding")
    return f"{what}: within {error:.1e} of float64"


def _kernels(device: str, precision: str) -> str:
    error, (which, _) = accuracy.of_kernels(device, DTYPES[precision]), kernels_on(device)
    return _judged(error, _OF_ONE[precision], f"{which}, {precision} on {device}")


def _backbone(device: str, precision: str) -> str:
    error = accuracy.of_backbone(device, DTYPES[precision])
    return _judged(error, _OF_ALL[precision], f"VGG-19, {precision} on {device}")


def _graph() -> str:
    counted = torch.zeros(1, device="cuda")

    def count() -> None:
        counted.add_(1)

    replay = Recorder()(count)
    for _ in range(3):
        replay()
    if float(counted) != 3:
        raise ValueError(f"three replays of an addition came to {float(counted):g}")
    return "recorded and replayed"


def _picture() -> np.ndarray:
    y, x = np.mgrid[0:_SIDE, 0:_SIDE] / _SIDE
    return np.stack([x, y, (x + y) / 2]).astype(np.float32)


def _store() -> str:
    with tempfile.TemporaryDirectory(prefix="tiler-") as folder:
        store, pixels = RenderStore.create(f"{folder}/s.zarr", {"job": {}}), _picture()
        store.write_picture("levels/0/content", _SIDE, _SIDE, [pixels])
        found = store.read_picture("levels/0/content", Rect(0, 0, _SIDE, _SIDE))
    if np.abs(found - pixels).max() > 1 / 65535:
        raise ValueError("what is read is not what was written")
    return "written and read"


def _format(suffix: str) -> Callable[[], str]:
    def check() -> str:
        with tempfile.TemporaryDirectory(prefix="tiler-") as folder:
            path, pixels = Path(folder) / f"p{suffix}", _picture()
            pictures.write_picture(path, _SIDE, _SIDE, [pixels])
            apart = float(np.abs(pictures.read_picture(path) - pixels).mean())
        if not apart <= _FORMATS[suffix]:
            raise ValueError(f"is off by {apart:.3f} in the mean; up to {_FORMATS[suffix]} is its rounding")
        return "written and read"

    return check
