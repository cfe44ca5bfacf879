"""`tiler doctor`: all is well here, and what is not well shows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from here import run_main

import kernels
from tiler import pictures
from tiler.cli.doctor import _lines
from tiler.engine.machine import Gpus, Host, Machine
from tiler.engine.stored_pictures import StoredPictures
from tiler.planning import doctor, selftest
from tiler.planning.doctor import Findings
from tiler.planning.selftest import Check
from tiler.style import accuracy


def errors(checks: list[Any]) -> dict[str, str]:
    found = [check if isinstance(check, dict) else vars(check) for check in checks]
    return {one["name"]: one["error"] for one in found if one["error"]}


def test_all_is_well_on_this_machine() -> None:
    done = run_main("doctor", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["well"]
    assert [one["name"] for one in found["checks"]] == [
        "worker", "weights", "kernels", "backbone", "store", ".png file", ".tif file", ".jpg file", ".webp file",
    ]  # fmt: skip
    assert {name for name, why in found["reads"].items() if not why} == {"AVIF", "SVG", "PDF"}
    assert "HEVC" in found["reads"]["HEIC"]
    assert found["reads"]["JPEG XL"].startswith("is a JPEG XL, which the libvips of this machine does not read")
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0] or found["versions"]["torch"]
    assert found["chosen"]["device"] in ("cpu", "cuda")
    assert [one["level"] for one in found["chosen"]["homes"]] == list(range(len(found["chosen"]["homes"])))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_a_worker_does_is_tried(precision: str) -> None:
    assert errors(selftest.on_worker("cpu", precision)) == {}


def test_a_kernel_that_is_wrong_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = kernels.pool
    monkeypatch.setattr(kernels, "pool", lambda *what: whole(*what) * 1.001)
    found = errors(selftest.on_worker("cpu", "fp32"))
    assert found == {"kernels": "ValueError: torch, fp32 on cpu is off by 1.0e-03; 1e-05 would be rounding"}


def test_numbers_that_are_none_show(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {"relu5_1": torch.full((512, 6, 6), torch.nan)}
    monkeypatch.setattr(accuracy.Backbone, "forward", lambda *what: nothing)
    assert "backbone" in errors(selftest.on_worker("cpu", "fp32"))


def test_weights_that_are_missing_show(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(source: str) -> Any:
        raise FileNotFoundError(f"{source}: is not there\nat all")

    for module in (selftest, accuracy):
        monkeypatch.setattr(module, "load_weights", missing)
    found = errors(selftest.on_worker("cpu", "fp32"))
    assert found["weights"] == "FileNotFoundError: bundled: is not there"
    assert [*found] == ["weights", "backbone"]


def test_a_store_and_a_format_that_lose_numbers_show(monkeypatch: pytest.MonkeyPatch) -> None:
    read, picture = StoredPictures.read_picture, pictures.read_picture
    monkeypatch.setattr(StoredPictures, "read_picture", lambda *what: read(*what) + np.float32(2e-5))
    monkeypatch.setattr(pictures, "read_picture", lambda path: picture(path) * (0.5 if path.suffix == ".tif" else 1))
    assert [*errors(selftest.here())] == ["store", ".tif file"]


def test_what_does_not_work_is_said_and_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    host, gpus = Host(1, 16, 10**10, "Xeon", 2 * 10**10), Gpus(2, 1, 7 * 10**10, "H100", total_bytes=8 * 10**10)
    machine = Machine(1, host, gpus, ("cuda",), (("torch", "2.11"),))
    config, chosen = doctor._chosen(machine)
    assert (config.device, chosen["precision"], chosen["workers"], chosen["tile"]) == ("cuda", "bf16", 2, 2048)
    checks = [Check("worker", 1.25, "started"), Check("kernels", 0.5, "", "ValueError: off")]
    found = Findings(
        {"tiler": "1", "triton": "none"}, {"geo": "1", "s3": "none"}, doctor._shown(machine), chosen, checks
    )
    lines = list(_lines(found))
    assert lines[:4] == [
        "tiler 1",
        "not installed: s3; to have them: pip install 'tiler-render[s3]'",
        "machine: Xeon, 16 core(s), 10.0 GB of 20.0 GB of memory free",
        "GPU:     2 x H100, 70.0 GB of 80.0 GB free",
    ]
    assert lines[4] == "a poster of 4096 px is computed on cuda in bf16, since bf16 is faster there;"
    read = list(_lines(replace(found, reads={"AVIF": "", "HEIC": "no HEVC", "SVG": ""})))
    assert {*read} - {*lines} == {
        "reads, beside PNG, JPEG, TIFF, WebP, GIF, BMP, PPM and map tiles: AVIF, SVG",
        "does not read HEIC: no HEVC",
    }
    assert lines[-2:] == ["worker         1.2 s  started", "kernels        0.5 s  FAILED  ValueError: off"]
    monkeypatch.setattr(doctor, "examine", lambda: found)
    assert run_main("doctor").returncode == 1
    monkeypatch.setattr(doctor, "examine", lambda: replace(found, checks=checks[:1]))
    assert run_main("doctor").returncode == 0
