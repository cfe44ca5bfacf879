"""What a plan says of parts of a poster, of levels without steps, of GPUs' hosts and of pictures, counted by hand."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler.engine import layout
from tiler.engine.job import Job
from tiler.engine.machine import ANY, Gpus, Host, Machine
from tiler.errors import OutputError, ResourceError
from tiler.geometry import Level, Rect
from tiler.planning import disk, measured, room
from tiler.planning import plan as planning
from tiler.planning.plan import Plan, plan_job
from tiler.planning.speed import Speed
from tiler.request import resolve
from tiler.request.config import RenderConfig
from tiler.style.layers import NAMES
from tiler.style.trunk import Trunk

BASE = RenderConfig(
    "a.png", ("b.png",), "c.png", device="cpu", workers=1, threads=1, precision="bf16", tile=128, feather=0, halo=16,
    long_edge=256, levels=1, steps=6, steps_per_round=2, state="store",
)  # fmt: skip
STILL = Speed(0, 0, (0, 0), (0, 0), (0, 0), (0, 0), move=0, write=0, write_png=0)
TRUNK = Trunk({f"relu{name}": 64 for name in NAMES}, "0" * 64)


def job_of(
    content: tuple[int, int] = (300, 400), style: tuple[int, int] = (60, 90), machine: Machine = ANY, **values: Any
) -> tuple[RenderConfig, Job]:
    shown, learnt = (SimpleNamespace(height=one[0], width=one[1], in_part=False) for one in (content, style))
    return resolve.resolve_config(replace(BASE, **values), shown, [learnt], machine, TRUNK)  # type: ignore[arg-type, list-item]


def planned(speed: Speed | None = None, **values: Any) -> Plan:
    return plan_job(*job_of(**values), speed=speed)


# Time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "looks"), [("store", 2.0), ("device", 1.0)])
def test_what_is_not_kept_is_looked_at_in_every_round(
    state: str, looks: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four tiles and three rounds; half of what they see is kept: half is looked at once, half thrice."""
    _, job = job_of()
    monkeypatch.setattr(planning, "INPUTS_BYTES", planning.inputs_bytes(job, 0) / 2)
    found = planned(replace(STILL, one_measure=(0.2, 0)), state=state)
    assert (found.levels[0].tiles, found.levels[0].rounds) == (4, 3)
    assert found.seconds == pytest.approx(4 * looks * 0.2 + 4 * 0.2 + 0.2)


def test_exact_mode_measures_before_each_step() -> None:
    """Once more at the end; a tile that is alone is measured at the start only."""
    speed = replace(STILL, one_measure=(0.2, 0))
    found = planned(speed, mode="exact", state="device")
    assert (found.levels[0].tiles, found.levels[0].rounds) == (4, 6)
    assert found.seconds == pytest.approx(4 * 0.2 + 7 * 4 * 0.2 + 0.2)
    alone = planned(speed, mode="exact", state="device", tile=256)
    assert (alone.levels[0].tiles, alone.levels[0].rounds) == (1, 1)
    assert alone.seconds == pytest.approx(0.2 + 0.2 + 0.2)


def test_no_more_workers_take_part_than_there_are_tiles() -> None:
    """One tile: beginning, finishing and letting go; measuring and a round; the style; adding up."""
    speed = replace(STILL, task=0.01, one_step=(0.5, 0))
    for workers in (1, 3):
        found = planned(speed, workers=workers, tile=256)
        assert (found.levels[0].tiles, found.levels[0].rounds) == (1, 1)
        assert found.seconds == pytest.approx(6 * 0.5 + (3 + 2 + 1 + 1) * 0.01)
    three = planned(speed, workers=3)
    assert (three.levels[0].tiles, three.levels[0].rounds) == (4, 3)
    assert three.seconds == pytest.approx(4 * 6 * 0.5 / 3 + (3 * 3 + 3 * 2 * 3 + 1) * 0.01 / 3 + 3 * 0.01)


def test_of_a_part_its_own_pixels_are_moved_and_written() -> None:
    """The finest level in part, the one below as a whole."""
    values = dict(long_edge=2048, levels=2, steps=(1, 0), at="0.25,0.75", edge=128, tile=256)
    found = planned(replace(STILL, move=1e-6, write_png=1e-3), **values)
    coarse, fine = found.levels
    assert (coarse.height, coarse.width, fine.height, fine.width) == (768, 1024, 1536, 2048)
    part = list(job_of(**values)[1].cut.grid(1))
    assert 0 < len(part) == fine.tiles < 6 * 8
    assert fine.read_pixels == sum(tile.read.area for tile in part)
    assert fine.seconds == pytest.approx(1e-6 * fine.read_pixels)
    assert found.seconds == pytest.approx(sum(one.seconds or 0 for one in found.levels) + 1e-3 * 128 * 128)


