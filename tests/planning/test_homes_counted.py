"""Which memory is short and of how much, of machines that are shared; and what tiles see beside features."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from test_plan_parts import job_of

from tiler.engine.machine import Gpus, Host, Machine
from tiler.planning import homes

LAYERS = dict(style_layers=("relu1_1", "relu2_1"), content_layers=("relu3_1",), content=(64, 128), style=(64, 64))


def shared(kind: str, gpus: Any, workers: int, on_host: int = 3) -> list[tuple[str, float, float]]:
    """What 700 bytes on devices and 300 in hosts' memory need, where each worker is busy with 10."""
    job: Any = SimpleNamespace(device=SimpleNamespace(kind=kind))
    machine: Any = SimpleNamespace(host=SimpleNamespace(workers=on_host, free_bytes=1000), gpus=gpus)
    found = homes._needs(job, (700, 300), machine, 10, workers)
    return [(one.what, one.need, round(one.may)) for one in found]


def test_gpus_and_their_hosts_share_what_is_held() -> None:
    """Two workers on a card; three on a host."""
    cards = SimpleNamespace(count=4, workers=2, free_bytes=5000)
    assert shared("cuda", cards, 7) == [
        ("a GPU's memory", 700 / 4 + 2 * 10, 3000),
        ("the host's memory", 300 / 2, 600),
    ]
    assert shared("cuda", cards, 2)[0] == ("a GPU's memory", 700 / 2 + 2 * 10, 3000)
    assert shared("cuda", cards, 1, on_host=3)[1] == ("the host's memory", 300, 600)
    # A GPU that is there and not asked for.
    assert shared("cpu", cards, 9) == [("memory", 1000 / 3 + 3 * 10, 600)]
    assert shared("cpu", None, 2) == [("memory", 1000 + 2 * 10, 600)]
    assert shared("cpu", None, 4, on_host=1) == [("memory", 1000 / 4 + 10, 600)]


def test_the_memory_that_is_shortest_is_named() -> None:
    _, job = job_of(**LAYERS, long_edge=128, tile=64, feather=8, steps=2)
    job = replace(job, device=replace(job.device, kind="cuda"))

    def why(host: int, card: int, busy: float) -> str:
        machine = Machine(host=Host(free_bytes=host), gpus=Gpus(1, 1, card, "H100"))
        [home] = homes.homes(job, "auto", machine, busy, 1)
        assert home.where == "store"
        return home.why

    assert why(0, 10**9, 8e9).startswith("it would take 8.0 GB of the 600 MB that may be taken of a GPU's memory")
    inputs_only = int((homes.inputs_bytes(job, 0) + 1e9) / homes.SHARE) + 1
    assert why(0, inputs_only, 1e9).endswith(" of the 0 MB that may be taken of the host's memory")


def test_to_the_byte_it_fits() -> None:
    _, job = job_of(**LAYERS, long_edge=128, tile=64, feather=8, steps=2)
    need = sum(homes.held_bytes(job, 0, "device", 1)) + 600
    for free, where in ((need / 0.6, "device"), (need / 0.6 - 2, "store")):
        machine: Any = Machine(host=Host(free_bytes=free))  # type: ignore[arg-type]
        assert [one.where for one in homes.homes(job, "auto", machine, 600, 1)] == [where]


@pytest.mark.parametrize(
    ("values", "planes"),
    [
        ({}, 0),
        (dict(lines=2.0), 4),
        (dict(protect_strength=3.0), 1 / 16),
        (dict(protect_strength=3.0, lines=2.0), 4 + 1 / 16),
        # Guides at both style layers, what is usual there, and weights at the content's.
        (dict(guided=True), 2 + 2 * (1 + 1 / 4) + 1 / 16),
    ],
)
def test_what_tiles_see_beside_features(values: dict[str, Any], planes: float) -> None:
    """Two tiles of 64 x 88 read pixels, float32 planes beside bfloat16 features."""
    _, job = job_of(**LAYERS, long_edge=128, tile=64, feather=8, steps=2)
    guided, values = values.get("guided"), {name: one for name, one in values.items() if name != "guided"}
    styles = replace(job.styles, guided=guided, regions=("rest", "sea")) if guided else job.styles
    job = replace(job, styles=styles, terms=replace(job.terms, **values))
    assert [one.read.area for one in job.cut.grid(0)] == [64 * 88] * 2
    assert homes.inputs_bytes(job, 0) == 2 * 64 * 88 * (64 / 16 * 2 + planes * 4)


def test_of_what_is_held_in_a_store_a_part_of_the_inputs_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """By each worker; no more than there is."""
    _, job = job_of(**LAYERS, long_edge=128, tile=64, feather=8, steps=2)
    state, inputs = homes.state_bytes(job, 0, 2), homes.inputs_bytes(job, 0)
    monkeypatch.setattr(homes, "INPUTS_BYTES", inputs // 4)
    assert [homes.held_bytes(job, 0, "store", workers) for workers in (1, 3, 5)] == [
        (inputs // 4, 0), (inputs // 4 * 3, 0), (inputs, 0),
    ]  # fmt: skip
    assert homes.held_bytes(job, 0, "device", 2) == (state + inputs, 0)
    assert homes.held_bytes(job, 0, "host", 2) == (inputs, state)
