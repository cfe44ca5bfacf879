"""What a worker is and has, and how it is set up for work."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch

from tiler.engine.asking import share_gpus
from tiler.engine.host import cores, memory_bytes, memory_there
from tiler.engine.machine import CONTEXT_BYTES
from tiler.engine.worker import beside
from tiler.style.backbone import best_precision, kernels_on
from tiler.version import __version__

_VISIBLE = "CUDA_VISIBLE_DEVICES"
# How torch hands out a GPU's memory: the newer name and the one that every version knows.
_ALLOCATOR = {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"}


def look() -> dict[str, Any]:
    """On a worker: its host, its number among the workers, and the GPUs it sees. Starts no CUDA context."""
    visible = os.environ.get(_VISIBLE)
    if visible is not None:
        gpus = [token.strip() for token in visible.split(",") if token.strip()][: torch.cuda.device_count()]
    else:
        gpus = [str(i) for i in range(torch.cuda.device_count())]
    return {"host": socket.gethostname(), "gpus": gpus}


def take_gpu(gpu: str) -> None:
    """On a worker: see this GPU only. Without effect once CUDA has begun there."""
    if not torch.cuda.is_initialized():
        os.environ[_VISIBLE] = gpu


def settle_gpu() -> None:
    """In a task, before CUDA begins: take a GPU as `ask` would have it, where several are seen still. So it is on a
    worker that came after `ask`, and in a process that took the place of one that ended."""
    if not torch.cuda.is_initialized() and len(look()["gpus"]) > 1:
        with beside(look) as (address, workers):
            take_gpu(share_gpus(workers)[address])


def settle_torch() -> None:
    """On a worker, before CUDA begins: whatever makes the same work give the same bytes."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Memory that is free between two tensors of other sizes is of use, too: a step's is otherwise half holes.
    if not _ALLOCATOR & os.environ.keys():
        os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    # TF32 keeps ten bits of what fp32 promises.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    warnings.filterwarnings("ignore", "Triton can't run", RuntimeWarning)  # told by an event


def measure(shares: Mapping[str, str], dask_worker: Any = None) -> dict[str, Any]:
    """On a worker: what it is and has, as `merged` takes it. shares: of `share_gpus`."""
    settle_torch()
    seen = look()
    share = shares.get(dask_worker.address if dask_worker else "", "0")
    if len(seen["gpus"]) > 1:
        take_gpu(share)
    memory = psutil.Process().memory_info()
    gpu = torch.cuda.is_available()
    return {
        **seen,
        "gpu": _gpu(share) if gpu else None,
        "cores": cores(),
        "free_bytes": memory_bytes(),
        "total_bytes": memory_there(),
        "held_bytes": memory.rss - getattr(memory, "shared", 0),
        "processor": _processor(),
        "bf16": [kind for kind in ("cpu", *(["cuda"] if gpu else [])) if best_precision(kind) == "bf16"],
        "mps": torch.backends.mps.is_available(),
        "versions": _versions(gpu),
    }


def _gpu(token: str) -> dict[str, Any]:
    free, total = torch.cuda.mem_get_info()
    kernels, why = kernels_on("cuda")
    held = torch.cuda.memory_reserved() + CONTEXT_BYTES
    name = torch.cuda.get_device_name()
    memory = {"free_bytes": free, "held_bytes": held, "total_bytes": total}
    return {"id": token, "name": name, **memory, "kernels": kernels, "why": why}


def _versions(gpu: bool) -> dict[str, str]:
    found = {"tiler": __version__, "torch": str(torch.__version__)}
    if gpu:
        found |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
        try:
            found["triton"] = importlib.metadata.version("triton")
        except importlib.metadata.PackageNotFoundError:
            found["triton"] = "none"
    return found


def _processor() -> str:
    """The model's name; what runs on another may round otherwise."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