# What part of the poster it is ------------------------------------------------------------------------------------


def test_a_part_is_said_with_its_place_its_tiles_and_its_share_of_the_work() -> None:
    values = dict(long_edge=2048, levels=2, steps=(3, 5), at="0.25,0.75", edge=128, tile=256)
    config, job = job_of(**values)
    found = plan_job(config, job).part
    match = re.fullmatch(
        r"proof: 128 x 128 px from \(448, 1088\) of 2048 x 1536; tiles: (.*); (\S+) % of the poster's work", found
    )
    assert match, found
    cut = job.cut
    said = [
        f"{len(cut.grid(level.index))} of {cut.grid(level.index).places} at {level.width} x {level.height}"
        for level in cut.levels
        if cut.grid(level.index).part
    ]
    assert len(said) > 0
    assert match[1] == ", ".join(said) + ("" if len(said) == 2 else ", all below")
    whole = job_of(**{**values, "at": None})[1].cut
    share = sum(map(cut.work, (0, 1))) / sum(map(whole.work, (0, 1)))
    assert float(match[2]) == pytest.approx(share * 100, rel=0.06)
    assert planned(**{**values, "at": None}).part == ""


@pytest.mark.parametrize(
    ("touched", "said"),
    [
        # 12 tiles of 64 x 64 at the finer level, 4 of 64 x 48 at the other; each reads what is around it.
        ((((0, 0, 96, 128),), ((0, 0, 9, 9),)), "retouch; tiles: 1 of 12 at 256 x 192, all below"),
        ((((0, 0, 9, 9),), ((0, 0, 9, 99),)), "retouch; tiles: 1 of 4 at 128 x 96, 2 of 12 at 256 x 192"),
        ((((0, 0, 96, 128),), ((0, 0, 192, 256),)), "retouch; 100 % of the poster's work"),
    ],
)
def test_a_change_is_said_by_its_tiles(touched: Any, said: str) -> None:
    config, job = job_of(levels=2, steps=4, tile=64)
    assert plan_job(config, job).part == ""
    job = replace(job, cut=replace(job.cut, touched=touched))
    whole = replace(job.cut, touched=None)
    found, share = plan_job(config, job).part, sum(map(job.cut.work, (0, 1))) / sum(map(whole.work, (0, 1)))
    assert found.startswith(said)
    assert found.endswith(f"{share * 100:.0f} % of the poster's work")


def test_a_part_that_takes_little_is_said_to_two_digits() -> None:
    config, job = job_of(long_edge=1280, tile=64, levels=1, steps=4)
    assert len(job.cut.grid(0)) == 300
    job = replace(job, cut=replace(job.cut, touched=(((100, 100, 101, 101),),)))
    share = job.cut.work(0) / replace(job.cut, touched=None).work(0)
    assert plan_job(config, job).part == (
        f"retouch; tiles: 1 of 300 at 1280 x 960; {share * 100:.2g} % of the poster's work"
    )
    assert 0.2 < share * 100 < 0.6


def test_a_notebook_shows_levels_and_what_they_take() -> None:
    found = replace(planned(replace(STILL, start=900.0), levels=2), output_bytes=10**8)
    html = found._repr_html_()
    assert re.findall(r"<td>(.*?)</td>", html) == [
        *("1", "128 x 96", "1", "6", "store"),
        *("2", "256 x 192", "4", "6", "store"),
    ]
    disk, memory = found.store_bytes + found.output_bytes, found.memory_bytes
    assert f"<p>{planning.size(memory)} of memory, {planning.size(disk)} of disk, about 0.25 h</p>" in html
    assert planning.size(disk) != planning.size(found.store_bytes)
    assert "about" not in planned()._repr_html_()


# Disk ---------------------------------------------------------------------------------------------------------


