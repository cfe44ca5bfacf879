from dataclasses import fields, replace
from types import SimpleNamespace

import pytest

from tiler.engine.machine import ANY, Gpus, Host, Machine
from tiler.errors import ConfigError
from tiler.request import identity, placing, resolve
from tiler.request.config import RenderConfig
from tiler.request.resolve import resolve_config
from tiler.style.layers import NAMES
from tiler.style.terms import Dream
from tiler.style.trunk import Trunk
from tiler.version import __version__

BASE = RenderConfig("a.png", ("b.png",), "c.png", device="cpu", workers=1)


@pytest.fixture(autouse=True)
def tiny_weights(monkeypatch):
    trunk = Trunk({f"relu{name}": 2 + int(name[0]) for name in NAMES}, "0" * 64)
    monkeypatch.setattr(resolve, "trunk_of", lambda source: trunk)


def picture(height, width):
    return SimpleNamespace(path="p.png", height=height, width=width, file_size=(height, width), in_part=False)


def resolved(content=(600, 800), styles=((300, 200),), machine=ANY, **values):
    config = replace(BASE, **{"styles": ("s",) * len(styles), **values})
    return resolve_config(config, picture(*content), [picture(*style) for style in styles], machine)


def refusal(**values):
    with pytest.raises(ConfigError) as error:
        resolved(**values)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_nothing_is_left_open():
    config, job = resolved()
    left = [item.name for item in fields(config) if getattr(config, item.name) is None]
    open_by_default = ["long_edge", "scale", "print", "at", "dpi", "compression", "tiles", "overlay", "protect"]
    assert left == [
        *open_by_default,
        "content_gsd",
        "style_gsd",
        "stretch",
        "labels",
        "dream_channel",
        "store",
        "scheduler",
    ]
    assert config.size == "1024x768"
    assert "auto" not in (config.precision, config.device, job.device.precision, job.device.kind)
    assert job.device.threads >= 1


@pytest.mark.parametrize(
    ("content", "long_edge", "poster"),
    [
        ((600, 800), 1024, (768, 1024)),
        ((800, 600), 400, (400, 300)),
        ((1, 5000), 1000, (1, 1000)),
        ((7, 7), 50, (50, 50)),
    ],
)
def test_the_poster_has_the_contents_shape(content, long_edge, poster):
    _, job = resolved(content, long_edge=long_edge)
    assert (job.cut.last.height, job.cut.last.width) == poster


@pytest.mark.parametrize(
    ("values", "poster", "dpi"),
    [
        ({}, (768, 1024), None),
        (dict(size="90x100"), (100, 90), None),
        (dict(scale="1.5x", dpi=72), (900, 1200), 72),
        (dict(print="4x3in"), (900, 1200), 300),
        (dict(print="4x3in", dpi=100), (300, 400), 100),
        (dict(print="A6"), (1240, 1748), 300),
    ],
)
def test_a_size_said_in_any_way_is_one_of_pixels(values, poster, dpi):
    config, job = resolved(**values)
    assert (job.cut.last.height, job.cut.last.width) == poster
    assert (config.size, config.dpi) == (f"{poster[1]}x{poster[0]}", dpi)
    assert (config.long_edge, config.scale, config.print) == (None, None, None)
    again, _ = resolve_config(config, picture(600, 800), [picture(300, 200)])
    assert again == config


def test_levels_steps_and_rates():
    _, job = resolved((500, 1000), long_edge=1024, learning_rate=0.04)
    assert [(level.height, level.width) for level in job.cut.levels] == [(64, 128), (128, 256), (256, 512), (512, 1024)]
    steps = [level.steps for level in job.cut.levels]
    assert steps == sorted(steps, reverse=True)
    assert min(steps) >= 1
    rates = [level.peak_rate for level in resolved(long_edge=8192, learning_rate=0.04)[1].cut.levels]
    assert rates == pytest.approx([0.04, 0.0282843, 0.02, 0.0141421, 0.01, 0.01, 0.01], rel=1e-5)


