"""Our step for `benchmarks/gpu.py`: how long it takes against the card's own rate and the peers, and where it goes."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Sequence
from typing import Any

import _report
import step
import torch
from _gpu_machine import Asked, Row, rate_of
from _inputs import picture, tiny_backbone
from _steps import SkippedError
from PIL import Image
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from tiler.engine import graphs
from tiler.engine.faults import let_go, out_of_memory
from tiler.engine.measuring import settle_torch
from tiler.engine.optimize import Directly
from tiler.style.weights import Conv, load_weights

# 1152 and 2176: what is read for tiles of 1024 and 2048 px.
SIDES, QUICK_SIDES = (256, 512, 1024, 1152, 2048, 2176, 4096), (64, 128)
PROFILED, QUICK_PROFILED = (2176, 256), (64,)
PEER_SIDE, QUICK_PEER_SIDE = 1024, 64
LONGEST, SHOWN, BASE_EDGE = 3.0, 12, 512
STEPS = (
    "px", "dtype", "how", "steps_a_round", "median_ms", "q25_ms", "q75_ms", "samples", "tflops", "share", "bytes_px",
    "reserved_px", "vs_launched", "ended",
)  # fmt: skip
PROFILES = ("px", "what", "ms", "share", "calls")
PEERS = ("size", "contender", "dtype", "median_s", "q25_s", "q75_s", "samples", "vs_peer", "gpu_peak_mb", "ended")


def flops_a_pixel(convs: Sequence[Conv], deepest: str = "5_1") -> float:
    """Of one step: what the convolutions multiply and add, forward and back to the pixels; the rest does not count."""
    total, cells = 0.0, 1.0
    for name, weight, _ in convs:
        if name.endswith("_1") and name != "1_1":
            cells /= 4
        total += 2 * 2 * weight.numel() * cells
        if name == deepest:
            break
    return total


def steps(asked: Asked, rows: list[Row], ends: float) -> Iterator[Row]:
    """Rows for each size, smallest first, of a square that is one tile: launched one by one and, on a GPU, replayed,
    larger ones than the engine records as well."""
    settle_torch()
    convs, rate = _convs(asked), rate_of(rows, asked.precision)
    graphs.LARGEST_PIXELS = 2**62
    for side in QUICK_SIDES if asked.quick else SIDES:
        launched = None
        for how in ("launched", "replayed") if asked.device == "cuda" else ("launched",):
            row: Row = {"px": side, "dtype": asked.precision, "how": how}
            try:
                row |= _timed(asked, side, convs, how)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                let_go(error)
                yield {**row, "ended": "out of memory"}
                continue
            launched = launched or row["median_ms"]
            row["tflops"] = flops_a_pixel(convs) * side**2 / row["median_ms"] / 1e9
            yield {**row, "vs_launched": row["median_ms"] / launched, "share": row["tflops"] / rate if rate else None}


def _convs(asked: Asked) -> list[Conv]:
    if not asked.quick:
        return load_weights("bundled")
    tiny_backbone(asked.folder / "tiny.safetensors")
    return load_weights(str(asked.folder / "tiny.safetensors"))


def _round(asked: Asked, side: int, convs: list[Conv], count: int, begin: Any = Directly) -> step.Step:
    setting = _setting(asked, side)
    return step.ours(setting, asked.precision, count, convs, begin=begin)


def _setting(asked: Asked, side: int) -> step.Setting:
    """With made pictures in its folder."""
    for seed, name in enumerate(("content", "style"), 1):
        base = asked.folder / f"base-{seed}.png"
        if not base.exists():
            picture(base, BASE_EDGE, seed)
        with Image.open(base) as image:
            image.resize((side, side)).save(asked.folder / f"{name}.png", compress_level=1)
    return step.Setting(side, asked.device, torch.get_num_threads(), asked.folder)


def _timed(asked: Asked, side: int, convs: list[Conv], how: str) -> Row:
    """Rounds as a render has them, until there are nine or they took too long."""
    count, gpu = 2 if asked.quick else 10, asked.device == "cuda"
    if gpu:
        torch.cuda.empty_cache()
    recorded = graphs.Graphs()
    run = _round(asked, side, convs, count, recorded.begin if how == "replayed" else Directly)
    for _ in range(2):
        run()
    if gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    began, samples = time.monotonic(), list[float]()
    while not samples or (len(samples) < 9 and time.monotonic() - began < LONGEST):
        samples.append(1e3 * _report.once(run, asked.device) / count)
    peaks = torch.cuda.max_memory_allocated, torch.cuda.max_memory_reserved
    used, reserved = (peak() / side**2 if gpu else None for peak in peaks)
    row = {"steps_a_round": count, **_report.timing(samples, "ms"), "bytes_px": used, "reserved_px": reserved}
    return {**row, "ended": f"failed: not recorded: {recorded.off}"} if recorded.off else row


def profiled(asked: Asked, rows: list[Row], ends: float) -> Iterator[Row]:
    """Where a step's time goes: the longest kernels, all others, those of the style terms; per step."""
    settle_torch()
    gpu, convs, count = asked.device == "cuda", _convs(asked), 4
    kinds = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if gpu else [ProfilerActivity.CPU]
    for side in QUICK_PROFILED if asked.quick else PROFILED:
        run = _round(asked, side, convs, count)
        for _ in range(2):
            run()
        with profile(activities=kinds) as found:
            run()
            if gpu:
                torch.cuda.synchronize()
        yield from _shares(found.key_averages(), side, count, gpu)