def test_of_a_picture_that_is_read_in_part_whole_chunks_are_kept() -> None:
    """Of 128 rows and 512 columns, as far as the picture goes."""
    level = Level(0, 300, 1000, 1, 0.02)
    assert disk._kept(level, None) == 1
    assert disk._kept(level, []) == 0
    assert disk._kept(level, [Rect(0, 0, 10, 9)]) == pytest.approx(128 * 512 / 300_000)
    assert disk._kept(level, [Rect(290, 990, 300, 1000)]) == pytest.approx(44 * 488 / 300_000)
    assert disk._kept(level, [Rect(0, 500, 129, 520), Rect(1, 0, 9, 8)]) == pytest.approx(256 * 1000 / 300_000)


def test_of_a_part_its_own_tiles_are_kept() -> None:
    """Of 48 tiles of 256 x 256; and of the content's opacity the chunks that they read."""
    values = dict(long_edge=2048, levels=2, steps=(1, 2), at="0.25,0.75", edge=128, tile=256)
    config, job = job_of(**values)
    grid = job.cut.grid(1)
    assert 1 < len(grid) < grid.places == 48
    image = layout.image(grid, "float32")
    kept = image.disk_bytes(len(grid) / 48)
    assert (
        image.disk_bytes(1.0) > kept == disk.level_bytes(job, 1, False)[1] == plan_job(config, job).levels[1].kept_bytes
    )
    shown = layout.picture(1536, 2048, 1).disk_bytes(disk._kept(job.cut.last, [tile.read for tile in grid]))
    assert disk.level_bytes(job, 1, True)[1] == kept + shown
    twice = replace(job, look=replace(job.look, color="luminance"))
    assert disk.level_bytes(twice, 1, False)[1] == 2 * kept
    changed = replace(job.cut, crop=None, touched=(((0, 0, 768, 1024),), ((0, 0, 9, 9),)))
    assert (
        disk.level_bytes(replace(job, cut=changed), 1, False)[1]
        == layout.image(changed.grid(1), "float32").disk_bytes()
    )
    whole = disk.level_bytes(replace(job, cut=replace(job.cut, crop=None)), 1, False)
    assert disk.level_bytes(job, 1, False)[0] < whole[0] / 2


# Memory -----------------------------------------------------------------------------------------------------------


def test_levels_without_steps_take_no_tile() -> None:
    """Of two levels the coarser alone is computed: one tile of 96 x 128, of 1450 bytes a pixel and what is left."""
    each = 500e6 + 2 * 26e6 + 96 * 128 * 1450 * 1.15
    found = planned(levels=2, steps=(4, 0), tile=256, state="device", style=(20, 30))
    held = planning.held_bytes(job_of(levels=2, steps=(4, 0), tile=256, style=(20, 30))[1], 0, "device", 1)
    kept = planning.held_bytes(job_of(levels=2, steps=(4, 0), tile=256, style=(20, 30))[1], 1, "device", 1)
    assert found.worker_bytes == pytest.approx(each + max(sum(held), sum(kept)), abs=1)
    nothing = planned(levels=2, steps=0, tile=256)
    assert nothing.worker_bytes == pytest.approx(500e6 + 2 * 26e6, abs=1)


def test_a_gpus_host_holds_what_comes_and_goes() -> None:
    """Beside a worker and CUDA: eight tiles at a time, as large as the largest, of three float32 channels."""
    machine = Machine(gpus=Gpus(1, 1, 2**40, "H100"))
    config, job = job_of(machine=machine, device="auto", content=(100, 400), tile=96)
    reads = [tile.read.area for tile in job.cut.grid(0)]
    assert min(reads) < max(reads)
    found = plan_job(config, job, machine=machine)
    assert found.worker_bytes == pytest.approx(500e6 + 2 * 26e6 + 1.9e9 + 8 * max(reads) * 12, abs=1)


