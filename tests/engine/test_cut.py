"""How a job is cut, by numbers written out: what is seen of a level, what of it is read, and in which rounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tiler.engine.cut import Cut
from tiler.geometry import Level, Part, Rect
from tiler.geometry.parts import below

LEVELS = Level(0, 48, 80, 7, 0.1), Level(1, 96, 160, 5, 0.1), Level(2, 192, 320, 3, 0.1)
# Levels of 2 x 3, 3 x 5 and 6 x 10 tiles.
CUT = Cut(LEVELS, "none", 16, 32, 4, 8, "fast", "adam", 2)


def cut(**more: Any) -> Cut:
    return replace(CUT, **more)


@pytest.mark.parametrize(
    ("crop", "boxes"),
    [
        (None, [Rect(0, 0, 48, 80), Rect(0, 0, 96, 160), Rect(0, 0, 192, 320)]),
        ((4, 8, 8, 20), [Rect(1, 2, 2, 5), Rect(2, 4, 4, 10), Rect(4, 8, 8, 20)]),
        ((5, 9, 6, 11), [Rect(1, 2, 2, 3), Rect(2, 4, 3, 6), Rect(5, 9, 6, 11)]),
        ((191, 319, 192, 320), [Rect(47, 79, 48, 80), Rect(95, 159, 96, 160), Rect(191, 319, 192, 320)]),
    ],
)
def test_what_is_to_be_seen_of_a_level_has_all_that_is_asked_for(crop: Any, boxes: list[Rect]) -> None:
    found = cut(crop=crop)
    assert [found.box(level) for level in range(3)] == boxes
    assert found.shown == boxes[-1]


def test_levels_of_odd_sizes_are_shown_up_to_whole_pixels() -> None:
    """Of 7 x 5 pixels one in three of 21 x 15, and of 2 x 3 and 15 x 10: never nothing."""
    levels = Level(0, 7, 5, 1, 0.1), Level(1, 21, 15, 1, 0.1)
    found = cut(levels=levels, crop=(4, 6, 10, 7))
    assert found.box(0) == Rect(1, 2, 4, 3)
    levels = Level(0, 2, 3, 1, 0.1), Level(1, 15, 10, 1, 0.1)
    assert cut(levels=levels, crop=(7, 4, 8, 5)).box(0) == Rect(0, 1, 2, 2)


def test_tiles_are_as_large_as_asked_for_and_those_of_a_crop_no_larger_than_they_need() -> None:
    assert [(grid.rows, grid.cols) for grid in map(CUT.grid, range(3))] == [(2, 3), (3, 5), (6, 10)]
    grid = cut(wrap="x", halo=16, feather=2).grid(1)
    assert (grid.height, grid.width, grid.feather, grid.halo, grid.align) == (96, 160, 2, 16, 16)
    assert (grid.wrap_y, grid.wrap_x) == (False, True)
    assert [(one.wrap_y, one.wrap_x) for one in (cut(wrap=wrap).grid(0) for wrap in ("none", "y", "xy"))] == [
        (False, False), (True, False), (True, True),
    ]  # fmt: skip
    wide = (Level(0, 512, 1024, 1, 0.1), Level(1, 1024, 2048, 1, 0.1))
    large = cut(levels=wide, tile=1024)
    assert (large.grid(1).core_height, large.grid(1).core_width) == (1024, 1024)
    seen = replace(large, crop=(1000, 1900, 1020, 2000)).grid(1)
    assert seen.part is not None
    assert (seen.core_height, seen.core_width) == (256, 256)
    assert (replace(large, tile=64, crop=(1000, 1900, 1020, 2000)).grid(1).core_width) == 64


@pytest.mark.parametrize(("width", "columns"), [(2560, 10), (2561, 11)])
def test_tiles_of_a_crop_are_256_pixels_a_side_at_most(width: int, columns: int) -> None:
    levels = Level(0, 200, 256, 1, 0.1), Level(1, 2000, width, 1, 0.1)
    seen = cut(levels=levels, tile=1024, align=1, feather=0, halo=0, crop=(0, 0, 20, 10)).grid(1)
    assert seen.cols == columns


def test_a_change_is_of_the_tiles_that_show_in_it_and_the_rest_stays() -> None:
    """Tiles overlap their neighbours' feathers of 4 pixels: 33 is seen by two of a row, 40 by one."""
    nothing: tuple[Any, ...] = ((), (), ())
    assert CUT.rest(1) is None
    found = cut(touched=(((0, 0, 48, 80),), ((40, 72, 41, 73),), ((0, 33, 1, 41), (191, 319, 192, 320))))
    assert found.grid(0).part is None
    assert found.rest(0) is None
    assert found.grid(1).part == Part((7,), (1.0,))
    rest = found.rest(1)
    assert rest is not None
    assert [tile.index for tile in rest] == [one for one in range(15) if one != 7]
    assert rest.part == Part(tuple(one for one in range(15) if one != 7), (1.0,) * 14)
    assert found.grid(2).part == Part((0, 1, 59), (1.0,) * 3)
    assert found.rest(2).part == Part(tuple(range(2, 59)), (1.0,) * 57)  # type: ignore[union-attr]
    untouched = cut(touched=nothing)
    assert [untouched.grid(level).part for level in range(3)] == [Part((), ())] * 3
    assert [len(untouched.rest(level) or ()) for level in range(3)] == [6, 15, 60]
    assert not any(one.estimates(level) for one in (CUT, found, untouched) for level in range(3))


