from dataclasses import fields, replace
from types import SimpleNamespace

import pytest
import torch

from tiler import identity, resolve
from tiler.config import RenderConfig
from tiler.errors import ConfigError
from tiler.resolve import resolve_config
from tiler.style.weights import NAMES, Conv
from tiler.version import __version__

BASE = RenderConfig("a.png", ("b.png",), "c.png", device="cpu", workers=1)


@pytest.fixture(autouse=True)
def tiny_weights(monkeypatch):
    convs = [Conv(name, torch.zeros(2, 2, 3, 3), torch.zeros(2 + int(name[0]))) for name in NAMES]
    monkeypatch.setattr(resolve, "load_weights", lambda source: convs)


def picture(height, width):
    return SimpleNamespace(path="p.png", height=height, width=width, file_size=(height, width))


def resolved(content=(600, 800), styles=((300, 200),), **values):
    config = replace(BASE, **{"styles": ("s",) * len(styles), **values})
    return resolve_config(config, picture(*content), [picture(*style) for style in styles])


def refusal(**values):
    with pytest.raises(ConfigError) as error:
        resolved(**values)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_nothing_is_left_open():
    config, job = resolved()
    left = [item.name for item in fields(config) if getattr(config, item.name) is None]
    open_by_default = ["long_edge", "scale", "print", "dpi", "compression", "tiles", "overlay", "protect"]
    assert left == [*open_by_default, "content_gsd", "style_gsd", "labels", "dream_channel", "store", "scheduler"]
    assert config.size == "1024x768"
    assert "auto" not in (config.precision, config.device, job.precision, job.device)
    assert job.threads >= 1


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
    assert (job.levels[-1].height, job.levels[-1].width) == poster


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
    assert (job.levels[-1].height, job.levels[-1].width) == poster
    assert (config.size, config.dpi) == (f"{poster[1]}x{poster[0]}", dpi)
    assert (config.long_edge, config.scale, config.print) == (None, None, None)
    again, _ = resolve_config(config, picture(600, 800), [picture(300, 200)])
    assert again == config


def test_levels_steps_and_rates():
    _, job = resolved((500, 1000), long_edge=1024, learning_rate=0.04)
    assert [(level.height, level.width) for level in job.levels] == [(64, 128), (128, 256), (256, 512), (512, 1024)]
    steps = [level.steps for level in job.levels]
    assert steps == sorted(steps, reverse=True)
    assert min(steps) >= 1
    rates = [level.peak_rate for level in job.levels]
    assert rates[0] == 0.04
    assert rates == sorted(rates, reverse=True)
    assert min(rates) >= 0.01


@pytest.mark.parametrize("long_edge", [1, 100, 128, 5000, 2**20])
def test_every_level_has_default_steps(long_edge):
    config, job = resolved(long_edge=long_edge)
    assert config.steps == tuple(level.steps for level in job.levels)
    assert min(config.steps) >= 1


def test_steps_are_one_number_or_one_per_level():
    assert [level.steps for level in resolved(long_edge=512, steps=7)[1].levels] == [7, 7, 7]
    assert [level.steps for level in resolved(long_edge=512, steps=(7, 0, 3))[1].levels] == [7, 0, 3]
    message = refusal(long_edge=512, steps=(7, 8))
    assert message == "steps has 2 numbers; allowed: 1, or 3 (levels of 128, 256, 512 pixels)"
    assert "steps has 0 numbers" in refusal(long_edge=512, steps=())


def test_a_small_poster_has_one_level():
    assert len(resolved(long_edge=50)[1].levels) == 1
    assert len(resolved(long_edge=50, levels=3)[1].levels) == 3


@pytest.mark.parametrize(
    ("wrap", "sizes"),
    [
        ("none", [(83, 125), (166, 250), (333, 500)]),
        ("x", [(83, 128), (166, 256), (333, 496)]),
        ("y", [(80, 125), (160, 250), (336, 500)]),
        ("xy", [(80, 128), (160, 256), (336, 496)]),
    ],
)
def test_axes_that_wrap_have_whole_feature_cells(wrap, sizes):
    _, job = resolved((400, 600), long_edge=500, levels=3, wrap=wrap, tile=128)
    assert [(level.height, level.width) for level in job.levels] == sizes
    for level in range(3):
        grid = job.grid(level)
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
    assert job.style_sizes == (
        ((128, 85), (64, 128)),
        ((256, 171), (128, 256)),
        ((300, 200), (256, 512)),
        ((300, 200), (512, 1024)),
    )


@pytest.mark.parametrize("scale", [0.01, 0.5, 3, 100])
def test_style_scale_never_enlarges_a_style_beyond_its_own_pixels(scale):
    _, job = resolved((500, 1000), styles=[(300, 200), (3, 4000)], long_edge=1024, style_scale=scale)
    for level, sizes in zip(job.levels, job.style_sizes, strict=True):
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
    assert job.align == align
    assert job.tile % align == 0
    assert job.tile >= align
    if tile is not None:
        assert tile - align < job.tile <= tile
    for level in range(len(job.levels)):
        assert len(job.grid(level)) >= 1


def test_tiles_fit_the_memory(monkeypatch):
    sides = []
    for free in (2**24, 2**30, 2**33, 2**45):
        monkeypatch.setattr(resolve, "memory_bytes", lambda free=free: free)
        side = resolved(precision="fp32")[1].tile
        sides.append(side)
        assert side & (side - 1) == 0
    assert sides == sorted(sides)
    assert sides[0] < sides[-1] == resolve.LARGEST_TILE


def test_the_number_of_workers_changes_no_tile_but_must_fit(monkeypatch):
    monkeypatch.setattr(resolve, "memory_bytes", lambda: 2**34)
    assert resolved(precision="fp32", workers=1)[1].tile == resolved(precision="fp32", workers=2)[1].tile
    with pytest.raises(ConfigError, match="workers = 500 need"):
        resolved(precision="fp32", workers=500)


def test_exact_mode_reads_as_far_as_gradients_reach():
    config, job = resolved(mode="exact")
    assert (config.halo, config.feather) == (job.halo, job.feather) == (150, 0)
    assert resolved(mode="exact", style_layers=("relu1_1",), content_layers=("relu1_1",))[1].halo == 2
    assert resolved(mode="exact", halo=7, feather=3)[0].halo == 7


def test_channels_are_those_of_the_layers_in_use():
    _, job = resolved(style_layers=("relu1_1", "relu3_1"), content_layers=("relu4_2",))
    assert job.channels == (("relu1_1", 3), ("relu3_1", 5), ("relu4_2", 6))


@pytest.mark.parametrize("name", ["style_layers", "content_layers"])
def test_unknown_layers_are_refused(name):
    assert refusal(**{name: ("relu9_1",)}).startswith(f"{name}: unknown layer 'relu9_1'")


def test_a_channel_is_one_that_its_layer_has():
    assert resolved(dream_weight=1, dream_layer="relu2_1", dream_channel=3)[1].dream_channel == 3
    assert "dream_channel = 4; allowed: 0 to 3 at relu2_1" in refusal(
        dream_weight=1, dream_layer="relu2_1", dream_channel=4
    )
    resolved(dream_channel=4)  # where nothing is amplified it means nothing


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_here_is_refused():
    assert "no CUDA GPU" in refusal(device="cuda")


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