# Pictures and pools -----------------------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path: Path, small_weights: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of a render of a transparent content and a style, on a machine that answers at once; and in `seen` what
    it was asked for."""
    Image.fromarray(np.full((90, 120, 4), 77, np.uint8)).save(tmp_path / "content.png")
    Image.new("RGB", (60, 91), "tan").save(tmp_path / "style.png")
    names = dict(content=str(tmp_path / "content.png"), styles=(str(tmp_path / "style.png"),))
    return {**names, "output": str(tmp_path / "p.png"), "weights": small_weights, "long_edge": 256, "device": "cpu"}


class Workers:
    """A pool that is there already, or one that was started."""

    def __init__(self, *said: Any) -> None:
        self.said, self.ended = said, False

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *what: Any) -> None:
        self.ended = True


def test_a_plan_asks_one_worker_and_times_it(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Workers] = []
    heard: list[Any] = []

    def pool(*said: Any) -> Workers:
        started.append(Workers(*said))
        return started[-1]

    def probed(pool: Any, job: Job, start: float, url: str) -> Speed:
        heard.append((pool, url))
        assert not pool.ended
        return replace(STILL, start=7.0)

    monkeypatch.setattr(measured, "Pool", pool)
    monkeypatch.setattr(measured, "cores", lambda: 5)
    monkeypatch.setattr(measured, "ask", lambda pool: ANY)
    monkeypatch.setattr("tiler.planning.probe.probe", probed)
    there, notes = Workers(), list[str]()
    found = measured.plan(RenderConfig(**asked), notes, there)  # type: ignore[arg-type]
    assert (started, there.ended) == ([], False)
    assert heard == [(there, asked["output"].replace("p.png", "p.zarr"))]
    assert found.pictures_bytes == 90 * 120 * 4 + 60 * 91 * 3
    assert found.output_bytes == round(0.52 * 4 * 192 * 256)
    assert found.seconds == pytest.approx(7)
    assert list(found.qualities) == ["draft", "standard", "best"]
    for values, said in (
        (dict(steps=3), (None, 1, 5)),
        (dict(steps=0, threads=3), (None, 1, 3)),
        (dict(transfer="color", scheduler="tcp://h:1"), ("tcp://h:1", 1, 5)),
    ):
        assert measured.plan(RenderConfig(**{**asked, **values})).qualities == {}
        assert started[-1].said == said
        assert started[-1].ended
    assert len(heard) == 4


def test_what_a_plan_has_to_say_of_pictures_is_noted(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.full((91, 60, 4), (99, 80, 97, 96), np.uint8)).save(asked["styles"][0])
    monkeypatch.setattr("tiler.planning.probe.probe", lambda *what: STILL)
    monkeypatch.setattr(measured, "ask", lambda pool: ANY)
    notes = ["before"]
    measured.plan(RenderConfig(**asked), notes, Workers())  # type: ignore[arg-type]
    assert notes == ["before", f"{asked['styles'][0]}: its transparent parts do not count as style"]
    over = {**asked, "overlay": asked["styles"][0], "output": asked["styles"][0]}
    with pytest.raises(OutputError, match="is the overlay"):
        measured.plan(RenderConfig(**over), None, Workers())  # type: ignore[arg-type]


# What there is room for -------------------------------------------------------------------------------------------


def refusal(free: int, machine: Machine | None = None, begun: bool = False, **values: Any) -> str:
    machine = machine or Machine(host=Host(free_bytes=free))
    config, job = job_of(**values)
    with pytest.raises(ResourceError) as error:
        room.check_room(plan_job(config, job, machine=machine), config, job, "s3://b/j", begun, machine)
    return str(error.value)


@pytest.mark.parametrize(("tile", "smaller"), [(128, 64), (176, 80), (1024, 64)])
def test_no_tile_below_64_is_advised(tile: int, smaller: int) -> None:
    """Halves, and multiples of the deepest cells."""
    values = dict(long_edge=512)
    need = planned(tile=smaller, **values).memory_bytes - 270_000_000
    assert refusal(need, tile=tile, **values).endswith(f"; --tile {smaller} would do")
    if smaller == 64:
        assert refusal(need - 1, tile=tile, **values).endswith("; allowed: a machine with more")


@pytest.mark.parametrize(("side", "said"), [(126, "; allowed: a machine with more"), (128, "; --tile 64 would do")])
def test_a_tile_of_63_is_none_though_its_cells_would_allow_it(side: int, said: str) -> None:
    layers = dict(style_layers=("relu1_1",), content_layers=("relu1_1",), style=(20, 30))
    values = dict(layers, content=(120, side), long_edge=side)
    need = planned(tile=side // 2, **values).memory_bytes - 270_000_000
    assert refusal(need, tile=side, **values).endswith(said)


def test_what_memory_is_short_is_said_with_what_is_there() -> None:
    need_bytes = planned(long_edge=2048).memory_bytes - 270_000_000
    said = refusal(need_bytes - 3_000_000, long_edge=2048, begun=True)
    need, free = planning.size(need_bytes), planning.size(need_bytes - 3_000_000)
    words = f"need about {need} of memory and {free} are free; free 3 MB more, resume where there is more, "
    assert said.startswith(f"tile = 128, workers = 1: {words}")


def test_the_computer_that_writes_the_poster_needs_memory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a cluster's machines: what the client takes, but for what it has already."""
    values = dict(long_edge=2048, scheduler="tcp://h:1")
    machine = Machine(workers=6, host=Host(workers=2))
    plan = plan_job(*job_of(**values), machine=machine)
    client = plan.memory_bytes - 270_000_000
    assert client == 4 * 12 * 128 * 2048
    monkeypatch.setattr(room, "memory_bytes", lambda: client - 1)
    assert " of memory here and " in refusal(0, machine, **values)
    monkeypatch.setattr(room, "memory_bytes", lambda: client)
    config, job = job_of(**values)
    room.check_room(plan, config, job, "s3://b/j", machine=machine)
    cards = replace(machine, gpus=Gpus(2, 1, 5, "H100"))
    found = room._memories(replace(plan, gpu_bytes=9, worker_bytes=7), config, cards)
    assert [(one.what, one.need) for one in found] == [
        ("memory on a worker's machine", 14), ("memory here", client), ("GPU memory", 9),
    ]  # fmt: skip
    assert [one.free for one in found] == [machine.host.free_bytes, client, 5]