@pytest.mark.parametrize(
    ("edge", "steps"),
    [(1, 100), (128, 100), (160, 100), (161, 80), (320, 80), (321, 80), (640, 80), (641, 40), (1280, 40), (1281, 20)],
)
def test_default_steps_by_the_levels_long_edge(edge, steps):
    """A quarter above a power of two is closer to it than to the next."""
    for content in ((100, 200), (200, 100)):
        assert [level.steps for level in resolved(content, long_edge=edge, levels=1)[1].cut.levels] == [steps]
    assert [level.steps for level in resolved(long_edge=4096)[1].cut.levels] == [100, 80, 80, 40, 20, 20]


def test_quality_decides_the_steps_that_are_not_said():
    """At every size a draft takes half of them, best more; what was said stays."""

    def steps(**values):
        return [level.steps for level in resolved(long_edge=4096, **values)[1].cut.levels]

    each = list(zip(*(steps(quality=quality) for quality in ("draft", "standard", "best")), strict=True))
    assert all(0 < draft < standard < best for draft, standard, best in each)
    assert all(2 * draft == standard for draft, standard, _ in each)
    assert steps(quality="standard") == steps()
    assert steps(quality="best", steps=7) == [7] * 6


@pytest.mark.parametrize("long_edge", [1, 100, 128, 5000, 2**20])
def test_every_level_has_default_steps(long_edge):
    config, job = resolved(long_edge=long_edge)
    assert config.steps == tuple(level.steps for level in job.cut.levels)
    assert min(config.steps) >= 1


def test_steps_are_one_number_or_one_per_level():
    assert [level.steps for level in resolved(long_edge=512, steps=7)[1].cut.levels] == [7, 7, 7]
    assert [level.steps for level in resolved(long_edge=512, steps=(7, 0, 3))[1].cut.levels] == [7, 0, 3]
    message = refusal(long_edge=512, steps=(7, 8))
    assert message == "steps has 2 numbers; allowed: 1, or 3 (levels of 128, 256, 512 pixels)"
    assert "steps has 0 numbers" in refusal(long_edge=512, steps=())


def test_a_small_poster_has_one_level():
    assert len(resolved(long_edge=50)[1].cut.levels) == 1
    assert len(resolved(long_edge=50, levels=3)[1].cut.levels) == 3


@pytest.mark.parametrize(
    ("wrap", "sizes"),
    [
        ("none", [(83, 125), (167, 250), (333, 500)]),
        ("x", [(83, 128), (167, 256), (333, 496)]),
        ("y", [(80, 125), (160, 250), (336, 500)]),
        ("xy", [(80, 128), (160, 256), (336, 496)]),
    ],
)
def test_axes_that_wrap_have_whole_feature_cells(wrap, sizes):
    _, job = resolved((400, 600), long_edge=500, levels=3, wrap=wrap, tile=128)
    assert [(level.height, level.width) for level in job.cut.levels] == sizes
    for level in range(3):
        grid = job.cut.grid(level)
        assert (grid.wrap_y, grid.wrap_x) == ("y" in wrap, "x" in wrap)


def test_a_poster_that_wraps_says_when_it_has_another_size():
    def notes(**values):
        config, job = resolved((500, 1000), **values)
        return resolve.notes(config, job, picture(500, 1000), [picture(300, 200)])

    assert notes(long_edge=1000) == notes(long_edge=1024, wrap="xy") == []
    [note] = notes(long_edge=1000, wrap="x")
    assert note == "wrap x: 992 x 500 px instead of 1000 x 500, since edges that meet need a multiple of 16"


