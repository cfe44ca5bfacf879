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
from hypothesis import given, settings
from hypothesis import strategies as st

from tiler.cli import main
from tiler.engine.machine import ANY, Gpus, Host, Machine
from tiler.errors import ResourceError
from tiler.planning import plan as planning
from tiler.planning import room
from tiler.planning.plan import Plan, plan_job
from tiler.planning.probe import Speed, _line
from tiler.planning.room import check_room
from tiler.request import resolve
from tiler.request.config import RenderConfig
from tiler.style.weights import NAMES, Trunk

rendering = importlib.import_module("tiler.render")
BASE = RenderConfig("a.png", ("b.png",), "c.png", device="cpu", workers=1, threads=1, precision="bf16", tile=256)
SPEED = Speed(start=3, task=0.01, one_step=(0.01, 1e-6), one_measure=(0.005, 2e-7))


@pytest.fixture(autouse=True, scope="module")
def narrow_weights():
    trunk = Trunk({f"relu{name}": 64 for name in NAMES}, "0" * 64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolve, "trunk_of", lambda source: trunk)
        yield


def job_of(content=(300, 400), style=(200, 300), machine: Machine = ANY, **values):
    pictures = [SimpleNamespace(height=height, width=width, in_part=False) for height, width in (content, style)]
    return resolve.resolve_config(replace(BASE, **values), pictures[0], pictures[1:], machine)


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
    content = shape[0] * 50, shape[1] * 50
    small, large = (
        planned(SPEED, content=content, long_edge=size, tile=tile, mode=mode, steps=steps) for size in (edge, 2 * edge)
    )
    for name in ("memory_bytes", "store_bytes", "kept_bytes", "output_bytes", "steps", "tile_steps", "seconds"):
        assert getattr(large, name) >= getattr(small, name), name
    assert min(small.memory_bytes, small.store_bytes, small.output_bytes, small.seconds) > 0


def test_memory_depends_on_the_tile_and_not_on_the_size():
    sizes = [planned(long_edge=edge, content=(400, 400)).memory_bytes for edge in (1024, 4096)]
    assert sizes[1] < 1.15 * sizes[0]
    assert planned(long_edge=4096, tile=512).memory_bytes > planned(long_edge=4096, tile=256).memory_bytes


def test_more_workers_need_more_memory_and_less_time():
    one, two = planned(SPEED, long_edge=2048), planned(SPEED, long_edge=2048, workers=2)
    assert 1.5 * one.memory_bytes < two.memory_bytes < 2 * one.memory_bytes
    assert one.seconds / 2 < two.seconds < one.seconds
    assert one.store_bytes == two.store_bytes
    elsewhere = planned(long_edge=2048, scheduler="tcp://host:1")
    assert elsewhere.memory_bytes < one.memory_bytes / 2


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
    work = sum(10 * SPEED.step(tile.read.area) for k in range(3) for tile in job_of(long_edge=1000)[1].grid(k))
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


def test_only_the_poster_needs_room_where_the_store_is_elsewhere(tmp_path, monkeypatch):
    config, job = job_of(long_edge=2048, output=str(tmp_path / "poster.png"))
    plan = plan_job(config, job)
    disk_with(monkeypatch, plan.output_bytes)
    check_room(plan, config, job, "s3://bucket/job.zarr")
    disk_with(monkeypatch, plan.output_bytes - 1)
    with pytest.raises(ResourceError, match=r"-o .*poster.png: needs about"):
        check_room(plan, config, job, "s3://bucket/job.zarr")


def test_too_little_memory_names_a_tile_that_would_do(tmp_path):
    need = planned(long_edge=2048, tile=512).memory_bytes - int(planning.CLIENT_BYTES)
    message = refusal(tmp_path, with_memory(need), tile=1024)
    assert message.endswith("--tile 512 would do")
    assert "of memory and" in message
    assert refusal(tmp_path, with_memory(need - 1), tile=1024).endswith("--tile 256 would do")
    assert refusal(tmp_path, with_memory(10**6), tile=1024).endswith("allowed: a machine with more")
    assert "allowed: fewer --workers, or a machine with more" in refusal(
        tmp_path, with_memory(10**6), tile=1024, workers=2
    )