def _shares(events: Any, side: int, count: int, gpu: bool) -> Iterator[Row]:
    kind = DeviceType.CUDA if gpu else DeviceType.CPU
    spent = [
        (event.key, (event.self_device_time_total if gpu else event.self_cpu_time_total) / 1e3 / count, event.count)
        for event in events
        if event.device_type == kind
    ]
    spent.sort(key=lambda one: -one[1])
    total = sum(ms for _, ms, _ in spent) or 1.0
    others = sum(ms for _, ms, _ in spent[SHOWN:]), sum(calls for *_, calls in spent[SHOWN:])
    names = _style_kernels()
    style = [one for one in spent if one[0] in names or "gram" in one[0]]
    styled = sum(ms for _, ms, _ in style), sum(calls for *_, calls in style)
    named = [("all others", *others), ("style terms, of these", *styled), ("all", total, sum(c for *_, c in spent))]
    for name, ms, calls in [*spent[:SHOWN], *named]:
        yield {"px": side, "what": name[:100], "ms": ms, "share": ms / total, "calls": calls / count}


def _style_kernels() -> set[str]:
    """What the Gram operations' kernels are called."""
    try:
        from kernels import gram_triton
    except ImportError:
        return set()
    return {name for name, value in vars(gram_triton).items() if type(value).__name__ == "JITFunction"}


def peers(asked: Asked, rows: list[Row], ends: float) -> Iterator[Row]:
    """Ours beside each peer that is installed, in turns."""
    side = QUICK_PEER_SIDE if asked.quick else PEER_SIDE
    setting = _setting(asked, side)
    step.model_file(asked.folder)
    found = [peer for peer in step.PEERS if _installed(peer)]
    if not found:
        raise SkippedError("neither neural-style nor pastiche is installed")
    for peer in step.PEERS:
        if peer not in found:
            yield {"size": side, "contender": peer, "ended": "skipped: not installed"}
            continue
        names = ["replayed bf16" if asked.device == "cuda" else f"ours {asked.precision}", peer]
        try:
            measured = step.measure(setting, names, 2 if asked.quick else 9, False)
            yield from ({**row, "inputs": "made pictures"} for row in measured)
        except SystemExit as failure:  # of the peer's process
            last = str(failure).strip().splitlines()[-1]
            yield {"size": side, "contender": peer, "ended": f"failed: {last}", "error": str(failure)}


def _installed(peer: str) -> bool:
    return importlib.util.find_spec(peer.replace("-", "_")) is not None