def test_edges_that_are_to_meet_are_not_cropped_away():
    def fitted(wrap):
        return resolve.fitted(
            replace(BASE, size="300x300", wrap=wrap),
            SimpleNamespace(height=500, width=1000, cropped=lambda crop: crop),
        )

    assert fitted("none") == fitted("y") == (0, 250, 500, 750)
    for wrap in ("x", "xy"):
        with pytest.raises(ConfigError, match=f"wrap = {wrap}: 300 x 300 px would crop the content along x"):
            fitted(wrap)


def test_styles_follow_the_poster_until_their_own_pixels_run_out():
    _, job = resolved((500, 1000), styles=[(300, 200), (2000, 4000)], long_edge=1024)
    assert job.styles.sizes == (
        ((128, 85), (64, 128)),
        ((256, 171), (128, 256)),
        ((300, 200), (256, 512)),
        ((300, 200), (512, 1024)),
    )


@pytest.mark.parametrize("scale", [0.01, 0.5, 3, 100])
def test_style_scale_never_enlarges_a_style_beyond_its_own_pixels(scale):
    _, job = resolved((500, 1000), styles=[(300, 200), (3, 4000)], long_edge=1024, style_scale=scale)
    for level, sizes in zip(job.cut.levels, job.styles.sizes, strict=True):
        for (height, width), own in zip(sizes, [(300, 200), (3, 4000)], strict=True):
            assert 1 <= height <= own[0]
            assert 1 <= width <= own[1]
            assert max(height, width) == pytest.approx(min(max(own), 1024 / 2 ** (3 - level.index) * scale), abs=0.51)


@pytest.mark.parametrize(
    ("layers", "align"), [(("relu1_1",), 1), (("relu2_2", "relu1_1"), 2), (("relu4_1",), 8), (("relu5_4",), 16)]
)
@pytest.mark.parametrize("tile", [None, 16, 100, 130])
def test_tiles_are_multiples_of_the_deepest_stride(layers, align, tile):
    _, job = resolved(style_layers=layers, content_layers=("relu1_2",), tile=tile)
    assert job.cut.align == align
    assert job.cut.tile % align == 0
    assert job.cut.tile >= align
    if tile is not None:
        assert tile - align < job.cut.tile <= tile
    for level in range(len(job.cut.levels)):
        assert len(job.cut.grid(level)) >= 1


def with_memory(free, **more):
    return Machine(host=Host(free_bytes=free, total_bytes=free, **more))


@pytest.mark.parametrize(
    ("free", "precision", "tile"),
    [
        (2**24, "fp32", 64),
        (2**30, "fp32", 256),
        (2**32, "fp32", 512),
        (2**33, "fp32", 1024),
        (2**45, "fp32", 1024),
        (2**30, "bf16", 512),
        (2**31, "fp64", 64),
    ],
)
def test_tiles_fit_the_memory(free, precision, tile):
    assert resolved(machine=with_memory(free), precision=precision)[1].cut.tile == tile

    def bytes_of(core):
        return (core + 2 * (48 + 16)) ** 2 * {"fp64": 21000, "fp32": 2700, "bf16": 1450}[precision]

    assert free < 2**30 or bytes_of(tile) <= 0.6 * free
    assert tile == 1024 or bytes_of(2 * tile) > 0.6 * free


def test_the_number_of_workers_changes_no_tile_but_must_fit():
    machine = with_memory(2**34)
    one, two = (resolved(machine=machine, precision="fp32", workers=n)[1].cut.tile for n in (1, 2))
    assert one == two
    message = refusal(machine=machine, precision="fp32", workers=500, long_edge=2048)
    # A tile of 1024 reads 1152 x 1152 pixels of 2700 bytes: 3.58 GB; 0.6 of 17.18 GB are for tiles.
    assert message.startswith("workers = 500 need 1791.6 GB for tiles of 1024 px, and there are 17.2 GB")
    assert message.endswith("allowed: up to 2, or a smaller --tile")
    assert resolved(machine=machine, precision="fp32", workers=2, long_edge=2048)[1].cut.tile == 1024


