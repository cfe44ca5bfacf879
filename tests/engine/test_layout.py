"""The disk that a plan foresees, against a real store."""

from __future__ import annotations

from pathlib import Path

import pytest
import zarr

from tiler.engine import layout
from tiler.engine.store import RenderStore
from tiler.geometry import Rect, TileGrid
from tiler.planning.plan import plan_job
from tiler.request.resolve import resolve_config

BLOCK = 4096


def used_bytes(folder: Path) -> int:
    """In blocks, whatever file system the test runs on."""
    return sum(BLOCK if path.is_dir() else -(-path.stat().st_size // BLOCK) * BLOCK for path in folder.rglob("*"))


@pytest.fixture
def planned_and_taken(render_serially, tmp_path, monkeypatch):
    """planned_and_taken(...): renders; its plan, and the bytes that its store took at most and takes at the end."""
    peaks, plans, finish = [], [], RenderStore.finish_level

    def resolve(*arguments):
        resolved, job = resolve_config(*arguments)
        plans.append(plan_job(resolved, job))
        return resolved, job

    def finish_level(self, level, report, known):
        peaks.append(used_bytes(Path(self.url)))
        finish(self, level, report, known)

    def render(**options):
        monkeypatch.setattr(RenderStore, "finish_level", finish_level)
        monkeypatch.setitem(render_serially.__globals__, "resolve_config", resolve)
        render_serially(precision="fp32", **{"levels": 2, "halo": 32, **options})
        return plans[0], max(peaks), used_bytes(tmp_path / "1.zarr")

    return render


@pytest.mark.parametrize(
    "options",
    [
        dict(long_edge=200, tile=96, steps=4, levels=2),
        dict(long_edge=200, tile=96, steps=(3, 1), mode="exact"),
        dict(long_edge=300, tile=128, steps=(2, 0), init="noise"),
        dict(long_edge=300, tile=128, steps=(2, 1), keep_detail=True),
        dict(long_edge=300, tile=128, steps=(2, 0), keep_detail=True),
    ],
    ids=["fast", "exact", "without steps", "detail", "detail without steps"],
)
def test_disk_is_what_the_plan_says(options, planned_and_taken):
    plan, peak, kept = planned_and_taken(state="store", **options)
    assert plan.store_bytes == pytest.approx(peak, rel=0.2)
    assert plan.kept_bytes == pytest.approx(kept, rel=0.3)


@pytest.mark.parametrize(("checkpoint_seconds", "least", "most"), [(0.0, 0.8, 1.2), (3600.0, 0.0, 0.3)])
def test_a_state_in_memory_takes_the_disk_of_its_checkpoints(checkpoint_seconds, least, most, planned_and_taken):
    """The plan counts two, as a level that takes long has them."""
    how = dict(state="device", checkpoint_seconds=checkpoint_seconds)
    plan, peak, kept = planned_and_taken(long_edge=200, tile=96, steps=(2, 8), **how)
    assert least * plan.store_bytes < peak < most * plan.store_bytes
    assert plan.kept_bytes == pytest.approx(kept, rel=0.3)


def test_image_chunks_never_cross_cores():
    for core in (16, 96, 496, 976, 1024, 4096):
        grid = TileGrid(3 * core - 5, 2 * core, core, core)
        rows, columns = layout.image(grid, "float32").chunks[1:]
        assert core % rows == core % columns == 0
        assert rows == core // 8
    assert layout.image(TileGrid.balanced(501, 333, 1024, 16, 48), "float64").chunks == (3, 64, 333)


@pytest.mark.parametrize(("height", "width"), [(500, 190), (190, 500), (333, 333), (64, 1000)])
@pytest.mark.parametrize("align", [1, 16])
def test_a_level_may_have_the_chunks_of_any_coarser_cut(height, width, align):
    """It keeps those that it was finished with, when tiles are cut smaller for the levels after it."""
    tiles = [tile for tile in (64, 96, 128, 192, 256, 512, 1024) if tile % align == 0]
    cuts = [TileGrid.balanced(height, width, tile, 4, 16, align) for tile in tiles]
    for finer, now in enumerate(cuts):
        allowed = layout.image_chunks(now)
        for cut in cuts[finer:]:
            assert layout.image(cut, "float32").chunks in allowed
        assert all(rows <= height and columns <= width for _, rows, columns in allowed)
        assert max(columns for *_, columns in allowed) == width


def test_an_array_takes_the_blocks_that_its_files_take(tmp_path):
    array = layout.Array((2, 3, 60, 80), (1, 1, 60, 80), "float64")
    made = zarr.create_array(
        str(tmp_path / "group" / "a"), shape=array.shape, chunks=array.chunks, dtype=array.dtype, compressors=None
    )
    made[:] = 1
    assert array.disk_bytes() == used_bytes(tmp_path / "group")
    assert array.disk_bytes(0.5) == pytest.approx(array.disk_bytes() / 2, rel=0.1)


@pytest.mark.parametrize(
    ("read", "boxes"),
    [
        ([], []),
        ([Rect(0, 0, 1, 1)], [Rect(0, 0, 128, 512)]),
        ([Rect(127, 511, 128, 512)], [Rect(0, 0, 128, 512)]),
        ([Rect(127, 511, 129, 513)], [Rect(0, 0, 128, 1024), Rect(128, 0, 256, 1024)]),
        ([Rect(299, 0, 300, 2000)], [Rect(256, 0, 300, 2000)]),
        ([Rect(256, 1999, 260, 2000)], [Rect(256, 1536, 300, 2000)]),
        (
            [Rect(140, 1600, 200, 1700), Rect(130, 600, 131, 700), Rect(0, 1030, 5, 1040), Rect(130, 10, 250, 20)],
            [Rect(0, 1024, 128, 1536), Rect(128, 0, 256, 1024), Rect(128, 1536, 256, 2000)],
        ),
    ],
)
def test_what_is_kept_of_a_picture_is_whole_chunks_of_it(read: list[Rect], boxes: list[Rect]) -> None:
    """From top to bottom and from left to right, once each, and no more than there is of it."""
    assert layout.picture_boxes(300, 2000, read) == boxes
    assert layout.picture_boxes(300, 2000, [*read, *reversed(read)]) == boxes


def test_arrays_have_shapes_and_chunks_that_are_known() -> None:
    assert layout.picture(60, 3000) == layout.Array((3, 60, 3000), (3, 60, 512), "uint16", 0.7)
    assert layout.picture(3000, 60, 2) == layout.Array((2, 3000, 60), (2, 128, 60), "uint16", 0.7)
    grid = TileGrid(200, 500, 64, 128)
    assert layout.image(grid, "float32") == layout.Array((3, 200, 500), (3, 8, 128), "uint16", 0.94)
    assert layout.image(grid, "float64", (3, 5, 7)) == layout.Array((3, 200, 500), (3, 5, 7), "float64", 0.94)
    assert layout.image(TileGrid(500, 100, 512, 128), "float32").chunks == (3, 64, 100)
    for feather, rows, columns in (0, 288, 288), (1, 193, 193), (16, 198, 203):
        grid = TileGrid(1152, 1728, 576, 576, feather)
        state = layout.state(grid, {}, "float32", "float64")
        assert state["pixels"].chunks == state["moments"].chunks == (1, 1, 3, rows, columns)
        assert (state["pixels"].ratio, state["moments"].ratio, state["moments"].dtype) == (0.79, 0.7, "float64")
        assert state["regions"].shape == (2, 6, 1)
        assert [state[name].fill_value for name in ("marks", "pixels", "losses", "regions")] == [-1, 0, 0, 0]


def test_a_level_that_is_cut_into_three_rows_and_two_columns_may_have_been_cut_coarser() -> None:
    grid = TileGrid.balanced(330, 170, 112, 0, 0, 16)
    assert (grid.rows, grid.cols, grid.core_height, grid.core_width) == (3, 2, 112, 96)
    heights = {14, 22, 42}  # an eighth of cores of 112, 176 and 336 rows
    assert layout.image_chunks(grid) == {(3, height, width) for height in heights for width in (96, 170)}


@pytest.mark.parametrize(("written", "blocks"), [(1.0, 13), (0.5, 7), (0.54, 8), (0.01, 1), (0.0, 0)])
def test_a_share_of_an_array_takes_whole_blocks(written: float, blocks: int) -> None:
    """Of four chunks, each of a block and a byte with its checksum of four, and of the five folders above them."""
    array = layout.Array((1, 4, 4093), (1, 1, 4093), "uint8")
    assert layout.Array((1, 4, 4092), (1, 1, 4092), "uint8").disk_bytes() == (4 + 5 + 3) * 4096
    assert array.disk_bytes() == (2 * 4 + 5 + 3) * 4096
    assert array.disk_bytes(written) == (blocks + 3) * 4096