def test_how_much_disk_is_to_be_freed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda place: SimpleNamespace(free=2_500_000_000))
    plan: Any = SimpleNamespace(store_bytes=4_000_000_000, kept_bytes=1, output_bytes=3_000_000_000)
    plan.tiles_bytes, plan.spare_bytes = 0, 5
    url, poster, tiles = (str(tmp_path / name) for name in ("j.zarr", "p.png", "t"))
    with pytest.raises(ResourceError) as error:
        room.check_disk(plan, replace(BASE, output=poster), url)
    assert str(error.value) == (
        f"--store {url}: needs about 4.0 GB of disk, 1.5 GB more than are free; free that, or choose another place"
    )
    plan.store_bytes = plan.kept_bytes = 0
    plan.tiles_bytes, plan.output_bytes, plan.spare_bytes = 3_100_000_000, 3_100_000_000, 0
    with pytest.raises(ResourceError, match=f"^--tiles {tiles}: needs about 3.1 GB of disk"):
        room.check_disk(plan, replace(BASE, output=None, tiles=tiles), "s3://b/j")


def test_what_a_store_holds_is_what_its_files_take(tmp_path: Path) -> None:
    (tmp_path / "j" / "c").mkdir(parents=True)
    for name, count in (("j/a", 9000), ("j/c/b", 70_000)):
        (tmp_path / name).write_bytes(b"x" * count)
    real = sum((tmp_path / name).stat().st_blocks * 512 for name in ("j", "j/c", "j/a", "j/c/b"))
    assert room._held_bytes(str(tmp_path / "j")) == real - (tmp_path / "j").stat().st_blocks * 512 >= 79_000
    assert room._held_bytes(str(tmp_path / "j" / "a")) == room._held_bytes("s3://b/j") == 0


@pytest.mark.parametrize(
    ("free", "said"),
    [
        ({"store": 59, "poster": 12, "tiles": 30}, "--store"),
        ({"store": 60, "poster": 11, "tiles": 30}, "-o"),
        ({"store": 60, "poster": 12, "tiles": 29}, "--tiles"),
        ({"store": 60, "poster": 12, "tiles": 30}, ""),
    ],
)
def test_each_disk_holds_what_goes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: dict[str, int], said: str
) -> None:
    """An older poster of the same name, and older tiles, go when the new ones are there: they make no room."""
    places = {name: tmp_path / name / "it" for name in free}
    for place in places.values():
        place.mkdir(parents=True)
        (place / "old").write_bytes(b"x" * 5000)
    above = {
        str(places[name]): SimpleNamespace(stat=partial(SimpleNamespace, st_dev=number))
        for number, name in enumerate(free)
    }
    monkeypatch.setattr(room, "folder_above", above.get)
    monkeypatch.setattr(room, "free_disk", lambda place: free[Path(place).parent.name])
    monkeypatch.setattr(room, "_held_bytes", lambda place: 1 if place == str(places["store"]) else pytest.fail(place))
    plan: Any = SimpleNamespace(store_bytes=61, kept_bytes=20, output_bytes=40, tiles_bytes=30, spare_bytes=2)
    config = replace(BASE, output=str(places["poster"]), tiles=str(places["tiles"]))
    with pytest.raises(ResourceError, match=f"^{said} {tmp_path}") if said else contextlib.nullcontext():
        room.check_disk(plan, config, str(places["store"]))