def test_the_memory_of_the_workers_machine_counts_not_of_this_one(tmp_path):
    cluster = dict(scheduler="tcp://host:1", tile=512)
    config, job = job_of(long_edge=2048, output=str(tmp_path / "poster.png"), **cluster)
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
    job = replace(job, device="cuda")
    plan = plan_job(config, job)
    with pytest.raises(ResourceError, match=r"job\.zarr: was begun on a GPU, and torch finds none here; .*--scheduler"):
        check_room(plan, config, job, str(tmp_path / "job.zarr"))
    gpu = Gpus(1, 1, plan.gpu_bytes, "H100")
    check_room(plan, config, job, str(tmp_path / "job.zarr"), machine=Machine(gpus=gpu))


# GPUs -------------------------------------------------------------------------------------------------------------

ON_GPU = dict(device="auto", long_edge=2048, tile=512, workers=None)


def test_workers_that_share_a_gpu_add_up(tmp_path):
    def gpu_bytes(workers: int, count: int) -> int:
        machine = Machine(gpus=Gpus(count, 1, 2**40, "H100"))
        config, job = job_of(machine=machine, **{**ON_GPU, "workers": workers})
        return plan_job(config, job, machine=machine).gpu_bytes

    one = gpu_bytes(1, 1)
    assert gpu_bytes(3, 1) == pytest.approx(3 * one, abs=3)
    assert gpu_bytes(4, 2) == gpu_bytes(3, 2) == pytest.approx(2 * one, abs=2)
    assert gpu_bytes(2, 2) == one
    # The largest tile reads 576 x 640 (two of 512 are balanced, halo and feather at inner edges only).
    _, job = job_of(**{**ON_GPU, "device": "cpu"})
    read = max(tile.read.area for level in range(len(job.levels)) for tile in job.grid(level))
    features = min(2**27, sum(tile.read.area for tile in job.grid(len(job.levels) - 1)) * 64 / 64 * 2)
    assert one == pytest.approx(read * 1450 * 1.15 + features + 26e6 * 2 + 500e6, rel=1e-6)


@pytest.mark.parametrize("short_of", ["GPU memory", "memory"])
def test_on_a_gpu_both_memories_must_do(short_of, tmp_path):
    enough = Machine(gpus=Gpus(1, 1, 2**40, "H100"))
    plan = plan_job(*job_of(machine=enough, **ON_GPU), machine=enough)
    host = plan.memory_bytes - int(planning.CLIENT_BYTES)
    fits = Machine(host=Host(free_bytes=host), gpus=Gpus(1, 1, plan.gpu_bytes, "H100"))
    config, job = job_of(machine=fits, **{**ON_GPU, "output": str(tmp_path / "poster.png")})
    check_room(plan_job(config, job, machine=fits), config, job, str(tmp_path / "job.zarr"), machine=fits)
    if short_of == "memory":
        lacks = replace(fits, host=Host(free_bytes=host - 1))
    else:
        lacks = replace(fits, gpus=Gpus(1, 1, plan.gpu_bytes - 1, "H100"))
    message = refusal(tmp_path, lacks, **ON_GPU)
    assert f" of {short_of} and " in message


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
    monkeypatch.setattr(planning, "probe", lambda *arguments: SPEED)
    monkeypatch.setattr(planning, "Pool", lambda *arguments: contextlib.nullcontext())
    monkeypatch.setattr(planning, "ask", lambda pool: ANY)
    arguments = ["plan", "content.png", "style.png", "--long-edge", "700", "--tile", "256", "--device", "cpu"]
    code, text, _ = run(arguments, monkeypatch, capsys)
    assert code == 0
    for word in ("700 x 525 px", "level 3", "memory:", "disk:", "for the poster", "steps:", "time:"):
        assert word in text
    code, text, _ = run([*arguments, "--json"], monkeypatch, capsys)
    facts = json.loads(text)
    assert (facts["height"], facts["width"], len(facts["levels"])) == (525, 700, 3)
    assert facts["seconds"] > 0
    code, text, _ = run(["plan", "content.png", *arguments[3:], "--json"], monkeypatch, capsys)
    assert code == 0
    assert json.loads(text)["steps"] == facts["steps"]
    assert sorted(path.name for path in pictures.iterdir()) == ["content.png", "style.png"]


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
def test_seconds_are_steps_rounds_measurements_and_tasks(content, size):
    """One level of two tiles, counted by hand, in either shape."""
    speed = Speed(
        start=3, task=0.01, one_step=(0.5, 0), one_measure=(0.2, 0), one_round=(0.1, 0), move=1e-6,
        write=5e-7, write_png=1e-7,
    )  # fmt: skip
    values = dict(content=content, long_edge=256, levels=1, steps=6, tile=128, steps_per_round=2, feather=0, halo=16)
    _, job = job_of(**values)
    tiles, styles = len(job.grid(0)), len(job.style_grid(0, 0))
    plan = planned(speed, **values)
    assert (plan.height, plan.width, tiles, plan.levels[0].rounds, styles) == (*size, 4, 3, 1)
    # 6 steps, 3 rounds, 1 look at the content, which is kept; measured at the start; one style tile.
    work = 4 * (6 * 0.5 + 3 * 0.1 + 0.2) + 4 * 0.2 + 0.2 + 1e-6 * 192 * 256
    # Seeding and finishing, 3 rounds and 1 measurement of 4 tiles each, the style; then 3 rounds + 3 sums and the like.
    tasks = (2 * 4 + (1 + 3) * 4 + 1) * 0.01 + (3 + 3) * 0.01
    assert plan.seconds == pytest.approx(3 + work + tasks + 1e-7 * 192 * 256, rel=1e-9)
    twice = planned(speed, workers=2, **values)
    assert twice.seconds == pytest.approx(
        3 + work / 2 + (2 * 4 + 16 + 1) * 0.01 / 2 + 0.06 + 1e-7 * 192 * 256, rel=1e-9
    )


