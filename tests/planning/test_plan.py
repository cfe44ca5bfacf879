"""What a render will take: arithmetic, and refusals before anything is written."""

from __future__ import annotations

import contextlib
import importlib
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tiler.cli import main
from tiler.engine.job import Job
from tiler.engine.machine import ANY, Gpus, Host, Machine
from tiler.engine.stages import held_bytes as held_by_graphs
from tiler.errors import ResourceError
from tiler.planning import homes, measured, room
from tiler.planning import plan as planning
from tiler.planning.plan import Plan, plan_job
from tiler.planning.probe import _line
from tiler.planning.room import check_room
from tiler.planning.speed import Speed
from tiler.planning.words import size
from tiler.request import resolve
from tiler.request.config import RenderConfig
from tiler.style.layers import NAMES
from tiler.style.trunk import Trunk

rendering = importlib.import_module("tiler.rendering")
BASE = RenderConfig("a.png", ("b.png",), "c.png", device="cpu", workers=1, threads=1, precision="bf16", tile=256)
SPEED = Speed(
    start=3, task=0.01, one_step=(0.01, 1e-6), one_measure=(0.005, 2e-7), one_round=(0, 0), one_held_round=(0, 0)
)


@pytest.fixture(autouse=True, scope="module")
def narrow_weights():
    trunk = Trunk({f"relu{name}": 64 for name in NAMES}, "0" * 64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolve, "trunk_of", lambda source: trunk)
        yield


def job_of(content=(300, 400), style=(200, 300), machine: Machine = ANY, **values):
    pictures = [SimpleNamespace(height=height, width=width, in_part=False) for height, width in (content, style)]
    return resolve.resolve_config(replace(BASE, **values), pictures[0], pictures[1:], machine)


def with_part(job, name, **values):
    """The job with other values in one of its records."""
    return replace(job, **{name: replace(getattr(job, name), **values)})


def planned(speed: Speed | None = None, **values) -> Plan:
    return plan_job(*job_of(**values), speed=speed)


# Arithmetic -------------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(
    edge=st.integers(128, 1200),
    tile=st.integers(8, 40).map(lambda n: 16 * n),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    mode=st.sampled_from(["fast", "exact"]),
    steps=st.sampled_from([None, 0, 3]),
)
def test_twice_the_size_never_needs_less(edge, tile, shape, mode, steps):
    # Not every larger size: 257 px are cut into two tiles of about 128, which need less memory than one of 256.
    values = dict(content=(shape[0] * 50, shape[1] * 50), tile=tile, mode=mode, steps=steps)
    small = planned(SPEED, long_edge=edge, **values)
    # In pixels: twice a long edge may have a level of one row fewer.
    large = planned(SPEED, size=f"{2 * small.width}x{2 * small.height}", **values)
    for name in ("memory_bytes", "store_bytes", "kept_bytes", "output_bytes", "steps", "tile_steps", "seconds"):
        assert getattr(large, name) >= getattr(small, name), name
    assert min(small.memory_bytes, small.store_bytes, small.output_bytes, small.seconds) > 0


def test_memory_depends_on_the_tile_and_not_on_the_size():
    def memory(**values) -> int:
        return planned(state="store", **values).memory_bytes

    sizes = [memory(long_edge=edge, content=(400, 400)) for edge in (1024, 4096)]
    assert sizes[1] < 1.15 * sizes[0]
    assert memory(long_edge=4096, tile=512) > memory(long_edge=4096, tile=256)


def test_more_workers_need_more_memory_and_less_time():
    one, two = planned(SPEED, long_edge=2048), planned(SPEED, long_edge=2048, workers=2)
    assert 1.5 * one.memory_bytes < two.memory_bytes < 2 * one.memory_bytes
    assert one.seconds / 2 < two.seconds < one.seconds
    assert one.store_bytes == two.store_bytes
    elsewhere = planned(long_edge=2048, scheduler="tcp://host:1")
    assert elsewhere.memory_bytes < one.memory_bytes / 2