def test_what_is_free_just_now_changes_no_tile():
    busy = Machine(host=Host(free_bytes=10**9, total_bytes=2**33), gpus=replace(H100, free_bytes=10**9))
    assert resolved(machine=busy, device="cpu", precision="fp32")[1].cut.tile == 1024
    assert resolved(machine=busy, device="auto")[1].cut.tile == 2048


@pytest.mark.parametrize(("total", "tile"), [(85, 2048), (24, 2048), (12, 2048), (8, 1024), (3, 512)])
def test_tiles_fit_a_gpu(total, tile):
    assert resolved(machine=gpus(total_bytes=total * 10**9), device="auto", precision="bf16")[1].cut.tile == tile


H100 = Gpus(count=1, workers=1, free_bytes=79 * 10**9, name="H100", total_bytes=85 * 10**9)


def gpus(**values):
    return Machine(host=Host(cores=16), gpus=replace(H100, **values), bf16=("cuda",))


def test_the_machine_that_computes_decides_the_device_not_the_one_that_asks():
    config, job = resolved(machine=gpus(count=4), device="auto", workers=None)
    assert (config.device, config.workers, config.precision, config.threads) == ("cuda", 4, "bf16", 4)
    assert (job.device.kind, job.device.precision, job.device.threads) == ("cuda", "bf16", 4)
    config, _ = resolved(machine=gpus(), device="cpu", workers=None)
    assert (config.device, config.workers, config.precision, config.threads) == ("cpu", 1, "fp32", 16)
    config, _ = resolved(machine=Machine(bf16=("cpu",)), device="auto")
    assert (config.device, config.precision) == ("cpu", "bf16")


def test_a_cluster_has_the_workers_that_it_has():
    cluster = Machine(workers=6, host=Host(workers=2, cores=8), gpus=replace(H100, count=3, workers=2))
    config, _ = resolved(machine=cluster, device="auto", workers=None, scheduler="tcp://host:1")
    assert (config.workers, config.threads, config.device) == (6, 4, "cuda")
    assert placing.sharing_gpu(config, 6, cluster) == 2


def test_workers_that_share_a_gpu_must_fit_together():
    assert resolved(machine=gpus(count=2), device="auto", workers=4)[1].cut.tile == 2048
    # Each takes 1152 x 1152 x 1450 bytes of 0.6 x 5 GB, on two GPUs.
    message = refusal(machine=gpus(count=2, total_bytes=5 * 10**9), device="auto", workers=6, long_edge=2048)
    assert message.startswith("workers = 6 need 5.8 GB on each GPU for tiles of 1024 px, and there are 5.0 GB")
    assert message.endswith("allowed: up to 2, or a smaller --tile")


@pytest.mark.parametrize(("cores", "workers", "threads"), [(4, 1, 4), (4, 2, 2), (4, 3, 1), (1, 8, 1), (64, 1, 64)])
def test_threads_are_those_of_the_workers_cores(cores, workers, threads):
    machine = Machine(host=Host(cores=cores))
    assert resolved(machine=machine, workers=workers)[1].device.threads == threads
    assert resolved(machine=machine, workers=workers, threads=3)[1].device.threads == 3


def wide(monkeypatch, channels=64):
    trunk = Trunk({f"relu{name}": channels * 2 ** (min(4, int(name[0])) - 1) for name in NAMES}, "0" * 64)
    monkeypatch.setattr(resolve, "trunk_of", lambda source: trunk)


