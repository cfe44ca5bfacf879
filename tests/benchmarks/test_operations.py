"""What benchmarks say of a step's parts, at sizes that take no time."""

from __future__ import annotations

from pathlib import Path

import _step_ops
import floor
import pytest
import step
import torch

from tiler.style.backbone import Backbone
from tiler.style.weights import load_weights


def test_all_convolutions_of_a_step_are_counted() -> None:
    """A multiple of the deepest stride, of which every cell counts: see test_gpu_measurement.py."""
    backbone = Backbone(load_weights("bundled"), ("relu5_1",))
    shapes = floor.convolutions(backbone, 64)
    assert sum(count * shape.flop for shape, count in shapes.items()) == 1_444_608 * 64**2


def test_both_ways_of_convolving_are_timed() -> None:
    padded, ringed = floor.compare_ways(step.Setting(16, "cpu", 1, Path()), "fp32", 1)
    assert (padded["way"], ringed["way"], padded["vs_padded"]) == ("padded", "ringed", 1)
    assert ringed["vs_padded"] == pytest.approx(ringed["median_s"] / padded["median_s"])


def test_each_operation_is_timed_beside_torchs() -> None:
    rows = list(_step_ops.rows([16], {"fp32": torch.float32, "bf16": torch.bfloat16}, "cpu", 1, 1e9))
    assert [row["variant"] for row in rows] == ["torch", "kernels"] * (len(rows) // 2)
    assert {row["operation"] for row in rows} == {
        "ring", "ring back", "pool", "pool back", "content", "adam, tv, range"
    }  # fmt: skip
    moved = {(row["operation"], row["layer"], row["dtype"]): row["bytes"] for row in rows}
    # 64 channels of 16 x 16 cells of two bytes, and a quarter of them.
    assert moved["pool", "1_2", "bf16"] == 64 * 16 * 16 * 2 * 1.25
    assert moved["adam, tv, range", "pixels", "fp32"] == 7 * 3 * 16 * 16 * 4


def test_what_is_timed_computes_the_same() -> None:
    for one in _step_ops.operations(16, torch.float32, "cpu"):
        if one.name in ("pool", "pool back"):
            torch.testing.assert_close(one.ours(), one.torchs())