# (content and style, options, pixels of the largest tile as they count, bytes of what is kept of the inputs)
COUNTED = [
    # A level's tiles of 96 x 128 with a halo of 16 at their inner edges; the style's one tile has more, to be measured.
    (((300, 400), (200, 300)), dict(tile=128), 0.6 * 171 * 256, 4 * 112 * 144 * 64 // 64 * 2),
    # Where it is a large one it takes less than a step; of four times the size it is cut, and takes more.
    (((300, 400), (200, 300)), dict(tile=512), 192 * 256, 192 * 256 * 2),
    (((300, 400), (900, 900)), dict(tile=512, style_scale=(4.0,)), 0.6 * 544 * 544, 192 * 256 * 2),
    (((400, 300), (900, 900)), dict(tile=512, style_scale=(4.0,)), 0.6 * 544 * 544, 192 * 256 * 2),
]


@pytest.mark.parametrize(("pictures", "values", "pixels", "inputs"), COUNTED)
@pytest.mark.parametrize(("precision", "item", "a_pixel"), [("bf16", 2, 1450), ("fp32", 4, 2700)])
@pytest.mark.parametrize("workers", [1, 3])
def test_memory_counted_by_hand(pictures, values, pixels, inputs, precision, item, a_pixel, workers):
    """Workers, their weights twice, their largest tiles; and four copies of 128 rows of the poster in the client, to
    which an overlay adds three."""
    values = dict(values, content=pictures[0], style=pictures[1], long_edge=256, levels=1, feather=0, halo=16)
    values.update(state="store", precision=precision, workers=workers)
    each = 500e6 + 26e6 * item + pixels * a_pixel * 1.15
    rows = 12 * 128 * planned(**values).width
    whole = 270e6 + workers * each + inputs * item / 2
    assert planned(**values).memory_bytes == pytest.approx(whole + 4 * rows, abs=1)
    assert planned(overlay="o.png", **values).memory_bytes == pytest.approx(whole + 7 * rows, abs=1)
    assert planned(**values).worker_bytes == pytest.approx(each + inputs * item / 2 / workers, abs=1)
    assert planned(**values, scheduler="tcp://host:1").memory_bytes == pytest.approx(270e6 + 4 * rows, abs=1)


def _array(counts, plain, ratio=1.0, written=1.0):
    """Bytes of an array: blocks for every chunk, for folders of all indices but the last, and three of its own. counts:
    of chunks along each axis; plain: bytes of all of them."""
    chunks = math.prod(counts)
    folders = sum(math.prod(counts[: n + 1]) for n in range(len(counts) - 1))
    blocks = chunks * math.ceil((plain / chunks * ratio + 4) / 4096) + folders
    return (math.ceil(blocks * written) + 3) * 4096


def _picture(height, width, channels=3):
    """16 bits, in chunks of up to 128 rows and 512 columns, packed to 0.7."""
    return _array((1, -(-height // 128), -(-width // 512)), channels * height * width * 2, 0.7)


def _state(tiles, regions, slots):
    """Of patches of 96 x 128 and 64 channels at five layers; all but moments are there from the start."""
    patch = 96 * 128 * 2 * tiles
    grams = 5 * _array((2, tiles, regions, 1, 1), 2 * tiles * regions * 65 * 64 * 4, written=slots)
    few = [((2, tiles, 1), 2 * tiles * regions), ((2, tiles, 1), 2 * tiles * 2 * 8), ((2, tiles), 2 * tiles * 4)]
    return (
        grams
        + sum(_array(counts, plain, written=slots) for counts, plain in few)
        + _array((2, tiles, 1, 1, 1), patch * 3 * 4, 0.79, slots)
    )


def _moments(tiles, slots):
    return _array((2, tiles, 2, 1, 1), 96 * 128 * 2 * tiles * 6 * 2, 0.7, slots)


def test_disk_counted_by_hand():
    """Two levels, of one tile and one round, and of four tiles and two rounds; all that may lie beside them."""
    values = dict(content=(300, 400), long_edge=256, levels=2, tile=128, feather=0, halo=16, steps=4)
    values.update(steps_per_round=2, state="store")
    config, job = job_of(**values)
    job = with_part(job, "cut", levels=(replace(job.cut.levels[0], steps=2), job.cut.levels[1]))
    totals = 6 * _array((1, 1, 1), 65 * 64 * 4) + _array((1, 1, 1), 2 * 4)

    def disk(changed=job, level=1, has_alpha=False):
        found = plan_job(config, changed, has_alpha).levels[level]
        return found.working_bytes, found.kept_bytes

    images = _array((1, 8, 1), 3 * 96 * 128 * 2, 0.94), _array((1, 16, 2), 3 * 192 * 256 * 2, 0.94)
    small = _picture(96, 128) + _picture(85, 128) + totals + _state(1, 1, 1) + _moments(1, 0.5)
    large = _picture(192, 256) + _picture(171, 256) + totals + _state(4, 1, 1) + _moments(4, 1)
    assert (disk(level=0), disk()) == ((small, images[0]), (large, images[1]))
    detail = with_part(job, "look", keep_detail=True)
    assert (disk(detail, 0), disk(detail)) == ((small, images[0]), (large + _picture(96, 128), images[1]))
    protected = with_part(job, "terms", protect_strength=1.0)
    assert disk(protected, 0)[0] == small + _picture(96, 128, 1)
    assert disk(protected)[0] == large + _picture(96, 128) + _picture(192, 256, 1)
    guided = with_part(job, "styles", guided=True, regions=("sea", "ice"))
    assert disk(guided)[0] == large + _picture(192, 256, 2) + _state(4, 2, 1) - _state(4, 1, 1)
    assert disk(with_part(job, "styles", masked=(True,)))[0] == large + _picture(171, 256, 1)
    assert disk(has_alpha=True) == (large, images[1] + _picture(192, 256, 1))
    assert disk(with_part(job, "look", color="content")) == (large, 2 * images[1])
    begun = with_part(job, "look", init="picture")
    assert [disk(begun, k)[1] for k in (0, 1)] == [images[0] + _picture(96, 128), images[1]]
    still = with_part(job, "cut", levels=tuple(replace(level, steps=0) for level in job.cut.levels))
    never = [((2, 4, 1, 1, 1), 1)] * 5 + [((2, 4, 1), 1)] * 2 + [((2, 4), 1)]
    start = _array((2, 4, 1, 1, 1), 4 * 2 * 96 * 128 * 12, 0.79, 0.5) + _moments(4, 0)
    assert disk(still)[0] == start + sum(_array(counts, plain, written=0) for counts, plain in never)


def test_the_pictures_pixels_are_there_until_the_finest_level_has_seen_them():
    """Its own pictures are made while the level before is rendered."""
    config, job = job_of(long_edge=1000, levels=3, steps=4, tile=256, state="store")

    def peak(pixels: int) -> int:
        return plan_job(config, job, pictures_bytes=pixels).store_bytes

    levels = plan_job(config, job).levels
    last = levels[0].kept_bytes + levels[1].kept_bytes + levels[2].working_bytes + levels[2].kept_bytes
    assert peak(0) == peak(10**5) == last
    before = levels[0].kept_bytes + levels[1].working_bytes + levels[1].kept_bytes
    styles = sum(_picture(*sizes) for sizes in job.styles.sizes[2])
    assert peak(10**9) == before + _picture(750, 1000) + styles + 10**9
    plan = plan_job(replace(config, output="x.tif"), job, pictures_bytes=7)
    assert (plan.pictures_bytes, plan.spare_bytes) == (7, 3 * (375 * 500 + 188 * 250))
    config, job = job_of(long_edge=300, levels=1, steps=4, state="store")
    assert plan_job(config, job, pictures_bytes=10**9).store_bytes == 10**9 + _picture(225, 300) + _picture(200, 300)


def test_precision_sets_memory():
    in_bf16, in_fp32 = (planned(long_edge=2048, tile=512, precision=kind).memory_bytes for kind in ("bf16", "fp32"))
    assert in_bf16 < in_fp32 < 2.1 * in_bf16


def test_levels_add_up():
    plan = planned(SPEED, long_edge=1000)
    assert [(one.height, one.width) for one in plan.levels][-1] == (plan.height, plan.width) == (750, 1000)
    assert plan.kept_bytes == sum(one.kept_bytes for one in plan.levels)
    last = plan.levels[-1]
    assert plan.store_bytes == plan.kept_bytes + last.working_bytes
    assert plan.steps == sum(one.steps for one in plan.levels)
    assert plan.tile_steps == sum(one.steps * one.tiles for one in plan.levels)
    assert plan.seconds > SPEED.start + sum(one.seconds for one in plan.levels) > plan.seconds * 0.9
    assert planned(long_edge=1000).seconds is None
    assert json.loads(json.dumps(plan.to_dict()))["levels"][0]["tiles"] == 1


def test_time_follows_the_steps():
    few, many = (planned(SPEED, long_edge=1000, steps=steps) for steps in (10, 20))
    work = sum(10 * SPEED.step(tile.read.area) for k in range(3) for tile in job_of(long_edge=1000)[1].cut.grid(k))
    assert many.seconds - few.seconds == pytest.approx(work, rel=0.2)


def test_a_line_through_two_timings_never_falls():
    points = [{"pixels": 100, "step": 2.0}, {"pixels": 300, "step": 4.0}]
    assert _line(points, "step") == pytest.approx((1.0, 0.01))
    assert _line(points[:1], "step") == pytest.approx((0.0, 0.02))
    for late in (1.0, 30.0):  # noise: the larger tile was faster, or slower per pixel
        constant, slope = _line([points[0], {"pixels": 300, "step": late}], "step")
        assert constant >= 0
        assert slope > 0
        assert constant + slope * 300 == pytest.approx(late)


# Refusals ---------------------------------------------------------------------------------------------------------


def disk_with(monkeypatch, free: int) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda place: SimpleNamespace(free=free))


def with_memory(free: int, **values) -> Machine:
    return Machine(host=Host(free_bytes=free), **values)


def refusal(tmp_path: Path, machine: Machine = ANY, **values) -> str:
    config, job = job_of(**{"long_edge": 2048, "output": str(tmp_path / "poster.png"), **values}, machine=machine)
    with pytest.raises(ResourceError) as error:
        check_room(plan_job(config, job, machine=machine), config, job, str(tmp_path / "job.zarr"), machine=machine)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_too_little_disk_says_how_much_would_do(tmp_path, monkeypatch):
    plan = planned(long_edge=2048)
    disk_with(monkeypatch, plan.store_bytes // 2)
    message = refusal(tmp_path)
    assert message.startswith(f"--store {tmp_path / 'job.zarr'}: needs about {math.ceil(plan.store_bytes / 1e6)} MB")
    assert "another place" in message
    disk_with(monkeypatch, 1000)  # for the poster neither
    assert refusal(tmp_path).startswith(f"--store {tmp_path / 'job.zarr'}: needs about ")
    disk_with(monkeypatch, plan.store_bytes + plan.output_bytes)
    config, job = job_of(long_edge=2048, output=str(tmp_path / "poster.png"))
    check_room(plan, config, job, str(tmp_path / "job.zarr"))


def test_what_a_begun_job_holds_counts(tmp_path, monkeypatch):
    config, job = job_of(long_edge=2048, output=str(tmp_path / "poster.png"))
    plan = plan_job(config, job)
    disk_with(monkeypatch, plan.store_bytes - 8_000_000)
    refusal(tmp_path)
    (tmp_path / "job.zarr" / "c").mkdir(parents=True)
    (tmp_path / "job.zarr" / "c" / "0").write_bytes(b"x" * 9_000_000)
    check_room(plan, config, job, str(tmp_path / "job.zarr"))


@pytest.mark.parametrize(("kept", "need"), [(0, 700), (650, 700), (651, 701), (900, 950)])
def test_a_disk_holds_what_is_there_at_once_to_the_byte(kept, need, tmp_path, monkeypatch):
    """At first the store with all that it holds for a while; in the end what it keeps, and the poster."""
    config, _ = job_of(output=str(tmp_path / "poster.png"))
    plan = SimpleNamespace(store_bytes=700, kept_bytes=kept, output_bytes=30, tiles_bytes=0, spare_bytes=20)
    url = str(tmp_path / "job.zarr")
    for held, free in ((0, need), (100, need - 100)):
        monkeypatch.setattr(room, "_held_bytes", lambda place, held=held: held if place == url else 0)
        disk_with(monkeypatch, free)
        room.check_disk(plan, config, url)
        disk_with(monkeypatch, free - 1)
        short = r"^--store .*job\.zarr: needs about 1 MB of disk, 1 MB more than are free; free that, or "
        with pytest.raises(ResourceError, match=short):
            room.check_disk(plan, config, url)
    disk_with(monkeypatch, 49)
    with pytest.raises(ResourceError, match=r"^-o .*poster\.png: needs about "):
        room.check_disk(plan, config, "s3://bucket/job.zarr")


def test_only_the_poster_needs_room_where_the_store_is_elsewhere(tmp_path, monkeypatch):
    config, job = job_of(long_edge=2048, output=str(tmp_path / "poster.png"))
    plan = plan_job(config, job)
    disk_with(monkeypatch, plan.output_bytes)
    check_room(plan, config, job, "s3://bucket/job.zarr")
    disk_with(monkeypatch, plan.output_bytes - 1)
    with pytest.raises(ResourceError, match=r"-o .*poster.png: needs about"):
        check_room(plan, config, job, "s3://bucket/job.zarr")


def test_too_little_memory_names_a_tile_that_would_do(tmp_path):
    need = planned(long_edge=2048, tile=512, state="store").memory_bytes - int(planning.CLIENT_BYTES)
    for state in ("store", "auto"):  # there is no room for more than the tiles
        message = refusal(tmp_path, with_memory(need), tile=1024, state=state)
        assert message.endswith("--tile 512 would do")
        assert "of memory and" in message
        assert refusal(tmp_path, with_memory(need - 1), tile=1024, state=state).endswith("--tile 256 would do")
        assert refusal(tmp_path, with_memory(10**6), tile=1024, state=state).endswith("allowed: a machine with more")
    assert "allowed: fewer --workers, or a machine with more" in refusal(
        tmp_path, with_memory(10**6), tile=1024, workers=2
    )


def test_the_memory_of_the_workers_machine_counts_not_of_this_one(tmp_path):
    cluster = dict(scheduler="tcp://host:1", tile=512, state="store")
    config, job = job_of(
        long_edge=2048, output=str(tmp_path / "poster.png"), machine=Machine(workers=6, host=Host(workers=2)), **cluster
    )
    need = 2 * plan_job(config, job).worker_bytes
    for free, fits in ((need, True), (need - 1, False)):
        machine = Machine(workers=6, host=Host(workers=2, free_bytes=free))
        if fits:
            config, job = job_of(long_edge=2048, output=str(tmp_path / "poster.png"), machine=machine, **cluster)
            check_room(plan_job(config, job, machine=machine), config, job, "s3://b/j", machine=machine)
        else:
            message = refusal(tmp_path, machine, **cluster)
            assert "of memory on a worker's machine and" in message
            assert "--workers" not in message


def test_a_begun_job_keeps_its_tiles(tmp_path):
    """Another --tile would be refused as another job."""
    config, job = job_of(long_edge=2048, tile=1024, workers=2, output=str(tmp_path / "poster.png"))
    plan = plan_job(config, job)
    machine = with_memory(plan.memory_bytes - int(planning.CLIENT_BYTES) - 10**7)
    with pytest.raises(ResourceError, match=r"free 10 MB more, repeat tiler render with fewer --workers, ") as error:
        check_room(plan, config, job, str(tmp_path / "job.zarr"), begun=True, machine=machine)
    assert "--tile" not in str(error.value)
    assert "--force-new" in str(error.value)


def test_a_job_begun_on_a_gpu_needs_one_somewhere(tmp_path):
    config, job = job_of(long_edge=200, output=str(tmp_path / "poster.png"))
    job = with_part(job, "device", kind="cuda")
    plan = plan_job(config, job)
    with pytest.raises(ResourceError, match=r"job\.zarr: was begun on a GPU, and torch finds none here; .*--scheduler"):
        check_room(plan, config, job, str(tmp_path / "job.zarr"))
    gpu = Gpus(1, 1, plan.gpu_bytes, "H100")
    check_room(plan, config, job, str(tmp_path / "job.zarr"), machine=Machine(gpus=gpu))


# GPUs -------------------------------------------------------------------------------------------------------------

ON_GPU = dict(device="auto", long_edge=2048, tile=512, workers=None, state="device")


def test_machines_share_what_is_held() -> None:
    """Two workers on each of two machines: half of it, and what two are busy with."""
    job = SimpleNamespace(device=SimpleNamespace(kind="cpu"))
    host = SimpleNamespace(workers=2, free_bytes=1000)
    for workers, need in ((2, 600 + 2 * 10), (4, 300 + 2 * 10)):
        [found] = homes._needs(job, (400, 200), SimpleNamespace(host=host, gpus=None), 10, workers)  # type: ignore[arg-type]
        assert (found.what, found.need, found.may) == ("memory", need, homes.SHARE * 1000)


def test_workers_that_share_a_gpu_add_up(tmp_path):
    """What a level keeps is spread over them; what a tile takes while it is computed each of them needs."""

    def gpu_bytes(workers: int, count: int) -> int:
        machine = Machine(gpus=Gpus(count, 1, 2**40, "H100"))
        config, job = job_of(machine=machine, **{**ON_GPU, "workers": workers})
        return plan_job(config, job, machine=machine).gpu_bytes

    # The largest tile reads 576 x 640 (two of 512 are balanced, halo and feather at inner edges only).
    _, job = job_of(**{**ON_GPU, "device": "cpu"})
    read = max(tile.read.area for level in range(len(job.cut.levels)) for tile in job.cut.grid(level))
    each = read * 1450 * 1.15 * 0.78 + 26e6 * 2 + 500e6
    last = job.cut.grid(len(job.cut.levels) - 1)
    # Graphs: the memory of one update once more; what tiles of a kind are copied to, and the driver's, of each kind.
    kinds = {(tile.core.relative_to(tile.read), tile.read.height, tile.read.width) for tile in last}
    assert len(kinds) == 9
    each += read * 1450 * 1.15 * 0.78 + sum(height * width for _, height, width in kinds) * 64 + 9 * 2**20
    # Of each patch float32 pixels, bfloat16 moments, and Grams of 64 channels at five layers; of the content bfloat16
    # features, 64 of them at a stride of 8. Of three rows of four tiles there are at once all patches, a new column,
    # and two more; shares do what others see first, so less of the state before is over early.
    patch = max(tile.blend.area for tile in last) * (3 * 4 + 6 * 2) + 5 * 65 * 64 * 4
    patches = {1: 17, 2: 22, 3: 22, 4: 24}
    inputs = sum(tile.read.area for tile in last) * 64 / 64 * 2
    for workers, count, sharing, cards in (
        (1, 1, 1, 1),
        (2, 1, 2, 1),
        (3, 1, 3, 1),
        (4, 2, 2, 2),
        (3, 2, 2, 2),
        (1, 2, 1, 1),
    ):
        kept = patches[workers] * patch + inputs
        assert gpu_bytes(workers, count) == pytest.approx(sharing * each + kept / cards, rel=1e-6)


@pytest.mark.parametrize("state", ["device", "host", "store"])
@pytest.mark.parametrize("short_of", ["GPU memory", "memory"])
def test_on_a_gpu_both_memories_must_do(short_of, state, tmp_path):
    on_gpu = {**ON_GPU, "state": state}
    enough = Machine(gpus=Gpus(1, 1, 2**40, "H100"))
    plan = plan_job(*job_of(machine=enough, **on_gpu), machine=enough)
    host = plan.memory_bytes - int(planning.CLIENT_BYTES)
    fits = Machine(host=Host(free_bytes=host), gpus=Gpus(1, 1, plan.gpu_bytes, "H100"))
    config, job = job_of(machine=fits, **{**on_gpu, "output": str(tmp_path / "poster.png")})
    check_room(plan_job(config, job, machine=fits), config, job, str(tmp_path / "job.zarr"), machine=fits)
    if short_of == "memory":
        lacks = replace(fits, host=Host(free_bytes=host - 1))
    else:
        lacks = replace(fits, gpus=Gpus(1, 1, plan.gpu_bytes - 1, "H100"))
    message = refusal(tmp_path, lacks, **on_gpu)
    assert f" of {short_of} and " in message


@pytest.mark.parametrize(
    ("options", "graphs"),
    [
        ({}, (1, 1)),
        ({"optimizer": "lbfgs"}, (0, 0)),
        ({"device": "cpu"}, (0, 0)),
        ({"jitter": 3, "content_weight": 0}, (1, 64)),
        ({"long_edge": 1700, "tile": 2048}, (0, 0)),
    ],
    ids=str,
)
def test_graphs_take_memory_where_they_are_recorded(options, graphs):
    """Of small tiles, of a GPU: (stages, graphs)."""
    machine = Machine(gpus=Gpus(1, 1, 2**50, "H100"))
    values = {**ON_GPU, "long_edge": 320, "levels": 1, "steps": 4, **options}
    _, job = job_of(machine=machine, **values)
    [tile] = job.cut.grid(0)
    stages, recorded = graphs
    expected = stages * tile.read.area * (1000 + 64) + recorded * 2**20
    assert held_by_graphs(job, 0, 1000) == expected


# Where state lives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edge", [300, 1024, 4096])
def test_a_home_takes_what_it_holds_where_it_lies(edge):
    """On a GPU with one worker: state and inputs, inputs and state, or a bounded part of the inputs."""
    machine = Machine(gpus=Gpus(1, 1, 2**50, "H100"))

    def of(state: str) -> Plan:
        values = {**ON_GPU, "long_edge": edge, "levels": 1, "steps": 4, "state": state}
        return plan_job(*job_of(machine=machine, **values), machine=machine)

    _, job = job_of(machine=machine, **{**ON_GPU, "long_edge": edge, "levels": 1, "steps": 4})
    state, inputs = homes.state_bytes(job, 0, 1), homes.inputs_bytes(job, 0)
    device, host, store = map(of, ("device", "host", "store"))
    assert [plan.levels[0].home for plan in (device, host, store)] == ["device", "host", "store"]
    assert device.gpu_bytes - host.gpu_bytes == pytest.approx(state, abs=2)
    assert host.memory_bytes - device.memory_bytes == pytest.approx(state, abs=2)
    assert host.gpu_bytes - store.gpu_bytes == pytest.approx(max(0, inputs - 2**27), abs=2)
    assert device.memory_bytes == store.memory_bytes
    assert device.store_bytes == host.store_bytes == store.store_bytes


def test_what_a_level_holds_counted_by_hand():
    """Two tiles of 64 x 64 in a level of 64 x 128, a feather of 8 and a halo of 16."""
    values = dict(content=(64, 128), style=(64, 64), long_edge=128, levels=1, tile=64, feather=8, halo=16)
    layers = dict(style_layers=("relu1_1", "relu2_1"), content_layers=("relu3_1",))
    _, job = job_of(steps=2, **values, **layers)
    assert [(one.blend.area, one.read.area) for one in job.cut.grid(0)] == [(64 * 72, 64 * 88)] * 2
    # bf16: float32 pixels and bfloat16 moments, two Grams of 64 x 64 a tile; features of 64 channels at a stride of 4.
    assert homes.state_bytes(job, 0, 1) == 2 * (2 * 64 * 72 * (12 + 12) + 2 * 2 * 65 * 64 * 4)
    assert homes.inputs_bytes(job, 0) == 2 * 64 * 88 // 16 * 64 * 2
    _, exact = job_of(steps=2, **{**values, **layers, "mode": "exact", "precision": "fp64"})
    assert homes.state_bytes(exact, 0, 1) == 2 * (2 * 64 * 72 * 9 * 8 + 2 * 2 * 65 * 64 * 8)
    assert homes.inputs_bytes(exact, 0) == 2 * 64 * 88 // 16 * 64 * 8
    _, still = job_of(steps=0, **values, **layers)
    assert homes.state_bytes(still, 0, 1) == homes.state_bytes(job, 0, 1) // 2
    assert homes.inputs_bytes(still, 0) == 0
    # Guides at both style layers for two regions, what is usual there, and what is protected at the content's.
    guided = with_part(with_part(job, "styles", guided=True, regions=("sea", "ice")), "terms", protect_strength=1.0)
    assert homes.state_bytes(guided, 0, 1) == 2 * (2 * 64 * 72 * 24 + 2 * 2 * 2 * 65 * 64 * 4)
    planes = 2 * 64 * 88 * 4 * (2 * (1 + 1 / 4) + 2 + 1 / 16)
    assert homes.inputs_bytes(guided, 0) == homes.inputs_bytes(job, 0) + planes
    _, bare = job_of(steps=2, **{**values, **layers, "content_weight": 0})
    assert homes.inputs_bytes(bare, 0) == 0


@settings(max_examples=60)
@given(
    edge=st.integers(200, 6000),
    free=st.floats(1e9, 3e10),
    host=st.floats(1e9, 3e10),
    workers=st.integers(1, 4),
    gpus=st.integers(0, 2),
)
@example(edge=6000, free=3.9e9, host=3e10, workers=1, gpus=2)
@example(edge=1024, free=0, host=1.3e9, workers=1, gpus=0)
def test_auto_never_plans_more_than_its_share(edge, free, host, workers, gpus):
    """Of any memory, all that workers take there; where that is too much the state is in the store."""
    cards = Gpus(gpus, -(-workers // gpus), int(free), "H100") if gpus else None
    machine = Machine(host=Host(workers=workers, free_bytes=int(host)), gpus=cards)
    values = dict(device="cuda" if gpus else "cpu", long_edge=edge, workers=workers, state="auto", tile=256)
    config, job = job_of(machine=machine, **values)
    plan = plan_job(config, job, machine=machine)
    least = plan_job(replace(config, state="store"), job, machine=machine)
    of_workers, at_least = (one.memory_bytes - planning._client_bytes(config, job) for one in (plan, least))
    if gpus:
        assert plan.gpu_bytes <= max(homes.SHARE * free, least.gpu_bytes) + 1
        in_host = [homes.state_bytes(job, level.level, workers) for level in plan.levels if level.home == "host"]
        assert max(in_host, default=0) <= homes.SHARE * host + 1
    else:
        assert {level.home for level in plan.levels} <= {"device", "store"}
        assert of_workers <= max(homes.SHARE * host, at_least) + 1


def homes_of(machine: Machine, **values) -> list[str]:
    config, job = job_of(machine=machine, **{"long_edge": 4096, "workers": None, "device": "auto", **values})
    return [level.home for level in plan_job(config, job, machine=machine).levels]


def test_levels_that_are_too_large_go_where_there_is_more_room():
    """4096 px hold 12.6 million pixels, about 0.7 GB of state; the levels below are a quarter each."""
    _, job = job_of(long_edge=4096)
    last = len(job.cut.levels) - 1
    held = [homes.state_bytes(job, k, 1) + homes.inputs_bytes(job, k) for k in range(last + 1)]
    # Beside a tile: a worker, or what a process holds of a GPU, and the weights; the same here.
    busy, on_gpu = (
        planning._tile_bytes(replace(job, device=replace(job.device, kind=name))) + 500e6 + 52e6
        for name in ("cpu", "cuda")
    )

    def free(level: int, busy: float = busy) -> int:
        """What the level before needs, and a little more, but not enough for the level."""
        return int((1.5 * held[level - 1] + busy) / homes.SHARE)

    assert homes_of(ANY) == ["device"] * (last + 1)
    assert homes_of(with_memory(free(last))) == ["device"] * last + ["store"]
    assert homes_of(with_memory(free(last - 1))) == ["device"] * (last - 1) + ["store"] * 2
    for host, beyond in ((2**40, "host"), (int(held[0] / homes.SHARE), "store")):
        machine = with_memory(host, gpus=Gpus(1, 1, free(last, on_gpu), "H100"))
        assert homes_of(machine) == ["device"] * last + [beyond]
    # Two cards hold half of it each.
    twice = Machine(gpus=Gpus(2, 1, int((0.6 * held[last] + on_gpu) / homes.SHARE), "H100"))
    assert homes_of(twice)[last] == "device"
    assert homes_of(replace(twice, gpus=replace(twice.gpus, count=1)))[last] == "host"


def test_what_is_not_optimised_is_not_held_in_memory():
    """However much there is: a picture of any size goes through."""
    count = len(job_of(long_edge=4096)[1].cut.levels)
    assert homes_of(ANY, steps=(2, *(0,) * (count - 1))) == ["device"] + ["store"] * (count - 1)


@pytest.mark.parametrize("state", ["device", "host", "store"])
def test_a_home_that_is_asked_for_is_taken(state):
    assert set(homes_of(with_memory(10**9), state=state)) == {state}


def test_a_home_is_told_with_what_it_takes():
    _, job = job_of(long_edge=2048, levels=1, steps=1)
    held = homes.state_bytes(job, 0, 1) + homes.inputs_bytes(job, 0)

    def told(asked: str, job: Job, host: int, gpus: Gpus | None = None) -> str:
        [home] = homes.homes(job, asked, Machine(host=Host(free_bytes=host), gpus=gpus), 1e9, 1)
        return f"{home.where}: {home.why}"

    need = size(held + 1e9)
    assert told("host", job, 1) == "host: as --state host says"
    assert told("auto", job, 10**10) == f"device: it takes {need} of the 6.0 GB that may be taken of memory"
    assert told("auto", job, 10**9) == f"store: it would take {need} of the 600 MB that may be taken of memory"
    job = replace(job, device=replace(job.device, kind="cuda"))
    inputs, state = homes.inputs_bytes(job, 0), size(homes.state_bytes(job, 0, 1))
    card = Gpus(1, 1, int((inputs + 1e9) / homes.SHARE) + 1, "H100")
    large = replace(card, free_bytes=10**11)
    assert (
        told("auto", job, 10**9, large) == f"device: it takes {need} of the 60.0 GB that may be taken of a GPU's memory"
    )
    assert (
        told("auto", job, 10**10, card)
        == f"host: it takes {state} of the 6.0 GB that may be taken of the host's memory"
    )
    assert (
        told("auto", job, 0, card) == f"store: it would take {state} of the 0 MB that may be taken of the host's memory"
    )


# The command line -------------------------------------------------------------------------------------------------


def run(arguments, monkeypatch, capsys) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["tiler", *arguments])
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> Path:
    from PIL import Image

    Image.new("RGB", (120, 90), "teal").save(tmp_path / "content.png")
    Image.new("RGB", (60, 90), "tan").save(tmp_path / "style.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_plan_for_people_and_for_machines(pictures, monkeypatch, capsys):
    monkeypatch.setattr("tiler.planning.probe.probe", lambda *arguments: SPEED)
    monkeypatch.setattr(measured, "Pool", lambda *arguments: contextlib.nullcontext())
    monkeypatch.setattr(measured, "ask", lambda pool: ANY)
    arguments = ["plan", "content.png", "style.png", "--long-edge", "700", "--tile", "256", "--device", "cpu"]
    code, text, _ = run(arguments, monkeypatch, capsys)
    assert code == 0
    for word in ("700 x 525 px", "level 3", "memory:", "disk:", "for the poster", "steps:", "time:"):
        assert word in text
    code, text, _ = run([*arguments, "--json"], monkeypatch, capsys)
    facts = json.loads(text)
    assert (facts["height"], facts["width"], len(facts["levels"])) == (525, 700, 3)
    draft, standard, best = (facts["qualities"][name] for name in ("draft", "standard", "best"))
    assert 0 < draft < standard == facts["seconds"] < best
    code, text, _ = run(["plan", "content.png", *arguments[3:], "--json"], monkeypatch, capsys)
    assert code == 0
    assert json.loads(text)["steps"] == facts["steps"]
    assert sorted(path.name for path in pictures.iterdir()) == ["content.png", "style.png"]
    assert facts["refusal"] == ""
    disk_with(monkeypatch, 1000)
    code, text, _ = run(arguments, monkeypatch, capsys)
    last = text.splitlines()[-1]
    assert code == 0
    assert last.startswith("as things are now, tiler render would refuse it: --store ")
    assert "more than are free" in last


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--size", "300x300"], "cropped to the middle"),
        (["--long-edge", "300", "--wrap", "x"], "304 x 225 px instead of 300 x 225"),
        (["-o", "content.png"], "would replace one of the inputs"),
    ],
)
def test_a_plan_says_of_a_wish_what_a_render_would(options, said, pictures, monkeypatch, capsys):
    monkeypatch.setattr("tiler.planning.probe.probe", lambda *arguments: SPEED)
    monkeypatch.setattr(measured, "Pool", lambda *arguments: contextlib.nullcontext())
    monkeypatch.setattr(measured, "ask", lambda pool: ANY)
    code, _, errors = run(["plan", "content.png", "style.png", "--device", "cpu", *options], monkeypatch, capsys)
    assert code == (2 if "-o" in options else 0)
    assert said in errors


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["plan"], "CONTENT"),
        (["plan", "none.png"], "none.png"),
        (["plan", "content.png", "--long-edge", "0"], "long_edge = 0"),
        (["plan", "content.png", "-o", "nowhere/poster.png"], "nowhere"),
    ],
)
def test_wrong_use_of_plan(arguments, word, pictures, monkeypatch, capsys):
    code, _, text = run(arguments, monkeypatch, capsys)
    assert code == 2
    assert word in text
    assert len(text.strip().splitlines()) == 1


@pytest.mark.parametrize("short_of", ["disk", "memory"])
def test_a_render_that_cannot_fit_is_refused_at_once(short_of, pictures, monkeypatch, capsys):
    def no_machine(*arguments):
        raise AssertionError("nothing of a machine is needed to know that")

    if short_of == "disk":
        disk_with(monkeypatch, 10_000)
        monkeypatch.setattr(rendering, "Pool", no_machine)
    else:
        monkeypatch.setattr(rendering, "Pool", lambda *arguments: contextlib.nullcontext())
        monkeypatch.setattr(rendering, "ask", lambda pool: with_memory(10**7))
    code, _, text = run(["render", "content.png", "style.png", "-o", "p.png"], monkeypatch, capsys)
    assert code == 2
    assert "need" in text
    assert len(text.strip().splitlines()) == 1
    assert sorted(path.name for path in pictures.iterdir()) == ["content.png", "style.png"]


# Golden numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("content", "size"), [((300, 400), (192, 256)), ((400, 300), (256, 192))])
@pytest.mark.parametrize(("state", "around"), [("device", 0.1), ("store", 0.3)])
def test_seconds_are_steps_rounds_measurements_and_tasks(content, size, state, around):
    """One level of four tiles, counted by hand, in either shape."""
    speed = Speed(
        start=3, task=0.01, one_step=(0.5, 0), one_measure=(0.2, 0), one_round=(0.3, 0), one_held_round=(0.1, 0),
        move=1e-6, write=5e-7, write_png=1e-7,
    )  # fmt: skip
    values = dict(content=content, long_edge=256, levels=1, steps=6, tile=128, steps_per_round=2, feather=0, halo=16)
    values["state"] = state
    _, job = job_of(**values)
    tiles, styles = len(job.cut.grid(0)), len(job.style_grid(0, 0))
    plan = planned(speed, **values)
    assert (plan.height, plan.width, tiles, plan.levels[0].rounds, styles) == (*size, 4, 3, 1)
    # 6 steps, 3 rounds, 1 look at the content, which is kept; measured at the start; one style tile.
    work = 4 * (6 * 0.5 + 3 * around + 0.2) + 4 * 0.2 + 0.2 + 1e-6 * 192 * 256
    # Beginning, finishing and letting go; measuring and all rounds; the style; adding up.
    assert plan.seconds == pytest.approx(3 + work + (3 + 2 + 1 + 1) * 0.01 + 1e-7 * 192 * 256, rel=1e-9)
    # Of two blocks each, and border and interior in each of the rounds; the sum of each round is waited for.
    twice = planned(speed, workers=2, **values)
    tasks = (2 * 3 + 3 * 2 * 2 + 1) * 0.01 / 2 + 3 * 0.01
    assert twice.seconds == pytest.approx(3 + work / 2 + tasks + 1e-7 * 192 * 256, rel=1e-9)


def test_writing_takes_what_the_format_takes():
    """PNGs are made by several threads; map tiles come on top of the poster's file, if there is one."""
    speed = Speed(0, 0, (0, 0), (0, 0), (0, 0), (0, 0), move=0)
    pixels, values = 96 * 128, dict(long_edge=128, levels=1, steps=0)
    for files, per_pixel in (
        (dict(output="p.png"), 0.056e-6),
        (dict(output="P.PNG"), 0.056e-6),
        (dict(output="p.tif"), 0.15e-6),
        (dict(output=None, tiles="t"), 0.15e-6),
        (dict(output="p.png", tiles="t"), 0.206e-6),
    ):
        assert planned(speed, **values, **files).seconds == pytest.approx(per_pixel * pixels, rel=1e-9), files


@pytest.mark.parametrize(("state", "around"), [("store", 0.4), ("device", 0.05)])
def test_io_is_charged_to_rounds_and_not_to_steps(state, around):
    """On a GPU steps are a tenth of a round that goes through the store."""
    speed = Speed(
        start=0, task=0, one_step=(0.02, 0), one_measure=(0, 0), one_round=(0.4, 0), one_held_round=(0.05, 0), move=0,
        write_png=0,
    )  # fmt: skip
    one, two = (
        planned(speed, long_edge=128, levels=1, tile=64, steps=12, steps_per_round=n, feather=0, halo=16, state=state)
        for n in (2, 4)
    )
    tiles = one.levels[0].tiles
    assert (one.levels[0].rounds, two.levels[0].rounds) == (6, 3)
    assert one.seconds == pytest.approx(tiles * (12 * 0.02 + 6 * around))
    assert two.seconds == pytest.approx(tiles * (12 * 0.02 + 3 * around))


def test_the_poster_counts_on_the_stores_disk(tmp_path, monkeypatch):
    """The state is dropped before the poster is written, what stays of it is not."""
    config, job = job_of(long_edge=2048, output=str(tmp_path / "poster.png"), bits=16)
    plan = replace(plan_job(config, job), store_bytes=10**6, kept_bytes=10**6, output_bytes=10**6)
    disk_with(monkeypatch, 2 * 10**6 - 1)
    with pytest.raises(ResourceError, match=r"--store .*: needs about 2 MB of disk"):
        check_room(plan, config, job, str(tmp_path / "job.zarr"))
    disk_with(monkeypatch, 2 * 10**6)
    check_room(plan, config, job, str(tmp_path / "job.zarr"))


def test_what_regions_l_bfgs_and_webp_take_is_planned():
    def planned_bytes(regions=None, **options):
        config, job = job_of(long_edge=2048, **options)
        return plan_job(replace(config, **(regions or {})), job).memory_bytes

    plain = planned_bytes(output="p.png")
    assert planned_bytes(output="p.webp") - plain > 7 * 2048 * 1536 - 4 * 12 * 128 * 2048
    labels = {"labels": "l.png", "label": tuple(f"#0000{n:02x}=s.png" for n in range(32))}
    labels |= {"style_blend_weights": None, "style_scale": (1.0,), "style_layer_weights": ()}
    assert planned_bytes(labels, output="p.png") - plain > 32 * 6e6
    tile = {"tile": 2048, "optimizer": "lbfgs", "mode": "exact", "workers": 1, "output": "p.png"}
    assert planned_bytes(**tile) > planned_bytes(**{**tile, "optimizer": "adam"}) + 400 * 2048 * 1536


def test_a_plan_of_what_was_begun_says_that_it_is_of_all(pictures, monkeypatch, capsys):
    monkeypatch.setattr("tiler.planning.probe.probe", lambda *arguments: SPEED)
    monkeypatch.setattr(measured, "Pool", lambda *arguments: contextlib.nullcontext())
    monkeypatch.setattr(measured, "ask", lambda pool: ANY)
    arguments = ["plan", "content.png", "style.png", "--device", "cpu"]
    assert "holds a job" not in run(arguments, monkeypatch, capsys)[2]
    monkeypatch.setattr(measured.RenderStore, "exists", lambda url: url.endswith("poster.zarr"))
    assert "poster.zarr: holds a job; what it has done already is in these" in run(arguments, monkeypatch, capsys)[2]