def test_a_read_side_that_32_bits_cannot_count_is_refused(monkeypatch):
    wide(monkeypatch)
    huge = dict(content=(11616, 11616), long_edge=11616, halo=0, feather=0, levels=1, machine=with_memory(2**50))
    # 64 x 5792^2 < 2^31 <= 64 x 5793^2
    assert resolved(**huge, tile=5792)[1].cut.tile == 5792
    message = refusal(**huge, tile=5808)
    assert message.endswith("allowed: up to 5792 x 5792, as --tile 5792 does")
    assert message.startswith("tile = 5808: reads 34 million pixels at once")
    assert resolved(**huge, tile=8192, steps=0)[1].cut.tile == 8192  # nothing is computed
    assert resolved(**{**huge, "content": (900, 900), "long_edge": 900}, tile=8192)[1].cut.tile == 8192
    assert resolved(**{**huge, "halo": 48, "feather": 16}, tile=5664)[1].cut.tile == 5664
    assert refusal(**{**huge, "halo": 48, "feather": 16}, tile=5808).endswith("as --tile 5664 does")


def test_exact_mode_reads_as_far_as_gradients_reach():
    config, job = resolved(mode="exact")
    assert (config.halo, config.feather) == (job.cut.halo, job.cut.feather) == (150, 0)
    assert resolved(mode="exact", style_layers=("relu1_1",), content_layers=("relu1_1",))[1].cut.halo == 2
    assert resolved(mode="exact", halo=7, feather=3)[0].halo == 7


def test_channels_are_those_of_the_layers_in_use():
    _, job = resolved(style_layers=("relu1_1", "relu3_1"), content_layers=("relu4_2",))
    assert job.network.channels == (("relu1_1", 3), ("relu3_1", 5), ("relu4_2", 6))


@pytest.mark.parametrize("name", ["style_layers", "content_layers"])
def test_unknown_layers_are_refused(name):
    assert refusal(**{name: ("relu9_1",)}).startswith(f"{name}: unknown layer 'relu9_1'")


def test_the_layer_of_a_dream_is_known_where_it_counts():
    assert refusal(dream_weight=1.0, dream_layer="relu9_1").startswith("dream_layer: unknown layer 'relu9_1'")
    assert resolved(dream_layer="relu9_1")[1].terms.dream is None


def test_a_channel_is_one_that_its_layer_has():
    assert resolved(dream_weight=1, dream_layer="relu2_1", dream_channel=3)[1].terms.dream == Dream("relu2_1", 3, 1)
    assert "dream_channel = 4; allowed: 0 to 3 at relu2_1" in refusal(
        dream_weight=1, dream_layer="relu2_1", dream_channel=4
    )
    resolved(dream_channel=4)  # where nothing is amplified it means nothing


def test_a_gpu_that_is_not_there_is_refused():
    assert refusal(device="cuda") == "device = cuda, but torch finds no CUDA GPU; allowed: auto, cpu"
    message = refusal(device="cuda", scheduler="tcp://host:1")
    assert message == "device = cuda, but not every worker at tcp://host:1 has a CUDA GPU; allowed: auto, cpu"


def test_what_does_not_depend_on_the_machine_is_checked_without_one():
    def check(**values):
        config = replace(BASE, **values)
        trunk = resolve.trunk_of("bundled")
        return resolve.meant(
            resolve.settle_size(config, picture(600, 800)), picture(600, 800), [picture(300, 200)], trunk
        )[1]

    assert check(device="cuda", workers=999).cut.levels == resolved()[1].cut.levels
    with pytest.raises(ConfigError, match="steps has 3 numbers"):
        check(steps=(1, 2, 3), long_edge=4096)


@pytest.mark.parametrize(
    "values",
    [
        {},
        dict(tile=100, feather=3, halo=7, threads=2),
        dict(steps=4, levels=2, precision="fp32", style_blend_weights=2),
        dict(mode="exact", steps_per_round=3, init="noise", seed=5),
        dict(long_edge=100, min_edge=300),
        dict(long_edge=100, wrap="xy"),
    ],
)
def test_the_same_command_finds_its_own_job_again(values):
    config = replace(BASE, **values)
    stored, _ = resolve_config(config, picture(600, 800), [picture(300, 200)])
    job = {"config": stored.to_dict(), "asked": config.to_dict(), "version": __version__}
    identity.check_same("job.zarr", job, config, {})
