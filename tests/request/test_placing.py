"""What a machine decides of a job, and of what is wished for on one that has it not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tiler.engine.job import Job
from tiler.engine.machine import ANY, Gpus, Host, Machine
from tiler.errors import ConfigError
from tiler.request import placing, resolve
from tiler.request.config import RenderConfig
from tiler.style.layers import NAMES
from tiler.style.trunk import Trunk

BASE = RenderConfig("a.png", ("b.png",), "c.png", size="2000x3000", levels=1, steps=3)
CARDS = Gpus(3, 2, 79 * 10**9, "H100", total_bytes=85 * 10**9)


def meant(**values: Any) -> tuple[RenderConfig, Job]:
    picture: Any = SimpleNamespace(path="p", height=300, width=200, file_size=(300, 200), in_part=False)
    trunk = Trunk({f"relu{name}": 4 for name in NAMES}, "0" * 64)
    return resolve.meant(replace(BASE, **values), picture, [picture], trunk)


def placed(machine: Machine, **values: Any) -> tuple[RenderConfig, Job]:
    return placing.placed(*meant(**values), machine)


@pytest.mark.parametrize(
    ("values", "machine", "said"),
    [
        (dict(device="mps"), ANY, "device = mps, but torch finds no Apple GPU; allowed: auto, cpu"),
        (
            dict(device="mps", precision="fp64"),
            Machine(mps=True),
            "precision = fp64: an Apple GPU has none; allowed with device mps: auto, fp32, bf16, fp16",
        ),
        (dict(device="cuda"), Machine(mps=True), "device = cuda, but torch finds no CUDA GPU; allowed: auto, cpu"),
    ],
)
def test_what_a_machine_has_not_is_refused(values: dict[str, Any], machine: Machine, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        placed(machine, **values)
    assert str(error.value) == said


def test_a_device_that_is_there_is_taken() -> None:
    for precision, found in (("auto", "fp32"), ("fp16", "fp16")):
        config, job = placed(Machine(mps=True, bf16=("cpu",)), device="mps", precision=precision)
        assert (config.device, job.device.kind, config.precision, job.device.precision) == ("mps", "mps", found, found)
    assert placed(Machine(mps=True))[0].device == "cpu"
    assert placed(Machine(gpus=CARDS), device="cpu")[0].device == "cpu"


def test_every_none_is_replaced_by_what_the_job_has() -> None:
    config, job = placed(Machine(host=Host(cores=7)), workers=2, tile=200, precision="fp32", steps_per_round=3)
    assert (config.workers, config.threads, job.device.threads) == (2, 3, 3)
    assert (config.tile, job.cut.tile) == (200, 192)
    assert (config.steps, config.levels, config.steps_per_round) == ((3,), 1, 3)
    assert (config.feather, config.halo, config.style_blend_weights) == (16, 48, (1.0,))
    first, second = placed(ANY)[1], placed(ANY)[1]
    assert first.id != second.id
    assert replace(first, id=second.id) == second


@pytest.mark.parametrize(
    ("scheduler", "workers", "host", "cards"),
    [(None, 1, 1, 1), (None, 3, 3, 1), (None, 4, 4, 2), (None, 7, 7, 3), ("tcp://h:1", 4, 5, 2)],
)
def test_workers_share_computers_and_cards(scheduler: str | None, workers: int, host: int, cards: int) -> None:
    """Of a cluster as it says; here all of them the one, and each card as many as it comes to."""
    config, machine = replace(BASE, scheduler=scheduler), Machine(9, Host(workers=5), CARDS)
    assert placing.sharing_host(config, workers, machine) == host
    assert placing.sharing_gpu(config, workers, machine) == cards
    assert placing.sharing_gpu(config, workers, replace(machine, gpus=None)) == 1


def test_how_many_workers_there_are() -> None:
    machine = Machine(9, Host(workers=5, cores=20), CARDS)
    assert placed(machine)[0].workers == 3
    assert placed(machine, device="cpu")[0].workers == 1
    assert placed(machine, workers=2)[0].workers == 2
    assert placed(machine, workers=2, scheduler="tcp://h:1")[0].workers == 9
    assert placed(machine, workers=2, scheduler="tcp://h:1")[0].threads == 4


@pytest.mark.parametrize(("tile", "align", "found"), [(200, 16, 192), (192, 16, 192), (191, 16, 176), (7, 16, 16)])
def test_tiles_are_whole_cells(tile: int, align: int, found: int) -> None:
    assert placing.aligned(tile, align) == found


def test_a_tile_is_the_largest_that_one_worker_holds() -> None:
    """A tile of 512 reads (512 + 2 * 64)^2 pixels of 2700 bytes, in 0.6 of the memory."""
    need = 640**2 * 2700 / 0.6
    for total, tile in ((need + 2, 512), (need - 5000, 256)):
        machine = Machine(host=Host(total_bytes=int(total), free_bytes=5))
        assert placed(machine, precision="fp32")[1].cut.tile == tile
    assert placed(Machine(host=Host(total_bytes=1)), precision="fp32")[1].cut.tile == 64


def test_workers_that_fit_to_the_byte_fit() -> None:
    """Two tiles of 1024, of 1152 pixels with what is around them."""
    need = 2 * 1152**2 * 2700 / 0.6
    config, _ = placed(Machine(host=Host(total_bytes=int(need) + 1)), precision="fp32", workers=2)
    assert config.workers == 2
    with pytest.raises(ConfigError) as error:
        placed(Machine(host=Host(total_bytes=int(need) - 1)), precision="fp32", workers=2)
    assert str(error.value) == (
        "workers = 2 need 7.2 GB for tiles of 1024 px, and there are 11.9 GB; allowed: up to 1, or a smaller --tile"
    )
    # A poster that is smaller than its tile needs no more than it has.
    small = dict(size="200x300", precision="fp32", workers=2)
    assert placed(Machine(host=Host(total_bytes=int(need) - 1)), **small)[0].workers == 2


def test_what_does_not_hold_together_is_said_of_its_tile() -> None:
    job = meant()[1]
    assert placing.checked(job) is job
    with pytest.raises(ConfigError) as error:
        placing.checked(job.with_tile(8))
    assert str(error.value) == "tile = 8: job: its tiles are no size"
