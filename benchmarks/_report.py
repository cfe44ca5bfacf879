"""What every benchmark's output shares: where it ran, quantiles of repeated timings, a table, a JSON file; and what
those that compare programs share: one process for each, and its peak memory."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import resource
import statistics
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

Row = dict[str, Any]


def device_name(device: str | torch.device = "cpu") -> str:
    """The GPU's name, or the processor's with the number of threads torch uses."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of those of `packages` that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def environment(device: str | torch.device = "cpu", packages: Sequence[str] = ("torch", "triton")) -> Row:
    """Columns that belong into every row: device, processor, versions, load of the machine before the run, time of
    day; on CUDA the settings of TF32 and cuDNN."""
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found: Row = {"device": device_name(device), "cpu": device_name("cpu"), "versions": versions(*packages)}
    if torch.device(device).type == "cuda":
        found["tf32_matmul"] = torch.backends.cuda.matmul.allow_tf32
        found["tf32_cudnn"] = torch.backends.cudnn.allow_tf32
        found["cudnn_benchmark"] = torch.backends.cudnn.benchmark
    return {**found, "load": load, "time": now}


def quantiles(samples: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    if len(samples) == 1:
        return samples[0], samples[0], samples[0]
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return low, middle, high


def timing(samples: Sequence[float], unit: str = "s") -> Row:
    """Quantiles of `samples` as columns `q25_<unit>`, `median_<unit>`, `q75_<unit>`, and their number."""
    low, middle, high = quantiles(samples)
    return {f"median_{unit}": middle, f"q25_{unit}": low, f"q75_{unit}": high, "samples": len(samples)}


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    repeats: int,
    device: str | torch.device = "cpu",
    warm_up: int = 2,
) -> dict[str, list[float]]:
    """Seconds of every call of each of `runs`, taken in turns so that the machine's moods fall on all alike."""
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(warm_up + repeats):
        for name, run in runs.items():
            seconds = once(run, device)
            if turn >= warm_up:
                samples[name].append(seconds)
    return samples


def once(run: Callable[[], object], device: str | torch.device = "cpu") -> float:
    """Seconds of one call; by the device's own clock on CUDA."""
    if torch.device(device).type == "cuda":
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        run()
        after.record()
        after.synchronize()
        return before.elapsed_time(after) / 1e3
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_bytes() -> int:
    """Largest resident set of this process so far. The high-water mark of /proc equals ru_maxrss, except that the
    latter starts at the size of the process that started this one."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    marks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return 1024 * (marks[0] if marks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def forget_peak() -> bool:
    """Start `peak_bytes` anew from the present size; False where the system can't."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


class Worker:
    """A fresh process that builds one object and answers calls of its methods, one at a time.

    build: importable, called with `arguments` in that process.
    """

    def __init__(self, name: str, build: Callable[..., Any], *arguments: Any) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, build, arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()

    def ask(self, method: str) -> Any:
        """What the object's method returns; an exception there ends the program."""
        self._connection.send(method)
        return self._answer()

    def stop(self) -> None:
        self._connection.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _answer(self) -> Any:
        try:
            failure, value = self._connection.recv()
        except EOFError:
            self._process.join()
            raise SystemExit(f"{self.name}: ended with code {self._process.exitcode}; out of memory?") from None
        if failure:
            raise SystemExit(f"{self.name}: {failure}")
        return value


def _serve(connection: Connection, build: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        served = build(*arguments)
        connection.send((None, None))
        while True:
            connection.send((None, getattr(served, connection.recv())()))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except BaseException:
        connection.send((traceback.format_exc(), None))


def table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """`columns` of `rows` as aligned text; numbers with four significant digits, absent values as a dash."""
    lines = [list(columns)] + [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def heading(where: Row) -> str:
    """A line that says where it ran."""
    said = ", ".join(f"{name} {version}" for name, version in where.get("versions", {}).items())
    return f"{where.get('device')}; {said}; load {where.get('load')}"


def write(rows: Sequence[Row], where: Row, output: Path) -> None:
    """Rows, each with `where` in it, as JSON. Whatever moment ends this program, one whole file is there."""
    output.parent.mkdir(parents=True, exist_ok=True)
    fresh = output.with_name(output.name + ".part")
    fresh.write_text(json.dumps([{**where, **row} for row in rows], indent=1) + "\n")
    fresh.replace(output)


def publish(rows: Sequence[Row], columns: Sequence[str], where: Row, output: Path | None) -> None:
    """Print the table under a line that says where it ran; write rows, each with `where` in it, as JSON to `output`."""
    print(heading(where))
    print(table(rows, columns))
    if output is not None:
        write(rows, where, output)
        print(f"wrote {output}")