def test_only_levels_that_are_known_in_part_are_read_in_part() -> None:
    assert [CUT.read(level) for level in range(3)] == [CUT.read_below(level) for level in range(3)] == [None] * 3
    levels = (*LEVELS[:2], Level(2, 1920, 3200, 3, 0.1))
    found = cut(levels=levels, crop=(1000, 1900, 1010, 1920), wrap="x")
    assert [found.estimates(level) for level in range(3)] == [False, False, True]
    assert [found.read(level) for level in (0, 1)] == [found.read_below(level) for level in (0, 1)] == [None] * 2
    grid = found.grid(2)
    read = found.read(2)
    assert read is not None
    assert sum(one.area for one in read) == sum(tile.read.area for tile in grid)
    assert all(0 <= one.y0 < one.y1 <= 1920 and 0 <= one.x0 < one.x1 <= 3200 for one in read)
    seen = next(tile for tile in grid if tile.core.y0 <= 1005 < tile.core.y1 and tile.core.x0 <= 1910 < tile.core.x1)
    assert seen.read in read
    under = found.read_below(2)
    assert under is not None
    assert below(seen.read, grid, found.grid(1)) in under
    assert all(0 <= one.y0 < one.y1 <= 96 and 0 <= one.x0 < one.x1 <= 160 for one in under)


def test_work_is_steps_times_what_tiles_read() -> None:
    """Halos of 8 pixels, in whole cells of 16."""
    areas = [sum(tile.read.area for tile in CUT.grid(level)) for level in range(3)]
    assert areas[0] == (48 + 32) * (48 + 64 + 32)
    assert [CUT.work(level) for level in range(3)] == [7 * areas[0], 5 * areas[1], 3 * areas[2]]


@pytest.mark.parametrize(
    ("more", "rounds", "after"),
    [
        ({}, [(0, 2), (2, 2), (4, 2), (6, 1)], [0, 2, 4, 6, 7, 7]),
        ({"steps_per_round": 7}, [(0, 7)], [0, 7, 7]),
        ({"steps_per_round": 6}, [(0, 6), (6, 1)], [0, 6, 7]),
        ({"mode": "exact", "steps_per_round": 6}, [(one, 1) for one in range(7)], [0, 1, 2, 3, 4, 5, 6, 7, 7]),
        ({"tile": 96, "mode": "exact"}, [(0, 7)], [0, 7]),
        ({"optimizer": "lbfgs"}, [(0, 2), (2, 2), (4, 2), (6, 1)], [0, 2, 4]),
    ],
)
def test_rounds_go_over_all_of_a_level_s_steps(more: dict[str, Any], rounds: list[Any], after: list[int]) -> None:
    found = cut(**more)
    assert found.rounds(0) == rounds
    assert [found.steps_after(0, done) for done in range(len(after))] == after
    assert found.measures_every_round(0) == (more.get("mode") == "exact" and "tile" not in more)
    assert not found.uses_lbfgs(0)


def test_a_tile_that_is_the_whole_level_may_go_on_for_long() -> None:
    alone = cut(levels=(Level(0, 48, 80, 51, 0.1), Level(1, 48, 80, 0, 0.1)), tile=96)
    assert alone.rounds(0) == [(0, 25), (25, 25), (50, 1)]
    assert replace(alone, optimizer="lbfgs").rounds(0) == [(0, 51)]
    assert replace(alone, optimizer="lbfgs").uses_lbfgs(0)
    assert replace(alone, optimizer="lbfgs").rounds(1) == []
    assert replace(alone, optimizer="lbfgs").steps_after(1, 0) == 0


@pytest.mark.parametrize(
    ("wrong", "what"),
    [({"mode": "slow"}, "mode"), ({"wrap": "yx"}, "wrap"), ({"optimizer": "sgd"}, "optimizer")],
)
def test_kinds_that_a_cut_does_not_know_are_refused(wrong: dict[str, Any], what: str) -> None:
    assert [said for holds, said in cut(**wrong).rules() if not holds] == [f"its {what} is unknown"]
    for mode, wrap, optimizer in (("fast", "none", "adam"), ("exact", "y", "lbfgs"), ("fast", "xy", "adam")):
        assert all(holds for holds, _ in cut(mode=mode, wrap=wrap, optimizer=optimizer).rules())


def test_levels_that_are_none_or_out_of_order_are_refused() -> None:
    assert next(cut(levels=()).rules()) == (False, "its levels are none, or too many")
    wrong = cut(levels=(LEVELS[0], LEVELS[2]), crop=(0, 0, 1, 1))
    assert "its levels are out of order" in [said for holds, said in wrong.rules() if not holds]
