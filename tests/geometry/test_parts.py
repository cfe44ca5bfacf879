"""What of each level is rendered for a part of a poster: all that the part needs, some more, and not much more."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiler.geometry import Rect, TileGrid, level_sizes
from tiler.geometry.blocks import joined, root, shares, summed
from tiler.geometry.parts import _TAPS, SAMPLE, parts


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[TileGrid], Rect]:
    wrap_y, wrap_x = draw(st.booleans()), draw(st.booleans())
    height, width = draw(st.integers(40, 700)), draw(st.integers(40, 700))
    sizes = level_sizes(height, width, 40, None, (16 if wrap_y else 1, 16 if wrap_x else 1))
    tile, feather, halo = draw(st.sampled_from([(16, 0, 16), (16, 8, 16), (32, 8, 32), (64, 16, 48)]))
    grids = [TileGrid.balanced(*size, tile, feather, halo, 16, wrap_y, wrap_x) for size in sizes]
    height, width = sizes[-1]
    tall, wide = draw(st.integers(1, height)), draw(st.integers(1, width))
    y0, x0 = draw(st.integers(0, height - tall)), draw(st.integers(0, width - wide))
    return grids, Rect(y0, x0, y0 + tall, x0 + wide)


def _covered(grid: TileGrid, rect: Rect, tiles: set[int]) -> bool:
    return {tile.index for tile, _ in grid.overlapping(rect)} <= tiles


@given(cases())
def test_the_part_has_all_that_it_shows_and_reads_and_whole_levels_come_first(case):
    grids, crop = case
    found = parts(grids, crop)
    assert found[0] is None
    assert [one is None for one in found] == sorted([one is None for one in found], reverse=True)
    need = crop
    for grid, before, part in zip(grids[::-1], [*grids[-2::-1], None], found[::-1], strict=True):
        if part is None:
            break
        own = {tile.index for tile, _ in grid.overlapping(need)}
        assert own <= {*part.tiles}
        assert [*part.tiles] == sorted({*part.tiles})
        assert len(own) <= len(part.tiles) <= min(len(own) + SAMPLE, 0.5 * len(grid))
        assert before is not None
        # All that the part's own tiles look at on the level before, in whole pixels and with what interpolates.
        reads = [tile.read for tile, _ in grid.overlapping(need)]
        edges = np.array([(one.y0, one.x0, one.y1, one.x1) for one in reads])
        scale = np.array([before.height / grid.height, before.width / grid.width])
        low, high = np.floor(edges[:, :2].min(0) * scale) - _TAPS, np.ceil(edges[:, 2:].max(0) * scale) + _TAPS
        need = before.clipped(Rect(*low.astype(int), *high.astype(int)))
        below = found[grids.index(before)]
        assert below is None or _covered(before, need, {*below.tiles})


@given(cases())
def test_weights_make_up_the_level_and_the_parts_own_tiles_stand_for_themselves(case):
    grids, crop = case
    for grid, part in zip(grids, parts(grids, crop), strict=True):
        if part is not None:
            weights = dict(zip(part.tiles, part.weights, strict=True))
            cores = sum(weight * grid.tile(index).core.area for index, weight in weights.items())
            assert cores == pytest.approx(grid.height * grid.width)
            assert min(weights.values()) >= 1
            sampled = {weight for weight in weights.values() if weight != 1}
            assert len(sampled) <= 1
            if grid is grids[-1] and sampled and max(part.weights) > min(part.weights):
                assert all(weights[tile.index] == 1 for tile, _ in grid.overlapping(crop))


@given(cases())
def test_a_part_that_is_all_leaves_nothing_out(case):
    grids, _ = case
    assert parts(grids, Rect(0, 0, grids[-1].height, grids[-1].width)) == [None] * len(grids)


@given(cases(), st.integers(1, 9))
def test_tiles_of_a_part_are_shared_out_and_added_up_as_all_are(case, count):
    grids, crop = case
    for grid, part in zip(grids, parts(grids, crop), strict=True):
        if part is None:
            continue
        some = TileGrid(**{**vars(grid), "part": part})
        assert [tile.index for tile in some] == [*part.tiles]
        assert len(some) == len(part.tiles)
        found = shares(some, count)
        listed = [[index for node in share for index in node.tiles(some)] for share in found]
        assert sorted(itertools.chain(*listed)) == [*part.tiles]
        assert all(listed)
        assert len(found) == min(count, len(part.tiles))
        value = {index: float(np.random.default_rng(index).random()) * 1e3 ** (index % 5) for index in part.tiles}
        whole = summed(root(some), some, value.__getitem__, float.__add__)
        sums = {node: summed(node, some, value.__getitem__, float.__add__) for share in found for node in share}
        assert joined(some, sums, float.__add__) == whole == pytest.approx(sum(value.values()))


def test_the_sample_lies_all_over_and_each_spot_goes_on_where_it_began():
    grids = [TileGrid.balanced(edge, edge, 64, 8, 32) for edge in (128, 256, 512, 1024, 2048, 4096)]
    found = parts(grids, Rect(1000, 1000, 1100, 1100))
    before: list[Rect] = []
    for grid, part in zip(grids, found, strict=True):
        if part is not None:
            sample = [grid.tile(i).core for i, weight in zip(part.tiles, part.weights, strict=True) if weight > 1]
            assert len(sample) == SAMPLE
            quarters = {(core.y0 // (grid.height // 2), core.x0 // (grid.width // 2)) for core in sample}
            assert len(quarters) >= 3
            for core in sample if before else []:
                inside = Rect(core.y0 // 2, core.x0 // 2, core.y1 // 2, core.x1 // 2)
                assert any(inside.intersection(one) == inside for one in before)
            before = sample
    assert before, "no level was rendered in part"
