"""What a job's own arithmetic comes to, in known numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tiler.engine.job import Device, Job, Network, Styles
from tiler.engine.optimize import step_rate
from tiler.geometry import Level, Rect
from tiler.request.config import RenderConfig
from tiler.request.resolve import resolve_config
from tiler.style.layers import LAYERS, NAMES
from tiler.style.terms import Terms
from tiler.style.trunk import Trunk

TRUNK = Trunk({f"relu{name}": 64 for name in NAMES}, "0" * 64)


@pytest.fixture
def job_of() -> Callable[..., Job]:
    def make(content: tuple[int, int] = (600, 400), style: tuple[int, int] = (700, 1100), **values: object) -> Job:
        config = RenderConfig("a.png", ("b.png",), "c.png", device="cpu", **values)  # type: ignore[arg-type]
        pictures = [
            SimpleNamespace(path="p", height=h, width=w, file_size=(h, w), in_part=False) for h, w in (content, style)
        ]
        return resolve_config(config, pictures[0], pictures[1:], trunk=TRUNK)[1]  # type: ignore[arg-type]

    return make


def test_the_warm_up_is_linear_and_the_end_nearly_none() -> None:
    rates = [step_rate(step, 20, 0.06) for step in range(20)]
    assert rates[:6] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
    assert rates[5:] == pytest.approx([0.03 * (1 + math.cos(math.pi * k / 15)) for k in range(15)])
    assert rates[12] == pytest.approx(0.0331359, rel=1e-5)
    assert rates[-1] == pytest.approx(0.00065557, rel=1e-4)
    # A quarter of a short level's steps.
    assert [step_rate(step, 4, 1.0) for step in range(4)] == pytest.approx([0.5, 1.0, 0.75, 0.25])
    assert step_rate(0, 1, 1.0) == 1.0


def test_style_tiles_are_measured_with_all_that_their_statistics_see(job_of: Callable[..., Job]) -> None:
    job = job_of(long_edge=1100, levels=1)
    assert job.styles.sizes == (((700, 1100),),)
    grid = job.style_grid(0, 0)
    assert grid.halo == 70  # of relu5_1, in pixels; tiles are read in whole cells of 16
    assert grid.feather == 0
    assert (grid.rows, grid.cols, grid.height, grid.width) == (2, 3, 700, 1100)
    inner = grid.tile(0)
    assert inner.read.y1 - inner.core.y1 == inner.read.x1 - inner.core.x1 == 80


def test_every_step_and_every_level_has_a_jitter_of_its_own(job_of: Callable[..., Job]) -> None:
    job = job_of(long_edge=600, jitter=16, content_weight=0, seed=3)
    shifts = {(level, step): job.look.shift(level, step) for level in range(3) for step in range(1, 30)}
    for level in range(3):
        seen = [shifts[level, step] for step in range(1, 30)]
        assert len(set(seen)) > 20
        assert {down for down, _ in seen} <= set(range(17))
        assert max(max(pair) for pair in seen) == 16
    assert [shifts[0, step] for step in range(1, 30)] != [shifts[1, step] for step in range(1, 30)]
    assert job.look.shift(0, 1) == job_of(long_edge=600, jitter=16, content_weight=0, seed=3).look.shift(0, 1)
    assert [job.look.shift(0, s) for s in range(9)] != [
        job_of(jitter=16, content_weight=0, seed=4).look.shift(0, s) for s in range(9)
    ]
    assert job_of(jitter=0).look.shift(1, 1) == (0, 0)
    known = {(0, 0): (14, 15), (0, 1): (6, 12), (2, 1): (4, 7), (1, 2**20): (0, 11)}
    assert {at: job.look.shift(*at) for at in known} == known, "or a render that goes on would differ"


def test_rounds(job_of: Callable[..., Job]) -> None:
    job = job_of(long_edge=600, levels=1, steps=5, tile=256)
    assert job.cut.rounds(0) == [(0, 2), (2, 2), (4, 1)]
    assert job_of(long_edge=600, levels=1, steps=3, tile=256, mode="exact").cut.rounds(0) == [(0, 1), (1, 1), (2, 1)]
    assert job_of(long_edge=100, levels=1, steps=60).cut.rounds(0) == [(0, 25), (25, 25), (50, 10)]
    assert job_of(long_edge=100, levels=1, steps=60, optimizer="lbfgs").cut.rounds(0) == [(0, 60)]


def test_seeds_and_jitter_are_those_that_can_be_asked_for(job_of: Callable[..., Job]) -> None:
    look = job_of().look
    for right in ({"seed": 0, "jitter": 64}, {"seed": 2**63 - 1, "jitter": 0}):
        assert [what for holds, what in replace(look, **right).rules() if not holds] == []
    for wrong in ({"seed": -1}, {"seed": 2**63}, {"jitter": -1}, {"jitter": 65}):
        said = [what for holds, what in replace(look, **wrong).rules() if not holds]
        assert said == ["its jitter or seed is out of range"]


STYLES = Styles((((1, 2**20),),), (1.0,), ((1.0,),), (0,), (False,), ("a",), False)
NETWORK = Network("w.pth", "0" * 64, (*((layer, 1) for layer in LAYERS[1:]), (LAYERS[0], 4096)), "max")
DEVICE = Device("cpu", "fp32", 1)


def many(count: int) -> Styles:
    each = dict(shares=(1.0,) * count, layer_weights=((1.0,),) * count, owners=(0,) * count, masked=(True,) * count)
    return replace(STYLES, sizes=((((7, 5),) * count),) * 2, **each)


def broken(part: Any) -> list[str]:
    return [what for holds, what in part.rules() if not holds]


@pytest.mark.parametrize(
    ("right", "wrong", "what"),
    [
        ((many(1024),), (many(1025), many(0)), "its styles are none, or too many"),
        ((many(2),), (replace(many(2), sizes=(((7, 5),) * 2, ((7, 5),))),), "its styles do not fit"),
        (
            (replace(many(2), guided=True, regions=("a", "b"), owners=(1, 0)),),
            (replace(many(2), guided=True, regions=("a", "b")), replace(many(2), owners=(0, 1))),
            "its regions do not fit its styles",
        ),
        (
            (STYLES, replace(STYLES, sizes=(((2**20, 1),),))),
            tuple(replace(STYLES, sizes=(((5, 5),), (size,))) for size in ((0, 5), (5, 0), (2**20 + 1, 5))),
            "its pictures are not 1 to 1048576 pixels a side",
        ),
        (
            (NETWORK,),
            tuple(replace(NETWORK, channels=(("relu1_1", 4), ("relu2_1", count))) for count in (0, 4097)),
            "its channels are too many",
        ),
        (
            (DEVICE, replace(DEVICE, threads=1024)),
            (replace(DEVICE, threads=0), replace(DEVICE, threads=1025)),
            "its counts are out of range",
        ),
    ],
)
def test_the_parts_of_a_job_go_up_to_their_bounds(right: tuple[Any, ...], wrong: tuple[Any, ...], what: str) -> None:
    assert [broken(one) for one in right] == [[]] * len(right)
    for one in wrong:
        assert what in broken(one)


@pytest.mark.parametrize(
    ("right", "wrong", "what"),
    [
        ({"tile": 16}, {"tile": 15}, "its tiles are no size"),
        ({"tile": 2**16}, {"tile": 2**16 + 1}, "its tiles are no size"),
        ({"feather": 0}, {"feather": -1}, "its tiles are no size"),
        ({"feather": 4096}, {"feather": 4097}, "its tiles are no size"),
        ({"halo": 0}, {"halo": -1}, "its tiles are no size"),
        ({"halo": 4096}, {"halo": 4097}, "its tiles are no size"),
        ({"steps_per_round": 1}, {"steps_per_round": 0}, "its counts are out of range"),
        ({"align": 1}, {"align": 0}, "its cells are no size"),
        ({"align": 16}, {"align": 17}, "its cells are no size"),
        ({"crop": (0, 0, 48, 32)}, {"crop": (0, 0, 49, 32)}, "its crop lies beside it"),
        ({"crop": (47, 31, 48, 32)}, {"crop": (0, 0, 48, 33)}, "its crop lies beside it"),
        ({"crop": (0, 5, 9, 6)}, {"crop": (0, 5, 9, 5)}, "its crop lies beside it"),
        ({"crop": (5, 0, 6, 9)}, {"crop": (5, 0, 5, 9)}, "its crop lies beside it"),
        ({"crop": (0, 0, 1, 1)}, {"crop": (-1, 0, 1, 1)}, "its crop lies beside it"),
        ({"crop": (0, 0, 1, 1)}, {"crop": (0, -1, 1, 1)}, "its crop lies beside it"),
        ({"touched": ((), ((0, 0, 48, 32),))}, {"touched": ((), ((0, 0, 49, 1),))}, "its changes lie beside it"),
        ({"touched": (((23, 15, 24, 16),), ())}, {"touched": (((0, 0, 1, 17),), ())}, "its changes lie beside it"),
        ({"touched": (((0, 0, 1, 1),), ())}, {"touched": (((0, -1, 1, 1),), ())}, "its changes lie beside it"),
        ({"touched": ((), ())}, {"touched": (((3, 0, 3, 1),), ())}, "its changes lie beside it"),
        ({"touched": ((), ((24, 16, 48, 32),) * 4)}, {"touched": ((), ((0, 5, 9, 5),))}, "its changes lie beside it"),
        ({"touched": ((), ())}, {"touched": ((),)}, "its changes do not fit its levels"),
        ({"touched": ((), ())}, {"touched": ((), ()), "crop": (0, 0, 1, 1)}, "it cannot be a part and a change"),
        ({"wrap": "y", "align": 8}, {"wrap": "y", "align": 16}, "its edges that meet are no multiples of 16"),
        ({"wrap": "x", "align": 16}, {"wrap": "xy", "align": 16}, "its edges that meet are no multiples of 16"),
    ],
)
def test_a_cut_goes_up_to_its_bounds(
    job_of: Callable[..., Job], right: dict[str, Any], wrong: dict[str, Any], what: str
) -> None:
    """Of levels of 24 x 16 and 48 x 32 pixels."""
    levels = Level(0, 24, 16, 10**6, 0.1), Level(1, 48, 32, 0, 0.1)
    cut = replace(job_of().cut, levels=levels, align=8)
    assert broken(replace(cut, **right)) == []
    assert broken(replace(cut, **wrong)) == [what]


def test_a_job_s_levels_and_steps_go_up_to_their_bounds(job_of: Callable[..., Job]) -> None:
    cut = job_of().cut
    levels = tuple(Level(i, 2**20, 1, 10**6, 0.1) for i in range(25))
    assert broken(replace(cut, levels=levels[:24])) == []
    assert broken(replace(cut, levels=levels)) == ["its levels are none, or too many"]
    assert broken(replace(cut, levels=levels[1:2])) == ["its levels are out of order"]
    long = replace(levels[0], steps=10**6 + 1)
    assert broken(replace(cut, levels=(long, levels[1]))) == ["its steps are more than 1000000 a level"]
    for wide in (replace(levels[0], width=2**20 + 1), replace(levels[0], height=2**20 + 1)):
        assert broken(replace(cut, levels=(wide, levels[1]))) == ["its pictures are not 1 to 1048576 pixels a side"]


def test_a_job_has_so_many_tiles_at_most_and_its_styles_count(job_of: Callable[..., Job]) -> None:
    """2097151 = 2359 x 889 of the poster, and one of its style."""
    job = job_of(style=(512, 512), long_edge=512, levels=1, tile=16, feather=0)
    assert len(job.style_grid(0, 0)) == 1

    def of(width: int) -> Job:
        level = replace(job.cut.last, height=2359 * 16, width=width)
        return replace(job, cut=replace(job.cut, levels=(level,), tile=16, feather=0))

    of(889 * 16).check()
    said = rf"^job: it has {2359 * 890 + 1} tiles; allowed: up to {2**21}, so larger ones$"
    with pytest.raises(ValueError, match=said):
        of(889 * 16 + 1).check()


@pytest.mark.parametrize(
    ("color", "keep_detail", "protect", "needed", "adds"),
    [
        ("style", False, 0.0, [True, False, True], False),
        ("match", True, 0.0, [True, True, True], True),
        ("style", False, 0.5, [True, True, True], True),
        ("luminance", False, 0.0, [True, True, True], False),
    ],
)
def test_a_level_needs_its_pictures_where_anything_of_them_goes_into_it(
    job_of: Callable[..., Job], color: str, keep_detail: bool, protect: float, needed: list[bool], adds: bool
) -> None:
    """The coarsest to start from, one with steps to be like them, and one without steps for chroma or detail."""
    job = job_of(long_edge=600, levels=3)
    levels = tuple(replace(one, steps=steps) for one, steps in zip(job.cut.levels, (0, 0, 1), strict=True))
    look = replace(job.look, color=color, keep_detail=keep_detail)
    job = replace(
        job, look=look, cut=replace(job.cut, levels=levels), terms=replace(job.terms, protect_strength=protect)
    )
    assert job.adds_detail is adds
    assert [job.needs_pictures(level) for level in range(3)] == needed
    assert (job.guides_path(2), job.style_guides_path(2, 0)) == (None, None)
    guided = replace(job, styles=replace(job.styles, guided=True, masked=(True,)))
    assert (guided.guides_path(2), guided.style_guides_path(2, 0)) == ("levels/2/guides", "styles/2/0/guides")
    assert job.protect_path(2) == ("levels/2/protect" if protect else None)
    assert job.look.images == (("image", "poster") if color == "luminance" else ("image",))


@pytest.mark.parametrize(
    ("mode", "precision", "state", "moments"),
    [
        ("fast", "bf16", "float32", "bfloat16"), ("fast", "fp32", "float32", "bfloat16"),
        ("fast", "fp64", "float64", "float64"), ("exact", "fp16", "float32", "float32"),
        ("exact", "fp64", "float64", "float64"),
    ],
)  # fmt: skip
def test_exact_mode_and_fp64_keep_long_numbers(
    job_of: Callable[..., Job], mode: str, precision: str, state: str, moments: str
) -> None:
    job = job_of()
    job = replace(job, cut=replace(job.cut, mode=mode), device=replace(job.device, precision=precision))
    assert (job.device.state_dtype, job.moment_dtype) == (state, moments)


def test_a_tile_is_measured_with_all_that_its_statistics_see_and_no_more(job_of: Callable[..., Job]) -> None:
    job = job_of(content=(400, 600), long_edge=600, levels=1, tile=208, halo=160, style_layers=("relu1_1", "relu3_1"))
    grid = job.cut.grid(0)
    assert (grid.rows, grid.cols, grid.core_height, grid.core_width) == (2, 3, 200, 200)
    assert job.cut.align == 8, "of relu4_2, by which contents are compared"
    # 10 pixels of relu3_1, in whole cells of 8
    assert job.measure_box(grid.tile(0)) == Rect(0, 0, 200 + 16, 200 + 16)
    assert job.measure_box(grid.tile(4)) == Rect(200 - 16, 200 - 16, 400, 400 + 16)
    assert {*job.style_sums} == {"relu1_1", "relu3_1"} < {*job.sums}
    assert job.with_tile(64).cut == replace(job.cut, tile=64)


def test_any_layers_may_be_asked_for_and_no_others() -> None:
    every = Terms(LAYERS, LAYERS, 1.0, 1.0, 0.0)
    assert [what for holds, what in every.rules() if not holds] == []
    for wrong in (replace(every, style_layers=("relu9_1",)), replace(every, content_layers=("relu9_1",))):
        assert [what for holds, what in wrong.rules() if not holds] == ["its layers are unknown"]


def test_no_crop_and_no_change_takes_long_to_look_through(job_of: Callable[..., Job]) -> None:
    """Whoever opens a store looks through the tiles that these name."""
    cut = job_of().cut
    last = cut.last
    wide = replace(cut, levels=(*cut.levels[:-1], replace(last, height=2**20, width=2**20)))
    nothing: tuple[tuple[int, int, int, int], ...] = ()
    whole = (0, 0, last.height, last.width)
    for wrong, what in (
        (replace(wide, crop=(7, 0, 23, 16385)), "its crop is larger than 16384 pixels"),
        (replace(wide, crop=(0, 0, 16385, 16)), "its crop is larger than 16384 pixels"),
        (replace(cut, touched=(*(nothing for _ in cut.levels[1:]), (whole, whole))), "its changes overlap"),
    ):
        assert [said for holds, said in wrong.rules() if not holds] == [what]
    right = (
        replace(wide, crop=(0, 0, 16384, 16)),
        replace(wide, crop=(20000, 40000, 36384, 56384)),
        replace(wide, crop=(40000, 20000, 56384, 36384)),
        replace(cut, touched=(*(nothing for _ in cut.levels[1:]), (whole,))),
    )
    assert [said for one in right for holds, said in one.rules() if not holds] == []
