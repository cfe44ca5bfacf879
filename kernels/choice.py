"""Which implementation runs an operation, and what happens where Triton can't."""

from __future__ import annotations

import importlib
import os
import warnings
from functools import cache
from types import ModuleType
from typing import Any

import torch

from kernels import gram_torch, reference, step_torch, trunk_torch

VARIABLE = "TILER_KERNELS"
NAMES = ("reference", "torch", "triton")
TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)

# Families of operations: a stem is the name of an operation and of its function in each implementation.
PLAIN = {"gram": gram_torch, "trunk": trunk_torch, "step": step_torch}

_failed_devices: dict[torch.device, str] = {}  # and why


def _forced() -> str | None:
    name = os.environ.get(VARIABLE)
    if name is not None and name not in NAMES:
        raise ValueError(f"{VARIABLE}={name!r}: allowed are {', '.join(NAMES)}")
    return name


@cache
def _triton(family: str = "gram") -> ModuleType:
    """Imported late: it takes a second, and Triton may be missing where no GPU is."""
    return importlib.import_module(f"kernels.{family}_launch")


def _forced_triton(device: torch.device, dtype: torch.dtype) -> ModuleType:
    if dtype not in TRITON_DTYPES:
        raise ValueError(f"{VARIABLE}=triton with {dtype}: allowed are {', '.join(map(str, TRITON_DTYPES))}")
    module = _triton()
    if device.type != "cuda" and not module.INTERPRETED:
        raise ValueError(f"{VARIABLE}=triton on {device}: allowed are CUDA devices, or any with TRITON_INTERPRET=1")
    return module


def _give_up(device: torch.device, reason: object) -> None:
    text = str(reason).strip().partition("\n")[0] or type(reason).__name__
    _failed_devices[device] = text
    warnings.warn(f"Triton can't run on {device}, using plain torch there: {text}", RuntimeWarning, stacklevel=4)


def _failure(device: torch.device) -> str:
    """Of Triton there; on any device of the kind where `device` is none in particular."""
    found = (why for at, why in _failed_devices.items() if at.type == device.type and device.index in (None, at.index))
    return next(found, "")


def _suits_triton(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cuda" and dtype in TRITON_DTYPES and not _failure(device)


def implementation(device: torch.device, dtype: torch.dtype) -> str:
    """Name of the implementation that operations on `device` and `dtype` would use: one of NAMES.

    Raises ValueError where TILER_KERNELS names none, or one that can't run there.
    """
    name = _forced()
    if name == "triton":
        _forced_triton(device, dtype)
    return name or ("triton" if _suits_triton(device, dtype) else "torch")


def why_not_triton(device: torch.device) -> str:
    """Why operations on a CUDA device use plain torch, as far as that is known before or after they ran; empty where
    they use Triton, or what TILER_KERNELS says."""
    if _forced() is None and device.type == "cuda" and not _failure(device):
        try:
            _triton().require(device)
        except Exception as error:  # as in `run`
            _give_up(device, error)
    return _failure(device)


def capturing() -> bool:
    """Whether a CUDA graph is being captured, in which much fails that works outside."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def run(family: str, stem: str, device: torch.device, dtype: torch.dtype, *arguments: Any) -> Any:
    """Call the operation `stem` of a family, in the implementation chosen for `device` and `dtype`.

    A failure of Triton that TILER_KERNELS didn't ask for warns once a device and is repeated in torch: Triton fails
    before it launches anything, so that arguments changed in place are still whole. Running out of memory is the
    caller's to handle and is passed on.
    """
    name = implementation(device, dtype)
    if name == "triton":
        if _forced() is not None:
            return getattr(_triton(family), stem)(*arguments)
        try:
            _triton().require(device)
            return getattr(_triton(family), stem)(*arguments)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # drivers, compilers and launchers each raise their own kind
            if capturing():
                raise  # it may be what can't be recorded, and no more
            _give_up(device, error)
    module = reference if name == "reference" else PLAIN[family]
    return getattr(module, stem)(*arguments)
