"""What a stored job must hold, one rule at a time; and what its parts come to."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tiler.engine.job import Job
from tiler.geometry import Rect
from tiler.request.config import RenderConfig
from tiler.request.resolve import resolve_config
from tiler.style.layers import NAMES
from tiler.style.trunk import Trunk

CHANNELS = dict(zip(NAMES, range(3, 99), strict=False))
TRUNK = Trunk({f"relu{name}": count for name, count in CHANNELS.items()}, "0" * 64)


def job_of(styles: int = 2, **values: Any) -> Job:
    usual = dict(long_edge=600, levels=2, style_layers=("relu3_1", "relu1_1"), content_layers=("relu4_2",))
    config = RenderConfig("a.png", ("b.png",) * styles, "c.png", device="cpu", **{**usual, **values})  # type: ignore[arg-type]
    pictures: list[Any] = [
        SimpleNamespace(path="p", height=h, width=w, file_size=(h, w), in_part=False)
        for h, w in ((600, 400), *((700, 900),) * styles)
    ]
    return resolve_config(config, pictures[0], pictures[1:], trunk=TRUNK)[1]


JOB = job_of()


def changed(part: str, **values: Any) -> Job:
    return replace(JOB, **{part: replace(getattr(JOB, part), **values)})


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (replace(JOB, id="f" * 31), "its id is none"), (replace(JOB, id="F" * 32), "its id is none"),
        (replace(JOB, id="f" * 33), "its id is none"), (replace(JOB, id="../" + "f" * 29), "its id is none"),
        (changed("styles", sizes=JOB.styles.sizes[:1]), "its levels do not fit its styles"),
        (changed("styles", layer_weights=((1.0,), (1.0,))), "its weights do not fit its layers"),
        (changed("styles", layer_weights=((1.0, 1.0), (1.0,))), "its weights do not fit its layers"),
        (changed("styles", owners=(0,)), "its styles do not fit"),
        (changed("styles", masked=()), "its styles do not fit"),
        (changed("styles", regions=("a", "b"), owners=(0, 1)), "its regions are nowhere"),
        (changed("styles", regions=("a", "b")), "its regions do not fit its styles"),
        (changed("network", channels=JOB.network.channels[1:]), "its layers do not fit its channels"),
        (changed("network", channels=(("relu9_9", 3), *JOB.network.channels)), "its layers are unknown"),
        (changed("network", pooling="min"), "its pooling is unknown"),
        (changed("cut", align=16), "its cells do not fit its layers"),
        (changed("look", color="blue"), "its color is unknown"), (changed("look", init="style"), "its init is unknown"),
        (changed("look", transfer="content"), "its transfer is unknown"),
        (changed("device", kind="gpu"), "its device is unknown"),
        (changed("device", precision="fp8"), "its precision is unknown"),
    ],
)  # fmt: skip
def test_a_job_that_breaks_a_rule_is_refused_by_it(wrong: Job, what: str) -> None:
    for call in (wrong.check, lambda: Job.from_dict(json.loads(json.dumps(wrong.to_dict())))):
        with pytest.raises(ValueError, match=f"^job: {what}$"):
            call()


@pytest.mark.parametrize(
    "right",
    [
        JOB, replace(JOB, id="0123456789abcdef" * 2),
        *(changed("network", pooling=pooling) for pooling in ("max", "avg")),
        *(changed("look", color=color) for color in ("style", "grey", "content", "luminance", "match")),
        *(changed("look", init=init) for init in ("content", "noise", "picture")),
        *(changed("look", transfer=transfer) for transfer in ("style", "color")),
        *(changed("device", kind=kind) for kind in ("cpu", "cuda", "mps")),
        *(changed("device", precision=precision) for precision in ("fp32", "bf16", "fp16", "fp64")),
        changed("styles", guided=True, regions=("a", "b"), owners=(1, 0)), changed("styles", guided=True),
    ],
)  # fmt: skip
def test_a_job_that_keeps_the_rules_is_the_same_after_a_trip(right: Job) -> None:
    right.check()
    assert Job.from_dict(json.loads(json.dumps(right.to_dict()))) == right


def test_whose_style_is_whose_and_what_is_summed_of_it() -> None:
    styles = replace(JOB.styles, owners=(1, 0))
    assert [styles.of(region) for region in (0, 1, 2)] == [[1], [0], []]
    assert styles.count == 2
    one, three, four = (CHANNELS[name] for name in ("1_1", "3_1", "4_2"))
    sums = {"relu1_1": (one + 1, one), "relu3_1": (three + 1, three), "relu4_2": (four + 1, four)}
    assert JOB.sums == sums
    assert JOB.style_sums == {layer: JOB.sums[layer] for layer in ("relu3_1", "relu1_1")}
    assert list(JOB.measured) == [*JOB.terms.layers, "roughness"]
    assert JOB.measured["roughness"] == (1, 2)
    assert job_of(statistics="gram").sums == {layer: (count, count) for layer, (_, count) in sums.items()}


def test_what_is_kept_and_looked_at_by_the_look() -> None:
    for color, chroma, grey in (
        ("style", False, False), ("grey", False, True), ("match", False, False), ("content", True, False),
        ("luminance", True, True),
    ):  # fmt: skip
        look = replace(JOB.look, color=color)
        assert (look.keeps_chroma, look.images) == (chroma, ("image", "poster") if chroma else ("image",))
        assert look.grey is grey
    assert JOB.look.transfer == "style"


def test_a_box_that_is_measured_lies_within_what_is_read() -> None:
    """Where a tile reads less than its statistics see, it is that; and a style's tiles are those of 512 pixels."""
    job = job_of(long_edge=600, levels=1, tile=160, halo=0, feather=0, style_layers=("relu4_1",))
    grid = job.cut.grid(0)
    tile = grid.tile(0)
    assert job.measure_box(tile) == tile.read
    wide = replace(job, styles=replace(job.styles, sizes=(((513, 90), (512, 1025)),)))
    first, second = (wide.style_grid(0, style) for style in (0, 1))
    assert (first.height, first.width, first.rows, first.cols) == (513, 90, 2, 1)
    assert (second.height, second.width, second.rows, second.cols) == (512, 1025, 1, 3)
    assert (first.feather, first.align) == (0, job.cut.align)
    assert second.tile(0).core == Rect(0, 0, 512, 344)
