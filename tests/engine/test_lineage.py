"""By what a finished level is known: all that its bytes depend on, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tiler.engine.job import Job
from tiler.engine.lineage import Lineage
from tiler.request.config import RenderConfig
from tiler.request.resolve import resolve_config
from tiler.style.layers import NAMES
from tiler.style.trunk import Trunk

TRUNK = Trunk({f"relu{name}": 64 for name in NAMES}, "0" * 64)


def job_of(**values: Any) -> Job:
    """Of three levels, the last in tiles."""
    usual = dict(long_edge=600, levels=3, steps=(6, 5, 4), tile=320, feather=16)
    config = RenderConfig("a.png", ("b.png",), "c.png", device="cpu", **{**usual, **values})
    pictures: list[Any] = [
        SimpleNamespace(path="p", height=h, width=w, file_size=(h, w), in_part=False)
        for h, w in ((600, 400), (700, 900))
    ]
    return resolve_config(config, pictures[0], pictures[1:], trunk=TRUNK)[1]


def known(job: Job, level: int) -> str:
    found = Lineage({}, dict).of(job, level, "")
    assert found is not None
    return found


def with_level(job: Job, level: int, **values: Any) -> Job:
    levels = list(job.cut.levels)
    levels[level] = replace(levels[level], **values)
    return replace(job, cut=replace(job.cut, levels=tuple(levels)))


def with_style(job: Job, level: int) -> Job:
    sizes = list(job.styles.sizes)
    sizes[level] = ((33, 44),)
    return replace(job, styles=replace(job.styles, sizes=tuple(sizes)))


JOB = job_of()


@pytest.mark.parametrize(
    "other",
    [
        replace(JOB, id="f" * 32), replace(JOB, network=replace(JOB.network, weights="elsewhere/w.pth")),
        replace(JOB, cut=replace(JOB.cut, tile=336)), replace(JOB, cut=replace(JOB.cut, crop=(0, 0, 600, 400))),
    ],
    ids=("id", "weights", "tile", "crop"),
)  # fmt: skip
def test_names_and_what_cuts_no_level_do_not_count(other: Job) -> None:
    assert known(other, 0) == known(JOB, 0)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("changed", [0, 1, 2])
@pytest.mark.parametrize("color", ["style", "grey", "match", "luminance"])
def test_another_level_is_of_no_concern_unless_styles_are_recoloured_by_the_finest(
    level: int, changed: int, color: str
) -> None:
    job = replace(JOB, look=replace(JOB.look, color=color))
    assert (known(with_level(job, changed, steps=3), level) != known(job, level)) is (level == changed)
    recoloured = color in ("match", "luminance") and changed == 2
    others = [with_style(job, changed), with_level(job, changed, height=608), with_level(job, changed, width=416)]
    for other in others:
        assert (known(other, level) != known(job, level)) is (level == changed or recoloured)


def test_tiles_and_rounds_count_where_the_level_has_them() -> None:
    for level, same in ((0, True), (1, False), (2, False)):
        assert (known(JOB.with_tile(160), level) == known(JOB, level)) is same
    longer = replace(JOB, cut=replace(JOB.cut, steps_per_round=3))
    assert [known(longer, level) == known(JOB, level) for level in range(3)] == [True, True, False]
    assert known(replace(JOB, cut=replace(JOB.cut, mode="exact")), 0) != known(JOB, 0)


def test_what_is_seen_what_computed_it_and_what_it_was_made_from_count() -> None:
    usual = Lineage({"a": 1, "b": 2}, lambda: {"torch": "2"})
    first = usual.of(JOB, 0, "x")
    assert first == Lineage({"b": 2, "a": 1}, lambda: {"torch": "2"}).of(JOB, 0, "x")
    assert first is not None
    assert len(first) == 64
    others = [
        Lineage({"a": 1, "b": 3}, lambda: {"torch": "2"}).of(JOB, 0, "x"),
        Lineage({"a": 1, "b": 2}, lambda: {"torch": "3"}).of(JOB, 0, "x"),
        usual.of(JOB, 0, "y"), usual.of(JOB, 0, ""), usual.of(JOB, 1, "x"),
    ]  # fmt: skip
    assert None not in others
    assert len({first, *others}) == 6
    assert usual.of(JOB, 0, None) is Lineage({}, lambda: {"torch": "2 + 3"}).of(JOB, 0, "") is None


@pytest.mark.parametrize(("kept", "wrong"), [(0, "x"), (1, "x"), (2, None), (3, "")])
def test_levels_are_shared_up_to_the_first_that_is_another(kept: int, wrong: str | None) -> None:
    line, below, told = Lineage({}, dict), "", list[Any]()
    for level in range(3):
        below = line.of(JOB, level, below) or ""
        told.append(below)
    said = [*told[:kept], wrong, *told[kept + 1 :]]
    store: Any = SimpleNamespace(lineage=said.__getitem__)
    assert line.shared(JOB, store) == kept
    assert [line.ended(JOB, level, store) for level in range(min(kept + 1, 3))] == told[: kept + 1]
    if kept == 2:
        assert line.ended(JOB, 2, SimpleNamespace(lineage=lambda level: None)) is None  # type: ignore[arg-type]
    assert Lineage({}, lambda: {"torch": "2 + 3"}).shared(JOB, store) == 0
