"""Weights files that are none, that do not fit, or that would run code if they were trusted."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from bad_case import Case, render
from safetensors.torch import save

from tiler.style.layers import BLOCKS

WIDTHS = (4, 4, 4, 4, 4)


@cache
def small_vgg() -> dict[str, torch.Tensor]:
    """VGG-19's keys and shapes with few channels: fine as it is."""
    torch.manual_seed(1)
    state, position, channels = {}, 0, 3
    for count, width in zip(BLOCKS, WIDTHS, strict=True):
        for _ in range(count):
            state[f"features.{position}.weight"] = torch.randn(width, channels, 3, 3) / 6
            state[f"features.{position}.bias"] = torch.zeros(width)
            position, channels = position + 2, width
        position += 1
    return state


def pth(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def changed(key: str, value: Any) -> dict[str, Any]:
    return {**small_vgg(), key: value}


def filled(value: float) -> dict[str, torch.Tensor]:
    weight = small_vgg()["features.2.weight"].clone()
    weight[1, 2, 1, 1] = value
    return changed("features.2.weight", weight)


class Runs:
    """Unpickled by a loader that trusts the file, this writes a file called `stolen`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._call


def in_a_zip(payload: bytes) -> bytes:
    """A .pth as torch writes it today, with another pickle inside."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def safetensors_header(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


def claiming(shape: list[int]) -> bytes:
    size = 4
    for side in shape:
        size *= side
    entry = {"features.0.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}
    return safetensors_header(json.dumps(entry).encode()) + bytes(64)


FIRST = "features.0.weight"
FILES: dict[str, Callable[[], bytes]] = {
    "empty.pth": lambda: b"",
    "text.pth": lambda: b"hello",
    "zip.pth": lambda: in_a_zip(b"")[:40],
    "empty pickle.pth": lambda: in_a_zip(b""),
    "cut.pth": lambda: pth(small_vgg())[:4000],
    "cut at the end.pth": lambda: pth(small_vgg())[:-30],
    "old and cut.pth": lambda: pth(small_vgg(), _use_new_zipfile_serialization=False)[:4000],
    "a list.pth": lambda: pth([1, 2, 3]),
    "a tensor.pth": lambda: pth(torch.zeros(3)),
    "nothing.pth": lambda: pth({}),
    "numbers.pth": lambda: pth(dict.fromkeys(small_vgg(), 1.0)),
    "nested.pth": lambda: pth({"state_dict": small_vgg()}),
    "one missing.pth": lambda: pth({key: value for key, value in small_vgg().items() if key != "features.34.bias"}),
    "wrong shape.pth": lambda: pth(changed(FIRST, torch.zeros(4, 3, 5, 5))),
    "wrong depth.pth": lambda: pth(changed("features.2.weight", torch.zeros(4, 5, 3, 3))),
    "no dimensions.pth": lambda: pth(changed(FIRST, torch.tensor(1.0))),
    "no channels.pth": lambda: pth({**changed(FIRST, torch.zeros(0, 3, 3, 3)), "features.0.bias": torch.zeros(0)}),
    "a bias of two dimensions.pth": lambda: pth(changed("features.0.bias", torch.zeros(2, 2))),
    "nan.pth": lambda: pth(filled(float("nan"))),
    "inf.pth": lambda: pth(filled(float("inf"))),
    "too large for a float.pth": lambda: pth(changed(FIRST, torch.full((4, 3, 3, 3), 1e300, dtype=torch.float64))),
    "complex.pth": lambda: pth(changed(FIRST, torch.zeros(4, 3, 3, 3, dtype=torch.complex64))),
    "sparse.pth": lambda: pth(changed(FIRST, torch.zeros(4, 3, 3, 3).to_sparse())),
    "meta.pth": lambda: pth(changed(FIRST, torch.zeros(4, 3, 3, 3, device="meta"))),
    "whole numbers.pth": lambda: pth(changed(FIRST, torch.zeros(4, 3, 3, 3, dtype=torch.int8))),
    "a bomb of few bytes.pth": lambda: pth(
        {**changed(FIRST, torch.zeros(1).expand(10**10, 3, 3, 3)), "features.0.bias": torch.zeros(1).expand(10**10)}
    ),
    "code.pth": lambda: in_a_zip(pickle.dumps(Runs(open, "stolen", "w"))),
    "code of the shell.pth": lambda: in_a_zip(pickle.dumps(Runs(os.system, "touch stolen"))),
    "code of exec.pth": lambda: in_a_zip(pickle.dumps(Runs(exec, "open('stolen', 'w')"))),
    "code of torch.pth": lambda: in_a_zip(pickle.dumps(Runs(torch.save, 1, "stolen"))),
    "code among the weights.pth": lambda: pth(changed("extra", Runs(open, "stolen", "w"))),
    "old code.pth": lambda: pickle.dumps(Runs(open, "stolen", "w")),
    "old code.pt": lambda: pickle.dumps(Runs(os.system, "touch stolen"), protocol=2),
    "code.safetensors": lambda: pickle.dumps(Runs(open, "stolen", "w")),
    "code.bin": lambda: in_a_zip(pickle.dumps(Runs(open, "stolen", "w"))),
    "a script.pth": lambda: torch.jit.script(torch.nn.ReLU()).save_to_buffer(),
    "empty.safetensors": lambda: b"",
    "cut.safetensors": lambda: save(small_vgg())[:900],
    "cut at the end.safetensors": lambda: save(small_vgg())[:-4],
    "endless header.safetensors": lambda: safetensors_header(b"{}", 2**62),
    "header of no json.safetensors": lambda: safetensors_header(b"{nothing"),
    "header of wrong things.safetensors": lambda: safetensors_header(b'{"a": 1}'),
    "deep header.safetensors": lambda: safetensors_header(b"[" * 100_000),
    "claims 2^40.safetensors": lambda: claiming([2**40, 3, 3, 3]),
    "claims 2^63.safetensors": lambda: claiming([2**63, 3, 3, 3]),
    "wrong shape.safetensors": lambda: save(changed(FIRST, torch.zeros(4, 3, 5, 5))),
    "one missing.safetensors": lambda: save({FIRST: small_vgg()[FIRST]}),
    "nan.safetensors": lambda: save(filled(float("nan"))),
    "whole numbers too large.safetensors": lambda: save(
        changed(FIRST, torch.full((4, 3, 3, 3), torch.finfo(torch.float64).max, dtype=torch.float64))
    ),
    "really a picture.pth": lambda: Path("content.png").read_bytes(),
    "really pth.safetensors": lambda: pth(small_vgg()),
    "really safetensors.pth": lambda: save(small_vgg()),
}


def _file(name: str) -> Case:
    def make(folder: Path) -> list[str]:
        (folder / name).write_bytes(FILES[name]())
        return render("--weights", name)

    return Case(make, (name,))


def _special(make: Callable[[Path], object], name: str) -> Case:
    def prepare(folder: Path) -> list[str]:
        make(folder / name)
        return render("--weights", name)

    return Case(prepare, (name,))


CASES = {
    **{name: _file(name) for name in FILES},
    "no such file": Case(lambda folder: render("--weights", "none.pth"), ("none.pth", "bundled")),
    "a misspelt word": Case(lambda folder: render("--weights", "bundeld"), ("bundeld", "bundled")),
    "a folder": _special(Path.mkdir, "folder.pth"),
    "a pipe": _special(os.mkfifo, "pipe.pth"),
    "a device": Case(lambda folder: render("--weights", "/dev/zero"), ("/dev/zero",)),
    "an address": Case(lambda folder: render("--weights", "http://127.0.0.1:9/w.pth"), ("http:",)),
}
