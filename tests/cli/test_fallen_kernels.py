"""Triton that fails on a worker: the poster is made by torch, people are told, and the job remembers."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import torch

from kernels import choice

OPTIONS = ("--long-edge=32", "--levels=1", "--steps=2", "--threads=1", "--precision=fp32", "--device=cpu")


@pytest.fixture
def triton_fails(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The CPU passes for a device of Triton's, whose kernels cannot be compiled there; the operations that were tried.
    Tests' workers share this process."""
    tried: list[str] = []

    class Launch(SimpleNamespace):
        INTERPRETED = False

        def __init__(self, family: str = "gram") -> None:
            pass

        def require(self, device: torch.device) -> None:
            pass

        def __getattr__(self, stem: str) -> Any:
            def fail(*arguments: Any) -> NoReturn:
                tried.append(stem)
                raise RuntimeError("ptxas: unknown target\nand a page of it")

            return fail

    monkeypatch.setattr(choice, "_failed_devices", {})
    monkeypatch.setattr(choice, "_triton", Launch)
    monkeypatch.setattr(
        choice, "_suits_triton", lambda device, dtype: dtype in choice.TRITON_DTYPES and not choice._failure(device)
    )
    return tried


@pytest.mark.filterwarnings("ignore:Triton can't run:RuntimeWarning")
def test_a_fall_to_torch_is_said_and_stored_and_the_poster_is_torchs(
    here, inputs: Path, small_weights: str, triton_fails: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("render", "content.png", "style.png", f"--weights={small_weights}", *OPTIONS)
    done = here(*files, "-o", "fallen.png")
    assert done.returncode == 0, done.stderr
    assert len(triton_fails) == 1
    line = f"worker {socket.gethostname()}: Triton fails, torch takes its place from here on: ptxas: unknown target"
    assert done.stderr.splitlines().count(line) == 1
    held = json.loads((inputs / "fallen.zarr" / "zarr.json").read_text())["attributes"]["tiler"]
    assert held["machine"]["kernels"] == "torch"
    assert "kernels torch" in here("info", "fallen.zarr").stdout
    monkeypatch.undo()
    whole = here(*files, "-o", "whole.png")
    assert "Triton" not in whole.stderr
    assert (inputs / "whole.png").read_bytes() == (inputs / "fallen.png").read_bytes()