def test_writing_takes_what_the_format_takes():
    """PNGs are made by several threads; map tiles come on top of the poster's file, if there is one."""
    speed = Speed(0, 0, (0, 0), (0, 0), move=0)
    pixels, values = 96 * 128, dict(long_edge=128, levels=1, steps=0)
    for files, per_pixel in (
        (dict(output="p.png"), 0.056e-6),
        (dict(output="P.PNG"), 0.056e-6),
        (dict(output="p.tif"), 0.15e-6),
        (dict(output=None, tiles="t"), 0.15e-6),
        (dict(output="p.png", tiles="t"), 0.206e-6),
    ):
        assert planned(speed, **values, **files).seconds == pytest.approx(per_pixel * pixels, rel=1e-9), files


def test_io_is_charged_to_rounds_and_not_to_steps():
    """On a GPU steps are a tenth of a round."""
    speed = Speed(start=0, task=0, one_step=(0.02, 0), one_measure=(0, 0), one_round=(0.4, 0), move=0, write_png=0)
    one, two = (
        planned(speed, long_edge=128, levels=1, tile=64, steps=12, steps_per_round=n, feather=0, halo=16)
        for n in (2, 4)
    )
    tiles = one.levels[0].tiles
    assert (one.levels[0].rounds, two.levels[0].rounds) == (6, 3)
    assert one.seconds == pytest.approx(tiles * (12 * 0.02 + 6 * 0.4))
    assert two.seconds == pytest.approx(tiles * (12 * 0.02 + 3 * 0.4))


def test_the_poster_counts_on_the_stores_disk(tmp_path, monkeypatch):
    """The state is dropped before the poster is written, what stays of it is not."""
    config, job = job_of(long_edge=2048, output=str(tmp_path / "poster.png"), bits=16)
    plan = replace(plan_job(config, job), store_bytes=10**6, kept_bytes=10**6, output_bytes=10**6)
    disk_with(monkeypatch, 2 * 10**6 - 1)
    with pytest.raises(ResourceError, match=r"--store .*: needs about 2 MB of disk"):
        check_room(plan, config, job, str(tmp_path / "job.zarr"))
    disk_with(monkeypatch, 2 * 10**6)
    check_room(plan, config, job, str(tmp_path / "job.zarr"))
